"""Orthanc as a target, as its packages install it; also its worklist plugin.

It serves this machine without log-in and without checking AE titles, as santepacs does. Its index
is SQLite, or a PostgreSQL of its own. What it promises about stable storage is left as it is
(SyncStorageArea is on by default). It gets 16 threads for DICOM instead of its 4.
"""

import json
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from bench import orders
from bench.processes import Absent, Command, program, spawn, wait_until
from bench.targets import HOST, Bench, Target

PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")
POSTGRES_FOLDERS = "/usr/lib/postgresql"
POSTGRES_TIMEOUT = 60  # seconds


def start(target: Target, bench: Bench) -> None:
    """Start it with DICOM and REST."""
    options: dict[str, Any] = {
        "DicomPort": target.dicom_port,
        "HttpPort": target.http_port,
        "DicomAet": target.ae,
        "DicomModalities": {"bench": [bench.move_ae, HOST, bench.move_port]},
    }
    if target.server["index"] == "postgresql":
        plugin = _plugin("OrthancPostgreSQLIndex")
        options["Plugins"] = [plugin]
        options["PostgreSQL"] = {
            "EnableIndex": True,
            "EnableStorage": False,
            "EnableSsl": False,
            "ConnectionUri": f"postgresql://postgres@/postgres?host={_start_postgres(target)}",
        }
    _launch(target, options)


def start_worklist(target: Target, bench: Bench) -> None:
    """Start it as a worklist server."""
    (worklist,) = target.worklists
    folder = target.folder / "worklist"
    folder.mkdir(exist_ok=True)
    orders.write_worklist(int(worklist.name), folder)
    options = {
        "DicomPort": worklist.port,
        "DicomAet": worklist.ae,
        "HttpServerEnabled": False,
        "DicomAlwaysAllowFindWorklist": True,
        "Plugins": [_plugin("ModalityWorklists")],
        "Worklists": {"Enable": True, "Database": str(folder)},
    }
    _launch(target, options)


def _launch(target: Target, options: dict[str, Any]) -> None:
    serve = program("Orthanc", "/usr/sbin")
    data = str(target.folder / "db")
    common = {
        "StorageDirectory": data,
        "IndexDirectory": data,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomThreadsCount": 16,
    }
    configuration = target.folder / "orthanc.json"
    configuration.write_text(json.dumps(common | options, indent=1))
    spawn(target, [serve, configuration])


def _plugin(name: str) -> str:
    for folder in (os.environ.get("ORTHANC_PLUGINS", ""), *PLUGIN_FOLDERS):
        path = Path(folder, f"lib{name}.so")
        if folder and path.exists():
            return str(path)
    raise Absent(f"Orthanc's plugin {name} is not installed")


def _start_postgres(target: Target) -> Path:
    """Start a PostgreSQL with default parameters; returns its socket's folder."""
    programs = _postgres_programs()
    program("Orthanc", "/usr/sbin")
    folder = target.folder / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    account: dict[str, Any] = {}
    if os.geteuid() == 0:  # as which PostgreSQL does not run
        owner = pwd.getpwnam("postgres")
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        account = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    cluster = folder / "cluster"
    if not cluster.exists():
        initdb: Command = [
            programs / "initdb",
            "-D",
            cluster,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **account)
    socket = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}"]
    spawn(target, [programs / "postgres", "-D", cluster, *socket], "postgres", cwd="/", **account)
    ready: Command = [programs / "pg_isready", "--quiet", "--host", folder]
    wait_until(
        lambda: subprocess.run(ready).returncode == 0,
        POSTGRES_TIMEOUT,
        f"{target.name}: PostgreSQL does not start, see {target.folder}",
    )
    return folder


def _postgres_programs() -> Path:
    """PERF_POSTGRES, or the newest that Debian's packages have installed."""
    chosen = os.environ.get("PERF_POSTGRES")
    folders = Path(POSTGRES_FOLDERS).glob("*/bin")
    found = [Path(chosen)] if chosen else sorted(folders, key=lambda f: float(f.parent.name))
    found = [folder for folder in found if os.access(folder / "initdb", os.X_OK)]
    if not found:
        raise Absent("PostgreSQL is not installed")
    return found[-1]
