"""What a message about a patient (ADT) does to the records of that patient, and to no other's."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from santepacs.errors import Malformed
from santepacs.model.order import (
    FINISHED,
    PatientAction,
    PatientCommand,
    StepStatus,
    WorklistRecord,
    updated,
)
from santepacs.model.steps import Step
from santepacs.worklist.board import Board, Origin
from santepacs.worklist.identity import is_same_patient

DEMOGRAPHICS = ("patient_name", "patient_birth_date", "patient_sex")
_OF_PATIENT = (*DEMOGRAPHICS, "medical_alerts", "allergies")


def check_merge(command: PatientCommand) -> None:
    """Raises Malformed for a merge of a patient with no other patient, or with himself."""
    if command.action not in (PatientAction.MERGE, PatientAction.RENUMBER):
        return
    if not command.prior_patient_id:
        raise Malformed("no prior patient identifier (MRG-1)")
    if command.prior_patient_id == command.record.patient_id and (
        not command.prior_issuer
        or not command.record.patient_issuer
        or command.prior_issuer == command.record.patient_issuer
    ):
        raise Malformed("the prior patient identifier (MRG-1) is the patient's own")


def take(board: Board, command: PatientCommand, origin: Origin) -> str:
    """Do what a message about a patient asks; returns a remark for its sender or nothing."""
    match command.action:
        case PatientAction.NOTHING:
            return ""
        case PatientAction.MERGE | PatientAction.RENUMBER:
            return _merge(board, command, origin)
    issuer = command.record.patient_issuer
    steps = [
        step
        for step in board.of_patient(command.record.patient_id)
        if step.record.step_status not in FINISHED
        and is_same_patient(step.record, command.record, issuer)
    ]
    if not steps:
        return "the patient has no open record; nothing was changed"
    if command.action is PatientAction.ARRIVE:
        _arrive(board, steps, origin)
    for step in steps:
        board.change(step, _renamed(step.record, command), origin)
    return ""


def _arrive(board: Board, steps: Sequence[Step], origin: Origin) -> None:
    """What is due has arrived: today's and older steps, else those of the next day with any."""
    due = [step for step in steps if step.record.step_status is StepStatus.SCHEDULED]
    dates = [step.record.start_date for step in due]
    day = max(origin.received.strftime("%Y%m%d"), min(dates, default=""))
    for step in due:
        if step.record.start_date <= day:
            board.change(step, replace(step.record, step_status=StepStatus.ARRIVED), origin)


def _merge(board: Board, command: PatientCommand, origin: Origin) -> str:
    """What belonged to the prior Patient ID belongs to the new one, finished or not."""
    prior = [
        step
        for step in board.of_patient(command.prior_patient_id)
        if is_same_patient(step.record, command.record, command.prior_issuer)
    ]
    if not prior:
        return "the prior patient has no record; nothing was changed"
    for step in prior:
        known = step.record
        issuer = "" if command.prior_issuer else known.patient_issuer
        merged = replace(
            known,
            patient_id=command.record.patient_id,
            patient_issuer=command.record.patient_issuer or issuer,
        )
        if known.step_status not in FINISHED:
            merged = _renamed(merged, command)
        remark = f"the Patient ID was {known.patient_id}"
        board.change(step, merged, origin, "merged", remark)
    return ""


def _renamed(record: WorklistRecord, command: PatientCommand) -> WorklistRecord:
    """The record with the patient as the message names him."""
    return updated(record, only(command.record, _OF_PATIENT), command.cleared & {*_OF_PATIENT})


def only(record: WorklistRecord, names: Iterable[str]) -> WorklistRecord:
    """A record that says these fields and nothing else."""
    return WorklistRecord(**{name: getattr(record, name) for name in names})
