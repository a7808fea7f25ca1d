"""The steps that a batch of messages may speak of, in memory, and all that was decided about them.

Each change leaves its trace: what happened, by which message or person, and which fields changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from santepacs.model.order import FIELDS, WorklistRecord
from santepacs.model.steps import Changes, Happening, Step


@dataclass(frozen=True, slots=True)
class Origin:
    """Where commands come from: a message of a batch, or a person or file (`actor`)."""

    received: datetime
    message: int | None = None
    actor: str = ""
    placed: str = "placed"
    """What the history calls a step that is new."""
    changed: str = "changed"
    """What it calls one that is brought up to date."""


_NUMBERS = (
    "placer_order_number",
    "filler_order_number",
    "accession_number",
    "study_instance_uid",
)
_FOUND_BY = ("patient_id", *_NUMBERS)


class Board:
    """Steps by their patient; a step that is changed is found as it is now."""

    def __init__(self, steps: Iterable[Step]) -> None:
        self._known = list(steps)
        self._added: list[Step] = []
        self._happenings: list[Happening] = []
        # Dictionaries for their keys: in order, and soon without one of them.
        self._by_patient: dict[str, dict[Step, None]] = {}
        self._by_number: dict[tuple[str, ...], dict[Step, None]] = {}
        for step in self._known:
            self._enter(step)

    def of_patient(self, patient_id: str) -> list[Step]:
        """The steps under this Patient ID, whoever issued it."""
        return list(self._by_patient.get(patient_id, ()))

    def with_number_of(self, record: WorklistRecord) -> list[Step]:
        """The steps under its Patient ID that share an order number or the study with it."""
        found: dict[Step, None] = {}
        for key in _numbers(record):
            found.update(self._by_number.get(key, {}))
        return list(found)

    def add(self, record: WorklistRecord, origin: Origin) -> Step:
        """A new step."""
        step = Step(-1 - len(self._added), "", record)
        self._added.append(step)
        self._enter(step)
        self._note(step, origin.placed, origin)
        return step

    def change(
        self, step: Step, record: WorklistRecord, origin: Origin, action: str = "", remark: str = ""
    ) -> None:
        """Put `record` in the step's place, unless it is the same. The history calls it `action`,
        or by what was changed.
        """
        if record == step.record:
            return
        names = changed_fields(step.record, record)
        if not action:
            action = origin.changed if names - {"step_status", "status"} else "status"
        if names.isdisjoint(_FOUND_BY):
            step.record = record
        else:
            self._leave(step)
            step.record = record
            self._enter(step)
        step.changed = not step.is_new
        self._note(step, action, origin, remark or labels(names))

    @property
    def steps(self) -> list[Step]:
        """All of them: those that were known, then the new ones."""
        return [*self._known, *self._added]

    @property
    def happened(self) -> int:
        """How much has happened so far."""
        return len(self._happenings)

    def touched_since(self, happened: int) -> tuple[int, ...]:
        """The keys of the steps to which something happened after so much."""
        return tuple(dict.fromkeys(one.step for one in self._happenings[happened:]))

    def changes(self) -> Changes:
        """All that is to be written."""
        changed = [step for step in self._known if step.changed]
        return Changes(self._added, changed, self._happenings)

    def _enter(self, step: Step) -> None:
        self._by_patient.setdefault(step.record.patient_id, {})[step] = None
        for key in _numbers(step.record):
            self._by_number.setdefault(key, {})[step] = None

    def _leave(self, step: Step) -> None:
        del self._by_patient[step.record.patient_id][step]
        for key in _numbers(step.record):
            del self._by_number[key][step]

    def _note(self, step: Step, action: str, origin: Origin, remark: str = "") -> None:
        self._happenings.append(
            Happening(
                step.key, action, step.record.step_status, origin.message, origin.actor, remark
            )
        )


def _numbers(record: WorklistRecord) -> list[tuple[str, ...]]:
    """What a step is found by, each with the patient it counts for."""
    numbers = ((name, getattr(record, name)) for name in _NUMBERS)
    return [(record.patient_id, name, number) for name, number in numbers if number]


def changed_fields(before: WorklistRecord, after: WorklistRecord) -> set[str]:
    """The names of the fields that differ."""
    return {
        name
        for name in WorklistRecord.__dataclass_fields__
        if getattr(before, name) != getattr(after, name)
    }


def labels(names: Iterable[str]) -> str:
    """Fields as people call them, for a record's history."""
    changed = set(names)
    return ", ".join(field.label for name, field in FIELDS.items() if name in changed)
