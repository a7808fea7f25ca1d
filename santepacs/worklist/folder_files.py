"""The files of the watched folder (S60 to S62). Blocking.

Whoever may write there may be anybody, so a name is never joined to a path, only regular files are
read and never through a link, and nothing is overwritten: a new name is reserved, empty, before a
file is renamed to it. Names are shown to nobody; people put patients' names into them.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from heapq import nsmallest

from santepacs.errors import Malformed, Unavailable

EXTENSIONS = (".txt", ".hl7")
CLAIMED = ".processing"
DONE = ".DON"
FAILED = ".ERR"
REASON = ".txt"  # appended to a failed file's name

MAXIMUM_FILES = 500  # of one look
LONGEST_NAME = 200  # bytes; names get longer by what is appended
_MAXIMUM_NAMES = 100  # tried for one file, before its own time stamp must tell it apart


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file that may hold messages, as it was when it was looked at."""

    name: str
    size: int
    modified: int

    @property
    def is_claimed(self) -> bool:
        """Whether it was taken in hand, in this run of the server or an earlier one."""
        return self.name.endswith(CLAIMED)

    @property
    def original_name(self) -> str:
        """Its name before it was claimed."""
        return self.name.removesuffix(CLAIMED)

    @property
    def state(self) -> tuple[str, int, int]:
        """What changes while somebody writes it, and does not when it is claimed."""
        return self.original_name, self.size, self.modified


@dataclass(frozen=True, slots=True)
class Listing:
    """The oldest files of a folder, and how many others with such names are left alone."""

    files: list[FoundFile]
    unsuitable: int


def look(path: str) -> Listing:
    """What there is to be taken. Raises Unavailable saying what is wrong with the folder."""
    with _opened(path) as folder:
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
            raise Unavailable("the server's account may not write in the watched folder")
        unsuitable: list[str] = []
        files = nsmallest(
            MAXIMUM_FILES,
            _suitable(folder, unsuitable),
            key=lambda file: (file.modified, file.name),
        )
        return Listing(files, len(unsuitable))


def _suitable(folder: int, unsuitable: list[str]) -> Iterator[FoundFile]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if not _is_wanted(name):
                continue
            try:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue  # it is gone
            if not stat.S_ISREG(found.st_mode) or len(os.fsencode(name)) > LONGEST_NAME:
                unsuitable.append(name)
            elif found.st_size:  # an empty one is about to be written
                yield FoundFile(name, found.st_size, found.st_mtime_ns)


def _is_wanted(name: str) -> bool:
    """Messages, and what was claimed; no hidden files, and not the reasons of failed ones."""
    lower = name.lower()
    if name.startswith(".") or lower.endswith((FAILED + REASON).lower()):
        return False
    if name.endswith(CLAIMED):
        return any(f"{extension}." in lower for extension in EXTENSIONS)
    return lower.endswith(EXTENSIONS)


def claim(path: str, file: FoundFile) -> FoundFile | None:
    """Rename the file, so that nobody takes it twice; None when it is gone.

    Raises Unavailable when that is not possible: then it must not be read either.
    """
    if file.is_claimed:
        return file
    with _opened(path) as folder:
        try:
            name = _renamed(folder, file, file.name, CLAIMED)
        except FileNotFoundError:
            return None
        return FoundFile(name, file.size, file.modified)


def read(path: str, file: FoundFile, limit: int) -> bytes | None:
    """The content of a claimed file; None when somebody still writes it.

    Raises Malformed when it has more than `limit` bytes or cannot be read.
    """
    with _opened(path) as folder:
        try:
            descriptor = os.open(
                file.name,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                dir_fd=folder,
            )
        except OSError as error:
            raise Malformed(f"the file cannot be read: {error.strerror}") from None
        with open(descriptor, "rb") as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise Malformed("it is not a regular file")
            if (found.st_size, found.st_mtime_ns) != (file.size, file.modified):
                return None
            if found.st_size > limit:
                raise Malformed(f"the file has more than {limit} bytes")
            try:
                return opened.read(limit)
            except OSError as error:
                raise Malformed(f"the file cannot be read: {error.strerror}") from None


def erase(path: str, file: FoundFile) -> None:
    """Delete a claimed file. Raises Unavailable."""
    with _opened(path) as folder, suppress(FileNotFoundError):
        os.unlink(file.name, dir_fd=folder)


def put_aside(path: str, file: FoundFile, reason: str = "") -> None:
    """Rename a claimed file to ``.DON``; with a `reason`, to ``.ERR``, the reason in a file beside
    it. Raises Unavailable.
    """
    with _opened(path) as folder, suppress(FileNotFoundError):
        if not reason:
            _renamed(folder, file, file.original_name, DONE)
            return
        name = _renamed(folder, file, file.original_name, FAILED)
        with suppress(FileExistsError):
            descriptor = _created(folder, name + REASON)
            with open(descriptor, "w", encoding="utf-8") as opened:
                opened.write(reason + "\n")


@contextmanager
def _opened(path: str) -> Iterator[int]:
    """The folder as a descriptor. Raises Unavailable, also for what fails within the block."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Unavailable(f"the watched folder {path} is not there") from None
    except NotADirectoryError:
        raise Unavailable(f"the watched folder {path} is no folder") from None
    except PermissionError:
        raise Unavailable(f"the server's account may not read the watched folder {path}") from None
    except OSError as error:
        raise Unavailable(f"the watched folder cannot be opened: {error.strerror}") from None
    try:
        yield folder
    except OSError as error:
        raise Unavailable(f"the watched folder cannot be used: {error.strerror}") from None
    finally:
        os.close(folder)


def _renamed(folder: int, file: FoundFile, base: str, extension: str) -> str:
    """Give the file the first free name of its kind; returns that."""
    for name in _names(base, extension, file):
        try:
            os.close(_created(folder, name))
        except FileExistsError:
            continue
        try:
            os.rename(file.name, name, src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise
        return name
    raise OSError(errno.EEXIST, "there are too many files of one name")


def _names(base: str, extension: str, file: FoundFile) -> Iterator[str]:
    yield base + extension
    for number in range(2, _MAXIMUM_NAMES):
        yield f"{base}.{number}{extension}"
    yield f"{base}.{file.modified}{extension}"


def _created(folder: int, name: str) -> int:
    """A new file, open for writing. Raises FileExistsError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o640, dir_fd=folder)
