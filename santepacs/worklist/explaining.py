"""Why a worklist query finds a record or not, key by key, in plain sentences.

The keys are compared here, apart from SQL (`santepacs.db.worklist_search`); a test keeps the two in
agreement. Pure.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from santepacs.model.order import VISIBLE, StepQuery, WorklistQuery, WorklistRecord
from santepacs.model.worklist_matching import (
    LAST_TIME,
    WILDCARD,
    is_universal,
    name_matches,
    name_patterns,
    text_matches,
)


@dataclass(frozen=True, slots=True)
class Reason:
    """What one key has to say. `item`: of the sequence, from 1; 0 for keys of patient and order."""

    key: str
    """DICOM keyword."""
    matches: bool
    text: str
    """A sentence without full stop."""
    item: int = 0


def explain(record: WorklistRecord, query: WorklistQuery) -> list[Reason]:
    """What each key that asks for something says of the record; the status always has a say."""
    reasons = list(_of_patient(record, query))
    for number, step in enumerate(query.steps, 1):
        reasons += _of_step(record, step, number)
    return reasons


def is_found(reasons: Sequence[Reason]) -> bool:
    """Whether the query finds the record: all keys match, those of any one item included."""
    items = {reason.item for reason in reasons} - {0}
    failed = {reason.item for reason in reasons if not reason.matches}
    return 0 not in failed and bool(items - failed)


def _of_patient(record: WorklistRecord, query: WorklistQuery) -> Iterator[Reason]:
    yield from _name("PatientName", "patient name", record.patient_name, query.patient_name)
    for key, label, name in (
        ("PatientID", "patient ID", "patient_id"),
        ("IssuerOfPatientID", "issuer of patient ID", "patient_issuer"),
        ("PatientSex", "patient sex", "patient_sex"),
        ("AccessionNumber", "accession number", "accession_number"),
        ("RequestedProcedureID", "requested procedure ID", "requested_procedure_id"),
        (
            "RequestedProcedureDescription",
            "requested procedure description",
            "requested_procedure_description",
        ),
        (
            "RequestedProcedurePriority",
            "requested procedure priority",
            "requested_procedure_priority",
        ),
    ):
        yield from _text(key, label, getattr(record, name), getattr(query, name))
    yield from _between(
        "PatientBirthDate",
        "birth date",
        record.patient_birth_date,
        query.patient_birth_date_from,
        query.patient_birth_date_to,
    )
    if query.study_instance_uids:
        yield _any("StudyInstanceUID", "study instance UID", record.study_instance_uid,
                   query.study_instance_uids)  # fmt: skip


def _of_step(record: WorklistRecord, step: StepQuery, number: int) -> Iterator[Reason]:
    for reason in (
        _status(record, step),
        *_station(record, step),
        *_modality(record, step),
        *_start(record, step),
        *_name(
            "ScheduledPerformingPhysicianName",
            "technician name",
            record.technician_name,
            step.technician_name,
        ),
        *_text(
            "ScheduledProcedureStepID",
            "procedure step ID",
            record.scheduled_procedure_step_id,
            step.step_id,
        ),
        *_text(
            "ScheduledStationName",
            "station name",
            record.scheduled_station_name,
            step.station_name,
        ),
        *_text(
            "ScheduledProcedureStepDescription",
            "procedure step description",
            record.scheduled_procedure_step_description,
            step.description,
        ),
        *_text(
            "ScheduledProcedureStepLocation",
            "procedure step location",
            record.scheduled_procedure_step_location,
            step.location,
        ),
    ):
        yield Reason(reason.key, reason.matches, reason.text, number)


# --- kinds of keys ------------------------------------------------------------------------------


def _text(key: str, label: str, value: str, wanted: str) -> Iterator[Reason]:
    if not is_universal(wanted):
        yield _said(key, label, value, text_matches(wanted, value), wanted)


def _name(key: str, label: str, value: str, wanted: str) -> Iterator[Reason]:
    if name_patterns(wanted):
        yield _said(key, label, value, name_matches(wanted, value), wanted)


def _any(key: str, label: str, value: str, wanted: Sequence[str]) -> Reason:
    return _said(key, label, value, bool(value) and value in wanted, " or ".join(wanted))


def _said(key: str, label: str, value: str, matches: bool, wanted: str) -> Reason:
    if not value:
        return Reason(key, False, f"{label} is not known, and {wanted} is asked for")
    verdict = "is what is asked for" if matches else "is not what is asked for"
    return Reason(key, matches, f"{label} {value} {verdict} ({wanted})")


def _between(key: str, label: str, value: str, low: str, high: str) -> Iterator[Reason]:
    if not low and not high:
        return
    asked = _range(_shown(low), _shown(high))
    if not value:
        yield Reason(key, False, f"{label} is not known, and {asked} is asked for")
    elif low and value < low:
        yield Reason(key, False, f"{label} {_shown(value)} is before the asked {asked}")
    elif high and value > high:
        yield Reason(key, False, f"{label} {_shown(value)} is after the asked {asked}")
    else:
        yield Reason(key, True, f"{label} {_shown(value)} is within the asked {asked}")


# --- keys of the step ---------------------------------------------------------------------------


def _status(record: WorklistRecord, step: StepQuery) -> Reason:
    status, matches = record.step_status, record.step_status in step.statuses
    key = "ScheduledProcedureStepStatus"
    if step.statuses == VISIBLE:
        return Reason(key, matches, f"status {status} is {'shown' if matches else 'hidden'}"
                      + ("" if matches else " unless a query asks for it"))  # fmt: skip
    asked = " or ".join(step.statuses) or "one that there is not"
    return Reason(key, matches, f"status {status} is {'' if matches else 'not '}what is asked for"
                  f" ({asked})")  # fmt: skip


def _station(record: WorklistRecord, step: StepQuery) -> Iterator[Reason]:
    key, value = "ScheduledStationAETitle", record.scheduled_station_ae_title
    wanted = step.station_ae_titles
    if not wanted:
        return
    matches = any(_is_one(value, one) for one in wanted)
    named = " or ".join(one for one in wanted if one)
    if not value:
        verdict = "is found, too" if matches else "is not found"
        yield Reason(key, matches, f"a step of no station {verdict} ({named} is asked for)")
        return
    yield _said(key, "station AE title", value, matches, named)


def _modality(record: WorklistRecord, step: StepQuery) -> Iterator[Reason]:
    if step.modalities:
        matches = any(_is_one(record.modality, one) for one in step.modalities)
        asked = " or ".join(step.modalities)
        yield _said("Modality", "modality", record.modality, matches, asked)


def _is_one(value: str, wanted: str) -> bool:
    return text_matches(wanted, value) if WILDCARD.search(wanted) else value == wanted


def _start(record: WorklistRecord, step: StepQuery) -> Iterator[Reason]:
    date, time = "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime"
    if not step.combined:
        yield from _between(
            date, "start date", record.start_date, step.start_date_from, step.start_date_to
        )
        yield from _between(
            time, "start time", record.start_time, step.start_time_from, step.start_time_to
        )
        return
    start = (record.start_date, record.start_time)
    low = (step.start_date_from, step.start_time_from)
    high = (step.start_date_to, step.start_time_to or LAST_TIME)
    first = step.start_date_from and " ".join(filter(None, map(_shown, low)))
    last = step.start_date_to and " ".join(map(_shown, high))
    asked = _range(first, last)
    if not first and not last:
        return
    if not record.start_date:
        yield Reason(date, False, f"start date is not known, and {asked} is asked for")
        return
    shown = " ".join(filter(None, map(_shown, start)))
    if first and start < low:
        yield Reason(date, False, f"start {shown} is before the asked {asked}")
    elif last and start > high:
        yield Reason(date, False, f"start {shown} is after the asked {asked}")
    else:
        yield Reason(date, True, f"start {shown} is within the asked {asked}")


def _shown(value: str) -> str:
    """A date or time as people read it."""
    if len(value) == 8:
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return f"{value[:2]}:{value[2:4]}:{value[4:]}" if len(value) == 6 else value


def _range(low: str, high: str) -> str:
    if low == high:
        return low
    if low and high:
        return f"range {low} to {high}"
    return f"range from {low}" if low else f"range until {high}"
