"""Modality Worklist as user: what is asked of another server, and records made of its answers.

Answers come from outside: whatever is in them, a record gets values that are legal for their VR, or
none.
"""

from collections.abc import Callable
from typing import Any

from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from santepacs.model.order import VISIBLE, StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.model.uids import is_valid_uid
from santepacs.worklist import values
from santepacs.worklist.keys import STEPS

_ORDER = {
    "AccessionNumber": "accession_number",
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "IssuerOfPatientID": "patient_issuer",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "MedicalAlerts": "medical_alerts",
    "Allergies": "allergies",
    "StudyInstanceUID": "study_instance_uid",
    "RequestingPhysician": "requesting_physician_name",
    "RequestedProcedureDescription": "requested_procedure_description",
    "RequestedProcedureID": "requested_procedure_id",
    "RequestedProcedurePriority": "requested_procedure_priority",
    "PlacerOrderNumberImagingServiceRequest": "placer_order_number",
    "FillerOrderNumberImagingServiceRequest": "filler_order_number",
}
_STEP = {
    "Modality": "modality",
    "RequestedContrastAgent": "requested_contrast_agent",
    "ScheduledStationAETitle": "scheduled_station_ae_title",
    "ScheduledProcedureStepStartDate": "start_date",
    "ScheduledProcedureStepStartTime": "start_time",
    "ScheduledPerformingPhysicianName": "technician_name",
    "ScheduledProcedureStepDescription": "scheduled_procedure_step_description",
    "ScheduledProcedureStepID": "scheduled_procedure_step_id",
    "ScheduledStationName": "scheduled_station_name",
    "ScheduledProcedureStepLocation": "scheduled_procedure_step_location",
    "PreMedication": "pre_medication",
    "CommentsOnTheScheduledProcedureStep": "scheduled_procedure_step_comments",
}
_STATUS = "ScheduledProcedureStepStatus"
UNKNOWN_STATION = "UNKNOWN"
"""What stands for a station that is not known, for it must not be empty."""

# --- what is asked ------------------------------------------------------------------------------


def request_of(query: WorklistQuery) -> Dataset:
    """The identifier that asks `query`, and for everything that a record holds."""
    asked = Dataset()
    for keyword, name in _ORDER.items():
        _put(asked, keyword, getattr(query, name, ""))
    born = _range(query.patient_birth_date_from, query.patient_birth_date_to)
    _put(asked, "PatientBirthDate", born)
    _put(asked, "StudyInstanceUID", list(query.study_instance_uids))
    _put(asked, STEPS, Sequence([_step_of(step) for step in query.steps]))
    texts = _texts(asked)
    if not texts.isascii():
        charset = "ISO_IR 100" if _is_latin_1(texts) else "ISO_IR 192"
        _put(asked, "SpecificCharacterSet", charset)
    return asked


def _step_of(step: StepQuery) -> Dataset:
    dates = _range(step.start_date_from, step.start_date_to)
    times = _range(step.start_time_from, step.start_time_to)
    statuses = () if step.statuses == VISIBLE else step.statuses
    wanted = {
        **dict.fromkeys(_STEP, ""),
        "ScheduledStationAETitle": [title for title in step.station_ae_titles if title],
        "Modality": list(step.modalities),
        "ScheduledProcedureStepStartDate": dates,
        "ScheduledProcedureStepStartTime": times,
        "ScheduledPerformingPhysicianName": step.technician_name,
        "ScheduledProcedureStepID": step.step_id,
        "ScheduledStationName": step.station_name,
        "ScheduledProcedureStepDescription": step.description,
        "ScheduledProcedureStepLocation": step.location,
        _STATUS: [status.value for status in statuses],
    }
    asked = Dataset()
    for keyword, value in wanted.items():
        _put(asked, keyword, value)
    return asked


def _put(asked: Dataset, keyword: str, value: Any) -> None:
    """Keys may hold what values may not: wildcards, ranges."""
    vr = dictionary_VR(keyword)
    asked.add(DataElement(keyword, vr, value or None, validation_mode=IGNORE))


def _range(low: str, high: str) -> str:
    return low if low == high else f"{low}-{high}"


def _texts(ds: Dataset) -> str:
    texts: list[str] = []
    for element in ds:
        is_sequence = element.VR == "SQ"
        texts += map(_texts, element.value) if is_sequence else [str(element.value or "")]
    return "".join(texts)


def _is_latin_1(text: str) -> bool:
    return all(ord(character) < 256 for character in text)


# --- what is answered ---------------------------------------------------------------------------


def record_of(answer: Dataset) -> WorklistRecord:
    """The record that an answer describes. A step without status is a scheduled one."""
    step = next(iter(_items(answer)), Dataset())
    found = {name: _value(answer, keyword) for keyword, name in _ORDER.items()}
    found |= {name: _value(step, keyword) for keyword, name in _STEP.items()}
    if found["scheduled_station_ae_title"] == UNKNOWN_STATION:
        found["scheduled_station_ae_title"] = ""
    status = _value(step, _STATUS)
    known = status in StepStatus.__members__
    return WorklistRecord(
        **found, status=status, step_status=StepStatus(status) if known else StepStatus.SCHEDULED
    )


def _items(answer: Dataset) -> list[Dataset]:
    try:
        found = list(answer.get(STEPS) or ())
    except Exception:  # noqa: BLE001 - pydicom raises all sorts for what it cannot read
        return []
    return [item for item in found if isinstance(item, Dataset)]


def _value(ds: Dataset, keyword: str) -> str:
    """The first value of an attribute, made legal; empty for what cannot be read."""
    try:
        value: Any = ds.get(keyword)
        if isinstance(value, MultiValue | list):
            value = value[0] if value else None
        legal = _LEGAL.get(keyword) or _LEGAL_OF[dictionary_VR(keyword)]
        return legal(str(value)) if value else ""
    except Exception:  # noqa: BLE001 - the other server's mistake is not to be ours
        return ""


def _uid(text: str) -> str:
    text = text.strip("\0 ")
    return text if is_valid_uid(text) else ""


def _of(vr: str) -> Callable[[str], str]:
    return lambda text: values.text(text, vr)


_LEGAL: dict[str, Callable[[str], str]] = {
    "PatientSex": values.sex,
    "Modality": values.modality,
    "RequestedProcedurePriority": values.priority,
}
_LEGAL_OF: dict[str, Callable[[str], str]] = {
    **{vr: _of(vr) for vr in ("LO", "SH", "CS", "LT")},
    "AE": values.ae_title,
    "PN": values.person_name,
    "UI": _uid,
    "DA": values.date_of,
    "TM": values.time_alone,
}
