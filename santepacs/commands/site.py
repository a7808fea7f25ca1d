"""The site that a command works on: its foundation, and a reactor for what needs one."""

import os
from argparse import Namespace
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner
from twisted.python.failure import Failure

from santepacs.commands.interrupts import Interrupted, interrupts_call
from santepacs.commands.output import tell
from santepacs.db.database import Database
from santepacs.errors import NotFound
from santepacs.host.datadir import default_data_directory
from santepacs.startup import Foundation, for_command
from santepacs.threads import Threads

T = TypeVar("T")

_CONNECTIONS = 3  # beside a server, which has its own


@dataclass(frozen=True, slots=True)
class Running:
    """What lives only while the reactor runs."""

    reactor: Any
    database: Database
    threads: Threads


@contextmanager
def opened(arguments: Namespace, *, may_create: bool = False) -> Iterator[Foundation]:
    """The foundation that the global options name; it is taken down at the end.

    Raises NotFound when there is no data yet, unless the command `may_create` it: a slip in
    ``--data`` must not look like an empty archive.
    """
    _silence_log()
    root, note = (Path(arguments.data), "") if arguments.data else default_data_directory()
    unused = _is_unused(root)
    if unused and not may_create:
        raise NotFound(f"there is no santepacs data in {root.absolute()}")
    foundation = for_command(arguments.config, str(root), arguments.overrides)
    try:
        if unused:
            foundation.notes.append(f"made the data directory {foundation.directory.root}")
        for line in (note, *foundation.notes):
            if line:
                tell(line)
        yield foundation
    finally:
        foundation.release()


def _is_unused(root: Path) -> bool:
    """Whether no santepacs has kept anything there; what we cannot see counts as used."""
    for name in ("secret.key", "postgres"):
        try:
            os.lstat(root / name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass  # becoming the owner will help, or say what is wrong
        return False
    return True


def with_reactor(
    foundation: Foundation, work: Callable[[Running], Awaitable[T]], threads: int = 4
) -> T:
    """Run the reactor until `work` is done; once in a process.

    A signal cancels `work`; when its threads have come to an end, Interrupted is raised.
    """
    reactor: Any = global_reactor
    signals: list[int] = []
    ended: list[T | Failure] = []
    running: list[Deferred[T]] = []

    def cancel(number: int) -> None:
        signals.append(number)
        reactor.callFromThread(lambda: running[0].cancel())

    def finish(result: T | Failure) -> None:
        ended.append(result)
        reactor.stop()

    def begin() -> None:
        running.append(Deferred.fromCoroutine(_work(reactor, foundation, work, threads)))
        running[0].addBoth(finish)

    reactor.callWhenRunning(begin)
    with interrupts_call(cancel):
        reactor.run(installSignalHandlers=False)
    if signals:
        raise Interrupted(signals[0])
    result = ended[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result


async def _work(
    reactor: Any, foundation: Foundation, work: Callable[[Running], Awaitable[T]], size: int
) -> T:
    database = Database(
        reactor,
        foundation.dsn,
        connections=_CONNECTIONS,
        statement_timeout=foundation.settings.database.timeout,
    )
    threads = Threads(reactor, size)
    threads.start()
    try:
        await database.start()
        return await work(Running(reactor, database, threads))
    finally:
        threads.stop()
        database.stop()


def _silence_log() -> None:
    """Commands say what matters themselves; the log's lines are for the server's operator."""
    globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)
