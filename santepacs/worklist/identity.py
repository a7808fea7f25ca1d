"""Whose order and whose record it is: what may be joined, and what never is.

- An order is matched within one patient (Patient ID, and issuer where both have one) and sender,
  so a reused number never joins two patients.
- A message about a patient finds records by Patient ID and issuer; where one of them has no issuer,
  the sending facility or the birth date must agree.
"""

from collections.abc import Mapping, Sequence

from santepacs.model.order import Action, OrderCommand, WorklistRecord
from santepacs.model.steps import Step

Taken = dict[Step, WorklistRecord]
"""Steps that orders of a message have spoken of already, and what they said."""


def order_numbers(record: WorklistRecord) -> tuple[str, ...]:
    """What tells the orders of one message apart."""
    if record.placer_order_number:
        return ("placer", record.placer_order_number)
    if record.filler_order_number:
        return ("filler", record.filler_order_number)
    return ("accession", record.accession_number)


def step_id_of(record: WorklistRecord) -> str:
    """What tells the steps of one order apart."""
    return record.scheduled_procedure_step_id


def same_step(
    command: OrderCommand,
    steps: Sequence[Step],
    *,
    alone: bool,
    taken: Mapping[Step, WorklistRecord],
) -> Step | None:
    """The step that an order speaks of: by step ID, else the only one there is.

    An order of one step keeps it when a change brings another step ID (another procedure code).
    Orders of one message that differ are different steps, even if their step IDs are the same or
    missing: else the first of two procedures would be lost. The description tells them apart then.
    """
    asked = command.record
    named = [step for step in steps if step_id_of(step.record) == step_id_of(asked)]
    if named:
        free = [step for step in named if step not in taken or taken[step] == asked]
        described = asked.requested_procedure_description
        alike = (s for s in free if s.record.requested_procedure_description == described)
        return next(alike, free[0] if free else None)
    if len(steps) == 1 and alone and (command.action is Action.CHANGE or not step_id_of(asked)):
        return steps[0]
    return None


def is_same_order(known: WorklistRecord, asked: WorklistRecord) -> bool:
    """Same patient and sender, and the same number: the placer's where both have one, else the
    filler's, else the accession number, else (for steps without any) the study.
    """
    if (
        known.patient_id != asked.patient_id
        or known.sending_application != asked.sending_application
        or known.sending_facility != asked.sending_facility
    ):
        return False
    if known.patient_issuer and asked.patient_issuer not in ("", known.patient_issuer):
        return False
    pairs = (
        (known.placer_order_number, asked.placer_order_number),
        (known.filler_order_number, asked.filler_order_number),
        (known.accession_number, asked.accession_number),
        (known.study_instance_uid, asked.study_instance_uid),
    )
    return next((mine == theirs for mine, theirs in pairs if mine and theirs), False)


def is_same_patient(known: WorklistRecord, told: WorklistRecord, issuer: str) -> bool:
    """Whether a message about a patient, with this issuer, speaks of the patient of a record that
    has the Patient ID.
    """
    if issuer and known.patient_issuer:
        return issuer == known.patient_issuer
    if known.sending_facility or told.sending_facility:
        if known.sending_facility == told.sending_facility:
            return True
    elif known.sending_application and known.sending_application == told.sending_application:
        return True
    return bool(known.patient_birth_date) and known.patient_birth_date == told.patient_birth_date
