"""The HL7 field mapping as JSON: how it is kept, exported and imported.

Format 2 holds the mapping for everybody and those of certain senders; format 1, of the first
releases, held one mapping. Whatever is read is checked to the last entry before it is used.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from santepacs.errors import Malformed
from santepacs.worklist.mapping_rows import (
    MAPPED_FIELDS,
    MAXIMUM_ROWS,
    MAXIMUM_SENDERS,
    FieldMapping,
    Mappings,
    Row,
)

FORMAT = 2
_NUMBERS = {"position": 1, "component": 1, "repetition": 1, "subcomponent": 0}  # and defaults
_LOWEST = {"position": 1, "component": 0, "repetition": 1, "subcomponent": 0}
_HIGHEST = {"position": 999, "component": 99, "repetition": 99, "subcomponent": 99}
_SEGMENT = re.compile(r"[A-Z][A-Z0-9]{2}")
_LONGEST_SENDER = 200


def parsed(content: str, where: str) -> Mappings:
    """The mappings that JSON stands for. Raises Malformed naming `where` and what is wrong."""
    try:
        return from_dictionary(json.loads(content))
    except json.JSONDecodeError as problem:
        raise Malformed(f"{where} is not JSON: {problem}") from None
    except (RecursionError, ValueError):
        raise Malformed(f"{where} is not JSON that can be read") from None
    except Malformed as problem:
        raise Malformed(f"{where}: {problem}") from None


def written(mappings: Mappings) -> str:
    """The mappings as JSON, one row a line."""
    parts = [f'{{\n "format": {FORMAT},\n "rows": {_written_rows(mappings.default)}']
    senders = [
        f'  {{"application": {json.dumps(application)}, "facility": {json.dumps(facility)},'
        f' "rows": {_written_rows(mapping)}}}'
        for (application, facility), mapping in mappings.by_sender.items()
    ]
    if senders:
        parts.append(' "senders": [\n' + ",\n".join(senders) + "\n ]")
    return ",\n".join(parts) + "\n}\n"


def _written_rows(mapping: FieldMapping) -> str:
    rows = ",\n".join(f"  {json.dumps(_entries(row))}" for row in mapping.rows)
    return f"[\n{rows}\n ]"


def _entries(row: Row) -> dict[str, Any]:
    numbers = {name: getattr(row, name) for name in _NUMBERS}
    return {"field": row.field, "segment": row.segment, **numbers}


def from_dictionary(content: object) -> Mappings:
    """Mappings that were exported. Raises Malformed naming the first thing that is wrong."""
    version = content.get("format") if isinstance(content, Mapping) else None
    if not isinstance(content, Mapping) or type(version) is not int or version not in (1, FORMAT):
        raise Malformed(f"not a field mapping of format 1 or {FORMAT}")
    _only(content, {"format", "rows"} | ({"senders"} if version == FORMAT else set()), "it")
    senders = content.get("senders", [])
    if not isinstance(senders, list) or len(senders) > MAXIMUM_SENDERS:
        raise Malformed(f"a field mapping knows at most {MAXIMUM_SENDERS} senders")
    by_sender: dict[tuple[str, str], FieldMapping] = {}
    for number, entry in enumerate(senders, 1):
        sender, mapping = _sender(entry, f"sender {number}")
        if sender in by_sender:
            raise Malformed(f"sender {number} is there twice")
        by_sender[sender] = mapping
    return Mappings(_mapping(content.get("rows"), ""), by_sender)


def _sender(entry: object, where: str) -> tuple[tuple[str, str], FieldMapping]:
    if not isinstance(entry, Mapping):
        raise Malformed(f"{where} is not a table")
    _only(entry, {"application", "facility", "rows"}, where)
    application, facility = (_name(entry, key, where) for key in ("application", "facility"))
    if not application and not facility:
        raise Malformed(f"{where} has neither application nor facility")
    return (application, facility), _mapping(entry.get("rows"), f"{where}, ")


def _name(entry: Mapping[str, object], key: str, where: str) -> str:
    name = entry.get(key, "")
    if not isinstance(name, str) or len(name) > _LONGEST_SENDER or not name.isprintable():
        raise Malformed(f"{where}: {key} must be text of at most {_LONGEST_SENDER} characters")
    return name.strip()


def _only(content: Mapping[str, object], known: set[str], where: str) -> None:
    if set(content) - known:
        raise Malformed(f"{where} has an unknown entry")


def _mapping(rows: object, where: str) -> FieldMapping:
    if not isinstance(rows, list) or not 0 < len(rows) <= MAXIMUM_ROWS:
        raise Malformed(f"{where}a field mapping has 1 to {MAXIMUM_ROWS} rows")
    return FieldMapping(tuple(_rows(rows, where)))


def _rows(rows: Iterable[object], before: str) -> Iterable[Row]:
    for number, row in enumerate(rows, 1):
        where = f"{before}row {number}"
        if not isinstance(row, Mapping):
            raise Malformed(f"{where} is not a table")
        _only(row, {"field", "segment", *_NUMBERS}, where)
        field, segment = row.get("field"), row.get("segment")
        if not isinstance(field, str) or field not in MAPPED_FIELDS:
            raise Malformed(f"{where} names no record field")
        if not isinstance(segment, str) or not _SEGMENT.fullmatch(segment):
            raise Malformed(f"{where} names no segment")
        if "position" not in row:
            raise Malformed(f"{where} has no position")
        yield Row(field, segment, **{name: _number(row, name, where) for name in _NUMBERS})


def _number(row: Mapping[str, object], name: str, where: str) -> int:
    value = row.get(name, _NUMBERS[name])
    lowest, highest = _LOWEST[name], _HIGHEST[name]
    if type(value) is not int or not lowest <= value <= highest:
        raise Malformed(f"{where}: {name} must be {lowest} to {highest}")
    return value
