"""Group commit: objects that arrive while a transaction runs are indexed by the next one.

Each sender waits for the commit of its own row, so success is said only when it is true; under
load one commit serves many. Nobody else does the work: of the threads that wait, the first commits
for all of them, and when it is done the first of those that came meanwhile. A row that the index
refuses never fails its neighbours: its batch is committed row by row instead.
"""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from santepacs.db import studies
from santepacs.db.direct import DirectConnection
from santepacs.db.studies import Entry, Verdict
from santepacs.errors import Unavailable

GATHERING = 0.002  # seconds that a commit waits for objects which are on their way to it
PATIENCE = 30.0  # seconds that a sender waits for a commit that another does
MAXIMUM_BATCH = 256
MAXIMUM_WAITING = 4096


class Place:
    """A sender's place in the queue, kept from before its object is durable."""

    def __init__(self, writer: "IndexWriter") -> None:
        self.entry: Entry | None = None
        self.verdict: Verdict | Exception | None = None
        self._writer = writer
        # A bare lock: there is one of these for every stored object, and an Event is four times
        # as much work.
        self._asleep = threading.Lock()
        self._asleep.acquire()

    def add(self, entry: Entry) -> Verdict:
        """Index the object; returns when its row is committed.

        Blocking. Raises Unavailable when that is not known to have happened.
        """
        self.entry = entry
        self._writer.commit(self)
        if isinstance(self.verdict, Verdict):
            return self.verdict
        raise self.verdict or Unavailable("the server is too busy to answer in time")

    def wake(self) -> None:
        """There is a verdict, or it is this one's turn to commit."""
        self._asleep.release()

    def sleep(self) -> None:
        """Until `wake`, but not for ever."""
        self._asleep.acquire(timeout=PATIENCE)


class IndexWriter:
    """The one writer of the index, used by the threads that store."""

    def __init__(self, connection: DirectConnection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._all_here = threading.Condition(self._lock)
        self._on_their_way = 0
        self._waiting: deque[Place] = deque()
        self._leader: Place | None = None

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for an object that is about to come.

        A commit costs PostgreSQL nearly the same for one row as for ten, so it waits a moment for
        what is on its way; a sender that is alone never waits.
        """
        place = Place(self)
        with self._lock:
            self._on_their_way += 1
        try:
            yield place
        finally:
            if place.entry is None:
                with self._lock:
                    self._arrived()

    def commit(self, place: Place) -> None:
        """See to it that there is a verdict for `place`; without one, time was over."""
        with self._lock:
            self._arrived()
            if len(self._waiting) >= MAXIMUM_WAITING:
                raise Unavailable("too many objects wait to be indexed")
            self._waiting.append(place)
            if self._leader is None:
                self._leader = place
        if self._leader is not place:
            place.sleep()
            with self._lock:
                if self._leader is not place:
                    if place in self._waiting:
                        self._waiting.remove(place)
                    return
        self._lead()

    def _arrived(self) -> None:
        self._on_their_way -= 1
        if not self._on_their_way:
            self._all_here.notify_all()

    def _lead(self) -> None:
        """Commit for all that wait, and let the next in line go on."""
        try:
            self._commit(self._batch())
        finally:
            with self._lock:
                self._leader = self._waiting[0] if self._waiting else None
                if self._leader is not None:
                    self._leader.wake()

    def _batch(self) -> list[Place]:
        with self._lock:
            if self._on_their_way:
                self._all_here.wait(GATHERING)
            size = min(len(self._waiting), MAXIMUM_BATCH)
            return [self._waiting.popleft() for _ in range(size)]

    def _commit(self, batch: list[Place]) -> None:
        entries = [place.entry for place in batch if place.entry is not None]
        try:
            verdicts: Sequence[Verdict | Exception] = studies.store(self._connection, entries)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for place in batch:
                    self._commit([place])
                return
            verdicts = [error] * len(batch)
        for place, verdict in zip(batch, verdicts, strict=True):
            place.verdict = verdict
            if place is not self._leader:
                place.wake()
