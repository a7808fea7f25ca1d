"""Modality Worklist identifiers (PS3.4 K.6.1.2) to queries, and records to responses.

Responses are made for modalities as they are: exactly one Scheduled Procedure Step Sequence item,
nothing of type 1 empty, Specific Character Set whenever there is text that is not ASCII, asked
for or not.
"""

import re
from collections.abc import Callable, Iterable
from datetime import date
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from santepacs.errors import Malformed
from santepacs.model.order import StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.settings import Settings
from santepacs.worklist import values

STEPS = "ScheduledProcedureStepSequence"
STEPS_TAG = 0x00400100
MAXIMUM_STEPS = 10
MAXIMUM_KEY = 256

_DATE_RANGE = re.compile(r"(?P<low>[0-9]{8})?(?P<dash>-)?(?P<high>[0-9]{8})?")
_TIME_RANGE = re.compile(
    r"(?P<low>[0-9]{2}(?:[0-9]{2}){0,2})?(?:\.[0-9]*)?(?P<dash>-)?(?P<high>[0-9]{2}(?:[0-9]{2}){0,2})?(?:\.[0-9]*)?"
)
_STATUS_TERMS = ("SCHEDULED", "ARRIVED", "READY", "STARTED", "DEPARTED")

# --- queries ------------------------------------------------------------------------------------


def query_from_dataset(ds: Dataset, calling_ae: str, settings: Settings) -> WorklistQuery:
    """The query that a C-FIND identifier asks. Keys that are not supported are not matched.

    The sequence may be absent, empty, or hold several items: records match any one of them.
    Raises Malformed (0xA900) naming the key that cannot be matched.
    """
    items = ds.get(STEPS) or [Dataset()]
    if len(items) > MAXIMUM_STEPS:
        raise Malformed(f"more than {MAXIMUM_STEPS} items in {STEPS}")
    own = (calling_ae.strip(),) if settings.worklist.station_from_calling_ae else ()
    born_from, born_to, _ = _date_range(ds, "PatientBirthDate")
    return WorklistQuery(
        patient_name=_text(ds, "PatientName"),
        patient_id=_text(ds, "PatientID"),
        patient_birth_date_from=born_from,
        patient_birth_date_to=born_to,
        patient_sex=_text(ds, "PatientSex").upper(),
        accession_number=_text(ds, "AccessionNumber"),
        requested_procedure_id=_text(ds, "RequestedProcedureID"),
        study_instance_uids=_texts(ds, "StudyInstanceUID"),
        steps=tuple(_step(item, own) for item in items),
    )


def _step(item: Dataset, own_ae_title: tuple[str, ...]) -> StepQuery:
    date_from, date_to, dates = _date_range(item, "ScheduledProcedureStepStartDate")
    time_from, time_to, times = _time_range(item, "ScheduledProcedureStepStartTime")
    asked = {text.upper() for text in _texts(item, "ScheduledProcedureStepStatus")}
    return StepQuery(
        station_ae_titles=_texts(item, "ScheduledStationAETitle") or own_ae_title,
        modalities=tuple(text.upper() for text in _texts(item, "Modality")),
        start_date_from=date_from,
        start_date_to=date_to,
        start_time_from=time_from,
        start_time_to=time_to,
        combined=dates and times,
        technician_name=_text(item, "ScheduledPerformingPhysicianName"),
        step_id=_text(item, "ScheduledProcedureStepID"),
        station_name=_text(item, "ScheduledStationName"),
        statuses=tuple(status for status in StepStatus if status.value in asked),
    )


def _texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """The values of a key; none where it matches everything (empty, ``*``)."""
    try:
        value = ds.get(keyword)
    except Exception as error:
        raise Malformed(f"{keyword} cannot be read") from error
    parts = value if isinstance(value, MultiValue | list) else [value]
    texts = [str(part).replace("\0", "").strip() for part in parts if part is not None]
    if any(len(text) > MAXIMUM_KEY for text in texts) or len(texts) > MAXIMUM_KEY:
        raise Malformed(f"{keyword} is too long")
    return () if any(text and not text.strip("*") for text in texts) else tuple(filter(None, texts))


def _text(ds: Dataset, keyword: str) -> str:
    """The value of a key that has one."""
    return "\\".join(_texts(ds, keyword))


def _range(
    ds: Dataset, keyword: str, form: re.Pattern[str], ornament: str
) -> tuple[str, str, bool]:
    """Lower and upper bound as sent, and whether it was a range."""
    text = re.sub(ornament, "", _text(ds, keyword))
    parts = form.fullmatch(text)
    if parts is None or (parts["high"] and not parts["dash"]):
        raise Malformed(f"{keyword} is not a value or range of its kind")
    low, high = parts["low"] or "", parts["high"] or ""
    return (low, high, bool(low or high)) if parts["dash"] else (low, low, False)


def _date_range(ds: Dataset, keyword: str) -> tuple[str, str, bool]:
    low, high, is_range = _range(ds, keyword, _DATE_RANGE, r"[.\s]")
    try:
        for bound in filter(None, (low, high)):
            date(int(bound[:4]), int(bound[4:6]), int(bound[6:]))
    except ValueError:
        raise Malformed(f"{keyword} is not a date") from None
    return low, high, is_range


def _time_range(ds: Dataset, keyword: str) -> tuple[str, str, bool]:
    """Bounds as HHMMSS: what is left out of the upper one is its highest value."""
    low, high, is_range = _range(ds, keyword, _TIME_RANGE, r"[:\s]")
    low = low and low.ljust(6, "0")
    high = high and high + "235959"[len(high) :]
    return low, high, is_range


# --- responses ----------------------------------------------------------------------------------

_Value = Callable[[WorklistRecord], str]

_TOP: dict[str, _Value] = {
    "AccessionNumber": lambda r: r.accession_number,
    "PatientName": lambda r: r.patient_name,
    "PatientID": lambda r: r.patient_id,
    "PatientBirthDate": lambda r: r.patient_birth_date,
    "PatientSex": lambda r: r.patient_sex,
    "MedicalAlerts": lambda r: r.medical_alerts,
    "Allergies": lambda r: r.allergies,
    "StudyInstanceUID": lambda r: r.study_instance_uid,
    "RequestingPhysician": lambda r: r.requesting_physician_name,
    "RequestedProcedureDescription": lambda r: _procedure(r),
    "RequestedProcedureID": lambda r: _procedure_id(r),
    "RequestedProcedurePriority": lambda r: r.requested_procedure_priority,
    "PlacerOrderNumberImagingServiceRequest": lambda r: r.placer_order_number[:64],
    "FillerOrderNumberImagingServiceRequest": lambda r: r.filler_order_number[:64],
}
_STEP: dict[str, _Value] = {
    "Modality": lambda r: r.modality or "OT",
    "RequestedContrastAgent": lambda r: r.requested_contrast_agent,
    "ScheduledStationAETitle": lambda r: r.scheduled_station_ae_title or "UNKNOWN",
    "ScheduledProcedureStepStartDate": lambda r: r.start_date,
    "ScheduledProcedureStepStartTime": lambda r: r.start_time or "000000",
    "ScheduledPerformingPhysicianName": lambda r: r.technician_name,
    "ScheduledProcedureStepDescription": lambda r: (
        r.scheduled_procedure_step_description or _procedure(r)
    ),
    "ScheduledProcedureStepID": lambda r: r.scheduled_procedure_step_id or _procedure_id(r),
    "ScheduledStationName": lambda r: r.scheduled_station_name,
    "ScheduledProcedureStepLocation": lambda r: r.scheduled_procedure_step_location,
    "PreMedication": lambda r: r.pre_medication,
    "CommentsOnTheScheduledProcedureStep": lambda r: r.scheduled_procedure_step_comments,
    "ScheduledProcedureStepStatus": lambda r: (
        r.step_status.value if r.step_status.value in _STATUS_TERMS else ""
    ),
}
# Not to be present without a value (types 1 and 1C); the descriptions stand for the codes.
_NEVER_EMPTY = {
    "StudyInstanceUID",
    "ScheduledProtocolCodeSequence",
    "RequestedProcedureCodeSequence",
}
_NOT_RETURNED = {"SpecificCharacterSet", "QueryRetrieveLevel", "TimezoneOffsetFromUTC", STEPS}


def response_dataset(record: WorklistRecord, request: Dataset) -> Dataset:
    """The C-FIND response for a record: what the request asks for, and always the step.

    A request whose sequence is absent or empty gets every attribute of the step.
    """
    response = _filled(record, request.keys(), _TOP)
    items = request.get(STEPS) or []
    asked = {tag for item in items for tag in item.keys()}  # noqa: SIM118 - iterating converts
    step = _filled(record, asked, _STEP) if asked else _all_of_step(record)
    response.add_new(STEPS_TAG, "SQ", [step])
    charset = _character_set(_written(response))
    if charset:
        response.SpecificCharacterSet = charset
    return response


def _filled(record: WorklistRecord, tags: Iterable[BaseTag], known: dict[str, _Value]) -> Dataset:
    """The asked attributes; what is not known is there without a value (type 2)."""
    filled = Dataset()
    for tag in tags:
        keyword = keyword_for_tag(tag)
        if not keyword or keyword in _NOT_RETURNED or tag & 0xFFFF == 0:
            continue
        value = known[keyword](record) if keyword in known else ""
        if value or keyword not in _NEVER_EMPTY:
            vr = dictionary_VR(tag)[:2]
            filled.add_new(tag, vr, value or ([] if vr == "SQ" else None))
    return filled


def _all_of_step(record: WorklistRecord) -> Dataset:
    step = Dataset()
    for keyword, value in _STEP.items():
        setattr(step, keyword, value(record))
    return step


def _procedure(record: WorklistRecord) -> str:
    """A description of the procedure: never empty, for at least one must be there."""
    return (
        record.requested_procedure_description
        or record.scheduled_procedure_step_description
        or record.requested_procedure_id
        or record.modality
        or "unspecified"
    )


def _procedure_id(record: WorklistRecord) -> str:
    """Requested Procedure ID: type 1, so what else identifies the order stands for it."""
    number = (
        record.requested_procedure_id
        or record.scheduled_procedure_step_id
        or record.accession_number
        or record.placer_order_number
        or record.filler_order_number
        or "1"
    )
    return values.text(number, "SH")


def _written(ds: Dataset) -> str:
    """All text of a response."""
    texts: list[Any] = []
    for element in ds:
        if element.VR == "SQ":
            texts.extend(_written(item) for item in element.value)
        else:
            texts.append(element.value or "")
    return "".join(map(str, texts))


def _character_set(text: str) -> str:
    """The smallest of three that every modality knows: ASCII (none), Latin-1, UTF-8."""
    if text.isascii():
        return ""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return "ISO_IR 192"
    return "ISO_IR 100"
