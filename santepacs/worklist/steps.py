"""Which worklist records a performed step, or a study that arrives, stands for.

A Study Instance UID names one study in the world and so decides alone. An accession number does
not: it counts within one patient. What stays doubtful matches nothing, for a step that is done in
error vanishes from the modalities' worklist, and one that is left is seen by everybody.
"""

from collections.abc import Sequence

from santepacs.db.orders import StoredRecord
from santepacs.model.order import FINISHED, StepStatus, WorklistRecord
from santepacs.model.performed import ArrivingStudy, PerformedStep, ScheduledItem
from santepacs.worklist import values


def of_item(
    item: ScheduledItem, step: PerformedStep, named: Sequence[StoredRecord]
) -> list[StoredRecord]:
    """The records of one item of a performed step, among those that it may name.

    By study and step ID, else by study; then the same by accession number: if that is one record.
    """
    for candidates in (_of_study(item, named), _of_accession(item, step, named)):
        by_step = [one for one in candidates if _has_step_id(one.record, item)]
        found = _only_one(by_step or candidates, step.modality)
        if found:
            return found
    return []


def of_day(
    item: ScheduledItem, step: PerformedStep, day: Sequence[StoredRecord]
) -> list[StoredRecord]:
    """The record of a step that was not scheduled by name, among those of its patient and day.

    Only if there is exactly one, still open, and nothing says that it is another order's.
    """
    candidates = [
        one
        for one in day
        if one.record.step_status not in FINISHED
        and not _differ(one.record.accession_number, item.accession_number)
        and not _differ(one.record.patient_issuer, step.patient_issuer)
    ]
    return candidates if len(candidates) == 1 else []


def of_study(study: ArrivingStudy, named: Sequence[StoredRecord]) -> list[StoredRecord]:
    """The records of a study that arrives, among those that it may name.

    Of several only those of a modality that was seen in it: the others are still to be done.
    """
    uid, accession = study.study_instance_uid, study.accession_number
    candidates = [one for one in named if one.record.study_instance_uid == uid] or [
        one
        for one in named
        if accession
        and study.patient_id
        and one.record.accession_number == accession
        and one.record.patient_id == study.patient_id
    ]
    if len(candidates) == 1:
        return candidates
    return [one for one in candidates if one.record.modality in study.modalities]


def _of_study(item: ScheduledItem, named: Sequence[StoredRecord]) -> list[StoredRecord]:
    uid = item.study_instance_uid
    return [one for one in named if uid and one.record.study_instance_uid == uid]


def _of_accession(
    item: ScheduledItem, step: PerformedStep, named: Sequence[StoredRecord]
) -> list[StoredRecord]:
    number = item.accession_number
    found = [
        one
        for one in named
        if number
        and one.record.accession_number == number
        and not _differ(one.record.patient_id, step.patient_id)
    ]
    patients = {one.record.patient_id for one in found}
    return found if len(patients) == 1 else []


def _only_one(candidates: Sequence[StoredRecord], modality: str) -> list[StoredRecord]:
    """The only candidate that was not called off, or the only one of this modality."""
    valid = [one for one in candidates if one.record.step_status is not StepStatus.CANCELED]
    for chosen in (candidates, valid, [one for one in valid if one.record.modality == modality]):
        if len(chosen) == 1:
            return list(chosen)
    return []


def _has_step_id(record: WorklistRecord, item: ScheduledItem) -> bool:
    """Whether the item names the step by the ID that the worklist gives out for it."""
    asked = values.text(item.scheduled_procedure_step_id, "SH")
    given = record.scheduled_procedure_step_id or record.requested_procedure_id
    return bool(asked) and values.text(given, "SH") == asked


def _differ(one: str, other: str) -> bool:
    return bool(one and other and one != other)
