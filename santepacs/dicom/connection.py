"""A TCP or TLS connection of the upper layer: whole PDUs in, bytes out, each within a deadline.

The socket is read only when somebody wants the next PDU, so what a peer sends too early or too
much of waits in the kernel and slows the peer, not us. Waiting is poll(2): no time is slept away,
and file descriptors above 1,023 are fine. One thread uses a connection; `interrupt` alone may be
called by others.
"""

import select
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from contextlib import suppress

MINIMUM_RATE = 2000  # bytes per second that a peer must take, once the first patience is over

_HEADER = struct.Struct(">BxL")
_FIRST_BUFFER = 16 * 1024
_VECTORS = 512  # buffers for one sendmsg, below the system's IOV_MAX
_TURN = 0.5  # seconds after which a blocked sender looks whether it was interrupted


class Ended(Exception):
    """The connection is of no more use: closed, broken, or the peer does not read."""


class Interrupted(Exception):
    """Somebody of ours wants this connection to end."""

    def __init__(self, *, between_pdus: bool = True) -> None:
        """`between_pdus`: whether something can still be said to the peer."""
        super().__init__("ended by us")
        self.between_pdus = between_pdus


class Unacceptable(Exception):
    """What came cannot be the start of a PDU that we take, or does not come in time."""


class Connection:
    """One socket, non-blocking, with the bytes that were read ahead of their use."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        with suppress(OSError):  # not TCP, in a test
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket: socket.socket | ssl.SSLSocket = sock
        self._tls = False
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)
        self._buffer = bytearray(_FIRST_BUFFER)
        self._start = self._end = 0
        self._partial_since: float | None = None
        self._interrupted = False
        self.received = 0
        """Bytes that came so far."""

    # --- TLS --------------------------------------------------------------------------------------

    def start_tls(
        self,
        context: ssl.SSLContext,
        timeout: float,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        """Shake hands, within `timeout` seconds. Raises Ended or Interrupted."""
        deadline = time.monotonic() + timeout
        try:
            self._socket = context.wrap_socket(
                self._socket,
                server_side=server_side,
                do_handshake_on_connect=False,
                server_hostname=server_hostname,
            )
            self._tls = True
            while True:
                try:
                    return self._socket.do_handshake()
                except ssl.SSLWantReadError:
                    ready = self._wait(self._readable, deadline)
                except ssl.SSLWantWriteError:
                    ready = self._wait(self._writable, deadline)
                if self._interrupted:
                    raise Interrupted(between_pdus=False)
                if not ready:
                    raise Ended("the TLS handshake took too long")
        except (OSError, ValueError, AttributeError) as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise Ended(f"the TLS handshake failed: {reason}") from None

    @property
    def is_tls(self) -> bool:
        """Whether it is encrypted."""
        return self._tls

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate in DER, if it showed one that was verified."""
        if isinstance(self._socket, ssl.SSLSocket):
            return self._socket.getpeercert(binary_form=True)
        return None

    # --- reading ----------------------------------------------------------------------------------

    def next_pdu(self, maximum: int, until: float, patience: float) -> memoryview | None:
        """The next whole PDU, header included; None when there is none until the time `until`.

        The view is good until the next call. Raises Unacceptable for a PDU longer than `maximum`
        bytes after its header, of a type that does not exist, or which is not complete `patience`
        seconds after its first byte; Ended at the end of the connection; Interrupted.
        """
        while True:
            if self._interrupted:
                raise Interrupted
            held = self._end - self._start
            if held >= 6:
                kind, length = _HEADER.unpack_from(self._buffer, self._start)
                if not 1 <= kind <= 7:
                    raise Unacceptable("unknown PDU type")
                if length > maximum:
                    raise Unacceptable("the PDU is too long")
                if held >= 6 + length:
                    start, self._start = self._start, self._start + 6 + length
                    self._partial_since = None
                    return memoryview(self._buffer)[start : self._start]
                self._make_room(6 + length)
            elif held == 0:
                self._start = self._end = 0
            else:
                self._make_room(6)
            now = time.monotonic()
            if held:
                if self._partial_since is None:
                    self._partial_since = now
                elif now - self._partial_since > patience:
                    raise Unacceptable("the PDU does not come to its end")
                limit = min(until, self._partial_since + patience)
            else:
                limit = until
            if not self._fill(limit) and time.monotonic() >= until:
                return None

    def discard_until_closed(self, seconds: float) -> None:
        """Read and forget until the peer closes, at most so long."""
        deadline = time.monotonic() + seconds
        self._start = self._end = 0
        with suppress(Ended):
            while time.monotonic() < deadline:
                self._fill(deadline)
                self._end = 0

    def _make_room(self, size: int) -> None:
        """See that `size` bytes fit between the start of what is held and the buffer's end."""
        if len(self._buffer) - self._start >= size:
            return
        held = self._buffer[self._start : self._end]
        if size > len(self._buffer):
            # Twice the PDU: the next one, or most of it, comes with the same read.
            self._buffer = bytearray(2 * size)
        self._buffer[: len(held)] = held
        self._start, self._end = 0, len(held)

    def _fill(self, deadline: float) -> bool:
        """Read what is there, waiting for something until `deadline`; whether there was."""
        with memoryview(self._buffer) as view, view[self._end :] as room:
            while True:
                try:
                    size = self._socket.recv_into(room)
                except (BlockingIOError, InterruptedError, ssl.SSLWantReadError):
                    if not self._wait(self._readable, deadline):
                        return False
                    if self._interrupted:
                        raise Interrupted from None
                    continue
                except (OSError, ValueError):
                    raise Ended from None
                break
        if not size:
            raise Interrupted if self._interrupted else Ended
        self._end += size
        self.received += size
        if not self._tls:
            # Linux forgets this after a while; with Nagle's algorithm on the other side each
            # message would else wait 40 ms for our acknowledgement.
            with suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return True

    @staticmethod
    def _wait(poller: select.poll, deadline: float) -> bool:
        left = deadline - time.monotonic()
        return bool(poller.poll(max(0, min(left, 86_400) * 1000)))

    # --- writing ----------------------------------------------------------------------------------

    def write(self, buffers: Sequence[bytes | memoryview], patience: float) -> None:
        """Send all of it. Raises Ended when the peer takes too little for too long, Interrupted.

        The peer has `patience` seconds for each step, and for all of it only as long as it takes
        `MINIMUM_RATE`.
        """
        end = time.monotonic() + patience + sum(map(len, buffers)) / MINIMUM_RATE
        deadline = min(end, time.monotonic() + patience)
        if self._tls:
            buffers = (b"".join(buffers),)
        pending, first, offset = list(buffers), 0, 0
        while first < len(pending):
            if self._interrupted:
                raise Interrupted(between_pdus=not (first or offset))
            try:
                sent = self._send(pending, first, offset)
            except (BlockingIOError, InterruptedError, ssl.SSLWantWriteError):
                self._wait_to_write(deadline)
                continue
            except ssl.SSLWantReadError:
                self._wait(self._readable, min(deadline, time.monotonic() + _TURN))
                if time.monotonic() >= deadline:
                    raise Ended from None
                continue
            except (OSError, ValueError):
                raise Ended from None
            deadline = min(end, time.monotonic() + patience)
            sent += offset
            while first < len(pending) and sent >= len(pending[first]):
                sent -= len(pending[first])
                first += 1
            offset = sent

    def _send(self, pending: list[bytes | memoryview], first: int, offset: int) -> int:
        head = memoryview(pending[first])[offset:]
        if isinstance(self._socket, ssl.SSLSocket):  # it has no sendmsg
            return self._socket.send(head)
        return self._socket.sendmsg([head, *pending[first + 1 : first + _VECTORS]])

    def _wait_to_write(self, deadline: float) -> None:
        now = time.monotonic()
        if now >= deadline:
            raise Ended("the peer does not read")
        self._wait(self._writable, min(deadline, now + _TURN))

    # --- the end ----------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """Wake the thread that uses the connection; it gets Interrupted. From any thread."""
        self._interrupted = True
        with suppress(OSError, ValueError):
            # Of the socket itself: SSLSocket's would take the encryption off, too.
            socket.socket.shutdown(self._socket, socket.SHUT_RD)

    def last_words(self, data: bytes) -> None:
        """Send `data` if that is possible at once, even after an interruption, and no more."""
        with suppress(OSError, ValueError):
            self._socket.send(data)
        with suppress(OSError, ValueError):
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def close(self) -> None:
        """Close the socket."""
        with suppress(OSError):
            self._socket.close()
