"""Starting the servers that can be measured, each with its data in its own folder."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from bench import orders, orthanc, ours
from bench.processes import Absent, listens, program, running, spawn, stop, wait_for_port
from bench.targets import HERE, Bench, Target

DCMTK = ("storescu", "storescp", "getscu", "movescu")
"""The programs of dcmtk that measure."""


def up(target: Target, bench: Bench) -> None:
    """Start the server and wait until it serves.

    Raises Absent when a program is not installed, RuntimeError when it runs already, something
    else has one of its ports, or it ends.
    """
    if running(target):
        raise RuntimeError(f"{target.name} runs already")
    for port in _ports(target):
        if listens(port):
            raise RuntimeError(f"{target.name}: port {port} is taken")
    kind = target.server.get("kind", "")
    if kind not in _START:
        raise RuntimeError(f"{target.name} is not started from here")
    target.folder.mkdir(parents=True, exist_ok=True)
    try:
        _START[kind](target, bench)
        for port in _ports(target):
            wait_for_port(target, port)
    except BaseException:
        stop(target)
        raise


def _ports(target: Target) -> list[int]:
    ports = {target.dicom_port, target.hl7_port, target.http_port}
    return sorted((ports | {worklist.port for worklist in target.worklists}) - {0})


def _start_storescp(target: Target, bench: Bench) -> None:
    store = _folder(target, "db")
    options = ("--fork", "+B", "-aet", target.ae, "-od", str(store))
    spawn(target, [program("storescp"), *options, str(target.dicom_port)])


def _start_wlmscpfs(target: Target, bench: Bench) -> None:
    serve = program("wlmscpfs")
    worklist = target.worklists[0]
    orders.write_worklist(int(worklist.name), _folder(target, "worklists", worklist.ae))
    folder = target.folder / "worklists"
    spawn(target, [serve, "--fork", "-dfp", folder, str(worklist.port)])


def _start_hl7(target: Target, bench: Bench) -> None:
    package = {"twisted": "twisted", "python-hl7": "hl7"}[target.server["which"]]
    if importlib.util.find_spec(package) is None:
        raise Absent(f"the package {package} is not installed")
    command = [sys.executable, "-m", "bench.hl7_servers"]
    command += [target.server["which"], str(target.hl7_port)]
    spawn(target, command, cwd=HERE.parent)


def _folder(target: Target, *parts: str) -> Path:
    folder = target.folder.joinpath(*parts)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


_START: dict[str, Callable[[Target, Bench], None]] = {
    "santepacs": ours.start,
    "orthanc": orthanc.start,
    "orthanc-worklist": orthanc.start_worklist,
    "storescp": _start_storescp,
    "wlmscpfs": _start_wlmscpfs,
    "hl7": _start_hl7,
}
