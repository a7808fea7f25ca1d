"""Sending stored objects by C-STORE: for C-MOVE, C-GET and forwarding alike (PS3.4 annex B).

An object goes out as it lies in its file if the receiver accepted its transfer syntax. If not, a
worker process writes it anew in the best syntax that was accepted (`santepacs.archive.transcode`),
while the objects before it are being sent.
"""

import os
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.archive.header import read_file_meta
from santepacs.archive.syntaxes import preferred
from santepacs.db.studies import ObjectFile
from santepacs.dicom import outgoing
from santepacs.dicom.resources import Resources
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Malformed, SantepacsError, Unavailable

log = Logger()

# Bytes; a smaller file is read before anything of it is sent, so that a damaged disk costs one
# object and not the association.
IN_MEMORY = 4 * 1024 * 1024
HEAD = 1024 * 1024  # bytes of a larger one that are read to find its data set
AHEAD = 3  # objects that are turned into another syntax before it is their turn
STEP = 0.2  # seconds between looks whether it is still wanted
MAXIMUM_MESSAGE_ID = 65_535
TRANSCODE = "santepacs.archive.transcode:to_file"


class Outcome(NamedTuple):
    """What became of one object: the receiver's status, or None and the reason why there is none.

    `passing`: trying again may help.
    """

    stored: ObjectFile
    status: int | None
    reason: str = ""
    passing: bool = False


@dataclass(slots=True)
class _Prepared:
    """An object ready to be sent: `data` from `offset` on, in the syntax of `context`."""

    context: PresentationContext
    data: bytes | Path
    offset: int
    temporary: Path | None = None

    def discard(self) -> None:
        """Remove the file that was written for it."""
        if self.temporary is not None:
            self.temporary.unlink(missing_ok=True)


class _Unwanted(Exception):
    """Nobody needs the transcoded object any more."""


_Queue = deque[tuple[ObjectFile, Future[_Prepared] | None]]
"""Objects in the order of sending, those that are transcoded with what comes of it."""


class Sender:
    """Sends over one association, in the thread that uses it."""

    def __init__(
        self,
        resources: Resources,
        association: UpperAssociation,
        waiting: Callable[[], None],
        *,
        priority: int = 0,
        originator: str | None = None,
        originator_id: int | None = None,
    ) -> None:
        """`waiting` is called while there is nothing to send yet; it gives up by raising.

        `originator`: who asked for it by C-MOVE, and the message ID of that.
        """
        self._resources = resources
        self._association = association
        self._waiting = waiting
        self._priority = priority
        self._originator = originator
        self._originator_id = originator_id
        self._message_id = 0
        self._accepted: dict[str, dict[str, PresentationContext]] = {}
        for context in association.accepted.values():
            if context.as_scu:
                syntaxes = self._accepted.setdefault(str(context.abstract_syntax), {})
                syntaxes.setdefault(str(context.transfer_syntax[0]), context)

    def send_all(self, objects: Iterable[ObjectFile]) -> Generator[Outcome]:
        """Send the objects in their order, and say of each what became of it.

        What concerns one object alone is a part of its outcome. Raises Unavailable when the
        association is of no more use, after the outcomes of all objects that were taken until then.
        """
        ended = False

        def wanted() -> None:
            if ended:
                raise _Unwanted

        with ThreadPoolExecutor(AHEAD, "DICOM transcoding") as threads:
            queue: _Queue = deque()
            try:
                for stored in objects:
                    ahead = None
                    if self._must_be_transcoded(stored):
                        ahead = threads.submit(self._transcoded, stored, wanted)
                    queue.append((stored, ahead))
                    while queue and (len(queue) > AHEAD or queue[0][1] is None):
                        yield from self._send_next(queue)
                while queue:
                    yield from self._send_next(queue)
            finally:
                ended = True
                for _, ahead in queue:
                    if ahead is not None and not ahead.cancel():
                        ahead.add_done_callback(_discard)

    def _send_next(self, queue: _Queue) -> Iterator[Outcome]:
        stored, ahead = queue.popleft()
        try:
            prepared = self._as_it_is(stored) if ahead is None else self._awaited(ahead)
        except SantepacsError as error:
            yield Outcome(stored, None, str(error), isinstance(error, Unavailable))
            return
        try:
            status = self._send(stored, prepared)
        except Unavailable as error:
            yield Outcome(stored, None, str(error), passing=True)
            for other, _ in queue:
                yield Outcome(other, None, str(error), passing=True)
            raise
        finally:
            prepared.discard()
        yield Outcome(stored, status)

    def _send(self, stored: ObjectFile, prepared: _Prepared) -> int:
        self._message_id = self._message_id % MAXIMUM_MESSAGE_ID + 1
        return outgoing.send_object(
            self._association,
            prepared.context,
            stored.sop_class_uid,
            stored.sop_instance_uid,
            prepared.data,
            prepared.offset,
            message_id=self._message_id,
            priority=self._priority,
            originator=self._originator,
            originator_id=self._originator_id,
        )

    # --- as it is ---------------------------------------------------------------------------------

    def _as_it_is(self, stored: ObjectFile) -> _Prepared:
        accepted = self._accepted.get(stored.sop_class_uid)
        if accepted is None:
            raise Malformed("the receiver does not accept objects of this SOP class")
        context = accepted.get(stored.transfer_syntax_uid)
        if context is None:
            raise Malformed("the receiver does not accept the object's transfer syntax")
        whole = stored.bytes <= IN_MEMORY
        path = self._path(stored)
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                head = file.read(size if whole else HEAD)
        except OSError as error:
            raise _damaged(path, error.strerror) from None
        if size != stored.bytes or len(head) < min(size, HEAD):
            raise _damaged(path, "wrong size")
        offset = read_file_meta(head).dataset_offset
        return _Prepared(context, head if whole else path, offset)

    # --- in another transfer syntax ---------------------------------------------------------------

    def _must_be_transcoded(self, stored: ObjectFile) -> bool:
        accepted = self._accepted.get(stored.sop_class_uid, {})
        own = stored.transfer_syntax_uid
        return own not in accepted and bool(preferred(own, accepted))

    def _transcoded(self, stored: ObjectFile, wanted: Callable[[], None]) -> _Prepared:
        accepted = self._accepted[stored.sop_class_uid]
        source = self._path(stored)
        if not source.is_file() or source.stat().st_size != stored.bytes:
            raise _damaged(source, "missing or of the wrong size")
        target = self._resources.incoming.absolute() / f"{uuid.uuid4().hex}.transcoded"
        choices = preferred(stored.transfer_syntax_uid, accepted)
        try:
            syntax, offset = self._resources.processes.run(
                TRANSCODE, str(source), choices, str(target), waiting=wanted
            )
        except BaseException:
            target.unlink(missing_ok=True)
            raise
        return _Prepared(accepted[syntax], target, offset, temporary=target)

    def _awaited(self, ahead: Future[_Prepared]) -> _Prepared:
        while True:
            try:
                return ahead.result(STEP)
            except NotYet:
                self._waiting()

    def _path(self, stored: ObjectFile) -> Path:
        files = self._resources.archive.files
        return files.path(stored.study_instance_uid, stored.digest).absolute()


def _discard(ahead: Future[_Prepared]) -> None:
    if not ahead.cancelled() and ahead.exception() is None:
        ahead.result().discard()


def _damaged(path: Path, reason: str | None) -> Malformed:
    log.error("stored object {file} cannot be sent: {reason}", file=path.name, reason=reason)
    return Malformed("the object's file is missing or damaged")
