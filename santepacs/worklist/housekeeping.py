"""What is deleted for its age: worklist records (S59), messages received and sent, performed steps.

Once an hour, in small transactions with pauses between, so that nobody waits for it.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from santepacs.db import messages, outgoing, performed, worklist_age
from santepacs.db.database import Database, Transaction
from santepacs.errors import Unavailable
from santepacs.logs import fault
from santepacs.settings import Settings

log = Logger()

INTERVAL = 3600.0
STEP = 200  # rows of one transaction
PAUSE = 0.1  # seconds between two

_Delete = Callable[[Transaction, int, int], Awaitable[int]]


class Housekeeping:
    """Deletes what is too old; on the reactor."""

    def __init__(self, reactor: Any, database: Database, settings: Settings) -> None:
        self._reactor = reactor
        self._database = database
        self._settings = settings
        self._stopping = False
        self._running: Deferred[None] | None = None
        self._loop = LoopingCall(self._guarded)
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin, with a first round now."""
        self._loop.start(INTERVAL)

    async def stop(self) -> None:
        """Delete no more; returns when the transaction in hand has ended."""
        self._stopping = True
        if self._loop.running:
            self._loop.stop()
        if self._running is not None:
            await self._running

    async def run(self) -> None:
        """One round. Raises Unavailable."""
        for what, days, delete in self._subjects():
            count = await self._delete_all(what, days, delete) if days else 0
            if count:
                log.info(
                    "{count} {what} deleted: older than {days} days",
                    count=count,
                    what=what,
                    days=days,
                )

    def _subjects(self) -> Iterator[tuple[str, int, _Delete]]:
        keep = self._settings.hl7.keep_days
        yield (
            "worklist records",
            self._settings.worklist.auto_delete_days,
            worklist_age.delete_older,
        )
        yield "received HL7 messages", keep, messages.delete_older
        yield "sent HL7 messages", keep, outgoing.delete_older
        yield "performed procedure steps", keep, performed.delete_older

    async def _delete_all(self, what: str, days: int, delete: _Delete) -> int:
        async def work(tx: Transaction) -> int:
            return await delete(tx, days, STEP)

        total = 0
        while not self._stopping:
            count = await self._database.transaction(f"delete old {what}", work)
            total += count
            if count < STEP:
                break
            await deferLater(self._reactor, PAUSE)
        return total

    async def _guarded(self) -> None:
        self._running = Deferred.fromCoroutine(self.run())
        try:
            await self._running
        except Unavailable:
            log.info("what is too old is deleted when the database is back")
        except Exception as error:  # noqa: BLE001 - the loop must not end for it
            log.error("what is too old was not deleted: {fault}", fault=fault(error))
        self._running = None
