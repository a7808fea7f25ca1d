"""What the reactor watches at the door of a DICOM port: see `santepacs.dicom.gate`.

Three kinds of sockets: the one that listens, connections that have not said enough yet, and
connections that were refused and have to close.
"""

import errno
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

from santepacs.access.throttle import network
from santepacs.errors import Malformed
from santepacs.model.addresses import plain_address

log = Logger()

BACKLOG = 4096
LINGER = 2.0  # seconds that a refused caller has to close
_ACCEPTED_IN_A_TURN = 64
_GLANCE = 4096  # bytes looked at first; most association requests are shorter
_USUAL_BUFFER = 64 * 1024  # bytes that any kernel holds for a connection
_MOST_THROWN_AWAY = 1024 * 1024  # bytes of a refused caller
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_BREATH = 0.5  # seconds without accepting when nothing can be freed
_SOON = 0.05  # seconds until the next look where the kernel does not wait for enough


class Keeper(Protocol):
    """The gate, as its sockets see it."""

    def arrived(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """There is a new connection."""

    def make_room(self) -> bool:
        """Close a connection that is of little use, for its file descriptor; whether there is."""

    def expected(self, beginning: bytes) -> int:
        """How many bytes must be there; more may be expected then. Raises Malformed."""

    def complete(self, arrival: "Arrival", pdu: bytes) -> None:
        """The first PDU is there. Raises Malformed."""

    def garbage(self, arrival: "Arrival", reason: str) -> None:
        """What came is not our protocol."""

    def expired(self, arrival: "Arrival") -> None:
        """The time is over."""

    def gone(self, arrival: "Arrival") -> None:
        """It is not waiting any more."""

    def left(self, farewell: "Farewell") -> None:
        """It is over."""


@implementer(IReadDescriptor)
class Watched:
    """A socket that the reactor watches."""

    def __init__(self, reactor: Any, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._reactor = reactor
        self._socket = sock
        self._number = sock.fileno()
        self._timer: Any = None

    def fileno(self) -> int:
        return self._number

    def logPrefix(self) -> str:
        return "DICOM gate"

    def connectionLost(self, reason: Any) -> None:
        self.close()

    def watch(self) -> None:
        self._reactor.addReader(self)

    def rest(self) -> None:
        """Watch no longer."""
        self._reactor.removeReader(self)

    def later(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` then; one at a time."""
        self.no_later()
        self._timer = self._reactor.callLater(seconds, function)

    def no_later(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def close(self) -> None:
        self.rest()
        self.no_later()
        self._socket.close()


class Listener(Watched):
    """The listening socket."""

    def __init__(self, reactor: Any, sock: socket.socket, gate: Keeper) -> None:
        super().__init__(reactor, sock)
        self._gate = gate

    def start(self) -> None:
        self._socket.listen(BACKLOG)
        self.watch()

    def doRead(self) -> None:
        for _ in range(_ACCEPTED_IN_A_TURN):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno not in _OUT_OF_RESOURCES:
                    continue  # a connection that was gone before we took it
                if not self._gate.make_room():
                    log.error("cannot accept DICOM connections: {why}", why=error.strerror)
                    self.rest()
                    self.later(_BREATH, self.watch)
                    return
            else:
                self._gate.arrived(connection, address)


class Arrival(Watched):
    """A connection whose first PDU is not there yet, or not decided."""

    def __init__(
        self, reactor: Any, connection: socket.socket, peer: tuple[Any, ...], gate: Keeper
    ) -> None:
        super().__init__(reactor, connection)
        self.peer = peer
        self.address = plain_address(peer[0])
        self.network = network(self.address)
        self.is_silent = True
        """Whether the first PDU is still missing."""
        self._gate = gate
        self._wanted = 1
        self._look_again: Any = None

    def start(self, patience: float) -> None:
        self.later(patience, self._expired)
        self.watch()
        self.doRead()

    def doRead(self) -> None:
        try:
            beginning = self._socket.recv(max(self._wanted, _GLANCE), socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            beginning = b""
        if not beginning:
            self.close()
            return
        try:
            wanted = self._gate.expected(beginning)
            if len(beginning) >= wanted:
                self.is_silent = False
                self._gate.complete(self, beginning[:wanted])
            elif self._is_half_closed():
                self.close()
            else:
                self._wait_for(wanted)
        except Malformed as problem:
            self._gate.garbage(self, str(problem))

    def _wait_for(self, size: int) -> None:
        """Be woken when so many bytes are there."""
        if size > self._wanted:
            self._wanted = size
            if size > _USUAL_BUFFER:
                # The kernel must hold all of it, for nobody reads meanwhile.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * size)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
        else:
            # The kernel keeps waking us, because its memory is short.
            self.rest()
            self._look_again = self._reactor.callLater(_SOON, self.watch)

    def _is_half_closed(self) -> bool:
        """Whether nothing more will come."""
        poller = select.poll()
        poller.register(self._number, select.POLLRDHUP)
        return bool(poller.poll(0))

    def _expired(self) -> None:
        self._gate.expired(self)

    def release(self) -> socket.socket:
        """The connection, which is somebody else's from now on."""
        self.rest()
        self.no_later()
        if self._look_again is not None and self._look_again.active():
            self._look_again.cancel()
        self._gate.gone(self)
        return self._socket

    def close(self) -> None:
        self.release().close()


class Farewell(Watched):
    """A connection that got its last answer.

    What still comes is thrown away until the peer closes: closing with unread data would reset the
    connection, and the answer might be lost with it.
    """

    def __init__(self, reactor: Any, connection: socket.socket, gate: Keeper) -> None:
        super().__init__(reactor, connection)
        self._gate = gate
        self._left = _MOST_THROWN_AWAY

    def start(self, answer: bytes) -> None:
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self._socket.send(answer)
            self._socket.shutdown(socket.SHUT_WR)
        self.later(LINGER, self.close)
        self.watch()

    def doRead(self) -> None:
        try:
            size = len(self._socket.recv(64 * 1024))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            size = 0
        self._left -= size
        if not size or self._left < 0:
            self.close()

    def close(self) -> None:
        super().close()
        self._gate.left(self)
