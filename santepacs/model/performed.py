"""The words of performed procedures: what a modality says it does, and which studies arrive.

A performed step is one Modality Performed Procedure Step (PS3.3 C.4.13 to C.4.16). Dates are
``YYYYMMDD``, times ``HHMMSS`` or ``HHMMSS.ffffff``; an absent value is the empty string.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from santepacs.model.order import StepStatus


class PerformedState(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


STEP_STATUS = {
    PerformedState.IN_PROGRESS: StepStatus.STARTED,
    PerformedState.COMPLETED: StepStatus.COMPLETED,
    PerformedState.DISCONTINUED: StepStatus.DISCONTINUED,
}
"""Where the scheduled step stands when the performed one has this state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledItem:
    """What was scheduled, as the modality names it: an item of (0040,0270)."""

    study_instance_uid: str = ""
    accession_number: str = ""
    requested_procedure_id: str = ""
    scheduled_procedure_step_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformedStep:
    """A performed procedure step; `ae_title` is who told it, `step_id` is (0040,0253)."""

    sop_instance_uid: str = ""
    state: PerformedState = PerformedState.IN_PROGRESS
    ae_title: str = ""
    character_set: str = ""
    station_ae_title: str = ""
    station_name: str = ""
    location: str = ""
    modality: str = ""
    step_id: str = ""
    description: str = ""
    start_date: str = ""
    start_time: str = ""
    end_date: str = ""
    end_time: str = ""
    discontinuation_reason: str = ""
    series_count: int = 0
    instance_count: int = 0
    patient_id: str = ""
    patient_issuer: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    scheduled: tuple[ScheduledItem, ...] = ()


@dataclass(frozen=True, slots=True)
class PerformedUpdate:
    """What an N-SET changes: a new state or None, and fields of `PerformedStep` by name."""

    sop_instance_uid: str
    ae_title: str
    state: PerformedState | None = None
    changes: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SentDataSet:
    """A data set as it came."""

    transfer_syntax_uid: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ArrivingStudy:
    """A study of which objects arrive, and the modalities that were seen in it."""

    study_instance_uid: str
    accession_number: str = ""
    patient_id: str = ""
    modalities: frozenset[str] = frozenset()
