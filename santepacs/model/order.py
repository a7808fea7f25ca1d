"""The worklist's words: scheduled procedure steps, what an order message does, what a query asks.

A record is one Scheduled Procedure Step with its order and patient (PS3.3 C.4.10 to C.4.12).
Dates are ``YYYYMMDD``, times ``HHMMSS``; an absent value is the empty string.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum


class StepStatus(StrEnum):
    """Where a step stands. Only some are Scheduled Procedure Step Status terms (C.4-10)."""

    SCHEDULED = "SCHEDULED"
    HELD = "HELD"
    ARRIVED = "ARRIVED"
    READY = "READY"
    STARTED = "STARTED"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"
    CANCELED = "CANCELED"
    DEPARTED = "DEPARTED"


FINISHED = frozenset(
    (StepStatus.COMPLETED, StepStatus.DISCONTINUED, StepStatus.CANCELED, StepStatus.DEPARTED)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistRecord:
    """One scheduled procedure step.

    `status` is what the sender called it (ORC-5, shown as sent); `step_status` is where we hold
    it to be. The last of them identify the order among all senders' orders.
    """

    patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    accession_number: str = ""
    medical_alerts: str = ""
    allergies: str = ""
    study_instance_uid: str = ""
    requesting_physician_name: str = ""
    requested_procedure_description: str = ""
    modality: str = ""
    requested_contrast_agent: str = ""
    scheduled_station_ae_title: str = ""
    start_date: str = ""
    start_time: str = ""
    technician_name: str = ""
    scheduled_procedure_step_description: str = ""
    scheduled_procedure_step_id: str = ""
    scheduled_station_name: str = ""
    scheduled_procedure_step_location: str = ""
    pre_medication: str = ""
    scheduled_procedure_step_comments: str = ""
    status: str = ""
    requested_procedure_id: str = ""
    requested_timing: str = ""

    requested_procedure_priority: str = ""
    step_status: StepStatus = StepStatus.SCHEDULED
    sending_application: str = ""
    sending_facility: str = ""
    placer_order_number: str = ""
    filler_order_number: str = ""
    patient_issuer: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A record field as people call it, and its DICOM value representation."""

    label: str
    vr: str


FIELDS: dict[str, Field] = {
    "patient_id": Field("PATIENT ID", "LO"),
    "patient_name": Field("PATIENT NAME", "PN"),
    "patient_birth_date": Field("PATIENT BIRTHDATE", "DA"),
    "patient_sex": Field("PATIENT SEX", "CS"),
    "accession_number": Field("ACCESSION NUMBER", "SH"),
    "medical_alerts": Field("MEDICAL ALERTS", "LO"),
    "allergies": Field("ALLERGIES", "LO"),
    "study_instance_uid": Field("STUDY INSTANCE UID", "UI"),
    "requesting_physician_name": Field("REQUESTING PHYSICIAN NAME", "PN"),
    "requested_procedure_description": Field("REQUESTED PROCEDURE DESCRIPTION", "LO"),
    "modality": Field("MODALITY", "CS"),
    "requested_contrast_agent": Field("REQUESTED CONTRAST AGENT", "LO"),
    "scheduled_station_ae_title": Field("SCHEDULED STATION AE TITLE", "AE"),
    "start_date": Field("START DATE", "DA"),
    "start_time": Field("START TIME", "TM"),
    "technician_name": Field("TECHNICIAN NAME", "PN"),
    "scheduled_procedure_step_description": Field("SCHEDULED PROCEDURE STEP DESCRIPTION", "LO"),
    "scheduled_procedure_step_id": Field("SCHEDULED PROCEDURE STEP ID", "SH"),
    "scheduled_station_name": Field("SCHEDULED STATION NAME", "SH"),
    "scheduled_procedure_step_location": Field("SCHEDULED PROCEDURE STEP LOCATION", "SH"),
    "pre_medication": Field("PRE MEDICATION", "LO"),
    "scheduled_procedure_step_comments": Field("SCHEDULED PROCEDURE STEP COMMENTS", "LT"),
    "status": Field("STATUS", "LO"),
    "requested_procedure_id": Field("REQUESTED PROCEDURE ID", "SH"),
    "requested_timing": Field("REQUESTED TIMING", "LO"),
    "requested_procedure_priority": Field("REQUESTED PROCEDURE PRIORITY", "CS"),
}
MANDATORY = ("patient_id", "patient_name", "requested_procedure_id")


class Action(Enum):
    """What an order does to the worklist."""

    NEW = "keep as new whatever there is: a person has written it"
    PLACE = "keep as new, or bring the same step up to date"
    CHANGE = "bring the same step up to date; keep as new if unknown"
    MOVE = "give every step of a known order another status; an unknown order stays unknown"
    NOTHING = "nothing to be done: a response, a result or a query"


@dataclass(frozen=True, slots=True)
class OrderCommand:
    """One order of a message. `cleared`: fields whose value the sender deletes (HL7 null)."""

    action: Action
    record: WorklistRecord
    cleared: frozenset[str] = frozenset()


class PatientAction(Enum):
    """What a message about a patient does to the records of that patient."""

    UPDATE = "bring name, birth date, sex, alerts and allergies up to date"
    MERGE = "what belonged to the prior Patient ID belongs to this one now"
    RENUMBER = "the prior Patient ID is now called this one"
    ARRIVE = "the patient is here: scheduled steps have arrived"
    NOTHING = "heard; nothing to be done"


@dataclass(frozen=True, slots=True)
class PatientCommand:
    """What an ADT message asks. Of `record` only the patient's fields and the sender are filled."""

    action: PatientAction
    record: WorklistRecord
    cleared: frozenset[str] = frozenset()
    prior_patient_id: str = ""
    prior_issuer: str = ""


Command = OrderCommand | PatientCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A message as it came, for the log: `source` is an address, `charset` what it was read as.

    `origin`: the kept message that this one was corrected from, or is run again from, by `actor`.
    """

    raw: bytes
    source: str
    received: datetime
    message_type: str = ""
    control_id: str = ""
    sending_application: str = ""
    sending_facility: str = ""
    charset: str = ""
    patient_id: str = ""
    origin: int | None = None
    actor: str = ""


_NEW = ("", "NW", "SN", "RO", "CH", "PA")
_REVISED = ("XO", "XX", "RP", "RU", "SC")
_FIXED = {
    **dict.fromkeys(("CA", "OC", "CR"), StepStatus.CANCELED),
    **dict.fromkeys(("DC", "OD", "DR"), StepStatus.DISCONTINUED),
    **dict.fromkeys(("HD", "OH"), StepStatus.HELD),
    **dict.fromkeys(("RL", "OE"), StepStatus.SCHEDULED),
}
# Responses, results, queries and numbering (table 0119): heard, and nothing to be done.
_HEARD = (
    "AF CN DE DF DM ER FU HR IN KN LI MC NA NR OK OF OP OR PR PY RA RC RD RE RF RM RQ RR RV SQ SR"
    " SS UA UC UD UF UH UM UN UR UX XR"
)
_NEW_STATUS = {
    "HD": StepStatus.HELD,
    "CA": StepStatus.CANCELED,
    "DC": StepStatus.DISCONTINUED,
    "CM": StepStatus.COMPLETED,
}
_REVISED_STATUS = {**_NEW_STATUS, "A": StepStatus.COMPLETED}


def order_control(code: str, status: str) -> tuple[Action, StepStatus] | None:
    """What ORC-1 `code` with ORC-5 `status` does (tables 0119, 0038); None: an unknown code.

    ORC-5 ``IP`` on a new order means scheduled: that is what order senders write. With a status
    change (SC) it means started, where the site lets orders say so. A CHANGE leaves any other
    status as it is.
    """
    if code in _NEW:
        return Action.PLACE, _NEW_STATUS.get(status, StepStatus.SCHEDULED)
    if code in _REVISED:
        if status in _REVISED_STATUS:
            return Action.MOVE, _REVISED_STATUS[status]
        # SC with SC announces orders in some dialects.
        if (code, status) == ("SC", "SC"):
            return Action.PLACE, StepStatus.SCHEDULED
        started = (code, status) == ("SC", "IP")
        return Action.CHANGE, StepStatus.STARTED if started else StepStatus.SCHEDULED
    if code in _FIXED:
        return Action.MOVE, _FIXED[code]
    return (Action.NOTHING, StepStatus.SCHEDULED) if code in _HEARD.split() else None


def moved(current: StepStatus, wanted: StepStatus) -> StepStatus:
    """The status after a message: late messages revive nothing, and steps move forward only."""
    if current in FINISHED:
        return current
    if wanted in FINISHED or current in (StepStatus.SCHEDULED, StepStatus.HELD):
        return wanted
    if wanted is StepStatus.HELD and current is not StepStatus.STARTED:
        return wanted
    if wanted in (StepStatus.SCHEDULED, StepStatus.HELD):
        return current
    order = (StepStatus.ARRIVED, StepStatus.READY, StepStatus.STARTED)
    return max(current, wanted, key=order.index)


def updated(
    record: WorklistRecord, news: WorklistRecord, cleared: frozenset[str]
) -> WorklistRecord:
    """`record` with what `news` says: an empty value changes nothing, a cleared one is deleted.

    The step's status is not touched, and what a record cannot be without is never deleted.
    """
    changes = {
        name: getattr(news, name)
        for name in WorklistRecord.__dataclass_fields__
        if name != "step_status" and getattr(news, name)
    }
    changes.update(dict.fromkeys(cleared.difference(MANDATORY, changes), ""))
    return replace(record, **changes)


# --- queries ------------------------------------------------------------------------------------

VISIBLE = (StepStatus.SCHEDULED, StepStatus.ARRIVED, StepStatus.READY)
"""What modalities see unless they ask for a status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQuery:
    """Matching keys of one Scheduled Procedure Step Sequence item; empty: matches everything.

    Texts may hold the wildcards ``*`` and ``?``. An empty one of the `station_ae_titles` stands for
    steps of no station. Dates and times are inclusive bounds; `combined` makes them one interval,
    from the first date's time to the last date's. Without `statuses` nothing matches.
    """

    station_ae_titles: tuple[str, ...] = ()
    modalities: tuple[str, ...] = ()
    start_date_from: str = ""
    start_date_to: str = ""
    start_time_from: str = ""
    start_time_to: str = ""
    combined: bool = False
    technician_name: str = ""
    step_id: str = ""
    station_name: str = ""
    description: str = ""
    location: str = ""
    statuses: tuple[StepStatus, ...] = VISIBLE


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistQuery:
    """A Modality Worklist query: records that match all keys and any one of `steps`."""

    patient_name: str = ""
    patient_id: str = ""
    patient_birth_date_from: str = ""
    patient_birth_date_to: str = ""
    patient_sex: str = ""
    accession_number: str = ""
    requested_procedure_id: str = ""
    requested_procedure_description: str = ""
    requested_procedure_priority: str = ""
    patient_issuer: str = ""
    study_instance_uids: tuple[str, ...] = ()
    steps: tuple[StepQuery, ...] = (StepQuery(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """What the portal's list shows; an empty value asks for nothing.

    `text` is one line of words, each of which the name, the Patient ID or the accession number
    has. Patient ID, accession number and station may be their beginnings. Dates are inclusive.
    """

    text: str = ""
    patient_name: str = ""
    patient_id: str = ""
    accession_number: str = ""
    patient_birth_date: str = ""
    modality: str = ""
    station_ae_title: str = ""
    date_from: str = ""
    date_to: str = ""
    statuses: tuple[StepStatus, ...] = ()
    newest_first: bool = True
