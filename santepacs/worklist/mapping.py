"""Reading the values of an order by a field mapping: which field of a message fills which field
of a worklist record, made legal for its DICOM value representation.

The words of the table and the mappings that come with the program are those of `mapping_rows` and
`mapping_presets`; users of a mapping find them all here.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

from santepacs.errors import Malformed
from santepacs.model.order import FIELDS
from santepacs.model.uids import is_valid_uid
from santepacs.worklist import values
from santepacs.worklist.mapping_presets import DEFAULT, PRESETS
from santepacs.worklist.mapping_rows import MAPPED_FIELDS, START, FieldMapping, Mappings, Row

__all__ = (
    "DEFAULT",
    "MAPPED_FIELDS",
    "NULL",
    "PRESETS",
    "START",
    "FieldMapping",
    "Mapped",
    "Mappings",
    "Row",
    "Source",
    "Trace",
    "UnusableValue",
    "explain",
    "read",
)

NULL = '""'
# Without a usable value the order is refused: a made-up day would reach the scanner as a fact.
_DECISIVE = {START: "start", "start_date": "start date"}


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
    for name, rows in mapping.by_field.items():
        unusable: Row | None = None
        for row in rows:
            raw = _raw(row, source)
            if raw == NULL:
                cleared.add(name)
            elif raw:
                value = _usable(mapping, row, raw, source)
                if value:
                    found[name] = value
                    break
                unusable = unusable or row
        else:
            if unusable is not None and name in _DECISIVE:
                raise UnusableValue(unusable.location, f"{_DECISIVE[name]} is not valid")
    return _with_start(found, cleared)


def _with_start(found: dict[str, str], cleared: set[str]) -> Mapped:
    """One time stamp fills date and time, unless rows of their own gave them."""
    if START in cleared:
        cleared = cleared - {START} | {"start_date", "start_time"}
    start = found.pop(START, "")
    if start:
        found.setdefault("start_date", values.date_of(start))
        if found["start_date"] == values.date_of(start):
            found.setdefault("start_time", values.time_of(start))
    return Mapped(found, frozenset(cleared.difference(found)))


def _raw(row: Row, source: Source) -> str:
    return source.value(
        row.segment, row.position, row.component, row.repetition, row.subcomponent
    ).strip()


def _usable(mapping: FieldMapping, row: Row, raw: str, source: Source) -> str:
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
            shared = row in mapping.shared_modality_rows
            return code if code in values.MODALITIES or not shared else ""
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
        case "TM":
            return values.time_alone(raw)
        case "AE":
            return values.ae_title(raw)
        case "PN":
            return values.person_name(raw)
    return values.text(raw, vr)


def _name(row: Row, raw: str, source: Source) -> str:
    """A whole XPN becomes a PN. Where it says that it is the alphabetic representation (XPN-8),
    the ideographic and the phonetic one among its repetitions are the other component groups.
    """
    if row.component:
        return values.person_name(raw)
    groups = [_xpn(row, source, row.repetition), "", ""]
    if source.value(row.segment, row.position, 8, row.repetition) == "A":
        for repetition in (row.repetition + 1, row.repetition + 2):
            code = source.value(row.segment, row.position, 8, repetition)
            if code in ("I", "P"):
                groups[1 if code == "I" else 2] = _xpn(row, source, repetition)
    return values.person_name("=".join(groups))


def _xpn(row: Row, source: Source, repetition: int) -> str:
    """HL7 has suffix before prefix, DICOM prefix before suffix.

    The family name may have subcomponents (``van&...``), of which the first is the name as it is
    written; an academic degree joins the suffix.
    """
    parts = [
        source.value(row.segment, row.position, component, repetition) for component in range(1, 7)
    ]
    family = source.value(row.segment, row.position, 1, repetition, 1)
    _, given, middle, suffix, prefix, degree = ("" if part == NULL else part for part in parts)
    suffix = " ".join(part for part in (suffix, degree) if part)
    components = (family, given, middle, prefix, suffix)
    return "^".join(part.replace("^", " ") for part in components)


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


# --- why a value is what it is --------------------------------------------------------------------


_REFUSED = "; the message is refused"


@dataclass(frozen=True, slots=True)
class Trace:
    """What one row found: `raw` as sent, `value` as a record would hold it.

    `used`: this row gave the field its value. `remark`: why it did not, or what its value does.
    """

    field: str
    row: Row
    raw: str
    value: str
    used: bool
    remark: str = ""


def explain(mapping: FieldMapping, source: Source) -> list[Trace]:
    """What each row finds in an order, in the order of the rows; rows that find nothing are left
    out. Reads as `read` does, and raises nothing: a value that refuses the message says so.
    """
    traces = list(_traces(mapping, source))
    used = {trace.field for trace in traces if trace.used}
    for field in _DECISIVE.keys() - used:
        for number, trace in enumerate(traces):
            if trace.field == field and trace.raw != NULL:
                traces[number] = replace(trace, remark=f"{trace.remark}{_REFUSED}")
                break
    return traces


def _traces(mapping: FieldMapping, source: Source) -> Iterator[Trace]:
    used: set[str] = set()
    for row in mapping.rows:
        raw = _raw(row, source)
        if not raw:
            continue
        value, remark = "", ""
        if raw == NULL:
            remark = "the sender deletes the value"
        elif row.field in used:
            value, remark = _tried(mapping, row, raw, source)[0], "a row before gave the value"
        else:
            value, remark = _tried(mapping, row, raw, source)
        is_first = bool(value) and row.field not in used
        used.update((row.field,) if is_first else ())
        yield Trace(row.field, row, raw, value, is_first, remark)


def _tried(mapping: FieldMapping, row: Row, raw: str, source: Source) -> tuple[str, str]:
    """The value of a row, and what is to be said of it."""
    try:
        value = _usable(mapping, row, raw, source)
    except UnusableValue as problem:
        return "", f"{problem}{_REFUSED}"
    if row.field == START:
        value = f"{values.date_of(raw)} {values.time_of(raw)}".strip()
        return value, "" if value else "not a date or time stamp"
    if not value:
        return "", f"not usable as {FIELDS[row.field].label}"
    if raw.startswith(f"{value}^"):
        return value, "its first component"
    return value, "" if value == raw else "made legal for DICOM"
