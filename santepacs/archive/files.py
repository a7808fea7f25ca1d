"""Object files: durable, proven by their names, never named by anything from outside.

``objects/<aa>/<study key>/<content digest>.dcm``: study key and digest are hashes, so no text from
the network is ever a path and identical content is one file. A file is written in ``incoming``
(same file system), synced, then linked into place without replacing anything, and the folder is
synced: what `adopt` returned from survives a power cut. Blocking: for threads only.
"""

import hashlib
import mmap
import os
import shutil
import uuid
import zlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from twisted.logger import Logger

from santepacs.archive.header import read_file_meta
from santepacs.errors import Malformed, Unavailable
from santepacs.host.durable import sync_file, sync_folder

log = Logger()

VERSION_FILE = "token-version"
PREAMBLE = 128


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
        target = folder / f"{digest}.dcm"
        try:
            os.link(source, target)
        except FileExistsError:
            if not _proves(target, digest):
                log.error("a damaged file is replaced by what was sent again: {path}", path=target)
                _replace(target, source)
        # Also when it was there: whoever linked it may not have come to this line yet, or ever.
        sync_folder(folder)
        return version

    def put_aside(self, source: Path, digest: str) -> None:
        """Keep the synced file `source` of ``incoming`` in ``aside``, durably."""
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

    def _token_version(self, folder: Path) -> int:
        path = folder / VERSION_FILE
        try:
            return int(path.read_text("ascii"))
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
            return int(path.read_text("ascii"))
        finally:
            draft.unlink()
        return 1


def _proves(path: Path, digest: str) -> bool:
    """Whether the file at `path` holds the content of this digest."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            meta = read_file_meta(data)
            with memoryview(data) as view, view[meta.dataset_offset :] as dataset:
                return content_digest(meta.transfer_syntax_uid, dataset) == digest
    except (OSError, ValueError, Malformed):
        return False


def _replace(target: Path, source: Path) -> None:
    draft = target.with_name(f"{target.name}.{uuid.uuid4().hex}")
    os.link(source, draft)
    os.replace(draft, target)


def _make_folder(folder: Path) -> None:
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    sync_folder(folder.parent)
