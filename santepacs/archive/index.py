"""Group commit: objects that arrive while a transaction runs are indexed by the next one.

Each sender waits for the commit of its own row, so success is said only when it is true; under
load one commit serves many. A row that the index refuses never fails its neighbours: its batch is
committed row by row instead.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred

from santepacs.db import studies
from santepacs.db.database import Database, Transaction
from santepacs.db.studies import Entry, Verdict
from santepacs.errors import Unavailable
from santepacs.threads import Threads

GATHERING = 0.002  # seconds that a commit waits for objects which are on their way to it
MAXIMUM_BATCH = 256
MAXIMUM_WAITING = 4096


class IndexWriter:
    """The one writer of the index; used on the reactor."""

    def __init__(self, database: Database, threads: Threads) -> None:
        self._database = database
        self._threads = threads
        self._lock = threading.Lock()
        self._on_their_way = 0
        self._waiting: deque[tuple[Entry, Deferred[Verdict]]] = deque()
        self._running = False

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Say, in any thread, that `add` is likely to be called soon.

        A commit costs PostgreSQL nearly the same for one row as for ten, so it waits a moment for
        what comes at once; a sender that is alone never waits.
        """
        with self._lock:
            self._on_their_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._on_their_way -= 1

    async def add(self, entry: Entry) -> Verdict:
        """Index one object; returns when its row is committed.

        Raises Unavailable when that is not known to have happened.
        """
        if len(self._waiting) >= MAXIMUM_WAITING:
            raise Unavailable("too many objects wait to be indexed")
        verdict: Deferred[Verdict] = Deferred()
        self._waiting.append((entry, verdict))
        if not self._running:
            self._running = True
            Deferred.fromCoroutine(self._write())
        return await verdict

    async def _write(self) -> None:
        while self._waiting:
            if self._on_their_way > 0:
                await self._threads.pause(GATHERING)
            size = min(len(self._waiting), MAXIMUM_BATCH)
            await self._commit([self._waiting.popleft() for _ in range(size)])
        self._running = False

    async def _commit(self, batch: list[tuple[Entry, "Deferred[Verdict]"]]) -> None:
        async def work(tx: Transaction) -> list[Verdict]:
            return await studies.store(tx, [entry for entry, _ in batch])

        try:
            verdicts = await self._database.transaction("store objects", work, single=True)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            if len(batch) == 1 or isinstance(error, Unavailable):
                for _, waiter in batch:
                    waiter.errback(error)
            else:
                for one in batch:
                    await self._commit([one])
        else:
            for (_, waiter), verdict in zip(batch, verdicts, strict=True):
                waiter.callback(verdict)
