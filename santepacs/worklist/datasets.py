"""Modality Worklist answers, made for modalities as they are (PS3.4 K.6.1.2.2).

Each has exactly one Scheduled Procedure Step Sequence item, nothing of type 1 is empty, and every
value is legal for its VR.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from santepacs.model.order import WorklistRecord
from santepacs.model.uids import is_valid_uid
from santepacs.worklist import values
from santepacs.worklist.keys import STEPS
from santepacs.worklist.requests import UNKNOWN_STATION

_STEPS_TAG = 0x00400100
_STATUS_TERMS = ("SCHEDULED", "ARRIVED", "READY", "STARTED", "DEPARTED")


class Element(NamedTuple):
    """A data element of an answer: text, or the items of a sequence."""

    tag: int
    vr: str
    value: "str | list[Elements]"


Elements = list[Element]
"""A data set, its elements in the order of their tags."""

Rewrite = Callable[[str, str], str]
"""Gives a text of a VR another form, before it is cut to the length of that VR."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who gets an answer, as far as that matters."""

    station: str = UNKNOWN_STATION
    """The station of a step that has none."""
    today: str = ""
    """The start date of a step that has none."""
    code_scheme: str = ""
    """Coding scheme designator of procedure codes; empty: there are none."""


_Get = Callable[[WorklistRecord, Asker], "str | list[Elements]"]

_TOP: dict[str, _Get] = {
    "AccessionNumber": lambda r, a: r.accession_number,
    "PatientName": lambda r, a: r.patient_name,
    "PatientID": lambda r, a: r.patient_id,
    "IssuerOfPatientID": lambda r, a: r.patient_issuer,
    "PatientBirthDate": lambda r, a: r.patient_birth_date,
    "PatientSex": lambda r, a: r.patient_sex,
    "MedicalAlerts": lambda r, a: r.medical_alerts,
    "Allergies": lambda r, a: r.allergies,
    "StudyInstanceUID": lambda r, a: r.study_instance_uid,
    "RequestingPhysician": lambda r, a: r.requesting_physician_name,
    "RequestedProcedureDescription": lambda r, a: _procedure(r),
    "RequestedProcedureCodeSequence": lambda r, a: _codes(r, a, r.requested_procedure_id),
    "RequestedProcedureID": lambda r, a: _procedure_id(r),
    "RequestedProcedurePriority": lambda r, a: r.requested_procedure_priority,
    "PlacerOrderNumberImagingServiceRequest": lambda r, a: r.placer_order_number,
    "FillerOrderNumberImagingServiceRequest": lambda r, a: r.filler_order_number,
}
_STEP: dict[str, _Get] = {
    "Modality": lambda r, a: _code_string(r.modality) or "OT",
    "RequestedContrastAgent": lambda r, a: r.requested_contrast_agent,
    "ScheduledStationAETitle": lambda r, a: (
        values.ae_title(r.scheduled_station_ae_title) or a.station
    ),
    "ScheduledProcedureStepStartDate": lambda r, a: _date(r.start_date) or a.today,
    "ScheduledProcedureStepStartTime": lambda r, a: values.time_alone(r.start_time) or "000000",
    "ScheduledPerformingPhysicianName": lambda r, a: r.technician_name,
    "ScheduledProcedureStepDescription": lambda r, a: (
        r.scheduled_procedure_step_description or _procedure(r)
    ),
    "ScheduledProtocolCodeSequence": lambda r, a: _codes(r, a, r.scheduled_procedure_step_id),
    "ScheduledProcedureStepID": lambda r, a: r.scheduled_procedure_step_id or _procedure_id(r),
    "ScheduledStationName": lambda r, a: r.scheduled_station_name,
    "ScheduledProcedureStepLocation": lambda r, a: r.scheduled_procedure_step_location,
    "PreMedication": lambda r, a: r.pre_medication,
    "CommentsOnTheScheduledProcedureStep": lambda r, a: r.scheduled_procedure_step_comments,
    "ScheduledProcedureStepStatus": lambda r, a: (
        r.step_status.value if r.step_status in _STATUS_TERMS else ""
    ),
}
# Not to be present without a value (types 1 and 1C); the descriptions stand for the codes.
_NEVER_EMPTY = {
    "StudyInstanceUID",
    "ScheduledProtocolCodeSequence",
    "RequestedProcedureCodeSequence",
}
_NOT_RETURNED = {"SpecificCharacterSet", "QueryRetrieveLevel", "TimezoneOffsetFromUTC", STEPS}
# Asked for by name alone: who asks for the whole step wants what is known of it.
_ONLY_BY_NAME = {"ScheduledProtocolCodeSequence"}


class _Field(NamedTuple):
    tag: int
    vr: str
    get: _Get
    may_be_empty: bool


class AnswerForm:
    """What the answers to one query hold: what it asks for, and always the step.

    A query whose sequence is absent or empty gets every attribute of the step. What is asked for
    and not known is there without a value (type 2).
    """

    def __init__(self, request: Dataset, asker: Asker) -> None:
        self._asker = asker
        self._top = _fields(request.keys(), _TOP)
        items = request.get(STEPS) or []
        asked = {tag for item in items for tag in item.keys()}  # noqa: SIM118 - iterating converts
        self._step = _fields(asked or _tags(_STEP.keys() - _ONLY_BY_NAME), _STEP)

    def answer(self, record: WorklistRecord, rewrite: Rewrite | None = None) -> Elements:
        """The answer for a record, without Specific Character Set."""
        step = self._filled(self._step, record, rewrite)
        answer = self._filled(self._top, record, rewrite)
        return sorted([*answer, Element(_STEPS_TAG, "SQ", [step])], key=_tag)

    def _filled(
        self, fields: list[_Field], record: WorklistRecord, rewrite: Rewrite | None
    ) -> Elements:
        filled = []
        for field in fields:
            value = _legal(field.vr, field.get(record, self._asker), rewrite)
            if value or field.may_be_empty:
                filled.append(Element(field.tag, field.vr, value))
        return filled


def lacking(record: WorklistRecord) -> str:
    """What a record would have to have to be sent; empty for one that can be.

    Everything else can be made up for, but not who the patient is.
    """
    if not values.text(record.patient_id, "LO"):
        return "PATIENT ID"
    return "" if values.person_name(record.patient_name).strip("^=") else "PATIENT NAME"


def _fields(tags: Iterable[BaseTag], known: dict[str, _Get]) -> list[_Field]:
    fields = []
    for tag in sorted(tags):
        keyword = keyword_for_tag(tag)
        if keyword and keyword not in _NOT_RETURNED and tag & 0xFFFF:
            vr = dictionary_VR(tag)[:2]
            get = known.get(keyword, _none if vr == "SQ" else _empty)
            fields.append(_Field(int(tag), vr, get, keyword not in _NEVER_EMPTY))
    return fields


def _tags(keywords: Iterable[str]) -> list[BaseTag]:
    return [BaseTag(tag_for_keyword(keyword) or 0) for keyword in keywords]


def _tag(element: Element) -> int:
    return element.tag


def _empty(_record: WorklistRecord, _asker: Asker) -> str:
    return ""


def _none(_record: WorklistRecord, _asker: Asker) -> list[Elements]:
    return []


# --- values -------------------------------------------------------------------------------------


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
    numbers = (
        record.requested_procedure_id,
        record.scheduled_procedure_step_id,
        record.accession_number,
        record.placer_order_number,
        record.filler_order_number,
    )
    return next((one for one in numbers if values.text(one, "SH")), "1")


def _codes(record: WorklistRecord, asker: Asker, code: str) -> list[Elements]:
    """The procedure as a code (PS3.3 8.8)."""
    if not asker.code_scheme or not code:
        return []
    scheme, meaning = asker.code_scheme, _procedure(record)
    return [
        [
            Element(0x00080100, "SH", code),
            Element(0x00080102, "SH", scheme),
            Element(0x00080104, "LO", meaning),
        ]
    ]


def _legal(vr: str, value: str | list[Elements], rewrite: Rewrite | None) -> str | list[Elements]:
    if isinstance(value, list):
        return [
            [Element(tag, of, _legal(of, inner, rewrite)) for tag, of, inner in item]
            for item in value
        ]
    if not value:
        return ""
    if rewrite is not None and vr in TEXT_VRS:
        value = rewrite(value, vr)
    legal = _LEGAL.get(vr)
    return legal(value) if legal else ""


def _date(value: str) -> str:
    try:
        date(int(value[:4]), int(value[4:6]), int(value[6:8]))
    except ValueError:
        return ""
    return value if len(value) == 8 else ""


def _uid(value: str) -> str:
    return value if is_valid_uid(value) else ""


def _code_string(value: str) -> str:
    code = values.text(value, "CS").upper()
    return code if code.isascii() else ""


TEXT_VRS = frozenset(["LO", "LT", "PN", "SH"])
_LEGAL: dict[str, Callable[[str], str]] = {
    "AE": values.ae_title,
    "CS": _code_string,
    "DA": _date,
    "LO": lambda value: values.text(value, "LO"),
    "LT": lambda value: values.text(value, "LT"),
    "PN": values.person_name,
    "SH": lambda value: values.text(value, "SH"),
    "TM": values.time_alone,
    "UI": _uid,
}
