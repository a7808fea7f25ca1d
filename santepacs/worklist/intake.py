"""Group commit of what changes the worklist: what arrives while a transaction runs is taken
together by the next one.

Each sender waits for the commit of its own, so an acknowledgement is given only when it is true;
under load one commit serves many. A request that cannot be done never fails its neighbours: those
that a batch failed with are taken one by one. Looking and writing are a round trip each, with
nothing locked in between; where anybody else changed the same steps meanwhile, all is decided
again (`santepacs.db.worklist_changes`).
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

from twisted.internet.defer import Deferred

from santepacs.db import worklist_changes
from santepacs.db.database import Database, Transaction
from santepacs.errors import Malformed, SantepacsError, Unavailable
from santepacs.model.steps import MAXIMUM_STEPS, Seen, Written
from santepacs.settings import Settings
from santepacs.worklist.batch import Batch, Outcome, Request
from santepacs.worklist.board import Board
from santepacs.worklist.order_rules import OrderRules
from santepacs.worklist.study_uids import StudyUids

# How long an identical message is known as a repetition.
REPETITION = timedelta(days=7)
MAXIMUM_BATCH = 128  # requests
MAXIMUM_COMMANDS = 500  # of a batch of several requests: it is decided upon in one turn
MAXIMUM_BYTES = 4_000_000  # of the messages in it
MAXIMUM_WAITING = 4_096
ATTEMPTS = 20


@dataclass(slots=True)
class _Waiting:
    request: Request
    done: "Deferred[Outcome]" = field(default_factory=Deferred)


class Intake:
    """The one writer of orders; used on the reactor."""

    def __init__(self, database: Database, settings: Settings, uids: StudyUids) -> None:
        self._database = database
        self._settings = settings
        self._uids = uids
        self._waiting: deque[_Waiting] = deque()
        self._running = False

    async def take(self, request: Request) -> Outcome:
        """Do it; returns when that is committed.

        Raises Unavailable when that is not known to have happened, Malformed when it cannot be
        done; then nothing was.
        """
        if len(self._waiting) >= MAXIMUM_WAITING:
            raise Unavailable("too many messages wait for the worklist")
        one = _Waiting(request)
        self._waiting.append(one)
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._work())
        return await one.done

    async def _work(self) -> None:
        try:
            while self._waiting:
                await self._commit(self._next_batch())
        finally:
            self._running = False

    def _next_batch(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        commands, size = _weight(batch[0])
        while self._waiting and len(batch) < MAXIMUM_BATCH:
            more, bytes_more = _weight(self._waiting[0])
            commands, size = commands + more, size + bytes_more
            if commands > MAXIMUM_COMMANDS or size > MAXIMUM_BYTES:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _commit(self, batch: list[_Waiting]) -> None:
        try:
            outcomes = await self._attempt(batch)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            if len(batch) == 1 or isinstance(error, Unavailable):
                for one in batch:
                    one.done.errback(error)
            else:
                for one in batch:
                    await self._commit([one])
            return
        for one, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, SantepacsError):
                one.done.errback(outcome)
            else:
                one.done.callback(outcome)

    async def _attempt(self, batch: list[_Waiting]) -> "list[Outcome | SantepacsError]":
        for _ in range(ATTEMPTS):
            decided = self._decide(batch, await self._look(batch))
            written = await self._write(decided)
            if written is not None:
                return decided.outcomes(written)
        raise Unavailable("the worklist changes faster than it can be read")

    async def _look(self, batch: list[_Waiting]) -> Seen:
        since = {
            one.request.digest: one.request.arrival.received - REPETITION
            for one in batch
            if one.request.arrival and one.request.may_repeat
        }
        commands = [command for one in batch for command in one.request.commands]
        if not since and not commands:
            return Seen([], {}, 0)

        async def work(tx: Transaction) -> Seen:
            return await worklist_changes.look(tx, since, commands)

        seen = await self._database.transaction("look at worklist", work, single=True)
        if len(seen.steps) > MAXIMUM_STEPS:
            raise Malformed(f"more than {MAXIMUM_STEPS} steps have these numbers")
        return seen

    def _decide(self, batch: list[_Waiting], seen: Seen) -> Batch:
        board = Board(seen.steps)
        rules = OrderRules(
            board,
            makes_uid=self._uids.are_made_for,
            new_uid=self._uids.new,
            orders_start=self._settings.worklist.started_by_order_status,
        )
        decided = Batch(seen, board, rules)
        for one in batch:
            decided.take(one.request)
        return decided

    async def _write(self, decided: Batch) -> Written | None:
        if decided.is_empty:
            return Written([], [])

        async def work(tx: Transaction) -> Written | None:
            return await worklist_changes.write(tx, decided.seen, decided.changes, decided.log)

        return await self._database.transaction("change worklist", work, single=True)


def _weight(one: _Waiting) -> tuple[int, int]:
    """How many commands and bytes a request adds to its batch."""
    arrival = one.request.arrival
    return len(one.request.commands), len(arrival.raw) if arrival else 0
