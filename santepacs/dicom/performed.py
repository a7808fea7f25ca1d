"""The data sets of Modality Performed Procedure Step, read (PS3.4 table F.7.2-1).

What is matched and shown is taken out of them; they are kept as they came besides. What the
standard requires of a new step must be there, and a value that is used must be a possible one;
all else is the modality's business.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

from pydicom.datadict import tag_for_keyword

from santepacs.archive import charset
from santepacs.archive.attributes import NAME_LIMIT, clean_text, normal_date, normal_time
from santepacs.dicom.elements import Encoding
from santepacs.dicom.nested import DataSet, Span
from santepacs.errors import Malformed
from santepacs.model.performed import PerformedState, PerformedStep, PerformedUpdate, ScheduledItem

MAXIMUM_ELEMENTS = 100_000  # room for some 30,000 references to images
MAXIMUM_ITEMS = 100  # scheduled steps that one performed step may stand for

SCHEDULED = "ScheduledStepAttributesSequence"
STATUS = "PerformedProcedureStepStatus"
REQUIRED = (
    SCHEDULED,
    STATUS,
    "PerformedProcedureStepID",
    "PerformedStationAETitle",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "Modality",
)
"""Attributes that a new step must have with a value (type 1)."""
_DESCRIPTION = "PerformedProcedureStepDescription"
_REASON = "PerformedProcedureStepDiscontinuationReasonCodeSequence"
_SERIES = "PerformedSeriesSequence"
_REFERENCES = ("ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence")


class MissingAttribute(Malformed):
    """What must be there is not."""


class MissingValue(Malformed):
    """What must have a value has none."""


class InvalidValue(Malformed):
    """A value that cannot be."""


def begun(data: bytes, encoding: Encoding, sop_instance_uid: str, ae_title: str) -> PerformedStep:
    """What the N-CREATE of `ae_title` tells.

    Raises MissingAttribute, MissingValue and InvalidValue naming the attribute, and Malformed.
    """
    character_set, top = _opened(data, encoding)
    for keyword in REQUIRED:
        top.require(keyword)
    if _state(top) is not PerformedState.IN_PROGRESS:
        raise InvalidValue(f"{STATUS} of a new step is IN PROGRESS")
    return PerformedStep(
        sop_instance_uid=sop_instance_uid,
        ae_title=ae_title,
        character_set=character_set,
        station_ae_title=top.text("PerformedStationAETitle", 16),
        station_name=top.text("PerformedStationName", 16),
        location=top.text("PerformedLocation", 16),
        modality=top.text("Modality", 16).upper(),
        step_id=top.text("PerformedProcedureStepID", 16),
        start_date=top.date("PerformedProcedureStepStartDate"),
        start_time=top.time("PerformedProcedureStepStartTime"),
        patient_id=top.text("PatientID", 256),
        patient_issuer=top.text("IssuerOfPatientID", 64),
        patient_name=top.text("PatientName", NAME_LIMIT, is_name=True).rstrip("="),
        patient_birth_date=normal_date(top.text("PatientBirthDate", 16)),
        patient_sex=top.text("PatientSex", 16).upper(),
        scheduled=tuple(_scheduled(item) for item in top.items(SCHEDULED, MAXIMUM_ITEMS)),
        **_changeable(top),
    )


def changed(
    data: bytes, encoding: Encoding, sop_instance_uid: str, ae_title: str, character_set: str
) -> PerformedUpdate:
    """What the N-SET of `ae_title` changes; what may not be changed stays as it is.

    `character_set`: of the step, which holds unless the data set has one of its own. Raises
    MissingValue and InvalidValue naming the attribute, and Malformed.
    """
    _, top = _opened(data, encoding, character_set)
    state = _state(top) if top.has(STATUS) else None
    return PerformedUpdate(sop_instance_uid, ae_title, state, _changeable(top))


def _opened(data: bytes, encoding: Encoding, character_set: str = "") -> "tuple[str, _Level]":
    """The Specific Character Set and the outermost level of a data set."""
    data_set = DataSet(data, encoding, MAXIMUM_ELEMENTS)
    top = _Level(data_set, data_set.top, ())
    own = top.raw("SpecificCharacterSet")[:256].decode("latin-1").replace("\0", "")
    used = own.strip() or character_set
    return used, _Level(data_set, data_set.top, charset.encodings(used.encode("latin-1")))


def _state(top: "_Level") -> PerformedState:
    top.require(STATUS)
    try:
        return PerformedState(top.text(STATUS, 16).upper())
    except ValueError:
        raise InvalidValue(f"{STATUS} is not one of its terms") from None


def _scheduled(item: "_Level") -> ScheduledItem:
    item.require("StudyInstanceUID")
    return ScheduledItem(
        study_instance_uid=item.text("StudyInstanceUID", 64),
        accession_number=item.text("AccessionNumber", 64),
        requested_procedure_id=item.text("RequestedProcedureID", 64),
        scheduled_procedure_step_id=item.text("ScheduledProcedureStepID", 64),
    )


def _changeable(top: "_Level") -> dict[str, Any]:
    """The fields that N-CREATE and N-SET may fill, of those attributes that are there."""
    fields: dict[str, Any] = {}
    if top.has(_DESCRIPTION):
        fields["description"] = top.text(_DESCRIPTION, 64)
    if top.has("PerformedProcedureStepEndDate"):
        fields["end_date"] = top.date("PerformedProcedureStepEndDate")
    if top.has("PerformedProcedureStepEndTime"):
        fields["end_time"] = top.time("PerformedProcedureStepEndTime")
    if top.has(_REASON):
        reasons = top.items(_REASON, 1)
        fields["discontinuation_reason"] = reasons[0].text("CodeMeaning", 64) if reasons else ""
    if top.has(_SERIES):
        series = top.items(_SERIES)
        fields["series_count"] = len(series)
        fields["instance_count"] = sum(
            len(each.items(references)) for each in series for references in _REFERENCES
        )
    return fields


class _Level:
    """The elements of a data set or of an item; of several values the text readers keep all."""

    def __init__(
        self, data_set: DataSet, elements: dict[int, Span], codecs: tuple[str, ...]
    ) -> None:
        self._data_set = data_set
        self._elements = elements
        self._codecs = codecs

    def has(self, keyword: str) -> bool:
        return tag_for_keyword(keyword) in self._elements

    def require(self, keyword: str) -> None:
        if not self.has(keyword):
            raise MissingAttribute(f"{keyword} is missing")
        is_sequence = keyword == SCHEDULED
        if not (self.items(keyword, 1) if is_sequence else self.raw(keyword).strip(b"\0 ")):
            raise MissingValue(f"{keyword} has no value")

    def raw(self, keyword: str) -> bytes:
        span = self._elements.get(tag_for_keyword(keyword) or 0)
        return b"" if span is None else self._data_set.value(span)

    def text(self, keyword: str, limit: int, *, is_name: bool = False) -> str:
        text = charset.decode(self.raw(keyword), self._codecs, is_name=is_name)
        return clean_text(text)[:limit].rstrip()

    def date(self, keyword: str) -> str:
        return self._possible(keyword, normal_date)

    def time(self, keyword: str) -> str:
        return self._possible(keyword, normal_time)

    def items(self, keyword: str, limit: int | None = None) -> "list[_Level]":
        """The items of a sequence, of more than `limit` the first."""
        span = self._elements.get(tag_for_keyword(keyword) or 0)
        if span is None:
            return []
        return [
            _Level(self._data_set, self._data_set.elements(item), self._codecs)
            for item in islice(self._data_set.items(span), limit)
        ]

    def _possible(self, keyword: str, normal: Callable[[str], str]) -> str:
        text = self.text(keyword, 32)
        value = normal(text)
        if text and not value:
            raise InvalidValue(f"{keyword} is not possible")
        return value
