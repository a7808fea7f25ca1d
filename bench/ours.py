"""santepacs as a target: `twistd -n santepacs` of an installed wheel, as its user starts it.

Its embedded PostgreSQL is a child of twistd, so it counts as the server's. Run as root, it needs
a work folder that an unprivileged account can reach.
"""

import os
import subprocess
from pathlib import Path

from bench.processes import Absent, Command, spawn
from bench.targets import HOST, Bench, Target

USER, PASSWORD = "bench", "measured side by side"


def start(target: Target, bench: Bench) -> None:
    """Start it with default settings but for its ports; add the move destination and a user."""
    programs = Path(target.server["programs"] or "/nowhere")
    if not os.access(programs / "santepacs", os.X_OK):
        raise Absent(f"santepacs is not installed in {programs}")
    _add_peer(target, programs, bench)
    _add_user(target, programs)
    serve: Command = (programs / "twistd", "--nodaemon", "--pidfile=", "santepacs")
    # Not where the sources lie: the installed wheel is measured.
    spawn(target, [*serve, *_arguments(target)], cwd="/")


def index_dsn(target: Target) -> str:
    """How to connect to its database as the owner of the schema."""
    socket = target.folder / "data" / "postgres" / "socket"
    return f"host={socket} port=5432 user=santepacs_owner dbname=santepacs"


def _arguments(target: Target) -> list[str]:
    settings = {
        "dicom.port": target.dicom_port,
        "hl7.port": target.hl7_port,
        "web.port": target.http_port,
        "dicom.bind": HOST,
        "hl7.bind": HOST,
        "web.bind": HOST,
    }
    arguments = ["--data", str(target.folder / "data")]
    for name, value in settings.items():
        arguments += ["--set", f"{name}={value}"]
    return arguments


def _add_peer(target: Target, programs: Path, bench: Bench) -> None:
    # Where there is no data yet, nothing can be listed.
    if bench.move_ae not in _command(target, programs, "peer", "list").stdout.split():
        add = ("peer", "add", bench.move_ae, HOST, str(bench.move_port))
        _done(target, _command(target, programs, *add))


def _add_user(target: Target, programs: Path) -> None:
    if USER not in _command(target, programs, "user", "list").stdout.split():
        add = ("user", "add", USER, "--password-stdin")
        _done(target, _command(target, programs, *add, stdin=PASSWORD + "\n"))


def _command(
    target: Target, programs: Path, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run an admin command."""
    command: Command = [programs / "santepacs", *_arguments(target), *arguments]
    return subprocess.run(command, cwd="/", input=stdin, capture_output=True, text=True)


def _done(target: Target, command: subprocess.CompletedProcess[str]) -> None:
    if command.returncode:
        raise RuntimeError(f"{target.name}: {command.stderr.strip()[-300:]}")
