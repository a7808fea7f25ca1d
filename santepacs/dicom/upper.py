"""The upper layer (PS3.8) under pynetdicom's services, made fit for an open network.

Everything that touches pynetdicom's private parts stands here and in `santepacs.dicom.transport`,
so that the layer can be replaced in one place. What the two add to pynetdicom 3.0.4:

- A PDU is bounded in length and time, before and after the association is established; pynetdicom
  waits for ever inside a PDU and takes 4 GiB of it.
- A data set of C-STORE goes to a file as it arrives and is never held in memory; what is left of
  it when the association ends is removed. All other messages are bounded.
- What cannot be understood ends in an A-ABORT, not in a dead thread.
- What is sent waits in a short queue, and reading takes turns with it, so that a slow peer costs
  no memory and a C-CANCEL is seen while matches are being sent.
- No thread keeps the process alive.

Private names relied on: ``Association._accepted_cx _serve_request _is_paused _kill``,
``DULServiceProvider._kill_thread``, the fields of ``DIMSEMessage`` and that its class changes when
the command is complete.
"""

import socket
import time
from collections.abc import Callable
from typing import Any

import pynetdicom
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import C_STORE_RQ, DIMSEMessage
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation
from twisted.logger import Logger

from santepacs.dicom.spool import Spool
from santepacs.dicom.transport import Provider, Socket
from santepacs.logs import fault

log = Logger()

if pynetdicom.__version__ != "3.0.4":
    raise ImportError("santepacs relies on private parts of pynetdicom 3.0.4")

MAXIMUM_PDU = 131_072  # bytes; what we announce, and the most we send at once
LARGEST_COMMAND = 64 * 1024
LARGEST_IDENTIFIER = 4 * 1024 * 1024
MAXIMUM_PIPELINED = 16  # requests that came before the first was answered
_LAST_WORDS = 1.0  # seconds in which an A-ABORT may still be sent

Service = Callable[["UpperAssociation", Any, PresentationContext], None]
"""Serves one request of the peer, in the association's thread."""

OpenSpool = Callable[["UpperAssociation", Any, PresentationContext], "Spool"]
"""Says where the data set of a C-STORE command goes; by raising, that it must not come."""


class _Messages(DIMSEServiceProvider):
    """Puts messages together from fragments, within bounds."""

    assoc: "UpperAssociation"

    def receive_primitive(self, primitive: P_DATA) -> None:
        try:
            for fragment in primitive.presentation_data_value_list:
                one = P_DATA()
                one.presentation_data_value_list.append(fragment)
                super().receive_primitive(one)
                self._check(self.message)
        except Exception as error:  # noqa: BLE001 - whatever a peer sends, it gets an A-ABORT
            log.debug("message refused: {error}", error=type(error).__name__)
            self.discard()
            self.dul.event_queue.put("Evt19")

    def _check(self, message: DIMSEMessage | None) -> None:
        if self.msg_queue.qsize() > MAXIMUM_PIPELINED:
            raise ValueError("too many requests at once")
        if message is None:
            return
        if message.encoded_command_set.tell() > LARGEST_COMMAND:
            raise ValueError("the command is too large")
        if isinstance(message.data_set, Spool):
            return
        if isinstance(message, C_STORE_RQ):
            message.data_set = self.assoc.spool(message.command_set, message.context_id)
            return
        size = message.data_set.tell() if message.data_set is not None else 0
        if size and type(message) is DIMSEMessage:
            raise ValueError("a data set without a command")
        if size > LARGEST_IDENTIFIER:
            raise ValueError("the identifier is too large")

    @property
    def maximum_pdu_size(self) -> int:
        """What the peer takes, and never more than we would; 0 stands for any length."""
        return min(super().maximum_pdu_size or MAXIMUM_PDU, MAXIMUM_PDU)

    def discard(self) -> None:
        """Remove the files of what was received and will not be served."""
        message, self.message = self.message, None
        left = [message.data_set] if message is not None else []
        while not self.msg_queue.empty():
            _, request = self.msg_queue.get_nowait()
            left.append(getattr(request, "DataSet", None))
        for data_set in left:
            if isinstance(data_set, Spool):
                data_set.discard()


class UpperAssociation(Association):
    """An association on this layer. `services` serve the requests that come over it."""

    dimse: _Messages

    def __init__(
        self,
        ae: AE,
        mode: str,
        services: dict[type, Service] | None = None,
        spool: OpenSpool | None = None,
        ended: "Callable[[UpperAssociation], None] | None" = None,
    ) -> None:
        super().__init__(ae, mode)
        self.dul = Provider(self)
        self.dimse = _Messages(self)
        # Setting them starts nothing; it tells the new provider.
        self.acse_timeout, self.network_timeout = self.acse_timeout, self.network_timeout
        self._services = services or {}
        self._spool = spool
        self._ended = ended
        self._busy = False
        self._quiet_since = time.monotonic()

    def spool(self, command: Any, context_id: int | None) -> Spool:
        """Where the data set of a C-STORE request goes. Raises KeyError for no such context."""
        if self._spool is None:
            raise ValueError("nobody stores here")
        return self._spool(self, command, self._accepted_cx[context_id or 0])

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        finally:
            self.dul.join(_LAST_WORDS)
            self._kill = self.dul._kill_thread = True
            self.dul.join(_LAST_WORDS)
            self._spool = None
            self.dimse.discard()
            if self.dul.socket is not None:
                self.dul.socket.close()
            if self._ended is not None:
                self._ended(self)

    def _serve_request(self, msg: Any, context_id: int) -> None:
        service = self._services.get(type(msg))
        context = self._accepted_cx.get(context_id)
        if not msg.is_valid_request:
            # pynetdicom would say nothing, and the peer would wait.
            if isinstance(getattr(msg, "DataSet", None), Spool):
                msg.DataSet.discard()
            self.abort()
            return
        if service is None or context is None:
            super()._serve_request(msg, context_id)
            return
        self._busy = self._is_paused = True
        self.dimse.cancel_req = {}
        try:
            service(self, msg, context)
        except Exception as error:  # noqa: BLE001 - services answer; this is our own mistake
            log.error("a DICOM service failed: {fault}", fault=fault(error))
            self.abort()
        finally:
            self.dimse.cancel_req = {}
            self._busy = self._is_paused = False
            self._quiet_since = time.monotonic()

    def is_cancelled(self, message_id: int) -> bool:
        """Whether the peer sent a C-CANCEL for its request `message_id`."""
        return message_id in self.dimse.cancel_req

    def is_open(self) -> bool:
        """Whether the peer is still there to be answered."""
        return self.is_established and self.dul.is_alive() and not self.acse.is_aborted()

    def is_quiet(self, seconds: float) -> bool:
        """Whether nothing has been going on for so long."""
        receiving = self.dimse.message is not None or not self.dimse.msg_queue.empty()
        return not (self._busy or receiving) and time.monotonic() - self._quiet_since > seconds

    def is_idle_caller(self, address: str) -> bool:
        """Whether this is a connection from `address` that has not become an association yet."""
        caller: Any = self.requestor.address_info
        return caller.address == address and not (self.is_established or self._kill)

    def end(self) -> None:
        """Abort without waiting for the peer; from any thread."""
        self.abort(block=False)
        self._kill = True


def accept(
    ae: AE,
    connection: socket.socket,
    address: tuple[Any, ...],
    services: dict[type, Service],
    spool: OpenSpool,
    handlers: list[tuple[Any, Callable[[Any], Any]]],
    ended: Callable[[UpperAssociation], None],
) -> UpperAssociation:
    """An association, not started yet, for a connection that somebody made to us.

    `handlers` are pynetdicom's (event, function); `ended` is called when all is over.
    """
    association = UpperAssociation(ae, "acceptor", services, spool, ended)
    association.name = f"DICOM {address[0]}"
    association.set_socket(Socket(association, client_socket=connection))
    association.acceptor.ae_title = ae.ae_title
    association.acceptor.address_info = AddressInformation.from_tuple(connection.getsockname())
    association.acceptor.maximum_length = MAXIMUM_PDU
    association.acceptor.implementation_class_uid = ae.implementation_class_uid
    association.acceptor.implementation_version_name = ae.implementation_version_name
    association.acceptor.supported_contexts = []
    association.requestor.address_info = AddressInformation.from_tuple(address)
    for event, handler in handlers:
        association.bind(event, handler)
    return association


def request(
    ae: AE, ae_title: str, host: str, port: int, contexts: list[PresentationContext]
) -> UpperAssociation:
    """Ask the application at `host` for an association; look at `is_established`. Blocking.

    Raises OSError when the host's name leads nowhere.
    """
    association = UpperAssociation(ae, "requestor")
    association.daemon = True
    association.name = f"DICOM to {ae_title}"
    remote = AddressInformation(host, port)
    local = AddressInformation("0.0.0.0" if remote.is_ipv4 else "::", 0)
    association.set_socket(Socket(association, address=local))
    association.acceptor.ae_title = ae_title
    association.acceptor.address_info = remote
    association.requestor.ae_title = ae.ae_title
    association.requestor.address_info = local
    association.requestor.maximum_length = MAXIMUM_PDU
    association.requestor.implementation_class_uid = ae.implementation_class_uid
    association.requestor.implementation_version_name = ae.implementation_version_name
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    association.requestor.requested_contexts = contexts
    association.request()
    if association.is_established:
        association.start()
    return association


def reject(association: UpperAssociation, result: int, source: int, reason: int) -> None:
    """Answer the association request with A-ASSOCIATE-RJ (PS3.8 table 9-21) and end it."""
    association.acse.send_reject(result, source, reason)
    association.kill()
