"""DCMTK's programs as clients: they send and receive as modalities and workstations do."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from bench.loads import Peer
from bench.processes import environment
from bench.targets import HOST

DEADLINE = 570  # seconds for programs that run together

Command = list[str]


def run_together(commands: Sequence[Command], nodelay: bool) -> float:
    """Start all programs at once and wait for all; returns wall seconds.

    Raises RuntimeError when one of them fails, with the end of what it said, and
    subprocess.TimeoutExpired.
    """
    with ExitStack() as files:
        outputs = [files.enter_context(tempfile.TemporaryFile()) for _ in commands]
        return _run(commands, outputs, environment(nodelay))


def _run(
    commands: Sequence[Command], outputs: Sequence[IO[bytes]], variables: dict[str, str]
) -> float:
    start = time.perf_counter()
    programs = [
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
        )
        for command, output in zip(commands, outputs, strict=True)
    ]

    try:
        for program in programs:
            program.wait(max(0.0, start + DEADLINE - time.perf_counter()))
    finally:
        for program in programs:
            program.kill()  # does nothing to those that have ended
    wall = time.perf_counter() - start
    for program, command, output in zip(programs, commands, outputs, strict=True):
        if program.returncode:
            output.seek(max(0, output.seek(0, os.SEEK_END) - 300))
            said = output.read().decode("utf-8", "replace").strip()
            raise RuntimeError(f"{command[0]} ended with {program.returncode}: {said}")
    return wall


def storescu(peer: Peer, files: Sequence[Path]) -> Command:
    """Store the files through one association, in Presentation Contexts for these alone."""
    return ["storescu", "-R", *_peer(peer), *map(str, files)]


def getscu(peer: Peer, study_uid: str, folder: Path) -> Command:
    """C-GET of a study into a folder, written as it comes."""
    return ["getscu", "-S", "+B", "-od", str(folder), *_study(study_uid), *_peer(peer)]


def movescu(peer: Peer, study_uid: str, destination: str) -> Command:
    """C-MOVE of a study to an AE title."""
    return ["movescu", "-S", "-aem", destination, *_study(study_uid), *_peer(peer)]


@contextmanager
def storescp(ae: str, port: int, folder: Path, nodelay: bool) -> Iterator[None]:
    """A receiver that writes what comes into the folder."""
    receiver = subprocess.Popen(
        ["storescp", "+B", "-aet", ae, "-od", str(folder), str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(nodelay),
    )
    try:
        time.sleep(0.4)  # asking it whether it listens would be an association
        yield
    finally:
        receiver.terminate()
        receiver.wait()


def _peer(peer: Peer) -> Command:
    called, calling = peer.titles
    return ["-aet", calling, "-aec", called, HOST, str(peer.address[1])]


def _study(study_uid: str) -> Command:
    return ["-k", "0008,0052=STUDY", "-k", f"0020,000d={study_uid}"]
