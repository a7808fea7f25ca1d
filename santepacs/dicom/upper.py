"""Associations (PS3.8): pynetdicom's, driven by events in one thread each, fit for an open network.

What this adds to pynetdicom 3.0.4, whose negotiation, state machine and requests are used as they
are:

- One thread reads, serves and sends; nothing polls. While a service is busy the peer waits in the
  kernel; `is_cancelled` and `is_open` look at what has come.
- A PDU is bounded in length and time, a message in length and rate.
- Data sets of C-STORE go to a spool as they arrive, and stored objects go out as P-DATA straight
  from their file.
- What cannot be understood ends in an A-ABORT, not in a dead thread.

Everything that touches pynetdicom's private parts stands here, in `santepacs.dicom.provider` and
in `santepacs.dicom.messages`. Private names relied on here: ``Association._accepted_cx
_serve_request _is_paused _kill _run_reactor _abort_blocking _sent_abort _handlers`` and the other
attributes that its ``__init__`` makes.
"""

import ssl
import time
from collections.abc import Callable
from typing import Any

import pynetdicom
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association, ServiceUser
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.dicom import message, tls
from santepacs.dicom.connection import Connection, Ended, Interrupted
from santepacs.dicom.message import Element, Request
from santepacs.dicom.messages import Message, Messages, tell_of_pdus
from santepacs.dicom.proposal import AssociationRequest
from santepacs.dicom.provider import ALWAYS, Provider
from santepacs.dicom.spool import Spool
from santepacs.errors import Malformed
from santepacs.logs import fault

log = Logger()

if pynetdicom.__version__ != "3.0.4":
    raise ImportError("santepacs relies on private parts of pynetdicom 3.0.4")

GRACE = 60.0  # seconds that a message may take whatever its size
MINIMUM_RATE = 2000  # bytes per second that it must come with afterwards
QUEUED = 32 * 1024  # bytes of answers that are sent together

Service = Callable[["UpperAssociation", Request, PresentationContext], None]
"""Serves one request of the peer, in the association's thread."""

_SIDES = ("requestor", "acceptor")


OpenSpool = Callable[["UpperAssociation", Request, PresentationContext], Spool]
"""Says where the data set of a C-STORE goes; by raising, that it must not come."""


class UpperAssociation(Association):
    """An association on this layer. `services` serve the requests that come over it."""

    dimse: Messages
    dul: Provider

    def __init__(
        self,
        ae: AE,
        mode: str,
        connection: Connection,
        services: dict[int, Service] | None = None,
        spool: OpenSpool | None = None,
        ended: "Callable[[UpperAssociation], None] | None" = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        # Not pynetdicom's own: the threads and queues that it makes and that nobody needs here
        # cost as much as the negotiation. A test keeps the two alike.
        self._ae, self.mode, self._server = ae, mode, None
        self.requestor, self.acceptor = (ServiceUser(self, side) for side in _SIDES)
        self.is_established = self.is_rejected = self.is_aborted = self.is_released = False
        self._sent_abort = self._sent_release = self._kill = self._started_dul = False
        self._accepted_cx, self._rejected_cx = {}, []
        self.connection = connection
        self.acse = ACSE(self)
        self.dul = Provider(self, connection)
        self.dimse = Messages(self)
        self.acse_timeout, self.connection_timeout = ae.acse_timeout, ae.connection_timeout
        self.dimse_timeout, self.network_timeout = ae.dimse_timeout, ae.network_timeout
        self.network_timeout_response = "A-ABORT"
        self._handlers: Any = {}
        self._bind_defaults()
        self._dul_ready = self._reactor_checkpoint = ALWAYS  # type: ignore[assignment]
        self._timer_resolution = None
        self.proposal: AssociationRequest | None = None
        """What the peer asked for, if it asked us."""
        self.peer_certificate: bytes | None = None
        """What the peer showed over TLS, in DER, if it was asked for and verified."""
        self._services = services or {}
        self._open_spool = spool
        self._ended = ended
        self._tls = tls
        self._busy = False
        self._quiet_since = time.monotonic()
        self._receiving_since: float | None = None
        self._received_before = 0
        self._queued: list[Any] = []
        self._queued_size = 0
        # pynetdicom's requests wait for this before they use the connection.
        self._is_paused = True

    @property
    def accepted(self) -> dict[int, PresentationContext]:
        """The accepted presentation contexts by ID."""
        return self._accepted_cx

    def is_watched(self, event: Any) -> bool:
        """Whether somebody wants to hear of this event of pynetdicom."""
        return bool(self._handlers.get(event))

    def deadline(self, seconds: float | None) -> float:
        """The time so many seconds from now; None stands for a day."""
        return time.monotonic() + (86_400.0 if seconds is None else seconds)

    # --- the association's thread -----------------------------------------------------------------

    def run_reactor(self) -> None:
        try:
            if self._shake_hands():
                super().run_reactor()
        except (Ended, Interrupted) as problem:
            log.debug("no association: {reason}", reason=str(problem))
        finally:
            try:
                self.close()
            finally:
                if self._ended is not None:
                    self._ended(self)

    def _shake_hands(self) -> bool:
        """Begin TLS, if this is a connection of its port; whether there can be an association."""
        if self._tls is None:
            return True
        timeout = float(self.acse_timeout or 0)
        try:
            self.connection.start_tls(self._tls, timeout, server_side=True)
        except Ended as problem:
            where: Any = self.requestor.address_info
            log.info(
                "no TLS association with {address}: {reason}",
                address=where.address,
                reason=tls.reason(problem),
            )
            return False
        self.peer_certificate = self.connection.peer_certificate()
        return True

    def _run_reactor(self) -> None:
        """Serve request after request until the association ends."""
        while self.is_established and not self._kill:
            received = self.dimse.next_message(self._patience())
            if received is not None:
                self._serve(received)
            elif self.acse.is_release_requested():
                self.acse.send_release(is_response=True)
                self._over(evt.EVT_RELEASED, is_released=True)
            elif self.acse.is_aborted() or not self.dul.is_alive():
                self.dul.receive_pdu(wait=False)  # so that who watches hears of it
                self._over(evt.EVT_ABORTED, is_aborted=True)
            elif time.monotonic() >= self._patience():
                log.debug("association aborted: nothing came in time")
                self.abort()

    def _over(self, event: Any, *, is_released: bool = False, is_aborted: bool = False) -> None:
        self.is_released, self.is_aborted = is_released, is_aborted
        self.is_established = False
        evt.trigger(self, event, {})
        self.kill()

    def _patience(self) -> float:
        """The time at which the peer has been silent, or slow with a message, for too long."""
        silence = self.dul.last_pdu + float(self.network_timeout or 86_400)
        if not self.dimse.is_receiving:
            self._receiving_since = None
            return max(silence, self._quiet_since + float(self.network_timeout or 86_400))
        if self._receiving_since is None:
            self._receiving_since = time.monotonic()
            self._received_before = self.connection.received
        received = self.connection.received - self._received_before
        return min(silence, self._receiving_since + GRACE + received / MINIMUM_RATE)

    def _serve(self, received: Message) -> None:
        context = self._accepted_cx[received.context_id]
        field = message.number(received.command, Element.COMMAND_FIELD)
        service = self._services.get(field)
        try:
            if service is None:
                self._serve_pynetdicoms(received)
                return
            request = message.request(received.command)
            request.data_set = received.data_set
        except Malformed as problem:
            log.debug("association aborted: {reason}", reason=str(problem))
            if isinstance(received.data_set, Spool):
                received.data_set.discard()
            self.abort()
            return
        self._busy = True
        self.dimse.serving = request.message_id
        try:
            service(self, request, context)
            self.flush()
        except Exception as error:  # noqa: BLE001 - services answer; this is our own mistake
            log.error("a DICOM service failed: {fault}", fault=fault(error))
            self.abort()
        finally:
            self.dimse.served()
            self._busy = False
            self._quiet_since = time.monotonic()

    def _serve_pynetdicoms(self, received: Message) -> None:
        """Let pynetdicom, and the handlers bound to its events, serve what we do not."""
        primitive: Any = self.dimse.primitive(received)
        if primitive.MessageIDBeingRespondedTo is not None or not primitive.is_valid_request:
            raise Malformed("not a valid request")
        self._serve_request(primitive, received.context_id)

    def spool(self, received: Message) -> Spool:
        """Where the data set of a C-STORE goes. Raises Malformed if it must not come."""
        if self._open_spool is None:
            raise Malformed("nobody stores here")
        context = self._accepted_cx[received.context_id]
        return self._open_spool(self, message.request(received.command), context)

    # --- for services -----------------------------------------------------------------------------

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer sent a C-CANCEL for its request `message_id`."""
        self._look()
        return message_id in self.dimse.cancel_req

    def is_open(self) -> bool:
        """Whether the peer is still there to be answered."""
        self._look()
        return self.is_established and self.dul.is_alive() and self.dul.peek_next_pdu() is None

    def _look(self) -> None:
        """React to what has come, without waiting."""
        while self.is_established and self.dul.is_alive() and self.dimse.may_receive:
            if self.dul.peek_next_pdu() is not None or not self.dul.advance(0.0):
                return

    def send_message(self, context_id: int, command: bytes, data_set: bytes = b"") -> None:
        """Send a message, and before it what was queued, in one write."""
        self.queue_message(context_id, command, data_set)
        self.flush()

    def queue_message(self, context_id: int, command: bytes, data_set: bytes = b"") -> None:
        """Send a message together with those that follow soon."""
        self._queued += self.dimse.pdus(context_id, command, data_set)
        self._queued_size += len(command) + len(data_set)
        if self._queued_size > QUEUED:
            self.flush()

    def flush(self) -> None:
        """Send what was queued."""
        queued, self._queued, self._queued_size = self._queued, [], 0
        if queued:
            self.write(queued)

    def write(self, pdus: list[Any]) -> bool:
        """Send P-DATA-TF PDUs, as `Messages.fragments` makes them; whether that was possible."""
        written = self.dul.write_data(pdus)
        if written and self.is_watched(evt.EVT_PDU_SENT):
            tell_of_pdus(self, pdus)
        return written

    # --- from outside -----------------------------------------------------------------------------

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing has been going on for so long."""
        idle = not (self._busy or self.dimse.is_receiving)
        return idle and time.monotonic() - self._quiet_since > seconds

    def end(self) -> None:
        """Have the association aborted by its own thread; from any thread, without waiting."""
        self.connection.interrupt()

    def _abort_blocking(self, block: bool = True) -> None:
        """What `abort` does: an A-ABORT, and the end."""
        if self._sent_abort or self.is_released:
            return
        self._sent_abort = True
        self.acse.send_abort(0x00)
        evt.trigger(self, evt.EVT_ABORTED, {})
        self.kill()

    def close(self) -> None:
        """Let go of everything; what was received and not served is forgotten."""
        self._kill = self.dul._kill_thread = True
        self.is_established = False
        try:
            self.dimse.discard()
        finally:
            self.connection.close()
