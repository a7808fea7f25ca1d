"""C-MOVE and C-GET as SCP (PS3.4 C.4.2, C.4.3): one loop, two ways of sending.

C-GET sends over the association that asked, C-MOVE over one that is made for it. Objects are read
from the index page by page, so that a retrieval holds one page in memory, whatever it moves.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import peers, search, studies
from santepacs.db.search import Contents, Level
from santepacs.db.studies import ObjectFile
from santepacs.dicom import identifier, sending, status
from santepacs.dicom.client import Client
from santepacs.dicom.contexts import to_send
from santepacs.dicom.elements import Element, Encoding, encode
from santepacs.dicom.query import UNIQUE_KEYS, check_keys
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import RELATIONAL, Session
from santepacs.dicom.status import Status
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Forbidden, Malformed, NotFound, SantepacsError, Unavailable
from santepacs.logs import fault
from santepacs.model.matching import Criterion, OneOf
from santepacs.model.peers import Peer

log = Logger()

PAGE = 500  # objects
MAXIMUM_COUNT = 65_535  # what a count in a response can say
MAXIMUM_FAILED = 1000  # UIDs in the list of failed ones: it must fit an explicit VR's length
MAXIMUM_UIDS = 10_000  # in one key
_FAILED_LIST = 0x00080058

Send = Callable[[ObjectFile, int], int]
"""Sends one object under a message ID and returns the receiver's status."""


@dataclass(slots=True)
class Progress:
    """What became of the sub-operations so far."""

    remaining: int
    completed: int = 0
    failed: int = 0
    warning: int = 0
    failed_uids: list[str] = field(default_factory=list)

    def count(self, sop_instance_uid: str, answer: int | None) -> None:
        """Take note of one sub-operation: the receiver's status, None if there was none."""
        self.remaining = max(self.remaining - 1, 0)
        if answer == Status.SUCCESS:
            self.completed += 1
        elif answer is not None and status.is_warning(answer):
            self.warning += 1
        else:
            self.failed += 1
            if len(self.failed_uids) < MAXIMUM_FAILED:
                self.failed_uids.append(sop_instance_uid)

    def final(self) -> Status:
        """The status of the whole (table C.4-2)."""
        if not self.failed and not self.warning:
            return Status.SUCCESS
        if self.completed or self.warning:
            return Status.SOME_FAILED
        return Status.SUBOPERATIONS_FAILED


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects are asked for; each list that is not empty narrows it."""

    patient_ids: tuple[str, ...] = ()
    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()

    def criteria(self) -> list[Criterion]:
        """The same for `santepacs.db.search`."""
        lists = (
            self.patient_ids,
            self.study_instance_uids,
            self.series_instance_uids,
            self.sop_instance_uids,
        )
        return [
            OneOf(attribute, values)
            for attribute, values in zip(UNIQUE_KEYS.values(), lists, strict=True)
            if values
        ]


Way = Callable[["Retrieval", list[Contents]], AbstractContextManager[Send]]
"""Makes ready to send objects of these kinds."""


class Retrieval:
    """One C-MOVE or C-GET request while it is served."""

    def __init__(
        self, resources: Resources, session: Session, request: Any, context: PresentationContext
    ) -> None:
        self._resources = resources
        self._session = session
        self._request = request
        self._context = context
        self._response = type(request)()
        self._response.MessageIDBeingRespondedTo = request.MessageID
        self._response.AffectedSOPClassUID = request.AffectedSOPClassUID
        self._progress = Progress(0)

    def serve(self, way: "Way") -> None:
        """Send what was asked for by the `way` and answer the request."""
        try:
            if not self._session.caller.may_retrieve:
                raise Forbidden("this peer may not retrieve")
            final = self._retrieve(way)
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            if not isinstance(error, SantepacsError):
                log.error("a retrieval failed: {fault}", fault=fault(error))
            final = status.of_query(error)
            self._session.note_refusal("retrieval", final, error)
            self._response.ErrorComment = status.comment(error) or None
        self._session.done["sent"] += self._progress.completed + self._progress.warning
        self._answer(final)

    def pending(self) -> None:
        """Say that it goes on. Raises Unavailable when nobody waits for it any more."""
        if not self._session.is_open():
            raise Unavailable("the association that asked has ended")
        self._answer(Status.PENDING)

    def waiting(self) -> None:
        """Like `pending`, while there is no association to send over."""
        if self.is_cancelled():
            raise _NoWay("cancelled")
        self.pending()

    def is_cancelled(self) -> bool:
        """Whether the peer asked to stop."""
        return self._session.is_cancelled(self._request)

    def _retrieve(self, way: "Way") -> Status:
        selection = self._selection()
        kinds = self._resources.read("count objects", search.contents, selection.criteria())
        self._progress = Progress(sum(kind.count for kind in kinds))
        objects = self._objects(selection)
        try:
            with way(self, kinds) as send:
                self._send_all(send, objects)
        except _NoWay as error:
            self._note(error)
            if not self.is_cancelled():
                for stored in objects:
                    self._progress.count(stored.sop_instance_uid, None)
        stopped = self.is_cancelled() and self._progress.remaining
        return Status.CANCELLED if stopped else self._progress.final()

    def _send_all(self, send: Send, objects: Iterator[ObjectFile]) -> None:
        broken = False
        for number, stored in enumerate(objects):
            if self.is_cancelled():
                return
            answer = None
            if not broken:
                try:
                    answer = send(stored, number % MAXIMUM_COUNT + 1)
                except Malformed as error:
                    self._note(error)
                except Unavailable as error:
                    self._note(error)
                    broken = True
            self._progress.count(stored.sop_instance_uid, answer)
            if not broken:
                self.pending()

    def _note(self, error: Exception) -> None:
        log.info("retrieval: {reason}", reason=str(error))
        self._response.ErrorComment = str(error).encode("ascii", "replace").decode()[:64]

    def _selection(self) -> Selection:
        query = identifier.read(self._request.Identifier, self._context)
        level = query.query_level()
        model = str(self._context.abstract_syntax)
        check_keys(query, level, model, relational=self._session.agreed(model, RELATIONAL))
        values = [query.values(attribute) for attribute in UNIQUE_KEYS.values()]
        own = values[list(Level).index(level)]
        if not own:
            raise Malformed(f"{UNIQUE_KEYS[level]} is needed at level {level}")
        if len(own) > (1 if level is Level.PATIENT else MAXIMUM_UIDS):
            raise Malformed(f"{UNIQUE_KEYS[level]} has too many values")
        below = list(Level).index(level) + 1
        return Selection(*values[:below])

    def _objects(self, selection: Selection) -> Iterator[ObjectFile]:
        after = 0
        while True:
            page = self._resources.read(
                "list objects",
                studies.objects,
                patient_ids=selection.patient_ids,
                study_instance_uids=selection.study_instance_uids,
                series_instance_uids=selection.series_instance_uids,
                sop_instance_uids=selection.sop_instance_uids,
                after=after,
                limit=PAGE,
            )
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].id

    def _answer(self, answer: Status) -> None:
        response, progress = self._response, self._progress
        response.Status = answer
        response.NumberOfCompletedSuboperations = min(progress.completed, MAXIMUM_COUNT)
        response.NumberOfFailedSuboperations = min(progress.failed, MAXIMUM_COUNT)
        response.NumberOfWarningSuboperations = min(progress.warning, MAXIMUM_COUNT)
        unfinished = answer in (Status.PENDING, Status.CANCELLED)
        remaining = min(progress.remaining, MAXIMUM_COUNT)
        response.NumberOfRemainingSuboperations = remaining if unfinished else None
        response.Identifier = None
        if answer is not Status.PENDING and progress.failed_uids:
            encoding: Encoding = identifier.encoding_of(self._context)
            failed = Element(_FAILED_LIST, "UI", "\\".join(progress.failed_uids))
            response.Identifier = BytesIO(encode([failed], encoding))
        self._session.send(response, self._context)


class _NoWay(Exception):
    """Nothing can be sent."""


def serve_get(
    resources: Resources, session: Session, request: C_GET, context: PresentationContext
) -> None:
    """C-GET: send over the association that asked."""

    def way(_retrieval: Retrieval, _kinds: list[Contents]) -> AbstractContextManager[Send]:
        return nullcontext(_sender(resources, session.association))

    Retrieval(resources, session, request, context).serve(way)


def serve_move(
    resources: Resources,
    client: Client,
    session: Session,
    request: C_MOVE,
    context: PresentationContext,
) -> None:
    """C-MOVE: send to a configured peer, when an outgoing association is free."""

    @contextmanager
    def way(retrieval: Retrieval, kinds: list[Contents]) -> Iterator[Send]:
        destination = _destination(resources, request)
        contexts = to_send((kind.sop_class_uid, kind.transfer_syntax_uid) for kind in kinds)
        with ExitStack() as stack:
            stack.enter_context(client.turn(retrieval.waiting))
            try:
                # Without objects there is nothing to propose, and nobody to ask.
                outgoing: Any = (
                    client.association(destination, contexts) if kinds else nullcontext()
                )
                association = stack.enter_context(outgoing)
            except (Unavailable, Forbidden) as error:
                raise _NoWay(str(error)) from error
            caller = session.caller.ae_title
            yield _sender(resources, association, caller, request.MessageID)

    Retrieval(resources, session, request, context).serve(way)


def _destination(resources: Resources, request: C_MOVE) -> Peer:
    title = (request.MoveDestination or "").strip()
    peer = resources.read("find destination", peers.find, title)
    if peer is None or not peer.enabled:
        raise NotFound("the Move Destination is not in the peer list")
    return peer


def _sender(
    resources: Resources,
    association: UpperAssociation,
    originator: str | None = None,
    originator_id: int | None = None,
) -> Send:
    def send(stored: ObjectFile, message_id: int) -> int:
        return sending.send(
            association,
            resources.archive.files.path(stored.study_instance_uid, stored.digest),
            stored,
            message_id=message_id,
            originator=originator,
            originator_id=originator_id,
        )

    return send
