"""The decisions about requests that are taken together: what each does, which messages are
repetitions, what goes into the log, and what each sender is told. Pure: nothing is written here.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from santepacs.errors import SantepacsError
from santepacs.model.order import Arrival, Command
from santepacs.model.steps import Changes, Entry, Log, Repetition, Seen, Written
from santepacs.worklist.board import Board, Origin
from santepacs.worklist.decide import decide
from santepacs.worklist.order_rules import OrderRules


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done: remarks for the sender, and whether the message had been accepted before.

    `message`: its key in the log, or that of the message that it repeats. `added`, `changed`:
    keys of worklist records.
    """

    warnings: tuple[str, ...] = ()
    repeated: bool = False
    message: int | None = None
    added: tuple[int, ...] = ()
    changed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Request:
    """Commands that are done together or not at all.

    `arrival`: the message that they came in, for the log, with its acknowledgement code and the
    remark of a refusal. Others say by `origin` who they are.
    """

    commands: Sequence[Command]
    origin: Origin
    arrival: Arrival | None = None
    verdict: str = "AA"
    remark: str = ""
    digest: bytes = field(init=False)
    """SHA-256 of the message as it came."""

    def __post_init__(self) -> None:
        raw = self.arrival.raw if self.arrival else b""
        object.__setattr__(self, "digest", hashlib.sha256(raw).digest())

    @property
    def may_repeat(self) -> bool:
        """Whether a message like this changes nothing when it comes again. One that is run again
        on purpose does, and so does one whose sender does not number its messages.
        """
        arrival = self.arrival
        if arrival is None or self.verdict != "AA":
            return False
        return bool(arrival.control_id) and arrival.origin is None


@dataclass(slots=True)
class _Result:
    """What a request comes to, in the numbers that there are before it is written."""

    error: SantepacsError | None = None
    warnings: tuple[str, ...] = ()
    repeated: bool = False
    message: int | None = None
    entry: int | None = None  # its message's position in the log of this batch
    steps: tuple[int, ...] = ()


@dataclass(slots=True)
class _Again:
    """A message of this batch that may come again within it."""

    result: _Result
    times: int = 0
    at: datetime | None = None


class Batch:
    """Takes requests in their order, then says what is to be written."""

    def __init__(self, seen: Seen, board: Board, rules: OrderRules) -> None:
        """`rules`: made for `board`, which has the steps that were `seen`."""
        self.seen = seen
        self._board = board
        self._rules = rules
        self._results: list[_Result] = []
        self._entries: list[Entry] = []
        self._accepted: dict[bytes, _Again] = {}
        self._repetitions: dict[int, Repetition] = {}

    def take(self, request: Request) -> None:
        """Decide about a request. What cannot be done leaves no trace."""
        self._results.append(self._repetition(request) or self._new(request))

    @property
    def log(self) -> Log:
        """What happens to the message log."""
        entries = list(self._entries)
        for again in self._accepted.values():
            position = again.result.entry
            if again.times and position is not None:
                entries[position] = replace(
                    entries[position], repeats=again.times, repeated_at=again.at
                )
        return Log(entries, [*self._repetitions.values()])

    @property
    def changes(self) -> Changes:
        """What happens to the worklist."""
        return self._board.changes()

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all is to be written."""
        return not (self._entries or self._repetitions or self.changes.happenings)

    def outcomes(self, written: Written) -> list[Outcome | SantepacsError]:
        """What each request came to, now that it is written."""
        return [result.error or _outcome(result, written) for result in self._results]

    def _repetition(self, request: Request) -> _Result | None:
        arrival = request.arrival
        if arrival is None or not request.may_repeat:
            return None
        again = self._accepted.get(request.digest)
        if again is not None:
            again.times += 1
            again.at = arrival.received
            return replace(again.result, repeated=True, steps=())
        known = self.seen.repeated.get(request.digest)
        if known is None:
            return None
        before = self._repetitions.get(known.id)
        times = before.times + 1 if before else 1
        self._repetitions[known.id] = Repetition(known.id, times, arrival.received)
        warnings = (known.remark,) if known.remark else ()
        return _Result(warnings=warnings, repeated=True, message=known.id)

    def _new(self, request: Request) -> _Result:
        before = self._board.happened
        position = len(self._entries) if request.arrival else None
        try:
            origin = replace(request.origin, message=position)
            remarks = decide(self._board, self._rules, request.commands, origin)
        except SantepacsError as error:
            return _Result(error=error)
        steps = self._board.touched_since(before)
        result = _Result(warnings=tuple(remarks), entry=position, steps=steps)
        if request.arrival:
            remark = request.remark or "; ".join(remarks)
            self._entries.append(
                Entry(request.arrival, request.digest, request.verdict, remark, request.commands)
            )
            if request.may_repeat:
                self._accepted[request.digest] = _Again(result)
        return result


def _outcome(result: _Result, written: Written) -> Outcome:
    message = result.message if result.entry is None else written.messages[result.entry]
    added = tuple(written.records[-1 - key] for key in result.steps if key < 0)
    changed = tuple(key for key in result.steps if key > 0)
    return Outcome(result.warnings, result.repeated, message, added, changed)
