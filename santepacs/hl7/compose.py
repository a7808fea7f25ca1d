"""A worklist record as an order message: ORM^O01 of HL7 2.3.1 (ch. 4.4, IHE RAD-4).

The default field mapping reads the record back from it. A value stands where the standard has it
when the mapping looks there too; modality, station and technician stand where the seed product's
dialect has them alone. An IPC segment (of HL7 2.5.1) is added only where ORC and OBR cannot tell
two identifiers of the record apart; receivers that do not know it pass over it. Record fields that
an order has no place for become notes, so that a person at the other end sees them.

Every value is data: delimiters are escaped, line breaks become ``\\.br\\``, other control
characters a space, and a value that would be HL7 null (``""``, delete it) is left out.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime

from santepacs.errors import Malformed
from santepacs.hl7.acknowledgement import Sender, escape
from santepacs.hl7.charset import codec_of, decode
from santepacs.hl7.delimiters import Delimiters
from santepacs.model.order import FIELDS, StepStatus, WorklistRecord, order_control

UTF_8 = "UNICODE UTF-8"

_DELIMITERS = Delimiters()
_BREAK = re.compile(r"\r\n?|\n")
_NULL = '""'
# ORC-5 (table 0038) of a new order that is not simply scheduled.
_STATUSES = {
    StepStatus.HELD: "HD",
    StepStatus.CANCELED: "CA",
    StepStatus.DISCONTINUED: "DC",
    StepStatus.COMPLETED: "CM",
    StepStatus.DEPARTED: "CM",
}
_PRIORITIES = {"STAT": "S", "HIGH": "A", "ROUTINE": "R", "MEDIUM": "T"}  # table 0027
# XPN-8: alphabetic, ideographic, phonetic (table 4000).
_REPRESENTATIONS = ("A", "I", "P")
_NOTED = ("requested_contrast_agent", "pre_medication", "requested_timing")


def order_message(
    record: WorklistRecord,
    *,
    sender: Sender,
    receiver: Sender,
    control_id: str,
    now: datetime,
    control: str = "NW",
    charset: str = UTF_8,
) -> bytes:
    """The message, segments ended by CR, without MLLP delimiters.

    `control`: ORC-1, of table 0119. `charset`: of table 0211; what it cannot hold goes as UTF-8,
    and MSH-18 says so. Raises Malformed for an unknown order control code.
    """
    if order_control(control, "") is None:
        raise Malformed("there is no such order control code")
    body = "".join(_body(record, control))

    def message(character_set: str) -> str:
        return _header(sender, receiver, control_id, now, character_set) + body

    codec = codec_of(charset)
    encoded = None if codec == "utf-8" else _encoded(message(charset), codec)
    return encoded or message(UTF_8).encode("utf-8", "replace")


def _encoded(text: str, codec: str) -> bytes | None:
    """`text` in that set, unless a receiver would read something else from its bytes."""
    try:
        encoded = text.encode(codec)
    except UnicodeEncodeError:
        return None
    return encoded if decode(encoded).text == text else None


def control_for_others(record: WorklistRecord) -> str:
    """ORC-1 for a system that may know the order already: it must not place what is canceled."""
    match record.step_status:
        case StepStatus.CANCELED:
            return "CA"
        case StepStatus.DISCONTINUED:
            return "DC"
    return "NW"


def data(value: str) -> str:
    """`value` as wire text that reads back as it was and can end nothing."""
    if value.strip() == _NULL:
        return ""
    return "\\.br\\".join(escape(line, _DELIMITERS) for line in _BREAK.split(value))


def _header(
    sender: Sender, receiver: Sender, control_id: str, now: datetime, character_set: str
) -> str:
    fields = {
        2: _DELIMITERS.encoding_characters,
        3: data(sender.application),
        4: data(sender.facility),
        5: data(receiver.application),
        6: data(receiver.facility),
        7: f"{now:%Y%m%d%H%M%S}",
        9: "ORM^O01",
        10: data(control_id),
        11: "P",
        12: "2.3.1",
        18: data(character_set),
    }
    return _segment("MSH", {number - 1: text for number, text in fields.items()})


def _body(record: WorklistRecord, control: str) -> Iterator[str]:
    yield _segment(
        "PID",
        {
            1: "1",
            3: _components(record.patient_id, "", "", record.patient_issuer),
            5: _patient_name(record.patient_name),
            7: data(record.patient_birth_date),
            8: data(record.patient_sex),
        },
    )
    if record.allergies:
        yield _segment("AL1", {1: "1", 3: _components("", record.allergies)})
    start = data(record.start_date + record.start_time) if record.start_date else ""
    timing = _components("", "", "", start, "", _priority(record))
    yield _segment(
        "ORC",
        {
            1: control,
            2: data(_order_number(record)),
            3: data(record.filler_order_number),
            5: data(_status(record, control)),
            7: timing,
            15: start,
        },
    )
    yield _segment(
        "OBR",
        {
            1: "1",
            2: data(_order_number(record)),
            3: data(record.filler_order_number),
            4: _procedure(record),
            13: data(record.medical_alerts),
            16: _physician(record.requesting_physician_name),
            18: data(record.modality),
            19: data(record.requested_procedure_id),
            20: data(record.scheduled_procedure_step_id),
            21: data(record.scheduled_station_ae_title),
            24: data(record.scheduled_station_name),
            27: timing,
            34: _technician(record.technician_name),
        },
    )
    for number, note in enumerate(_notes(record), 1):
        yield _segment("NTE", {1: str(number), 3: data(note)})
    uid = record.study_instance_uid
    if uid:
        yield _segment("ZDS", {1: f"{data(uid)}^^Application^DICOM"})
    if _is_ambiguous(record):
        fields = (
            record.accession_number,
            record.requested_procedure_id,
            uid,
            record.scheduled_procedure_step_id,
            record.modality,
        )
        yield _segment(
            "IPC",
            {
                **{number: data(value) for number, value in enumerate(fields, 1)},
                6: _components("", record.scheduled_procedure_step_description),
                7: data(record.scheduled_station_name),
                8: data(record.scheduled_procedure_step_location),
                9: data(record.scheduled_station_ae_title),
            },
        )


def _segment(name: str, fields: Mapping[int, str]) -> str:
    last = max((number for number, text in fields.items() if text), default=0)
    return "|".join([name, *(fields.get(number, "") for number in range(1, last + 1))]) + "\r"


def _components(*values: str) -> str:
    return "^".join(map(data, values)).rstrip("^")


def _order_number(record: WorklistRecord) -> str:
    """ORC-2, which an order cannot be without."""
    return (
        record.placer_order_number
        or record.accession_number
        or record.filler_order_number
        or record.requested_procedure_id
        or record.scheduled_procedure_step_id
    )


def _is_ambiguous(record: WorklistRecord) -> bool:
    """Whether the default mapping would read something else from ORC and OBR alone."""
    step_id = record.scheduled_procedure_step_id
    return bool(
        (record.accession_number and record.accession_number != _order_number(record))
        or (step_id and step_id != record.requested_procedure_id)
        or record.scheduled_procedure_step_description
        or record.scheduled_procedure_step_location
    )


def _status(record: WorklistRecord, control: str) -> str:
    """What the sender called it, unless that says something else than where the step stands."""
    ordered = order_control(control, "")
    if ordered and ordered[1] in _STATUSES:
        return _STATUSES[ordered[1]]
    known = order_control(control, record.status.strip().upper())
    meant, held = known and known[1], record.step_status
    if meant is held or not (meant in _STATUSES or held in _STATUSES):
        return record.status
    return _STATUSES.get(held, "SC")


def _priority(record: WorklistRecord) -> str:
    priority = record.requested_procedure_priority
    return _PRIORITIES.get(priority, priority)


def _procedure(record: WorklistRecord) -> str:
    """OBR-4: Requested Procedure ID, description, and what is done in the step.

    The ID would be read as that of the step where there is none, or as the description.
    """
    description = record.requested_procedure_description
    if not description:
        return ""
    code = record.requested_procedure_id if record.scheduled_procedure_step_id else ""
    step = record.scheduled_procedure_step_description
    return _components(code, description, "", "", step)


def _patient_name(name: str) -> str:
    """XPN, repeated for each component group that there is (PS3.5 6.2.1), which XPN-8 tells."""
    if "=" not in name:
        return _name_components(name)
    groups = zip(map(_name_components, name.split("=")), _REPRESENTATIONS, strict=False)
    return "~".join(
        text + "^" * (7 - text.count("^")) + representation
        for text, representation in groups
        if text
    )


def _name_components(group: str) -> str:
    """Family, given, middle, suffix, prefix: DICOM has the prefix before the suffix."""
    family, given, middle, prefix, suffix = (group.split("^") + [""] * 5)[:5]
    return _components(family, given, middle, suffix, prefix)


def _physician(name: str) -> str:
    """XCN without a number; what is not a family name and so on is given as a whole."""
    is_plain = "=" not in name and not name.startswith("^")
    return f"^{_name_components(name)}" if name and is_plain else data(name)


def _technician(name: str) -> str:
    """NDL-1 is ``number&family&given``; another name is given as a whole."""
    family, *rest = name.split("^")
    if family and len(rest) == 1 and "=" not in name:
        return f"&{data(family)}&{data(rest[0])}"
    return data(name)


def _notes(record: WorklistRecord) -> Iterator[str]:
    if record.scheduled_procedure_step_comments:
        yield record.scheduled_procedure_step_comments
    for name in _NOTED:
        value = getattr(record, name)
        if value:
            yield f"{FIELDS[name].label}: {value}"
