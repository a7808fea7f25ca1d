"""Scheduled procedure steps while they are being changed, what happened to them, and the messages
that did it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from santepacs.model.order import Arrival, Command, StepStatus, WorklistRecord

MAXIMUM_STEPS = 5_000
"""As many steps are looked at for one message."""


@dataclass(slots=True, eq=False)
class Step:
    """A step in memory. `key`: of its row; a new one has none and counts down from -1.

    `version`: of its row as it was read, so that nobody's change is overwritten unseen.
    """

    key: int
    version: str
    record: WorklistRecord
    changed: bool = False

    @property
    def is_new(self) -> bool:
        """Whether it is not stored yet."""
        return self.key < 0


@dataclass(frozen=True, slots=True)
class Happening:
    """What happened to a step, for its history.

    `action`: placed, changed, status, superseded, merged, created, edited, imported. `message`:
    its position among those that are taken together.
    """

    step: int
    action: str
    step_status: StepStatus
    message: int | None = None
    actor: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Changes:
    """All that is to be written in one go."""

    added: list[Step] = field(default_factory=list)
    changed: list[Step] = field(default_factory=list)
    happenings: list[Happening] = field(default_factory=list)


# --- messages -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Repeated:
    """A message that was accepted before, with the remark that it got then."""

    id: int
    remark: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was: steps by which to decide, and messages (by digest) that are repetitions.

    `last_record`: the highest key of a worklist record.
    """

    steps: list[Step]
    repeated: dict[bytes, Repeated]
    last_record: int


@dataclass(frozen=True, slots=True)
class Entry:
    """A message for the log, with its acknowledgement code (AA, AE, AR).

    `digest`: SHA-256 of the message as it came. `repeats`: how often it came again at once.
    """

    arrival: Arrival
    digest: bytes
    verdict: str
    remark: str
    commands: Sequence[Command] = ()
    repeats: int = 0
    repeated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Repetition:
    """How often a message of the log came again, at last at `at`."""

    id: int
    times: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Log:
    """What happens to the message log: new messages, and repetitions of those in it."""

    entries: list[Entry]
    repetitions: list[Repetition]


@dataclass(frozen=True, slots=True)
class Written:
    """The keys that messages and new records got, in their order."""

    messages: list[int]
    records: list[int]
