"""The data directory: where it is, and that it can be used.

Its folders are those of the contract; the database's own is made by `santepacs.db.embedded`.
All else belongs to the account that runs santepacs and is closed to others.
Everything here blocks and is called before the reactor runs, or by a command.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from santepacs.errors import Forbidden, Malformed, Unavailable
from santepacs.host.accounts import account_of, can_enter, unprivileged_account

FALLBACK = Path("/var/lib/santepacs")
FOLDERS = ("objects", "incoming", "aside", "bin", "discs", "log")


def default_data_directory(
    preferred: Path = Path("var"), fallback: Path = FALLBACK
) -> tuple[Path, str]:
    """Where the data goes when nobody says so, and a line for the operator ("" if none).

    That is `preferred`; as root, if the account that runs PostgreSQL cannot reach it, `fallback`.
    A data directory in use stays, so that an archive never seems empty because of another user.
    """
    preferred = preferred.absolute()
    if (preferred / "secret.key").exists():
        return preferred, ""
    try:
        account = unprivileged_account()
        if account is None or can_enter(account, _nearest_existing(preferred)):
            return preferred, ""
    except Unavailable:
        return preferred, ""  # the embedded database, if it is wanted, says why it cannot run
    return fallback, (
        f"the data directory is {fallback}, because the account {account.pw_name}, "
        f"which runs the database, cannot reach {preferred}"
    )


@dataclass(frozen=True)
class DataDirectory:
    """The places in the data directory `root`."""

    root: Path

    @property
    def postgres(self) -> Path:
        """The embedded database; may belong to another account."""
        return self.root / "postgres"

    @property
    def objects(self) -> Path:
        """Stored objects."""
        return self.root / "objects"

    @property
    def incoming(self) -> Path:
        """Objects being received, on the same file system as `objects`."""
        return self.root / "incoming"

    @property
    def aside(self) -> Path:
        """Objects set aside because of a conflict."""
        return self.root / "aside"

    @property
    def bin(self) -> Path:
        """Deleted studies until they are purged."""
        return self.root / "bin"

    @property
    def discs(self) -> Path:
        """Disc images and jobs."""
        return self.root / "discs"

    @property
    def log(self) -> Path:
        """What the operator reads."""
        return self.root / "log"


def prepare(path: Path) -> DataDirectory:
    """Make what is missing of the data directory `path` and check that it can be used.

    Raises Malformed (something else has its place), Forbidden (it belongs to another account, and
    the admin command would act as that one) or Unavailable (it cannot be written).
    """
    data = DataDirectory(path.absolute())
    try:
        _make_root(data.root)
        if data.root.stat().st_uid != os.geteuid():
            owner = account_of(data.root).pw_name
            raise Forbidden(f"{data.root} belongs to {owner}: start santepacs as {owner}")
        for name in FOLDERS:
            (data.root / name).mkdir(mode=0o700, exist_ok=True)
        _check_links(data.incoming, data.objects)
    except (FileExistsError, NotADirectoryError) as error:
        raise Malformed(f"{error.filename} is not a folder") from error
    except OSError as error:
        raise Unavailable(f"cannot use {error.filename or path}: {error.strerror}") from error
    return data


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _make_root(path: Path) -> None:
    """As root, the account that runs PostgreSQL must be able to pass what we make."""
    mode = 0o711 if os.geteuid() == 0 else 0o700
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)
    path.mkdir(exist_ok=True)  # says so when it is not a folder


def _check_links(incoming: Path, objects: Path) -> None:
    """Objects are linked from `incoming` into `objects`: try it."""
    name = f".linked-{os.getpid()}"
    source, target = incoming / name, objects / name
    try:
        source.touch(mode=0o600)
        os.link(source, target)
    except OSError as error:
        if error.errno in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP):
            raise Malformed(
                f"{incoming} and {objects} must be on one file system that has hard links"
            ) from error
        raise
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
