"""The HTTP connection: Twisted's, with time limits, early answers and a gentle close.

What it adds to `twisted.web.http.HTTPChannel`:

- The header of a request has `HEADER_SECONDS` however slowly it trickles, its body a minimum rate,
  an idle connection `IDLE_SECONDS`.
- A request with a body is handled as soon as its header is there, so whoever may not send it is
  refused before it is read. When the answer comes first, the rest is thrown away for a moment
  before the connection is closed: to close amid an upload would lose the answer.
- A broken request gets an answer with the headers that every answer has.

It uses `_command`, `_path`, `_version`, `_networkProducer` and `_respondToBadRequestAndDisconnect`
of its base, which have no public form.
"""

from typing import Any

from twisted.internet.error import ConnectionAborted
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from santepacs.web.headers import COMMON

HEADER_SECONDS = 30.0
IDLE_SECONDS = 60.0
MINIMUM_RATE = 1024  # bytes a second of a body, over its whole length
LINGER_SECONDS = 3.0
LINGER_BYTES = 4 << 20


class Channel(HTTPChannel):
    """One connection of a browser."""

    site: Any
    transport: Any
    timeOut = None  # Twisted's timer starts anew with every byte: not for us

    def __init__(self) -> None:
        super().__init__()
        self._timer: Any = None
        self._receiving = False
        self._lingering = False
        self._thrown_away = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.opened()
        self._limit(IDLE_SECONDS)

    def dataReceived(self, data: bytes) -> None:
        if self._lingering:
            self._throw_away(data)
            return
        if not self._receiving and not self.requests:
            self._receiving = True
            self._limit(HEADER_SECONDS)
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if not self._lingering:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:
        if self._lingering:
            self._throw_away(data)
        else:
            super().rawDataReceived(data)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._respondToBadRequestAndDisconnect()

    def allHeadersReceived(self) -> None:
        super().allHeadersReceived()
        if self.length == 0:
            return
        most = self.site.body_limit if self.length is None else self.length
        self._limit(IDLE_SECONDS + most / MINIMUM_RATE)
        self.requests[-1].begin(self._command, self._path, self._version, self.length)

    def allContentReceived(self) -> None:
        self._receiving = False
        self._limit(None)
        super().allContentReceived()

    def requestDone(self, request: Any) -> None:
        if self._receiving:  # answered before its body was there
            self.requests.remove(request)
            self._linger()
            return
        self._limit(IDLE_SECONDS)
        super().requestDone(request)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self._limit(None)
        self.site.closed()
        super().connectionLost(reason)

    def stop_reading(self) -> None:
        """Leave what comes to the network, until `read_on`."""
        self._networkProducer.pauseProducing()  # type: ignore[misc]

    def read_on(self) -> None:
        """Read again."""
        self._networkProducer.resumeProducing()  # type: ignore[misc]

    def _linger(self) -> None:
        self._lingering = True
        self._limit(LINGER_SECONDS)
        self._networkProducer.resumeProducing()  # type: ignore[misc]
        if self.isSecure():
            self.loseConnection()
        else:
            self._networkProducer.unregisterProducer()
            self.transport.loseWriteConnection()

    def _throw_away(self, data: bytes) -> None:
        self._thrown_away += len(data)
        if self._thrown_away > LINGER_BYTES:
            self.transport.abortConnection()

    def _limit(self, seconds: float | None) -> None:
        """Close the connection in `seconds` unless told otherwise before; None: never."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None if seconds is None else self.callLater(seconds, self._too_slow)

    def _too_slow(self) -> None:
        self._timer = None
        if self._lingering:
            self.transport.abortConnection()
        else:
            self.timeoutConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        for request in self.requests:
            request.connectionLost(Failure(ConnectionAborted()))
        self.requests.clear()
        body = b"400 Bad Request: this is no HTTP request that can be understood.\n"
        headers = {
            **COMMON,
            b"Content-Type": b"text/plain; charset=utf-8",
            b"Content-Length": b"%d" % len(body),
            b"Connection": b"close",
        }
        lines = [b"HTTP/1.1 400 Bad Request", *(b": ".join(item) for item in headers.items())]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        self._linger()
