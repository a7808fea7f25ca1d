"""A short comparison of santepacs with whatever is installed beside it; takes a few minutes."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import processes, table
from bench.operations import OPERATIONS
from bench.prepare import prepare
from bench.run import Plan, run
from bench.servers import DCMTK, up
from bench.targets import load, work_folder
from bench.trial import NODELAY

TARGETS = ("santepacs", "orthanc-sqlite", "orthanc-pg")
MEASURED = ("store_ct_1", "store_ct_4", "store_ct_50", "store_small_1", "store_small_16",
            "echo_1", "find_id", "find_name", "find_date", "get", "move")  # fmt: skip
STUDIES = 4000
CT_STUDIES = 1
SCALE = 0.25
REPETITIONS = 3


def short(note: Callable[[str], None]) -> str:
    """Start, load, measure and stop the servers; the table.

    All data is new and goes afterwards. Raises Absent when santepacs or dcmtk is not installed.
    """
    for name in DCMTK:
        processes.program(name)
    work = work_folder()
    work.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="short.", dir=work) as folder:
        Path(folder).chmod(0o711)  # PostgreSQL's account has to pass
        return _measured(Path(folder), note)


def _measured(work: Path, note: Callable[[str], None]) -> str:
    bench, targets = load({**os.environ, "PERF_WORK": str(work)})
    chosen = [targets[name] for name in TARGETS]
    present = []
    try:
        for target in chosen:
            try:
                up(target, bench)
            except processes.Absent as reason:
                if target is chosen[0]:
                    raise
                note(f"left out: {target.name}: {reason}")
                continue
            present.append(target)
            prepare(target, bench, STUDIES, CT_STUDIES, note)
        operations = [OPERATIONS[name] for name in MEASURED]
        rows = run(Plan(present, operations, (NODELAY,), REPETITIONS, SCALE), bench, note)
    finally:
        for target in present:
            processes.stop(target)
    others = ", ".join(name for name in OPERATIONS if name not in MEASURED)
    note(f"left out, see README.md: {others}, and clients with Nagle's algorithm on")
    return table.comparison(rows)
