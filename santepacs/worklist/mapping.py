"""Which field of an order message fills which field of a worklist record.

A mapping is a list of rows: record field, segment, position, component (0: the whole value, with
its ``^``), and where needed repetition and subcomponent. Of several rows for one field, the first
that gives a value usable for the field wins.

The default has the seed product's seventeen rows first, so it reads every message as that product
does; the rows after them speak only where those are empty. They follow IHE RAD-4 (start in TQ1-7,
ORC-7.4, OBR-27.4; procedure in OBR-44, OBR-19, OBR-20) and common HIS habits. Modality falls back
to OBR-24 and OBR-21 only for a DICOM modality code, because the same positions hold the station's
name and AE title in the seed's dialect.
"""

import re
from collections.abc import Iterable
from collections.abc import Mapping as Dictionary
from dataclasses import dataclass
from typing import Any, Protocol

from santepacs.errors import Malformed
from santepacs.model.order import FIELDS
from santepacs.model.uids import is_valid_uid
from santepacs.worklist import values

NULL = '""'
FORMAT = 1
MAXIMUM_ROWS = 500
_HIGHEST = {"position": 999, "component": 99, "repetition": 99, "subcomponent": 99}
# One time stamp fills both date and time.
START = "start"
MAPPED_FIELDS = frozenset(FIELDS) - {"start_date", "start_time"} | {START}


class Source(Protocol):
    """What values are read from: the segments of one order."""

    def value(
        self,
        segment: str,
        field: int,
        component: int = 0,
        repetition: int = 1,
        subcomponent: int = 0,
    ) -> str:
        """The decoded value, empty when absent; numbers from 1, 0 is all of it."""


class UnusableValue(Malformed):
    """A value that must be neither guessed at nor dropped. `location`: as in ERR-2, ``ZDS^1^1``."""

    def __init__(self, location: str, text: str) -> None:
        super().__init__(text)
        self.location = location


@dataclass(frozen=True, slots=True)
class Row:
    """Where one value is looked for. Positions count from 1."""

    field: str
    segment: str
    position: int
    component: int = 1
    repetition: int = 1
    subcomponent: int = 0

    @property
    def location(self) -> str:
        """As in ERR-2: segment, its number, field."""
        return f"{self.segment}^1^{self.position}"


_SEED = (
    Row("patient_id", "PID", 3),
    Row("patient_name", "PID", 5, 0),
    Row("patient_birth_date", "PID", 7),
    Row("patient_sex", "PID", 8),
    Row("status", "ORC", 5),
    Row("accession_number", "ORC", 2),
    Row("requesting_physician_name", "OBR", 16),
    Row("requested_procedure_description", "OBR", 4, 2),
    Row("modality", "OBR", 18),
    Row(START, "ORC", 15),
    Row("technician_name", "OBR", 34),
    Row("scheduled_procedure_step_id", "OBR", 4),
    Row("scheduled_station_ae_title", "OBR", 21),
    Row("scheduled_station_name", "OBR", 24),
    Row("requested_procedure_id", "OBR", 4),
    Row("requested_procedure_priority", "OBR", 27),
    Row("study_instance_uid", "ZDS", 1, 0),
)
_FALLBACK = (
    Row("patient_id", "PID", 2),
    Row("patient_id", "PID", 4),
    Row("accession_number", "OBR", 2),
    Row("accession_number", "ORC", 3),
    Row("accession_number", "OBR", 3),
    Row("requesting_physician_name", "OBR", 16, 0),
    Row("requesting_physician_name", "ORC", 12, 0),
    Row("requested_procedure_description", "OBR", 44, 2),
    Row("requested_procedure_description", "OBR", 4, 5),
    Row("requested_procedure_description", "OBR", 4, 1),
    Row("modality", "OBR", 24),
    Row("modality", "OBR", 21),
    Row(START, "TQ1", 7),
    Row(START, "ORC", 7, 4),
    Row(START, "OBR", 27, 4),
    Row(START, "OBR", 36),
    Row(START, "OBR", 7),
    Row("scheduled_procedure_step_id", "OBR", 20),
    Row("requested_procedure_id", "OBR", 19),
    Row("requested_procedure_priority", "OBR", 27, 6),
    Row("requested_procedure_priority", "ORC", 7, 6),
    Row("requested_procedure_priority", "TQ1", 9),
    Row("requested_procedure_priority", "OBR", 5),
)


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """The rows, in order of preference."""

    rows: tuple[Row, ...]

    def as_dictionary(self) -> dict[str, Any]:
        """What `from_dictionary` reads back; only numbers and text."""
        names = ("field", "segment", "position", "component", "repetition", "subcomponent")
        rows = [{name: getattr(row, name) for name in names} for row in self.rows]
        return {"format": FORMAT, "rows": rows}


DEFAULT = FieldMapping(_SEED + _FALLBACK)


@dataclass(frozen=True, slots=True)
class Mapped:
    """Record fields with their values, and those that the sender deletes (HL7 null, ``""``)."""

    values: dict[str, str]
    cleared: frozenset[str]


def read(mapping: FieldMapping, source: Source) -> Mapped:
    """The record fields of one order.

    Raises UnusableValue for a Study Instance UID, Patient ID or start that is there and cannot be
    used: these decide which patient's images go where.
    """
    found: dict[str, str] = {}
    cleared: set[str] = set()
    seen: set[str] = set()
    unusable: dict[str, Row] = {}
    for row in mapping.rows:
        primary = row.field not in seen
        seen.add(row.field)
        if row.field in found:
            continue
        raw = source.value(
            row.segment, row.position, row.component, row.repetition, row.subcomponent
        ).strip()
        if raw == NULL:
            cleared.update(("start_date", "start_time") if row.field == START else (row.field,))
        elif raw:
            value = _usable(row, raw, source, primary=primary)
            if value:
                found[row.field] = value
            else:
                unusable.setdefault(row.field, row)
    for field in ("study_instance_uid", START):
        if field in unusable and field not in found:
            raise UnusableValue(unusable[field].location, f"{field.replace('_', ' ')} is not valid")
    start = found.pop(START, "")
    if start:
        found["start_date"], found["start_time"] = values.date_of(start), values.time_of(start)
    return Mapped(found, frozenset(cleared.difference(found)))


def _usable(row: Row, raw: str, source: Source, *, primary: bool) -> str:
    """`raw` as a legal value of the row's field, or empty."""
    vr = "DT" if row.field == START else FIELDS[row.field].vr
    match row.field:
        case "patient_id":
            if len(raw) > 64:
                raise UnusableValue(row.location, "the Patient ID has more than 64 characters")
        case "patient_name":
            return _name(row, raw, source)
        case "patient_sex":
            return values.sex(raw)
        case "modality":
            code = values.modality(raw)
            return code if primary or code in values.MODALITIES else ""
        case "requested_procedure_priority":
            return values.priority(raw)
        case "requesting_physician_name":
            return _physician(row, raw, source)
        case "technician_name":
            return values.person_name(_person(row, raw, source))
    match vr:
        case "UI":
            uid = raw.split("^", 1)[0].strip()
            if not is_valid_uid(uid):
                raise UnusableValue(row.location, "the Study Instance UID is not a valid UID")
            return uid
        case "DT":
            return raw if values.date_of(raw) else ""
        case "DA":
            return values.date_of(raw)
        case "AE":
            return values.ae_title(raw)
        case "PN":
            return values.person_name(raw)
    return values.text(raw, vr)


def _name(row: Row, raw: str, source: Source) -> str:
    """A whole XPN becomes a PN: HL7 has suffix before prefix, DICOM prefix before suffix.

    The family name may have subcomponents (``van&...``), of which the first is the name as it is
    written; an academic degree joins the suffix.
    """
    if row.component:
        return values.person_name(raw)
    parts = [
        source.value(row.segment, row.position, component, row.repetition)
        for component in range(1, 7)
    ]
    family = source.value(row.segment, row.position, 1, row.repetition, 1)
    _, given, middle, suffix, prefix, degree = ("" if part == NULL else part for part in parts)
    suffix = " ".join(part for part in (suffix, degree) if part)
    components = (family, given, middle, prefix, suffix)
    return values.person_name("^".join(part.replace("^", " ") for part in components))


def _physician(row: Row, raw: str, source: Source) -> str:
    """A whole XCN is a number, then the name as in an XPN."""
    if row.component:
        return values.person_name(raw)
    number, family, given, middle, suffix, prefix = (
        source.value(row.segment, row.position, component, row.repetition)
        for component in range(1, 7)
    )
    name = "^".join((family, given, middle, prefix, suffix)) if family else number
    return values.person_name(name)


def _person(row: Row, raw: str, source: Source) -> str:
    """A name within one component (NDL): ``id&family&given``, else the component as it is."""
    if row.subcomponent or not row.component:
        return raw
    family, given = (
        source.value(row.segment, row.position, row.component, row.repetition, number)
        for number in (2, 3)
    )
    return f"{family}^{given}" if family else raw


def from_dictionary(content: object) -> FieldMapping:
    """A mapping that was exported. Raises Malformed naming the first thing that is wrong."""
    if not isinstance(content, Dictionary) or content.get("format") != FORMAT:
        raise Malformed(f"not a field mapping of format {FORMAT}")
    rows = content.get("rows")
    if not isinstance(rows, list) or not 0 < len(rows) <= MAXIMUM_ROWS:
        raise Malformed(f"a field mapping has 1 to {MAXIMUM_ROWS} rows")
    return FieldMapping(tuple(_rows(rows)))


def _rows(rows: Iterable[object]) -> Iterable[Row]:
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Dictionary):
            raise Malformed(f"row {number} is not a table")
        unknown = set(map(str, row)) - {"field", "segment", *_HIGHEST}
        if unknown:
            raise Malformed(f"row {number} has an unknown entry")
        field, segment = row.get("field"), row.get("segment")
        if not isinstance(field, str) or field not in MAPPED_FIELDS:
            raise Malformed(f"row {number} names no record field")
        if not isinstance(segment, str) or not re.fullmatch(r"[A-Z][A-Z0-9]{2}", segment):
            raise Malformed(f"row {number} names no segment")
        numbers = {name: row[name] for name in _HIGHEST if name in row}
        for name, value in numbers.items():
            lowest = 1 if name in ("position", "repetition") else 0
            if type(value) is not int or not lowest <= value <= _HIGHEST[name]:
                raise Malformed(f"row {number}: {name} must be {lowest} to {_HIGHEST[name]}")
        if "position" not in numbers:
            raise Malformed(f"row {number} has no position")
        yield Row(field, segment, **numbers)
