"""The worklist's use cases: what an order message changes.

All that one message asks, and its place in the log, is one transaction: an accepted message is
committed, a refused one has changed nothing. Steps are matched within one patient and sender, so
a reused number never joins two patients.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from santepacs.db import messages, orders
from santepacs.db.database import Database, Transaction
from santepacs.db.orders import StoredRecord
from santepacs.model.order import (
    FINISHED,
    Action,
    Arrival,
    OrderCommand,
    StepStatus,
    WorklistRecord,
    moved,
    updated,
)
from santepacs.settings import Settings

# How long an identical message is known as a repetition.
REPETITION = timedelta(days=7)

_UID_LENGTH = 64
_UID_DIGITS = 25
_DEMOGRAPHICS = ("patient_name", "patient_birth_date", "patient_sex")


@dataclass(frozen=True, slots=True)
class Outcome:
    """An accepted message: remarks for its sender, and whether it had been accepted before."""

    warnings: tuple[str, ...] = ()
    repeated: bool = False


class Worklist:
    """Places, changes and cancels scheduled procedure steps."""

    def __init__(
        self, database: Database, settings: Settings, randbelow: Callable[[int], int]
    ) -> None:
        """`randbelow(n)`: an unpredictable number from 0 to n - 1 (``secrets.randbelow``)."""
        self._database = database
        self._settings = settings
        self._randbelow = randbelow

    async def accept(self, arrival: Arrival, commands: Sequence[OrderCommand]) -> Outcome:
        """Do what a message asks and log it. Raises Unavailable; then nothing was done.

        A message that repeats an accepted one byte for byte changes nothing and has the same
        outcome. One that was refused is looked at again: its reason may be gone.
        """
        digest = hashlib.sha256(arrival.raw).digest()

        async def work(tx: Transaction) -> Outcome:
            for patient_id in sorted({command.record.patient_id for command in commands} - {""}):
                await orders.lock_patient(tx, patient_id)
            if arrival.control_id:
                since = arrival.received - REPETITION
                remark = await messages.accepted_remark(tx, digest, since)
                if remark is not None:
                    return Outcome((remark,) if remark else (), repeated=True)
            warnings = [
                warning
                for command in commands
                if (warning := await self._do(tx, command, commands, arrival))
            ]
            outcome = Outcome(tuple(dict.fromkeys(warnings)))
            await messages.add(tx, arrival, digest, "AA", "; ".join(outcome.warnings))
            return outcome

        return await self._database.transaction("accept HL7 message", work)

    async def keep_refused(self, arrival: Arrival, verdict: str, remark: str) -> None:
        """Log a message that was answered with AE or AR. Raises Unavailable."""
        digest = hashlib.sha256(arrival.raw).digest()

        async def work(tx: Transaction) -> None:
            await messages.add(tx, arrival, digest, verdict, remark)

        await self._database.transaction("keep refused HL7 message", work)

    async def _do(
        self,
        tx: Transaction,
        command: OrderCommand,
        commands: Sequence[OrderCommand],
        arrival: Arrival,
    ) -> str:
        """One order; returns a warning or nothing."""
        if command.action is Action.NOTHING:
            return ""
        steps = await orders.steps_of_order(tx, command.record)
        if command.action is Action.MOVE:
            return await _move(tx, command.record, steps)
        step = _same_step(command, steps, alone=len(commands) == 1)
        if step is None:
            await orders.add(tx, self._complete(command.record, steps, arrival))
            known = command.action is Action.PLACE
            return "" if known else "the order was not known and is kept as new"
        current = step.record
        if current.step_status in FINISHED or current.step_status is StepStatus.STARTED:
            news = {name: getattr(command.record, name) for name in _DEMOGRAPHICS}
            await orders.change(tx, step.id, updated(current, WorklistRecord(**news), frozenset()))
            return "the procedure has begun or is over: only the patient was brought up to date"
        changed = updated(current, command.record, command.cleared)
        if command.action is Action.PLACE:
            status = moved(current.step_status, command.record.step_status)
            changed = replace(changed, step_status=status)
        await orders.change(tx, step.id, self._complete(changed, steps, arrival))
        return ""

    def _complete(
        self, record: WorklistRecord, steps: Sequence[StoredRecord], arrival: Arrival
    ) -> WorklistRecord:
        """What modalities cannot do without: a start, and a Study Instance UID, kept for ever.

        Without a start the procedure is due when the order came.
        """
        if not record.start_date:
            record = replace(
                record,
                start_date=arrival.received.strftime("%Y%m%d"),
                start_time=arrival.received.strftime("%H%M%S"),
            )
        if not record.start_time:
            record = replace(record, start_time="000000")
        if record.study_instance_uid or not self._makes_uid(record.scheduled_station_ae_title):
            return record
        # The steps of one requested procedure belong to one study.
        shared = (
            step.record.study_instance_uid
            for step in steps
            if step.record.requested_procedure_id == record.requested_procedure_id
            and step.record.study_instance_uid
        )
        uid = next(shared, None)
        root = self._settings.worklist.study_uid_root
        return replace(record, study_instance_uid=uid or new_uid(root, self._randbelow))

    def _makes_uid(self, station_ae_title: str) -> bool:
        settings = self._settings.worklist
        return settings.study_uid_for_all or station_ae_title in settings.study_uid_ae_titles


def new_uid(root: str, randbelow: Callable[[int], int]) -> str:
    """A UID under `root`: one more component, random, without leading zero (PS3.5 9.1)."""
    digits = min(_UID_DIGITS, _UID_LENGTH - len(root) - 1)
    lowest: int = 10 ** (digits - 1)
    return f"{root}.{lowest + randbelow(9 * lowest)}"


async def _move(tx: Transaction, record: WorklistRecord, steps: Sequence[StoredRecord]) -> str:
    """Give the order's steps the status that `record` has, where they may still take it."""
    if not steps:
        return "the order is not known; nothing was changed"
    late = False
    for step in steps:
        status = moved(step.record.step_status, record.step_status)
        late = late or status is not record.step_status
        if status is not step.record.step_status:
            changed = replace(
                step.record, step_status=status, status=record.status or step.record.status
            )
            await orders.change(tx, step.id, changed)
    return "the procedure is over or has begun; its status was not changed" if late else ""


def _same_step(
    command: OrderCommand, steps: Sequence[StoredRecord], *, alone: bool
) -> StoredRecord | None:
    """The step that an order speaks of: by step ID, else the only one there is.

    An order of one step keeps it when a change brings another step ID (another procedure code).
    """
    step_id = command.record.scheduled_procedure_step_id
    for step in steps:
        if step.record.scheduled_procedure_step_id == step_id:
            return step
    if len(steps) == 1 and alone and (command.action is Action.CHANGE or not step_id):
        return steps[0]
    return None
