"""Who uses a data directory: one server, or one command that must be alone.

The lock is `flock` on `<data>/lock`; the file says who holds it. Waiting blocks: call it before
the reactor runs, or in a command.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple

from santepacs.errors import Conflict, Unavailable

POLL = 0.05  # seconds
GRACE = 1.0  # seconds in which a new holder writes who it is

Role = Literal["server", "command"]


class Holder(NamedTuple):
    """Who uses a data directory."""

    role: str
    pid: int


class Lock:
    """The hold on a data directory; `with` or `release` ends it, and so does the process's end.

    It survives a fork, so a daemon keeps what it took before, and calls `sign` to say its new
    process number. Programs that are started do not inherit it.
    """

    def __init__(self, descriptor: int, role: Role) -> None:
        self._descriptor = descriptor
        self._role = role
        self.sign()

    def sign(self) -> None:
        """Write who holds it."""
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{self._role} {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let others use the data directory."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)

    def __enter__(self) -> "Lock":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def lock(path: Path, role: Role, wait: float = 0) -> Lock:
    """Hold the data directory `path`, waiting up to `wait` seconds for a command to end.

    Raises Conflict at once when a server holds it, and when a command does not end in time.
    """
    descriptor = _open_lock(path)
    start = time.monotonic()
    try:
        while not _try_lock(descriptor):
            holder = _read_holder(descriptor)
            waited = time.monotonic() - start
            if holder is None:
                if waited > max(wait, GRACE):
                    raise Conflict(f"another santepacs is using {path}")
            elif holder.role == "server":
                raise Conflict(f"another santepacs server (process {holder.pid}) is using {path}")
            elif waited > wait:
                raise Conflict(f"a santepacs command (process {holder.pid}) is using {path}")
            time.sleep(POLL)
    except BaseException:
        os.close(descriptor)
        raise
    return Lock(descriptor, role)


def who_holds(path: Path) -> Holder | None:
    """Who uses the data directory `path` at this moment, if anybody."""
    if not (path / "lock").exists():
        return None
    descriptor = _open_lock(path)
    try:
        return None if _try_lock(descriptor) else _read_holder(descriptor) or Holder("unknown", 0)
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot open {path / 'lock'}: {error.strerror}") from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_holder(descriptor: int) -> Holder | None:
    """Who signed the lock; None for the name of a dead process, left by the holder before."""
    try:
        role, pid = os.pread(descriptor, 100, 0).decode("ascii").split()
        holder = Holder(role, int(pid))
    except ValueError:
        return None
    return holder if Path(f"/proc/{holder.pid}").exists() else None
