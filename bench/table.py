"""Tables of what was measured, as text."""

from collections.abc import Sequence

from bench.rows import Row, Summary, grouped, paired, summary

_NONE = "-"
_WIDTH = 24
_RATIO_WIDTH = 18


def comparison(rows: Sequence[Row], first: str = "") -> str:
    """A line for each operation: every target's figures, and how `first` compares with the others.

    By default the target of the first row is compared. Operations that were measured on the same
    targets share a table.
    """
    if not rows:
        return "nothing was measured"
    first = first or rows[0].target
    tables: dict[tuple[str, ...], list[str]] = {}
    for (name, mode), measured in grouped(rows).items():
        targets = sorted(measured, key=lambda target: target != first)
        others = targets[1:] if first in measured else []
        lines = tables.setdefault(tuple(targets), [_head(targets, others)])
        cells = [_cell(measured[target]).rjust(_WIDTH) for target in targets]
        cells += [_ratios(measured[first], measured[other]).rjust(_RATIO_WIDTH) for other in others]
        lines.append(f"{name:18s}{mode:9s}" + "".join(cells))
    legend = [
        f"x: how many times as fast {first} is | how many times less CPU time its server needs",
        "!: some repetitions failed, --details says why",
    ]
    return "\n".join(["\n\n".join("\n".join(lines) for lines in tables.values()), "", *legend])


def details(rows: Sequence[Row]) -> str:
    """A line for each operation and target, with spread, throughput and what else was measured."""
    lines = [
        f"{'op':18s}{'mode':9s}{'target':25s}{'ops/s':>9s}{'(min..max)':>19s}{'MB/s':>9s}"
        f"{'p50 ms':>9s}{'p99 ms':>9s}{'CPU ms/op':>10s}{'client':>9s}  n  more"
    ]
    for (name, mode), by_target in grouped(rows).items():
        for target, measured in by_target.items():
            lines.append(f"{name:18s}{mode:9s}{target:25s}{_detail(summary(measured))}")
    return "\n".join(lines)


def number(value: float | None, scale: float = 1.0) -> str:
    """The value times `scale`, with three digits or all before the point."""
    if value is None:
        return _NONE
    value *= scale
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f}"


def _head(targets: Sequence[str], others: Sequence[str]) -> str:
    return (
        f"{'ops/s | p50 ms | CPU ms/op':27s}"
        + "".join(f"{name:>{_WIDTH}s}" for name in targets)
        + "".join(f"{'x ' + name:>{_RATIO_WIDTH}s}" for name in others)
    )


def _cell(rows: Sequence[Row]) -> str:
    found = summary(rows)
    if not found.count:
        return "failed"
    figures = " | ".join((number(found.rate), number(found.p50, 1e3), number(found.cpu, 1e3)))
    return f"{'! ' if found.failed else ''}{figures}"


def _ratios(ours: Sequence[Row], theirs: Sequence[Row]) -> str:
    """Medians of the repetitions' ratios: our rate by theirs, their CPU time by ours."""
    rate = paired(ours, theirs, lambda row: row.rate)
    cpu = paired(theirs, ours, lambda row: row.cpu_each)
    return f"{number(rate)} | {number(cpu)}"


def _detail(found: Summary) -> str:
    if not found.count:
        return f" ERROR {found.error[:100]}"
    spread = f"({number(found.slowest)}..{number(found.fastest)})"
    more = " ".join(f"{name}={number(value)}" for name, value in found.extra.items())
    failed = f" {found.failed} failed" if found.failed else ""
    return (
        f"{number(found.rate):>9s}{spread:>19s}{number(found.bytes_rate, 1e-6):>9s}"
        f"{number(found.p50, 1e3):>9s}{number(found.p99, 1e3):>9s}{number(found.cpu, 1e3):>10s}"
        f"{number(found.client_cpu, 1e3):>9s}  {found.count}{failed}  {more}"
    ).rstrip()
