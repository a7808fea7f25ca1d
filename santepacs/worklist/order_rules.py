"""What an order message does to the steps that are known (HL7 tables 0119 and 0038, by way of
`santepacs.model.order.order_control`).

Late messages revive nothing, and status moves forward only (`santepacs.model.order.moved`). What is
cancelled or superseded stays, hidden from modalities.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from santepacs.model.order import (
    FINISHED,
    Action,
    OrderCommand,
    StepStatus,
    WorklistRecord,
    moved,
    updated,
)
from santepacs.model.steps import Step
from santepacs.worklist.board import Board, Origin
from santepacs.worklist.identity import Taken, is_same_order, order_numbers, same_step, step_id_of
from santepacs.worklist.patient_rules import DEMOGRAPHICS, only


class OrderRules:
    """Applied to the steps of a board."""

    def __init__(
        self,
        board: Board,
        *,
        makes_uid: Callable[[str], bool],
        new_uid: Callable[[], str],
        orders_start: bool,
    ) -> None:
        """`makes_uid(ae_title)`: whether steps of that station get a Study Instance UID, made by
        `new_uid`. `orders_start`: whether an order's status may say that a step has begun.
        """
        self._board = board
        self._makes_uid = makes_uid
        self._new_uid = new_uid
        self._orders_start = orders_start

    def take(
        self, command: OrderCommand, origin: Origin, *, alone: bool, taken: Taken | None = None
    ) -> str:
        """Do what an order asks; returns a remark for its sender or nothing. `alone`: no other of
        its message has its number. `taken`: what the orders before it in its message asked of
        which step; this one is written down there.
        """
        taken = {} if taken is None else taken
        if command.action is Action.NOTHING:
            return ""
        steps = self._steps_of_order(command.record)
        if command.action is Action.MOVE:
            return self._move(command.record, steps, origin)
        is_new = command.action is Action.NEW
        step = None if is_new else same_step(command, steps, alone=alone, taken=taken)
        if step is None:
            taken[self._add(command, steps, origin)] = command.record
            is_change = command.action is Action.CHANGE
            return "the order was not known and is kept as new" if is_change else ""
        taken[step] = command.record
        current = step.record
        status = moved(current.step_status, self._wanted(command) or current.step_status)
        if current.step_status in FINISHED or current.step_status is StepStatus.STARTED:
            news = updated(current, only(command.record, DEMOGRAPHICS), frozenset())
            self._board.change(step, replace(news, step_status=status), origin)
            return "the procedure has begun or is over: only the patient was brought up to date"
        news = updated(current, command.record, command.cleared)
        self._board.change(step, self._complete(news, status, steps, origin), origin)
        return ""

    def _wanted(self, command: OrderCommand) -> StepStatus | None:
        """The status that an order gives its step; None: it leaves it."""
        status = command.record.step_status
        if command.action is not Action.CHANGE:
            return status
        return status if self._orders_start and status is StepStatus.STARTED else None

    def _add(self, command: OrderCommand, steps: Sequence[Step], origin: Origin) -> Step:
        status = self._wanted(command) or StepStatus.SCHEDULED
        record = self._complete(command.record, status, steps, origin)
        return self._board.add(record, origin)

    def _move(self, record: WorklistRecord, steps: Sequence[Step], origin: Origin) -> str:
        """Give the order's steps the status that `record` has, where they may still take it."""
        if not steps:
            return "the order is not known; nothing was changed"
        if record.step_status is StepStatus.COMPLETED:
            # One step may be over while the others of its order are still to be done.
            named = [step for step in steps if step_id_of(step.record) == step_id_of(record)]
            steps = named or steps
        late = False
        for step in steps:
            status = moved(step.record.step_status, record.step_status)
            late = late or status is not record.step_status
            if status is not step.record.step_status:
                text = record.status or step.record.status
                self._board.change(
                    step, replace(step.record, step_status=status, status=text), origin
                )
        return "the procedure is over or has begun; its status was not changed" if late else ""

    def supersede(self, orders: Sequence[OrderCommand], origin: Origin) -> None:
        """A change that names the study tells all its steps: those that are left out are over."""
        told: dict[tuple[str, ...], set[str]] = {}
        changes: dict[tuple[str, ...], WorklistRecord] = {}
        for command in orders:
            numbers = order_numbers(command.record)
            told.setdefault(numbers, set()).add(step_id_of(command.record))
            if command.action is Action.CHANGE and command.record.study_instance_uid:
                changes[numbers] = command.record
        for numbers, record in changes.items():
            for step in self._steps_of_order(record):
                known = step.record
                if (
                    known.study_instance_uid == record.study_instance_uid
                    and step_id_of(known) not in told[numbers]
                    and known.step_status is not StepStatus.STARTED
                    and known.step_status not in FINISHED
                ):
                    over = replace(known, step_status=StepStatus.CANCELED)
                    self._board.change(step, over, origin, "superseded")

    def _steps_of_order(self, record: WorklistRecord) -> list[Step]:
        return [
            step
            for step in self._board.with_number_of(record)
            if is_same_order(step.record, record)
        ]

    def _complete(
        self, record: WorklistRecord, status: StepStatus, steps: Sequence[Step], origin: Origin
    ) -> WorklistRecord:
        """The record with its status and what modalities cannot do without: a start, and a Study
        Instance UID, kept for ever. Without a start the procedure is due when the order came.
        """
        more: dict[str, Any] = {}
        if record.step_status is not status:
            more["step_status"] = status
        if not record.start_date:
            more["start_date"] = origin.received.strftime("%Y%m%d")
            more["start_time"] = origin.received.strftime("%H%M%S")
        elif not record.start_time:
            more["start_time"] = "000000"
        if not record.study_instance_uid and self._makes_uid(record.scheduled_station_ae_title):
            # The steps of one requested procedure belong to one study.
            shared = (
                step.record.study_instance_uid
                for step in steps
                if step.record.requested_procedure_id == record.requested_procedure_id
                and step.record.study_instance_uid
            )
            more["study_instance_uid"] = next(shared, None) or self._new_uid()
        return replace(record, **more) if more else record
