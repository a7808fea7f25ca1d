"""What DICOM services reach of the rest of the house."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from santepacs.archive.archive import Archive
from santepacs.db.database import Database, Transaction
from santepacs.jobs import Queue
from santepacs.processes import Processes
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.worklist.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resources:
    """Handed to every service; association threads reach the index through `read` and `write`."""

    settings: Settings
    threads: Threads
    archive: Archive
    database: Database
    incoming: Path
    processes: Processes = field(default_factory=Processes)
    """For what decodes pixels."""
    jobs: Queue | None = None
    """Later work; a transaction that asks for some is run by `cause`."""
    progress: Progress | None = None
    """What modalities say of their work; without it they are not heard."""

    def read(self, name: str, query: Callable[..., Awaitable[T]], *args: Any, **named: Any) -> T:
        """Run ``query(tx, *args, **named)`` in a read-only transaction and wait for it.

        To be called in a thread. Raises Unavailable when the database is away.
        """
        return self._run(name, True, query, args, named)

    def write(self, name: str, work: Callable[..., Awaitable[T]], *args: Any, **named: Any) -> T:
        """Like `read`, for a transaction that changes something."""
        return self._run(name, False, work, args, named)

    def cause(self, name: str, work: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Like `write`, for a transaction that asks for later work (`santepacs.db.jobs.add`)."""
        result = self.write(name, work, *args)
        self.threads.ask(self._wake)
        return result

    async def _wake(self) -> None:
        if self.jobs is not None:
            self.jobs.wake()

    def _run(
        self,
        name: str,
        read_only: bool,
        work: Callable[..., Awaitable[T]],
        args: tuple[Any, ...],
        named: dict[str, Any],
    ) -> T:
        async def within(tx: Transaction) -> T:
            return await work(tx, *args, **named)

        return self.threads.ask(
            lambda: self.database.transaction(name, within, read_only=read_only)
        )
