"""The form of a worklist record: what was typed becomes a record, or a reason at the field. Pure.

Nothing that was typed is lost: `Form.values` has it as it came, whether it could be used or not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from santepacs.model.order import FIELDS, MANDATORY, WorklistRecord
from santepacs.web.query import form_date
from santepacs.web.shown import day
from santepacs.worklist.validation import problem

GROUPS = {
    "Patient": (
        "patient_id", "patient_name", "patient_birth_date", "patient_sex", "medical_alerts",
        "allergies",
    ),
    "Requested procedure": (
        "accession_number", "requested_procedure_id", "requested_procedure_description",
        "requested_procedure_priority", "requesting_physician_name", "requested_contrast_agent",
        "requested_timing", "study_instance_uid",
    ),
    "Scheduled procedure step": (
        "modality", "scheduled_station_ae_title", "scheduled_station_name", "start_date",
        "start_time", "scheduled_procedure_step_id", "scheduled_procedure_step_description",
        "scheduled_procedure_step_location", "technician_name", "pre_medication",
        "scheduled_procedure_step_comments", "status",
    ),
}  # fmt: skip
PRIORITIES = ("STAT", "HIGH", "ROUTINE", "MEDIUM", "LOW")
MAXIMUM_TYPED = 12_000  # characters kept of a field; the longest value has 10,240
_TIME = re.compile(r"([01][0-9]|2[0-3]):?([0-5][0-9])(?::?([0-5][0-9]))?")


@dataclass(frozen=True, slots=True)
class Form:
    """What was typed, and why it cannot be used, by field name."""

    values: dict[str, str]
    problems: dict[str, str]


def label(name: str) -> str:
    """A field's name for people: ``Scheduled Station AE Title``."""
    words = FIELDS[name].label.title()
    for abbreviation in ("Id", "Uid", "Ae"):
        words = re.sub(rf"\b{abbreviation}\b", abbreviation.upper(), words)
    return words.replace("Birthdate", "Birth Date")


def filled(record: WorklistRecord) -> Form:
    """The form of a record."""
    values = {name: getattr(record, name) for name in FIELDS}
    values["patient_birth_date"] = day(record.patient_birth_date)
    values["start_date"] = day(record.start_date)
    values["start_time"] = shown_time(record.start_time)
    return Form(values, {})


def shown_time(value: str) -> str:
    """``HHMMSS`` as a browser's time field has it; seconds only where there are any."""
    match = _TIME.fullmatch(value)
    if match is None:
        return value
    return f"{match[1]}:{match[2]}" + (f":{match[3]}" if match[3] not in (None, "00") else "")


def read(typed: Mapping[str, str], before: WorklistRecord) -> tuple[Form, WorklistRecord]:
    """The form as typed, with what is wrong with it, and `before` with the usable values."""
    values = {name: typed.get(name, "").strip()[:MAXIMUM_TYPED] for name in FIELDS}
    used: dict[str, str] = {}
    problems: dict[str, str] = {}
    for name, text in values.items():
        try:
            used[name] = _value(name, text)
        except ValueError as error:
            problems[name] = str(error)
    if used.get("start_time") and not values["start_date"]:
        problems["start_date"] = "This is needed where there is a start time."
    return Form(values, problems), replace(before, **used)  # type: ignore[arg-type]


def differences(stored: WorklistRecord, typed: WorklistRecord) -> dict[str, str]:
    """The stored values, as the form shows them, of fields where something else was typed."""
    shown = filled(stored).values
    return {
        name: shown[name] for name in FIELDS if getattr(stored, name) != getattr(typed, name)
    }  # fmt: skip


def _value(name: str, text: str) -> str:
    """What is kept of a typed text. Raises ValueError with what is wrong with it."""
    if not text:
        if name in MANDATORY:
            raise ValueError("This is needed.")
        return ""
    value = _as_dicom(name, text)
    wrong = problem(name, value)
    if wrong:
        raise ValueError(f"This {wrong}.")
    return value


def _as_dicom(name: str, text: str) -> str:
    """A text as people write it, in DICOM's form; what cannot be read stays as it is."""
    match FIELDS[name].vr:
        case "DA":
            return form_date(text) or text
        case "TM":
            parts = _TIME.fullmatch(text)
            return "".join(part or "00" for part in parts.groups()) if parts else text
        case "PN":
            is_plain = "^" not in text and "=" not in text and text.count(",") == 1
            return "^".join(part.strip() for part in text.split(",")) if is_plain else text
        case "CS":
            return text.upper()
    return text
