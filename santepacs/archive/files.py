"""Object files: durable, proven by their names, never named by anything from outside.

``objects/<aa>/<study key>/<content digest>.dcm``: study key and digest are hashes, so no text from
the network is ever a path and identical content is one file. A file is written without a name, or
in ``incoming`` (same file system), synced, then linked into place without replacing anything, and
the folder is synced: what `keep` and `adopt` returned from survives a power cut. Blocking: for
threads only.
"""

import errno
import hashlib
import mmap
import os
import shutil
import uuid
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from twisted.logger import Logger

from santepacs.archive.header import read_file_meta
from santepacs.errors import Malformed, Unavailable
from santepacs.host.durable import sync_file, sync_folder

log = Logger()

VERSION_FILE = "token-version"
PREAMBLE = 128
# What a file system says that has no files without a name (open(2), O_TMPFILE).
_ALL_NAMED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL)


def content_digest(transfer_syntax_uid: str, dataset: memoryview) -> str:
    """The name of an object's file: SHA-256 over transfer syntax and encoded dataset, hex.

    File meta and preamble are left out: they say how an object came, not what it is.
    """
    proof = hashlib.sha256(transfer_syntax_uid.encode("ascii") + b"\0")
    proof.update(dataset)
    return proof.hexdigest()


def file_crc32(data: memoryview) -> int:
    """CRC-32 of a whole file, as zip archives want it."""
    return zlib.crc32(data)


class ObjectFiles:
    """The folders of the archive."""

    def __init__(self, objects: Path, incoming: Path, aside: Path) -> None:
        self._objects = objects
        self._incoming = incoming
        self._aside = aside
        self._may_be_nameless = True

    def path(self, study_instance_uid: str, digest: str) -> Path:
        """Where the object with this content digest lies, stored or not."""
        return self._study_folder(study_instance_uid) / f"{digest}.dcm"

    def aside_path(self, digest: str) -> Path:
        """Where an object that is kept apart lies."""
        return self._aside / f"{digest}.dcm"

    def check_space(self, reserve: int) -> None:
        """Raise Unavailable when fewer than `reserve` bytes are free for objects."""
        if shutil.disk_usage(self._objects).free < reserve:
            raise Unavailable("the disk is full")

    def receive(self, pieces: Iterable[bytes | memoryview]) -> Path:
        """Write a Part 10 file from outside to `incoming`, its preamble zeroed.

        The preamble may hold a program (PS3.10 7.1 leaves it to whoever wrote the file); nobody
        gets it back from here.
        """
        path = self._incoming / f"{uuid.uuid4().hex}.part"
        try:
            with open(path, "xb") as file:
                for piece in pieces:
                    file.write(piece)
                if file.tell() > PREAMBLE:
                    file.seek(0)
                    file.write(bytes(PREAMBLE))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def adopt(self, source: Path, study_instance_uid: str, digest: str) -> int:
        """Make the file `source` of `incoming` the stored file of its content, durably.

        If that content is stored already, that file stays; `source` stays, too. Returns the
        version of the study's token, which lies beside the objects so that an index rebuilt from
        them revives no dead token.
        """
        folder = self._study_folder(study_instance_uid)
        version = self._token_version(folder)
        sync_file(source)
        _put_in_place(partial(os.link, source), folder, digest)
        return version

    def keep(self, data: memoryview, study_instance_uid: str, digest: str) -> int:
        """Write a Part 10 file from outside to where it is kept, its preamble zeroed, durably.

        The same as `receive` and `adopt`, for what is in memory: the file has no name before it is
        in its place, which saves half of the work on the folders.
        """
        folder = self._study_folder(study_instance_uid)
        version = self._token_version(folder)
        descriptor = self._open_nameless(folder)
        if descriptor is None:
            source = self.receive((data,))
            try:
                return self.adopt(source, study_instance_uid, digest)
            finally:
                source.unlink(missing_ok=True)
        try:
            _write(descriptor, data)
            os.fsync(descriptor)
            # open(2) names it so; a directory's descriptor makes Python follow the link.
            name = f"/proc/self/fd/{descriptor}"
            _put_in_place(partial(os.link, name, src_dir_fd=descriptor), folder, digest)
        finally:
            os.close(descriptor)
        return version

    def put_aside(self, source: Path, digest: str) -> None:
        """Keep the file `source` of ``incoming`` in ``aside``, durably."""
        sync_file(source)
        with suppress(FileExistsError):
            os.link(source, self.aside_path(digest))
        sync_folder(self._aside)

    def remove(self, study_instance_uid: str, digest: str) -> None:
        """Remove an object's file; that it is gone already is fine."""
        self.path(study_instance_uid, digest).unlink(missing_ok=True)

    def sweep_incoming(self) -> int:
        """Remove what an earlier run left half received; returns how many files. At start only."""
        leftovers = [entry for entry in self._incoming.iterdir() if not entry.is_dir()]
        for entry in leftovers:
            entry.unlink(missing_ok=True)
        return len(leftovers)

    def _study_folder(self, study_instance_uid: str) -> Path:
        key = hashlib.sha256(study_instance_uid.encode("utf-8")).hexdigest()[:40]
        return self._objects / key[:2] / key

    def _open_nameless(self, folder: Path) -> int | None:
        """A new file in `folder` without a name; None where there is no such thing."""
        if self._may_be_nameless:
            try:
                return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                if error.errno not in _ALL_NAMED:
                    raise
                self._may_be_nameless = False
        return None

    def _token_version(self, folder: Path) -> int:
        """The version of the study's token; its folder is there afterwards."""
        path = folder / VERSION_FILE
        try:
            return _number(path)
        except FileNotFoundError:
            pass
        except ValueError:
            raise Unavailable("a study's token version file is damaged") from None
        _make_folder(folder.parent)
        _make_folder(folder)
        # Written whole under another name first: a reader beside us never sees half a number.
        draft = folder / f"{VERSION_FILE}.{uuid.uuid4().hex}"
        draft.write_text("1\n", "ascii")
        sync_file(draft)
        try:
            os.link(draft, path)
        except FileExistsError:
            return _number(path)
        finally:
            draft.unlink()
        return 1


def _number(path: Path) -> int:
    """The number that a small file holds. Raises ValueError when it holds none."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int(os.read(descriptor, 32))
    finally:
        os.close(descriptor)


def _proves(path: Path, digest: str) -> bool:
    """Whether the file at `path` holds the content of this digest."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            meta = read_file_meta(data)
            with memoryview(data) as view, view[meta.dataset_offset :] as dataset:
                return content_digest(meta.transfer_syntax_uid, dataset) == digest
    except (OSError, ValueError, Malformed):
        return False


def _put_in_place(link_to: Callable[[Path], None], folder: Path, digest: str) -> None:
    """Give a synced file the name of its content, durably; what has that name already, stays."""
    target = folder / f"{digest}.dcm"
    try:
        link_to(target)
    except FileExistsError:
        if not _proves(target, digest):
            log.error("a damaged file is replaced by what was sent again: {path}", path=target)
            draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
            link_to(draft)
            os.replace(draft, target)
    # Also when it was there: whoever linked it may not have come to this line yet, or ever.
    sync_folder(folder)


def _write(descriptor: int, data: memoryview) -> None:
    """All of `data`, the preamble zeroed (see `ObjectFiles.receive`)."""
    size = min(PREAMBLE, len(data))
    written = os.writev(descriptor, (bytes(size), data[size:]))
    while written < len(data):
        rest = data[written:] if written >= size else bytes(size - written)
        written += os.write(descriptor, rest)


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync_folder(folder.parent)
