"""What a person or file may write into a worklist record: values that DICOM allows (PS3.5 6.2).

Messages are made legal silently (`santepacs.worklist.values`), for nobody is there to ask; a person
is told which field is wrong.
"""

import re
from dataclasses import replace

from santepacs.errors import Malformed
from santepacs.model.order import FIELDS, MANDATORY, WorklistRecord
from santepacs.model.uids import is_valid_uid
from santepacs.worklist import values

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_LENGTHS = {"LO": 64, "SH": 16, "AE": 16, "CS": 16, "LT": 10_240}
_CODE = re.compile(r"[A-Z0-9 _]*")
_TIME = re.compile(r"([01][0-9]|2[0-3])[0-5][0-9][0-5][0-9]")
_SEXES = ("", "F", "M", "O")
_PRIORITIES = ("", "STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW")
_OTHER_TEXTS = (
    "sending_application",
    "sending_facility",
    "placer_order_number",
    "filler_order_number",
    "patient_issuer",
)
_OTHER_LENGTH = 199


def checked(record: WorklistRecord) -> WorklistRecord:
    """The record without spaces around its values. Raises Malformed naming the first field that
    is missing or not legal, by its label.
    """
    stripped = {name: getattr(record, name).strip() for name in (*FIELDS, *_OTHER_TEXTS)}
    record = replace(record, **stripped)
    for name in MANDATORY:
        if not stripped[name]:
            raise Malformed(f"{FIELDS[name].label} is missing")
    for name, field in FIELDS.items():
        wrong = problem(name, stripped[name])
        if wrong:
            raise Malformed(f"{field.label} {wrong}")
    if record.start_time and not record.start_date:
        raise Malformed(f"{FIELDS['start_date'].label} is missing where there is a start time")
    for name in _OTHER_TEXTS:
        if len(stripped[name]) > _OTHER_LENGTH or _CONTROL.search(stripped[name]):
            raise Malformed(f"{name.replace('_', ' ')} is too long or not one line of text")
    return record


def problem(name: str, value: str) -> str:
    """What is wrong with the value of a field, as ``must ...``; empty when nothing is."""
    vr = FIELDS[name].vr
    if not value:
        return ""
    match name:
        case "patient_sex":
            return "" if value in _SEXES else "must be F, M or O"
        case "requested_procedure_priority":
            known = ", ".join(filter(None, _PRIORITIES))
            return "" if value in _PRIORITIES else f"must be one of {known}"
    match vr:
        case "DA":
            return "" if values.date_of(value) == value else "must be a date (YYYYMMDD)"
        case "TM":
            return "" if _TIME.fullmatch(value) else "must be a time (HHMMSS)"
        case "UI":
            return "" if is_valid_uid(value) else "must be a DICOM UID: numbers joined by dots"
        case "PN":
            return _name_problem(value)
    return _text_problem(vr, value)


def _text_problem(vr: str, value: str) -> str:
    if len(value) > _LENGTHS[vr]:
        return f"must have at most {_LENGTHS[vr]} characters"
    if vr == "LT":
        lines = value.replace("\r\n", "\n").split("\n")
        return "must be plain text" if any(map(_CONTROL.search, lines)) else ""
    if _CONTROL.search(value):
        return "must be one line of text"
    if "\\" in value:
        return "must not have a backslash"
    if vr == "AE" and not value.isascii():
        return "must be ASCII"
    if vr == "CS" and not _CODE.fullmatch(value):
        return "must be capitals, digits, spaces and _"
    return ""


def _name_problem(value: str) -> str:
    groups = value.split("=")
    if _CONTROL.search(value) or "\\" in value:
        return "must be one line without backslash"
    if len(groups) > 3 or any(len(group) > 64 for group in groups):
        return "must be at most three groups (=) of 64 characters"
    if any(group.count("^") > 4 for group in groups):
        return "must have at most five components (^)"
    return ""
