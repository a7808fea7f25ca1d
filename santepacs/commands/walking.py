"""Which files below some paths are to be imported.

Flat in memory however many there are. Symbolic links inside a folder are never followed: one that
leads out of it is none of our business, one that stays inside leads to what is found anyway.
"""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from santepacs.errors import Malformed, NotFound


def check_paths(paths: Iterable[str]) -> None:
    """Raise NotFound or Malformed for a path where there is nothing to import."""
    for path in paths:
        if not os.path.exists(path):
            raise NotFound(f"there is no {path}")
        if not (os.path.isdir(path) or os.path.isfile(path)):
            raise Malformed(f"{path} is neither a file nor a folder")


def check_outside(paths: Iterable[str], data: Path) -> None:
    """Raise Malformed for a path inside the data directory: the archive does not eat itself."""
    own = data.resolve()
    for path in paths:
        if Path(path).resolve().is_relative_to(own):
            raise Malformed(f"{path} is inside the data directory itself")


def files(
    paths: Iterable[str],
    data: Path,
    *,
    link: Callable[[str], None],
    unreadable: Callable[[str, str], None],
) -> Iterator[str]:
    """The regular files at and below `paths`, except those in the data directory `data`.

    A path that is given is followed where it leads, even if it is a link. `link` is called with
    each link that is left out, `unreadable` with a folder and the reason.
    """
    own = data.stat()
    for path in paths:
        real = os.path.realpath(path) if os.path.islink(path) else path
        if not os.path.isdir(real):
            yield real
            continue
        folders = [real]
        while folders:
            folder = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if entry.is_symlink():
                            link(entry.path)
                        elif entry.is_file(follow_symlinks=False):
                            yield entry.path
                        elif _is_other_folder(entry, own):
                            folders.append(entry.path)
            except OSError as error:
                unreadable(folder, error.strerror or "cannot be read")


def _is_other_folder(entry: "os.DirEntry[str]", own: os.stat_result) -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    return not os.path.samestat(entry.stat(follow_symlinks=False), own)


def open_regular(path: str) -> int:
    """A descriptor of the file `path`, if it still is one. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "is no longer a file", path)
    return descriptor
