"""Loading a target once with what is found and retrieved: studies, CT studies, orders."""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench import clients, corpus, mllp, ours
from bench.loads import Peer
from bench.processes import Command
from bench.targets import HERE, HOST, Bench, Target
from bench.trial import scratch_folder

ASSOCIATIONS = 4
BATCH = 4000  # objects


def prepare(
    target: Target, bench: Bench, studies: int, ct_studies: int, note: Callable[[str], None]
) -> None:
    """Load what is missing; `note` hears of every step.

    Raises ValueError when the studies would not be spread evenly or are fewer than there are.
    """
    if studies % corpus.EVEN:
        raise ValueError(f"the number of studies must be a multiple of {corpus.EVEN}")
    if target.data == "index":
        _fill_index(target, studies, note)
        return
    if target.data == "worklist":
        _fill_worklist(target, note)
        return
    peer = Peer((HOST, target.dicom_port), (target.ae, bench.calling_ae), nodelay=True)
    with TemporaryDirectory(dir=scratch_folder()) as scratch:
        if target.dicom_port and target.find:
            _store_fill(target, peer, studies, Path(scratch), note)
            _store_ct(target, peer, ct_studies, Path(scratch), note)
    if target.hl7_port and target.worklists:
        _send_orders(target, int(target.worklists[0].name), note)


def _store_fill(
    target: Target, peer: Peer, studies: int, scratch: Path, note: Callable[[str], None]
) -> None:
    for first in range(target.loaded.studies, studies, BATCH):
        numbers = range(first, min(first + BATCH, studies))
        files = list(corpus.write_fill(numbers, scratch))
        wall = _store(peer, files)
        target.remember(replace(target.loaded, studies=numbers.stop))
        note(f"{target.name}: {numbers.stop} studies, {len(files) / wall:.0f}/s")


def _store_ct(
    target: Target, peer: Peer, ct_studies: int, scratch: Path, note: Callable[[str], None]
) -> None:
    if target.loaded.ct_studies >= ct_studies:
        return
    files = corpus.CT.write(ct_studies * corpus.CT.of_study, corpus.RETRIEVED, scratch)
    wall = _store(peer, files)
    target.remember(replace(target.loaded, ct_studies=ct_studies))
    note(f"{target.name}: {ct_studies} CT studies, {len(files) / wall:.0f} images/s")


def _store(peer: Peer, files: Sequence[Path]) -> float:
    """Store by several associations, and remove the files; wall seconds."""
    shares = [files[first::ASSOCIATIONS] for first in range(ASSOCIATIONS)]
    wall = clients.run_together(
        [clients.storescu(peer, share) for share in shares if share], nodelay=True
    )
    for path in files:
        path.unlink()
    return wall


def _send_orders(target: Target, count: int, note: Callable[[str], None]) -> None:
    if target.loaded.orders == count:
        return
    sent = mllp.send_orders((HOST, target.hl7_port), count, connections=8, distinct=count)
    target.remember(replace(target.loaded, orders=count))
    note(f"{target.name}: {count} orders, {count / sent.wall:.0f}/s")


def _fill_index(target: Target, studies: int, note: Callable[[str], None]) -> None:
    if target.loaded.studies:
        return
    _write_rows(target, "fill_index.py", "--studies", studies)
    target.remember(replace(target.loaded, studies=studies))
    note(f"{target.name}: {studies} studies in the index")


def _fill_worklist(target: Target, note: Callable[[str], None]) -> None:
    steps = int(target.worklists[0].name)
    if target.loaded.orders:
        return
    _write_rows(target, "fill_worklist.py", "--steps", steps)
    target.remember(replace(target.loaded, orders=steps))
    note(f"{target.name}: {steps} steps in the worklist")


def _write_rows(target: Target, script: str, option: str, count: int) -> None:
    """Let a script write rows into the target's database."""
    python = Path(target.server["programs"]) / "python"
    command: Command = [python, HERE / script, ours.index_dsn(target), option, str(count)]
    subprocess.run(command, check=True, cwd="/")
