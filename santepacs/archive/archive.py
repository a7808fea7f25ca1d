"""The archive's use case: take an object in, safely.

The order of `Archive.store` is the promise that success is true (PS3.4 B.2.2): the object is
proven complete, its file is durable in its place, its row is committed; then success is said.
Whatever fails before that is answered as a failure and leaves at most a file without a row.
"""

import errno
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from twisted.logger import Logger

from santepacs.archive.attributes import object_record
from santepacs.archive.compare import same_object
from santepacs.archive.files import ObjectFiles, content_digest, file_crc32
from santepacs.archive.header import read_file_meta, scan
from santepacs.archive.index import IndexWriter
from santepacs.db import studies
from santepacs.db.database import Database, Transaction
from santepacs.db.studies import Entry, StoredFile, Verdict
from santepacs.errors import Conflict, Malformed, Unavailable
from santepacs.logs import one_line
from santepacs.model import tokens
from santepacs.model.study import ObjectRecord, Outcome
from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES
from santepacs.settings import Settings
from santepacs.threads import Threads

log = Logger()


@dataclass(frozen=True, slots=True)
class _Examined:
    """A received file that is a complete object."""

    record: ObjectRecord
    file: StoredFile


class Archive:
    """Where objects are kept."""

    def __init__(
        self,
        database: Database,
        threads: Threads,
        files: ObjectFiles,
        secret_key: bytes,
        settings: Settings,
        arrived: Callable[[ObjectRecord], None] | None = None,
    ) -> None:
        """`arrived` is told of each object that was stored, in the thread that stored it."""
        self.files = files
        self._database = database
        self._threads = threads
        self._index = IndexWriter(database.direct)
        self._secret_key = secret_key
        self._settings = settings
        self._arrived = arrived
        # The objects of a study come one after the other.
        self._token_digest = lru_cache(maxsize=256)(self._new_token_digest)

    def _new_token_digest(self, study_instance_uid: str, version: int) -> bytes:
        return tokens.digest(self.token(study_instance_uid, version))

    def token(self, study_instance_uid: str, version: int) -> str:
        """The permanent token of a study."""
        return tokens.token(self._secret_key, study_instance_uid, version)

    def check_space(self) -> None:
        """Raise Unavailable when the disk has not the reserve that is wanted."""
        self.files.check_space(self._settings.server.disk_reserve * 1_000_000)

    def store(
        self,
        received: Path | bytes | bytearray,
        *,
        source: str,
        sop_class_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> Outcome:
        """Take over a Part 10 file: its bytes, or a file of ``incoming``, which is gone afterwards.

        `source` says whom it came from; the UIDs are what the sender announced. Blocking: to be
        called in a thread. Raises Malformed for what is no acceptable object, Conflict when it is
        not what was announced, Unavailable when it could not be kept or that is not known.
        """
        path = received if isinstance(received, Path) else None
        try:
            self.check_space()
            with _opened(received) as data:
                found = _examine(data, source)
                _check_announced(found.record, sop_class_uid, sop_instance_uid)
                study, digest = found.record.study_instance_uid, found.file.digest
                with self._index.place() as place:
                    if path is None:
                        version = self.files.keep(data, study, digest)
                    else:
                        version = self.files.adopt(path, study, digest)
                    verdict = place.add(self._entry(found, version))
                if verdict.outcome == "different" and path is None:
                    path = self.files.receive((data,))
            return self._settle(path, found, verdict)
        except OSError as error:
            raise storage_failure(error) from error
        finally:
            if path is not None:
                path.unlink(missing_ok=True)

    def _entry(self, found: _Examined, version: int) -> Entry:
        digest = self._token_digest(found.record.study_instance_uid, version)
        return Entry(found.record, found.file, version, digest)

    def _settle(self, path: Path | None, found: _Examined, verdict: Verdict) -> Outcome:
        """`path`: the received file, if its UID is that of a stored object."""
        if verdict.outcome == "stored":
            if self._arrived is not None:
                self._arrived(found.record)
            return Outcome.STORED
        if path is None or verdict.outcome == "same":
            return Outcome.SAME
        study_instance_uid, digest = found.record.study_instance_uid, found.file.digest
        # From here on only our own file counts: whoever sends the same may be at this line, too.
        self.files.remove(study_instance_uid, digest)
        kept = self.files.path(verdict.kept_study_instance_uid, verdict.kept_digest)
        if same_object(kept, path):
            return Outcome.SAME
        if self._settings.dicom.conflict == "refuse":
            log.warn(
                "refused another object under the stored SOP Instance UID {uid}, from {source}",
                uid=found.record.sop_instance_uid,
                source=one_line(found.file.source),
            )
            return Outcome.REFUSED
        self.files.put_aside(path, digest)
        self._threads.ask(self._set_aside, found)
        log.warn(
            "kept aside another object under the stored SOP Instance UID {uid}, from {source}: "
            "{path}",
            uid=found.record.sop_instance_uid,
            source=one_line(found.file.source),
            path=self.files.aside_path(digest),
        )
        return Outcome.ASIDE

    async def _set_aside(self, found: _Examined) -> None:
        async def work(tx: Transaction) -> None:
            await studies.set_aside(tx, found.record, found.file)

        await self._database.transaction("set aside", work)


@contextmanager
def _opened(received: Path | bytes | bytearray) -> Iterator[memoryview]:
    """The bytes of what was received. Raises Malformed when there are none."""
    if not isinstance(received, Path):
        with memoryview(received) as view:
            yield view
        return
    if received.stat().st_size == 0:
        raise Malformed("the object is empty")
    with (
        open(received, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        memoryview(data) as view,
    ):
        yield view


def _examine(data: memoryview, source: str) -> _Examined:
    """Prove that it is one complete object, and read what the index wants of it."""
    meta = read_file_meta(data)
    syntax = STORAGE_TRANSFER_SYNTAXES.get(meta.transfer_syntax_uid)
    if syntax is None:
        raise Malformed(f"transfer syntax {meta.transfer_syntax_uid} is not accepted")
    record = object_record(scan(data, syntax, meta.dataset_offset))
    if (meta.sop_class_uid or record.sop_class_uid) != record.sop_class_uid:
        raise Conflict("the SOP Class UID differs from that of the file's meta information")
    if (meta.sop_instance_uid or record.sop_instance_uid) != record.sop_instance_uid:
        raise Conflict("the SOP Instance UID differs from that of the file's meta information")
    with data[meta.dataset_offset :] as dataset:
        digest = content_digest(syntax.uid, dataset)
    return _Examined(record, StoredFile(digest, len(data), file_crc32(data), source))


def _check_announced(
    record: ObjectRecord, sop_class_uid: str | None, sop_instance_uid: str | None
) -> None:
    """What the C-STORE command announced must be what came."""
    if sop_class_uid is not None and sop_class_uid != record.sop_class_uid:
        raise Conflict("the SOP Class UID is not the one that was announced")
    if sop_instance_uid is not None and sop_instance_uid != record.sop_instance_uid:
        raise Conflict("the SOP Instance UID is not the one that was announced")


def storage_failure(error: OSError) -> Unavailable:
    """What to tell a sender whose object could not be written, with the reason in the log."""
    log.error("storage failed: {reason}", reason=error.strerror or type(error).__name__)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable("the disk is full")
    return Unavailable("the object could not be written")
