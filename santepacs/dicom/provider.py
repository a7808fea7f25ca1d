"""The upper layer provider (PS3.8) under pynetdicom's association, without a thread of its own.

pynetdicom runs its state machine in a second thread that polls. Here the association's own
thread drives it: what it sends goes out at once, and it reads when it has nothing else to do, one
PDU at a time. Data (P-DATA-TF) of an established association bypasses pynetdicom's PDU classes.

Private names of pynetdicom 3.0.4 relied on: ``DULServiceProvider._process_recv_primitive
_decode_pdu _recv_pdu _kill_thread``, what the actions of ``fsm`` want
of the socket, and the names of PS3.8's states and events.
"""

import queue
import time
from collections import deque
from contextlib import suppress
from typing import Any

from pynetdicom import evt
from pynetdicom.dul import DULServiceProvider
from pynetdicom.fsm import StateMachine
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, A_RELEASE
from pynetdicom.timer import Timer
from twisted.logger import Logger

from santepacs.dicom.connection import Connection, Ended, Interrupted, Unacceptable
from santepacs.dicom.primitives import ReceivedRequest
from santepacs.dicom.request import LARGEST_REQUEST
from santepacs.errors import Malformed
from santepacs.logs import fault

log = Logger()

MAXIMUM_PDU = 131_072  # bytes; what we announce, and the most we send at once

_ASSOCIATE_RQ, _P_DATA = 0x01, 0x04
_LINGER = 1.0  # seconds that a peer has to close after an A-ABORT, A-ASSOCIATE-RJ or A-RELEASE-RP
_ESTABLISHED, _RELEASING, _CLOSING, _IDLE = "Sta6", "Sta7", "Sta13", "Sta1"
_UNESTABLISHED = frozenset(("Sta1", "Sta2", "Sta3", "Sta4", "Sta5"))
_CLOSED, _INVALID = "Evt17", "Evt19"
_USER_ABORT = bytes.fromhex("0700 00000004 0000 00 00")
_PROVIDER_ABORT = bytes.fromhex("0700 00000004 0000 02 00")


class _Line(deque[Any]):
    """A queue that one thread uses, with the names of ``queue.Queue`` that pynetdicom uses."""

    @property
    def queue(self) -> "_Line":
        """The items."""
        return self

    def put(self, item: Any) -> None:
        """Add at the end."""
        self.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take from the beginning; raises queue.Empty instead of waiting."""
        if not self:
            raise queue.Empty
        return self.popleft()

    def empty(self) -> bool:
        """Whether there is nothing."""
        return not self


class _Always:
    """What pynetdicom waits for between its threads; here it is always so."""

    def set(self) -> None:
        """It is."""

    def clear(self) -> None:
        """It stays so."""

    def wait(self) -> None:
        """There is nothing to wait for."""

    def is_set(self) -> bool:
        """It is."""
        return True


ALWAYS = _Always()


class Wire:
    """What pynetdicom's state machine takes for its socket."""

    def __init__(self, provider: "Provider", connection: Connection) -> None:
        self.connection = connection
        self._provider = provider
        self._is_connected = True
        self._ready = self

    @property
    def socket(self) -> "Wire":
        """pynetdicom looks whether there is one, and closes it."""
        return self

    def wait(self) -> None:
        """pynetdicom waits for the connection, which is there already."""

    def send(self, data: bytes) -> None:
        """Send the bytes of a PDU."""
        self._provider.write((data,))

    def connect(self, primitive: Any) -> None:
        """The connection is there already; say so."""
        primitive.result = "Evt2"
        self._provider.to_provider_queue.put(primitive)
        self._provider.event_queue.put(primitive.result)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    _shutdown_socket = close


class Provider(DULServiceProvider):
    """Runs the state machine of one association in the thread that calls it."""

    socket: Any
    to_user_queue: Any
    assoc: Any

    def __init__(self, assoc: Any, connection: Connection) -> None:
        # Not pynetdicom's own: what it makes for two threads costs more than the negotiation.
        self._assoc = assoc
        self.event_queue = _Line()  # type: ignore[assignment]
        self.to_provider_queue = _Line()  # type: ignore[assignment]
        self.to_user_queue = _Line()
        self._recv_pdu = _Line()  # type: ignore[assignment]
        self._idle_timer, self.artim_timer = Timer(None), Timer(None)
        self.state_machine = StateMachine(self)
        self._kill_thread = False
        self.socket = Wire(self, connection)
        self.last_pdu = time.monotonic()
        """When the peer was last heard of."""
        self._connection = connection
        self._begun = False

    # --- what pynetdicom takes for a thread -------------------------------------------------------

    def start(self) -> None:
        """Begin; an acceptor's connection is there from the beginning."""
        self._begun = True
        if self.assoc.is_acceptor:
            self._react("Evt5")

    def is_alive(self) -> bool:
        """Whether the connection is still of use."""
        return self._begun and not self._kill_thread

    def join(self, timeout: float | None = None) -> None:
        """There is nothing to wait for."""

    def stop_dul(self) -> bool:
        """Take leave of the peer and close."""
        if self.state_machine.current_state == _CLOSING:
            self._connection.last_words(b"")
            self._connection.discard_until_closed(_LINGER)
            self._react(_CLOSED)
        self._connection.close()
        self.state_machine.current_state = _IDLE
        self._kill_thread = True
        return True

    # --- primitives -------------------------------------------------------------------------------

    def send_pdu(self, primitive: Any) -> None:
        """Send what the association wants to say, now."""
        if isinstance(primitive, (A_ASSOCIATE, A_RELEASE, A_ABORT, A_P_ABORT)):
            evt.trigger(self.assoc, evt.EVT_ACSE_SENT, {"primitive": primitive})
        self.to_provider_queue.put(primitive)
        self._process_recv_primitive()
        self._react()

    def receive_pdu(self, wait: bool = False, timeout: float | None = None) -> Any:
        """The next primitive for the association; None when there is none within `timeout`."""
        until = time.monotonic() + (timeout or 0) if wait else 0.0
        while self.to_user_queue.empty() and wait and self.is_alive():
            if self.state_machine.current_state == _CLOSING or not self.advance(until):
                return None
        return super().receive_pdu(wait=False)

    # --- the peer's side --------------------------------------------------------------------------

    def advance(self, until: float) -> bool:
        """React to the peer's next PDU; False when there is none until the time `until`."""
        state = self.state_machine.current_state
        unestablished = state in _UNESTABLISHED
        patience = self.assoc.acse_timeout if unestablished else self.assoc.network_timeout
        maximum = LARGEST_REQUEST if unestablished else MAXIMUM_PDU
        try:
            pdu = self._connection.next_pdu(maximum, until, patience)
        except Interrupted:
            self._connection.last_words(_USER_ABORT)
            self._react(_CLOSED)
            return True
        except Ended:
            self._react(_CLOSED)
            return True
        except Unacceptable as problem:
            log.debug("association aborted: {reason}", reason=str(problem))
            self._react(_INVALID)
            return True
        if pdu is None:
            return False
        self.last_pdu = time.monotonic()
        with pdu:
            self._take(pdu, state)
        return True

    def _take(self, pdu: memoryview, state: str) -> None:
        if pdu[0] == _P_DATA and state in (_ESTABLISHED, _RELEASING):
            if state == _ESTABLISHED:  # what comes after our A-RELEASE-RQ is not wanted any more
                self._take_data(pdu)
            return
        received: Any
        try:
            if pdu[0] == _ASSOCIATE_RQ:
                received, event = ReceivedRequest(bytes(pdu)), "Evt6"
                self.assoc.proposal = received.record
                self._show(pdu)
            else:
                received, event = self._decode_pdu(bytearray(pdu))
        except Exception as error:  # noqa: BLE001 - pynetdicom raises all sorts for what it cannot read
            log.debug("PDU refused: {fault}", fault=fault(error))
            self._react(_INVALID)
            return
        self._recv_pdu.put(received)
        self._react(event)

    def _take_data(self, pdu: memoryview) -> None:
        self._show(pdu)
        try:
            self.assoc.dimse.take(pdu[6:])
        except (Malformed, ValueError, MemoryError) as problem:
            log.debug("association aborted: {reason}", reason=str(problem))
            self._react(_INVALID)

    def _show(self, pdu: memoryview) -> None:
        """Have pynetdicom read what we read ourselves, for those who watch its events."""
        if self.assoc.is_watched(evt.EVT_PDU_RECV) or self.assoc.is_watched(evt.EVT_DATA_RECV):
            with suppress(Exception):
                self._decode_pdu(bytearray(pdu))

    def _react(self, event: str | None = None) -> None:
        """Let the state machine act on what happened."""
        if event is not None:
            self.event_queue.put(event)
        while not self.event_queue.empty():
            try:
                self.state_machine.do_action(self.event_queue.get(block=False))
            except Exception as error:  # noqa: BLE001 - a peer must not end a thread silently
                log.debug("association aborted: {fault}", fault=fault(error))
                self._connection.last_words(_PROVIDER_ABORT)
                if self.state_machine.current_state not in _UNESTABLISHED:
                    self.to_user_queue.put(A_P_ABORT())
                self.state_machine.current_state = _CLOSING
                self.event_queue.clear()  # type: ignore[attr-defined]
                return

    # --- bytes ------------------------------------------------------------------------------------

    def write(self, buffers: Any) -> bool:
        """Send the bytes of whole PDUs; whether that was possible."""
        try:
            self._connection.write(buffers, self.assoc.network_timeout)
        except Interrupted as interruption:
            if interruption.between_pdus and self.state_machine.current_state == _ESTABLISHED:
                self._connection.last_words(_USER_ABORT)
            self.event_queue.put(_CLOSED)
            return False
        except Ended:
            self.event_queue.put(_CLOSED)
            return False
        return True

    def write_data(self, buffers: Any) -> bool:
        """Send P-DATA-TF PDUs of an established association; whether that was possible."""
        if self.state_machine.current_state != _ESTABLISHED:
            return False
        if not self.write(buffers):
            self._react()
            return False
        return True
