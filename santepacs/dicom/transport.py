"""The transport under pynetdicom's associations: bounded in length and time, and fair.

Private names of pynetdicom 3.0.4 relied on: ``DULServiceProvider._process_recv_primitive``,
``AssociationSocket._is_connected``, the queues of the provider, the names of PS3.8's states.
"""

import queue
import select
import socket
import time
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ
from pynetdicom.transport import T_CONNECT, AssociationSocket
from twisted.logger import Logger

log = Logger()

LARGEST_REQUEST = 256 * 1024  # bytes of a PDU before the association: 128 contexts fit
LARGEST_PDU = 1024 * 1024  # bytes of a PDU afterwards
_UNSENT = 16  # PDUs
_LINGER = 1.0  # seconds that a peer has to close after an A-ABORT or A-ASSOCIATE-RJ
_CLOSING = "Sta13"
_UNESTABLISHED = frozenset(("Sta1", "Sta2", "Sta3", "Sta4", "Sta5"))


class _Outbox(queue.Queue):
    """A short queue to the sending thread; whoever fills it waits while that thread lives."""

    def __init__(self, provider: DULServiceProvider) -> None:
        super().__init__(_UNSENT)
        self._provider = provider

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        while True:
            try:
                return super().put(item, timeout=0.2)
            except queue.Full:
                if not self._provider.is_alive():
                    return None


class Provider(DULServiceProvider):
    """The thread that runs the state machine: fair, bounded, and loud when it fails."""

    socket: Any
    to_user_queue: Any

    def __init__(self, assoc: Association) -> None:
        super().__init__(assoc)
        self.daemon = True
        self.to_provider_queue = _Outbox(self)
        self._read_next = False

    def _process_recv_primitive(self) -> bool:
        if not self.event_queue.empty():
            return True  # one after the other: pynetdicom would read on before it reacts
        # pynetdicom reads only when there is nothing to send: a C-CANCEL would come too late.
        self._read_next = not self._read_next
        if self._read_next and self.state_machine.current_state == "Sta6" and self.socket.ready:
            return False
        return bool(super()._process_recv_primitive())

    def kill_dul(self) -> None:
        super().kill_dul()
        # Wakes who waits for a PDU of a connection that has gone.
        self.to_user_queue.put(None)

    def run_reactor(self) -> None:
        try:
            super().run_reactor()
        except Exception as error:  # noqa: BLE001 - a peer must not end a thread silently
            log.debug("association aborted: {error}", error=type(error).__name__)
            abort = A_ABORT_RQ()
            abort.source, abort.reason_diagnostic = 0x02, 0x00
            self.socket.send(abort.encode())
            self.socket.close()
            self.kill_dul()


class Socket(AssociationSocket):
    """A TCP connection: PDUs bounded in length and time, no waiting for delayed ACKs."""

    socket: Any
    assoc: Any

    def __init__(self, assoc: Association, **arguments: Any) -> None:
        super().__init__(assoc, **arguments)
        if self._is_connected:
            self._tune()

    def connect(self, primitive: T_CONNECT) -> None:
        super().connect(primitive)
        if self.socket is not None:
            self._tune()

    def _tune(self) -> None:
        self.socket.settimeout(self.assoc.network_timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def ready(self) -> bool:
        # Not select(): it ends at file descriptor 1024.
        if self.socket is None or not self._is_connected:
            return False
        try:
            poller = select.poll()
            poller.register(self.socket, select.POLLIN)
            return bool(poller.poll(0))
        except (OSError, ValueError):
            self.event_queue.put("Evt17")
            return False

    def recv(self, nr_bytes: int) -> bytearray:
        """Exactly `nr_bytes` of a PDU, less at the end of the connection.

        Raises OSError for a PDU that is too long or too slow.
        """
        state = self.assoc.dul.state_machine.current_state
        if nr_bytes > (LARGEST_REQUEST if state in _UNESTABLISHED else LARGEST_PDU):
            raise OSError("the PDU is too long")
        deadline = time.monotonic() + self._patience(state)
        received = bytearray(nr_bytes)
        view = memoryview(received)
        count = 0
        while count < nr_bytes:
            self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
            size = self.socket.recv_into(view[count:])
            if not size:
                break
            count += size
        # Linux forgets this after a while; with Nagle's algorithm on the other side each message
        # would else wait 40 ms for our acknowledgement.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        view.release()
        del received[count:]
        return received

    def _patience(self, state: str) -> float:
        """Seconds that a PDU may take to arrive."""
        if state == _CLOSING:
            return _LINGER
        waiting = state in _UNESTABLISHED
        return float(self.assoc.acse_timeout if waiting else self.assoc.network_timeout)

    def send(self, bytestream: bytes) -> None:
        try:
            self.socket.settimeout(self.assoc.network_timeout)
            self.socket.sendall(bytestream)
        except (OSError, AttributeError):
            self.event_queue.put("Evt17")
