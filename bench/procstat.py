"""CPU seconds and memory of a server: of its processes and all their descendants, from /proc."""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PARENT, _TIMES, _START = 1, slice(11, 15), 19  # fields after the name, proc(5)


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of the processes, with that of children they have waited for."""
    ticks = 0
    for pid in tree(roots):
        try:
            ticks += sum(map(int, stat(pid)[_TIMES]))
        except OSError:
            continue
    return ticks / _TICKS


def private_bytes(roots: Iterable[int]) -> int:
    """Memory of the processes without what they share with others."""
    pages = 0
    for pid in tree(roots):
        try:
            _, resident, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
        except OSError:
            continue
        pages += resident - shared
    return pages * _PAGE


def tree(roots: Iterable[int]) -> set[int]:
    """The processes and their descendants."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                children.setdefault(int(stat(int(name))[_PARENT]), []).append(int(name))
            except OSError:
                continue
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, ())
    return found


def start_time(pid: int) -> str:
    """What tells a process from a later one of the same number. Raises OSError: there is none."""
    return stat(pid)[_START]


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be collected does not."""
    try:
        return stat(pid)[0] not in ("Z", "X")
    except OSError:
        return False


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on. Raises OSError: there is no such process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


class PeakMemory:
    """``with PeakMemory(pids) as memory: ...``: how far the memory grew meanwhile."""

    PERIOD = 0.02  # seconds between two looks

    def __init__(self, roots: Iterable[int]) -> None:
        self._roots = list(roots)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._first = self._peak = 0

    @property
    def growth(self) -> int:
        """Bytes above the start."""
        return self._peak - self._first

    def __enter__(self) -> "PeakMemory":
        self._first = self._peak = private_bytes(self._roots)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(self.PERIOD):
            self._peak = max(self._peak, private_bytes(self._roots))
