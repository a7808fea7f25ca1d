"""C-MOVE and C-GET as SCP (PS3.4 C.4.2, C.4.3): what is asked for, and what is answered.

C-GET sends over the association that asked, C-MOVE over one that is made for it
(`santepacs.dicom.moving`). How far it is, is told at most ten times a second: an answer for each
object would cost more than many an object.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import peers
from santepacs.db.search import Level
from santepacs.dicom import identifier, selection, status
from santepacs.dicom.client import Client, Urgency
from santepacs.dicom.elements import Element, encode
from santepacs.dicom.message import Request
from santepacs.dicom.moving import Move
from santepacs.dicom.progress import Progress, Reports
from santepacs.dicom.query import UNIQUE_KEYS, check_keys
from santepacs.dicom.resources import Resources
from santepacs.dicom.selection import Selection, objects
from santepacs.dicom.sending import Sender
from santepacs.dicom.session import RELATIONAL, Session
from santepacs.dicom.status import Status
from santepacs.errors import Forbidden, Malformed, NotFound, SantepacsError, Unavailable
from santepacs.logs import fault, one_line
from santepacs.model.peers import Peer

log = Logger()

MAXIMUM_UIDS = 10_000  # in one key
LOOK = 0.05  # seconds between looks whether whoever asked is still there, and still wants it
_FAILED_LIST = 0x00080058

# DIMSE priorities (PS3.7 9.1.4.1): MEDIUM is 0, HIGH is 1, LOW is 2.
_URGENCIES = {1: Urgency.HIGH, 2: Urgency.LOW}


class _Gone(Exception):
    """Nobody waits for the answer any more."""


class _Cancelled(Exception):
    """Whoever asked does not want the rest."""


class Retrieval:
    """One C-MOVE or C-GET request while it is served."""

    def __init__(
        self, resources: Resources, session: Session, request: Request, context: PresentationContext
    ) -> None:
        self.resources = resources
        self.session = session
        self.request = request
        self.progress = Progress()
        self._context = context
        self._reports = Reports(self.progress)

    def serve(self, send: Callable[["Retrieval", Selection], None]) -> None:
        """Have what was asked for sent, and answer the request."""
        comment = ""
        try:
            if not self.session.caller.may_retrieve:
                raise Forbidden("this peer may not retrieve")
            send(self, self._selection())
            final = self.progress.final()
        except _Gone:
            return
        except _Cancelled:
            final = Status.CANCELLED if self.progress.counts().remaining else self.progress.final()
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            if not isinstance(error, SantepacsError):
                log.error("a retrieval failed: {fault}", fault=fault(error))
            final = status.of_query(error)
            self.session.note_refusal("retrieval", final, error)
            comment = status.comment(error)
        finally:
            self.session.done["sent"] += self.progress.sent
        self._log_failures()
        self._answer(final, comment or self._reason())

    def look(self) -> None:
        """Say how far it is, if that is due, and see whether it is still wanted.

        To be called every now and then, ten times a second at least; leaves the retrieval by
        raising when there is nobody to send for.
        """
        if not self.session.is_open():
            raise _Gone
        if self.session.is_cancelled(self.request):
            raise _Cancelled
        counts = self._reports.due()
        if counts is not None:
            self.session.respond(self.request, self._context, Status.PENDING, **asdict(counts))

    def _selection(self) -> Selection:
        query = identifier.read(self.request.data_set, self._context)
        level = query.query_level()
        model = str(self._context.abstract_syntax)
        check_keys(query, level, model, relational=self.session.agreed(model, RELATIONAL))
        values = [query.values(attribute) for attribute in UNIQUE_KEYS.values()]
        own = values[list(Level).index(level)]
        if not own:
            raise Malformed(f"{UNIQUE_KEYS[level]} is needed at level {level}")
        if len(own) > (1 if level is Level.PATIENT else MAXIMUM_UIDS):
            raise Malformed(f"{UNIQUE_KEYS[level]} has too many values")
        below = list(Level).index(level) + 1
        return Selection(*values[:below])

    def _answer(self, final: Status, comment: str) -> None:
        counts = asdict(self.progress.counts())
        if final is not Status.CANCELLED:
            counts["remaining"] = None
        failed = b""
        if self.progress.failed_uids:
            uids = Element(_FAILED_LIST, "UI", "\\".join(self.progress.failed_uids))
            failed = encode([uids], identifier.encoding_of(self._context))
        self.session.respond(self.request, self._context, final, failed, comment=comment, **counts)

    def _reason(self) -> str:
        """Why objects were not sent, most of them, as an Error Comment."""
        for reason, _ in self.progress.reasons.most_common(1):
            return reason.encode("ascii", "replace").decode()
        return ""

    def _log_failures(self) -> None:
        destination = self.request.move_destination
        for reason, count in self.progress.reasons.items():
            log.warn(
                "{count} objects asked for by {title} were not sent{where}: {reason}",
                count=count,
                title=one_line(self.session.caller.ae_title),
                where=f" to {one_line(destination, 16)}" if destination else "",
                reason=reason,
            )


def serve_get(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """C-GET: send over the association that asked."""

    def send(retrieval: Retrieval, chosen: Selection) -> None:
        kinds = selection.kinds(resources, chosen)
        retrieval.progress.expect(sum(kind.count for kind in kinds))
        sender = Sender(resources, session.association, retrieval.look, priority=request.priority)
        try:
            with closing(sender.send_all(objects(resources, chosen))) as outcomes:
                for outcome in outcomes:
                    retrieval.progress.count(outcome)
                    retrieval.look()
        except Unavailable as error:
            retrieval.progress.give_up(str(error))

    Retrieval(resources, session, request, context).serve(send)


def serve_move(
    resources: Resources,
    client: Client,
    session: Session,
    request: Request,
    context: PresentationContext,
) -> None:
    """C-MOVE: send to a configured peer, when an outgoing association is free."""

    def send(retrieval: Retrieval, chosen: Selection) -> None:
        destination = _destination(resources, session, request)
        kinds = selection.kinds(resources, chosen)
        retrieval.progress.expect(sum(kind.count for kind in kinds))
        move = Move(
            resources,
            client,
            destination,
            chosen,
            retrieval.progress,
            urgency=_URGENCIES.get(request.priority, Urgency.MEDIUM),
            priority=request.priority,
            originator=session.caller.ae_title,
            originator_id=request.message_id,
        )
        move.start(kinds)
        try:
            while not move.wait(LOOK):
                retrieval.look()
        except BaseException:
            move.stop()
            raise

    Retrieval(resources, session, request, context).serve(send)


def _destination(resources: Resources, session: Session, request: Request) -> Peer:
    """The Move Destination. Raises NotFound for one that this caller cannot name."""
    title = request.move_destination
    named = f"the Move Destination {one_line(title, 16)}"
    if title != session.caller.ae_title and not session.caller.may_move_to_others:
        raise NotFound(f"this peer may move to itself alone, not to {one_line(title, 16)}")
    peer = resources.read("find destination", peers.find, title)
    if peer is None:
        raise NotFound(f"{named} is not in the peer list")
    if not peer.enabled:
        raise NotFound(f"{named} is switched off")
    return peer
