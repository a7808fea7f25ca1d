"""A run: every operation, repeated, on every target in turn."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import rows
from bench.rows import Row
from bench.table import number
from bench.targets import Bench, Target
from bench.trial import LeftOut, Operation, measure, scratch_folder, trial_of


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured."""

    targets: Sequence[Target]
    operations: Sequence[Operation]
    modes: Sequence[str]
    repetitions: int
    scale: float = 1.0
    out: Path | None = None


def run(plan: Plan, bench: Bench, note: Callable[[str], None]) -> list[Row]:
    """Measure; `note` hears of each measurement, and at the end of what was left out."""
    measured: list[Row] = []
    left_out: dict[str, None] = {}
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as name:
        for operation, mode, repetition, target in turns(plan):
            try:
                trial = trial_of(target, bench, mode, repetition, Path(name), plan.scale)
                row = measure(operation, trial)
            except LeftOut as reason:
                left_out[f"left out: {operation.name} on {target.name}: {reason}"] = None
                continue
            measured.append(row)
            note(_brief(row))
            if plan.out is not None:
                rows.append(row, plan.out)
    for line in left_out:
        note(line)
    return measured


def turns(plan: Plan) -> Iterator[tuple[Operation, str, int, Target]]:
    """What is measured when: targets follow each other at once, in another order each time."""
    for operation in plan.operations:
        for mode in operation.modes:
            if mode not in plan.modes:
                continue
            for repetition in range(plan.repetitions):
                order = plan.targets if repetition % 2 == 0 else plan.targets[::-1]
                for target in order:
                    yield operation, mode, repetition, target


def _brief(row: Row) -> str:
    what = f"{row.op:18s}{row.mode:9s}{row.target:25s}{row.rep}"
    if row.error:
        return f"{what}  ERROR {row.error}"
    cpu = number(row.cpu)
    return f"{what}{number(row.rate):>10s}/s {row.wall:8.2f} s  CPU {cpu:>5s} s"
