"""The servers that can be measured (targets.toml), and where their data lies."""

import json
import os
import re
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Bench:
    """The measuring side, as the servers know it."""

    calling_ae: str
    move_ae: str
    move_port: int


@dataclass(frozen=True, slots=True)
class Worklist:
    """A worklist of as many orders as its name says."""

    name: str
    port: int
    ae: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a server was loaded with, to be found and retrieved: see `bench.prepare`."""

    studies: int = 0
    ct_studies: int = 0
    orders: int = 0


@dataclass(frozen=True, slots=True)
class Target:
    """A server; `folder` holds its data, logs and pid files."""

    name: str
    folder: Path
    dicom_port: int = 0
    ae: str = ""
    find: bool = True
    http: str = ""
    zip: str = ""
    worklists: tuple[Worklist, ...] = ()
    hl7_port: int = 0
    data: str = "store"
    pid_files: tuple[str, ...] = ()
    server: Mapping[str, str] = field(default_factory=dict)
    parser: Mapping[str, str] = field(default_factory=dict)

    @property
    def http_port(self) -> int:
        """The port in `http`; 0 without one."""
        return urlsplit(self.http).port or 0

    @property
    def loaded(self) -> Loaded:
        """What `prepare` has loaded."""
        try:
            return Loaded(**json.loads(self._loaded_file.read_text()))
        except FileNotFoundError:
            return Loaded()

    def remember(self, loaded: Loaded) -> None:
        """Note what is loaded, beside the data."""
        content = {name: getattr(loaded, name) for name in Loaded.__dataclass_fields__}
        self._loaded_file.write_text(json.dumps(content))

    @property
    def _loaded_file(self) -> Path:
        return self.folder / "loaded.json"


def work_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Where all data, logs and pid files go: PERF_WORK, by default var/bench of the repository."""
    return Path(environment.get("PERF_WORK") or HERE.parent / "var" / "bench").absolute()


def load(environment: Mapping[str, str] = os.environ) -> tuple[Bench, dict[str, Target]]:
    """The measuring side and all targets by name, of the file PERF_TARGETS or targets.toml."""
    work = work_folder(environment)
    known = {"PERF_SANTEPACS": str(Path(sys.executable).parent), **environment}
    known["PERF_WORK"] = str(work)
    text = Path(environment.get("PERF_TARGETS") or HERE / "targets.toml").read_text("utf-8")
    text = re.sub(r"\$\{(\w+)\}", lambda match: known.get(match[1], ""), text)
    tables: dict[str, dict[str, Any]] = tomllib.loads(text)
    bench = Bench(**tables.pop("bench"))
    return bench, {name: _target(name, work, table) for name, table in tables.items()}


def _target(name: str, work: Path, table: dict[str, Any]) -> Target:
    worklists = tuple(Worklist(**entry) for entry in table.pop("worklists", ()))
    pid_files = tuple(table.pop("pid_files", ()))
    return Target(name, work / name, worklists=worklists, pid_files=pid_files, **table)
