"""The servers' processes: started in the background, found again and stopped by their own number.

A pid file holds the number and the start time, so that a number given away anew is never
signalled.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.procstat import is_alive, start_time
from bench.targets import HOST, Target

START_TIMEOUT = 60  # seconds
STOP_TIMEOUT = 60  # seconds
_POLL = 0.1  # seconds


Command = Sequence[str | Path]


class Absent(Exception):
    """A program that is not installed, so that its target cannot be measured."""


def program(name: str, *folders: str) -> Path:
    """The program's path, on PATH or in one of the folders. Raises Absent."""
    found = shutil.which(name, path=os.pathsep.join((*folders, os.environ.get("PATH", ""))))
    if found is None:
        raise Absent(f"{name} is not installed")
    return Path(found)


def environment(nodelay: bool) -> dict[str, str]:
    """This process's environment, where TCP_NODELAY tells DCMTK's programs and Orthanc about it."""
    plain = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
    return plain | ({"TCP_NODELAY": "1"} if nodelay else {})


def spawn(target: Target, command: Command, part: str = "server", **options: Any) -> None:
    """Start a background process of the target; its output goes to a log in the target's folder."""
    target.folder.mkdir(parents=True, exist_ok=True)
    with open(target.folder / f"{part}.log", "ab") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(nodelay=True),
            start_new_session=True,
            **options,
        )
    _pid_file(target, part).write_text(f"{process.pid}\n{start_time(process.pid)}\n")


def running(target: Target) -> list[int]:
    """The target's root processes that are alive."""
    pids = [pid for path in _pid_files(target) if (pid := _alive(path))]
    for name in target.pid_files:
        try:
            pids.append(int(Path(name).read_text().split()[0]))
        except (OSError, ValueError, IndexError):
            continue
    return pids


def stop(target: Target) -> bool:
    """Stop what was started, the last first; returns whether anything ran."""
    ran = False
    for path in reversed(_pid_files(target)):
        pid = _alive(path)
        if pid is not None:
            ran = True
            os.kill(pid, signal.SIGINT if path.stem == "postgres" else signal.SIGTERM)
            ended = partial(_is_over, path)
            wait_until(ended, STOP_TIMEOUT, f"{target.name} does not stop")
        path.unlink()
    return ran


def wait_until(condition: Callable[[], bool], timeout: float, complaint: str) -> None:
    """Look again and again. Raises TimeoutError with the complaint."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(complaint)
        time.sleep(_POLL)


def wait_for_port(target: Target, port: int) -> None:
    """Wait until something listens. Raises TimeoutError, or RuntimeError when the server ended."""

    def serves() -> bool:
        if not running(target):
            raise RuntimeError(f"{target.name} ended, see {target.folder}")
        return listens(port)

    wait_until(serves, START_TIMEOUT, f"{target.name} does not listen on port {port}")


def listens(port: int) -> bool:
    """Whether something listens on this machine's port."""
    with socket.socket() as connection:
        return connection.connect_ex((HOST, port)) == 0


def _pid_file(target: Target, part: str) -> Path:
    return target.folder / f"{part}.pid"


def _pid_files(target: Target) -> list[Path]:
    """In the order in which the processes were started."""
    return sorted(target.folder.glob("*.pid"), key=lambda path: path.stat().st_mtime_ns)


def _is_over(path: Path) -> bool:
    return _alive(path) is None


def _alive(path: Path) -> int | None:
    pid, started = path.read_text().split()
    try:
        same = start_time(int(pid)) == started
    except OSError:
        return None
    return int(pid) if same and is_alive(int(pid)) else None
