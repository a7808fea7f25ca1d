"""One measurement: what an operation gets to know, how it is timed, the row that comes of it."""

import os
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench import loads, procstat
from bench.processes import running
from bench.rows import Row
from bench.targets import HOST, Bench, Loaded, Target

SETTLE = 0.3  # seconds after the clients have finished that still count as the server's work

NODELAY, NAGLE = "nodelay", "nagle"
"""How a DICOM client writes, see `bench.dimse`."""
BOTH = (NODELAY, NAGLE)
ANY = ("-",)
"""For operations that make no such difference."""


class LeftOut(Exception):
    """The target does not offer what the operation needs; the reason."""


@dataclass(frozen=True, slots=True)
class Result:
    """What an operation did: how many of what it counts, in which time, and its latencies."""

    operations: int
    wall: float  # seconds
    bytes: int = 0
    latencies: Sequence[float] = ()
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """Something to measure; it raises LeftOut, or RuntimeError when an answer is wrong."""

    name: str
    about: str
    run: Callable[["Trial"], Result]
    modes: tuple[str, ...] = BOTH


@dataclass(slots=True)
class Trial:
    """One repetition of an operation on a target."""

    target: Target
    bench: Bench
    mode: str
    repetition: int
    scratch: Path
    scale: float  # of the amounts that are sent, 1.0 or less
    loaded: Loaded
    pids: list[int]
    server_cpu: float | None = None
    client_cpu: float = 0.0

    @property
    def nodelay(self) -> bool:
        """Whether the clients set TCP_NODELAY."""
        return self.mode != NAGLE

    @property
    def peer(self) -> loads.Peer:
        """The target as a DICOM application."""
        if not self.target.dicom_port:
            raise LeftOut("no DICOM server")
        titles = self.target.ae, self.bench.calling_ae
        return loads.Peer((HOST, self.target.dicom_port), titles, self.nodelay)

    def choices(self, count: int) -> list[int]:
        """Numbers to choose something by: in this repetition the same for every target."""
        return random.Random(self.repetition).choices(range(10**9), k=count)

    def amount(self, count: int) -> int:
        """The count, scaled."""
        return max(1, round(count * self.scale))

    def choose(self, count: int) -> int:
        """One of `count`, another one in each repetition."""
        return self.repetition % count

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder that is removed afterwards."""
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            yield Path(name)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """The block's CPU time counts, on both sides."""
        server, client = procstat.cpu_seconds(self.pids), _own_cpu()
        yield
        self.client_cpu = _own_cpu() - client
        time.sleep(SETTLE)
        if self.pids:
            self.server_cpu = procstat.cpu_seconds(self.pids) - server


def measure(operation: Operation, trial: Trial) -> Row:
    """Run the operation once; an error becomes part of the row. Raises LeftOut."""
    row = Row(
        op=operation.name,
        mode=trial.mode,
        target=trial.target.name,
        rep=trial.repetition,
        time=time.strftime("%Y-%m-%dT%H:%M:%S"),
    )
    try:
        result = operation.run(trial)
    except LeftOut:
        raise
    except Exception as error:  # noqa: BLE001 - a failed operation must not end the whole run
        row.error = f"{type(error).__name__}: {error}"
        return row
    row.ops, row.wall, row.bytes = result.operations, result.wall, result.bytes
    row.p50, row.p99 = quantile(result.latencies, 0.5), quantile(result.latencies, 0.99)
    row.cpu, row.client_cpu = trial.server_cpu, trial.client_cpu
    row.extra = dict(result.extra)
    return row


def trial_of(
    target: Target, bench: Bench, mode: str, repetition: int, scratch: Path, scale: float
) -> Trial:
    """The circumstances of one measurement. Raises LeftOut when the server does not run."""
    pids = running(target)
    if target.server and not pids:
        raise LeftOut("not running")
    return Trial(target, bench, mode, repetition, scratch, scale, target.loaded, pids)


def quantile(values: Sequence[float], share: float) -> float | None:
    """The value below which that share of the values lies; None without values."""
    if not values:
        return None
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def scratch_folder() -> Path:
    """Where files that are sent and received lie: PERF_SCRATCH, else memory if it can be."""
    chosen = os.environ.get("PERF_SCRATCH")
    memory = Path("/dev/shm")
    if chosen:
        return Path(chosen)
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


def _own_cpu() -> float:
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
