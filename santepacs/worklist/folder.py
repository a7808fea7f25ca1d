"""The watched folder: HL7 messages that come as files (S60 to S62).

A file is taken when it has not changed between two looks. It is claimed by a rename before it is
read, so it is taken once; one that an earlier run of the server had claimed is taken again, and
the log of messages knows what of it was accepted before. Then it is named ``.DON``, or deleted, or
named ``.ERR`` with the reason beside it. While the worklist is not available files wait as they
are.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from santepacs.errors import Malformed, Unavailable
from santepacs.logs import fault
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.worklist import folder_files
from santepacs.worklist.folder_files import FoundFile

log = Logger()

SOURCE = "watched folder"

Receive = Callable[[bytes, str], Awaitable[Sequence[str]]]
"""Takes the messages of a file, and where they come from; returns what is wrong with them, a line
each, nothing when all are accepted. Raises Unavailable: to be tried again later."""


@dataclass(frozen=True, slots=True)
class _Decision:
    """What is to be done with a file that was read; `reason`: why it was refused."""

    reason: str = ""


class WatchedFolder:
    """Looks into the folder every now and then; on the reactor, the disk's work in threads."""

    def __init__(
        self, reactor: Any, threads: Threads, settings: Settings, receive: Receive
    ) -> None:
        self._threads = threads
        self._settings = settings
        self._receive = receive
        self._seen: set[tuple[str, int, int]] = set()
        # What could not be carried out yet: such a file is not read again.
        self._decided: dict[tuple[str, int, int], _Decision] = {}
        self._complaint = ""
        self._unsuitable = 0
        self._stopping = False
        self._looking: Deferred[None] | None = None
        self._loop = LoopingCall(self._look_guarded)
        self._loop.clock = reactor

    def start(self) -> None:
        """Begin to look."""
        self._loop.start(self._settings.worklist.folder_interval)

    async def stop(self) -> None:
        """Look no more; returns when the file in hand is done with."""
        self._stopping = True
        if self._loop.running:
            self._loop.stop()
        if self._looking is not None:
            await self._looking

    async def look(self) -> None:
        """Take what has come and is complete. Raises nothing that is expected."""
        path = self._settings.worklist.folder
        if not path:
            self._seen.clear()
            self._complain("")
            return
        try:
            await self._take_all(path)
        except Unavailable as problem:
            self._complain(str(problem))
        else:
            self._complain("")

    async def _look_guarded(self) -> None:
        self._loop.interval = self._settings.worklist.folder_interval
        self._looking = Deferred.fromCoroutine(self.look())
        try:
            await self._looking
        except Exception as error:  # noqa: BLE001 - the loop must not end for it
            log.error("the watched folder failed: {fault}", fault=fault(error))
        self._looking = None

    async def _take_all(self, path: str) -> None:
        listing = await self._threads.run(folder_files.look, path)
        self._tell_unsuitable(listing.unsuitable)
        states = {file.state for file in listing.files}
        unchanged, self._seen = self._seen & states, states
        self._decided = {
            state: decision for state, decision in self._decided.items() if state in states
        }
        counts = {True: 0, False: 0}
        try:
            for file in listing.files:
                if file.state in unchanged and not self._stopping:
                    decision = await self._take(path, file)
                    if decision is not None:
                        counts[not decision.reason] += 1
        finally:
            if any(counts.values()):
                log.info(
                    "watched folder: files accepted: {accepted}, refused: {refused}",
                    accepted=counts[True],
                    refused=counts[False],
                )

    async def _take(self, path: str, file: FoundFile) -> _Decision | None:
        """One file; returns what was decided, or None if it must wait or was decided before.

        Raises Unavailable.
        """
        claimed = await self._threads.run(folder_files.claim, path, file)
        if claimed is None:
            return None
        known = self._decided.get(claimed.state)
        decision = known or await self._decide(path, claimed)
        if decision is None:
            return None
        self._decided[claimed.state] = decision
        if decision.reason or not self._settings.worklist.folder_erase:
            await self._threads.run(folder_files.put_aside, path, claimed, decision.reason)
        else:
            await self._threads.run(folder_files.erase, path, claimed)
        del self._decided[claimed.state]
        return None if known else decision

    async def _decide(self, path: str, claimed: FoundFile) -> _Decision | None:
        limit = self._settings.hl7.maximum_message_size * 1_000_000
        try:
            content = await self._threads.run(folder_files.read, path, claimed, limit)
        except Malformed as problem:
            return _Decision(str(problem))
        if content is None:
            return None
        return _Decision("\n".join(await self._receive(content, SOURCE)))

    def _complain(self, complaint: str) -> None:
        """Say what is wrong once, and when it is right again."""
        if complaint and complaint != self._complaint:
            log.error("{complaint}", complaint=complaint)
        elif self._complaint and not complaint:
            log.info("the watched folder can be used again")
        self._complaint = complaint

    def _tell_unsuitable(self, count: int) -> None:
        if count and count != self._unsuitable:
            log.warn(
                "{count} files in the watched folder are left alone: they are no regular files,"
                " or their names are too long",
                count=count,
            )
        self._unsuitable = count
