"""Keeping what associations did: on the reactor, in batches, never in anybody's way.

While the database is away records wait, so many of them; what comes beyond is counted as dropped.
"""

from collections import deque
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from santepacs.db import activity
from santepacs.db.activity import Record
from santepacs.db.database import Database, Transaction
from santepacs.errors import Unavailable
from santepacs.logs import fault

log = Logger()

BATCH = 500  # records that are written together
MAXIMUM_WAITING = 20_000
PURGE_INTERVAL = 600.0
PURGE_STEP = 1000


class Activity:
    """Takes records and writes them down. To be used on the reactor."""

    def __init__(
        self,
        reactor: Any,
        database: Database,
        *,
        interval: float = 1.0,
        keep_days: float = 90.0,
        keep_rows: int = 100_000,
    ) -> None:
        """`interval`: seconds in which records gather before they are written."""
        self.dropped = 0
        """Records that were not kept, since the start."""
        self._database = database
        self._interval = interval
        self._keep = keep_days, keep_rows
        self._waiting: deque[Record] = deque()
        self._writing = DeferredLock()
        self._write_loop = LoopingCall(self._write)
        self._purge_loop = LoopingCall(self._purge)
        self._write_loop.clock = self._purge_loop.clock = reactor

    def start(self) -> None:
        """Begin to write; what was noted before waits for it."""
        self._write_loop.start(self._interval, now=False)
        self._purge_loop.start(PURGE_INTERVAL)

    async def stop(self) -> None:
        """Write what waits, if the database is there. What comes later is not kept."""
        for loop in (self._write_loop, self._purge_loop):
            if loop.running:
                loop.stop()
        await self._write()

    def note(self, record: Record) -> None:
        """Keep a record, within a second or so."""
        if len(self._waiting) < MAXIMUM_WAITING:
            self._waiting.append(record)
        else:
            self.dropped += 1

    def _write(self) -> "Deferred[None]":
        return self._writing.run(lambda: Deferred.fromCoroutine(self._write_all()))

    async def _write_all(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, BATCH))

            async def work(tx: Transaction, batch: list[Record] = batch) -> None:
                await activity.write(tx, batch)

            try:
                await self._database.transaction("note activity", work)
            except Unavailable:
                return  # they wait for the next time
            except Exception as error:  # noqa: BLE001 - what is wrong with one batch ends with it
                self.dropped += len(batch)
                log.error("activity is not kept: {fault}", fault=fault(error))
            for _ in batch:
                self._waiting.popleft()

    async def _purge(self) -> None:
        async def work(tx: Transaction) -> int:
            return await activity.purge(tx, *self._keep, PURGE_STEP)

        try:
            while await self._database.transaction("purge activity", work) >= PURGE_STEP:
                if not self._purge_loop.running:
                    return
        except Unavailable:
            return  # the next time will do
        except Exception as error:  # noqa: BLE001 - the loop must not end for it
            log.error("activity is not purged: {fault}", fault=fault(error))
