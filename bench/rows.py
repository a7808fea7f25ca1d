"""What was measured: rows, kept as lines of JSON, and what they say together."""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Row:
    """One repetition of an operation on a target; times in seconds."""

    op: str
    mode: str
    target: str
    rep: int
    time: str = ""
    ops: int = 0
    wall: float = 0.0
    bytes: int = 0
    p50: float | None = None
    p99: float | None = None
    cpu: float | None = None  # of the server, all operations
    client_cpu: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def rate(self) -> float:
        """Operations a second."""
        return self.ops / self.wall

    @property
    def cpu_each(self) -> float | None:
        """The server's CPU time for one operation; None when it was too little to be seen."""
        return self.cpu / self.ops if self.cpu else None


@dataclass(frozen=True, slots=True)
class Summary:
    """Medians over the repetitions of an operation on a target."""

    count: int
    failed: int
    error: str = ""
    rate: float = 0.0
    slowest: float = 0.0
    fastest: float = 0.0
    bytes_rate: float | None = None
    p50: float | None = None
    p99: float | None = None
    cpu: float | None = None
    client_cpu: float | None = None
    extra: dict[str, float | None] = field(default_factory=dict)


Key = tuple[str, str]
"""Operation and mode."""


def grouped(rows: Iterable[Row]) -> dict[Key, dict[str, list[Row]]]:
    """The rows by operation and mode, then by target; in the order in which they come."""
    groups: dict[Key, dict[str, list[Row]]] = {}
    for row in rows:
        groups.setdefault((row.op, row.mode), {}).setdefault(row.target, []).append(row)
    return groups


def summary(rows: Sequence[Row]) -> Summary:
    """What repetitions of one operation on one target say."""
    good = [row for row in rows if not row.error]
    if not good:
        return Summary(0, len(rows), rows[0].error)
    return Summary(
        count=len(good),
        failed=len(rows) - len(good),
        rate=statistics.median(row.rate for row in good),
        slowest=min(row.rate for row in good),
        fastest=max(row.rate for row in good),
        bytes_rate=median(row.bytes / row.wall if row.bytes else None for row in good),
        p50=median(row.p50 for row in good),
        p99=median(row.p99 for row in good),
        cpu=median(row.cpu_each for row in good),
        client_cpu=median(row.client_cpu / row.ops for row in good),
        extra={name: median(row.extra.get(name) for row in good) for name in good[0].extra},
    )


def paired(
    ours: Sequence[Row], theirs: Sequence[Row], value: Callable[[Row], float | None]
) -> float | None:
    """The median over the repetitions of our value divided by theirs.

    A repetition's measurements follow each other at once, so each ratio compares what was measured
    under the same load of the machine.
    """
    others = {row.rep: row for row in theirs if not row.error}
    ratios = []
    for row in ours:
        other = others.get(row.rep)
        if row.error or other is None:
            continue
        mine, its = value(row), value(other)
        ratios.append(mine / its if mine and its else None)
    return median(ratios)


def median(values: Iterable[float | None]) -> float | None:
    """The median of those values that there are."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def append(row: Row, path: Path) -> None:
    """Add the row to a file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def read(paths: Iterable[Path]) -> list[Row]:
    """The rows of files, all together."""
    lines = [line for path in paths for line in path.read_text("utf-8").splitlines()]
    return [Row(**json.loads(line)) for line in lines if line]
