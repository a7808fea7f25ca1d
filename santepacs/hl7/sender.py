"""Sending a message by MLLP: connect, send, wait for its acknowledgement, close.

One message a connection, and one time limit for all of it, so that nobody at the other end can
hold us longer than that, however slowly it answers.
"""

from typing import Any

from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    ConnectionRefusedError,
    DNSLookupError,
)
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from santepacs.destinations import Permit, anywhere
from santepacs.errors import SantepacsError, Unavailable
from santepacs.hl7.answers import Answer, Outgoing, UnusableAnswer

__all__ = ["Answer", "UnusableAnswer", "check", "connect", "send"]


async def send(
    reactor: Any, host: str, port: int, raw: bytes, timeout: float, permit: Permit = anywhere
) -> Answer:
    """Send `raw` and return what the receiver says to it; `timeout` in seconds, for all of it.

    `permit` is asked before anything is sent. Raises Unavailable when there is no connection or no
    answer in time, UnusableAnswer (Malformed) when what comes is no acknowledgement of this
    message, Malformed when it cannot or may not be sent at all.
    """
    outgoing = Outgoing(raw)
    began = reactor.seconds()
    exchange = _Exchange(outgoing, permit)
    await _connect(reactor, host, port, exchange, timeout)
    left = timeout - (reactor.seconds() - began)
    timer = reactor.callLater(max(0.0, left), exchange.give_up)
    try:
        answer = await exchange.answered
    finally:
        if timer.active():
            timer.cancel()
        exchange.close()
    milliseconds = round(1000 * (reactor.seconds() - began))
    return Answer(answer.code, answer.text, answer.raw, milliseconds, answer.condition)


async def _connect(reactor: Any, host: str, port: int, exchange: Protocol, timeout: float) -> None:
    """Raises Unavailable when nobody can be reached there."""
    try:
        endpoint = HostnameEndpoint(reactor, host, port, timeout)
        connecting = connect(endpoint, exchange)
        connecting.addTimeout(timeout, reactor)
        await connecting
    except DNSLookupError:
        raise Unavailable("the receiver's host name has no address") from None
    except (ConnectTimeout, defer.TimeoutError, ConnectingCancelledError, CancelledError):
        raise Unavailable("the receiver does not answer") from None
    except ConnectionRefusedError:
        raise Unavailable("the receiver refuses connections") from None
    except (ConnectError, OSError, ValueError):
        raise Unavailable("the receiver cannot be reached") from None


def connect(endpoint: Any, protocol: Protocol) -> Deferred[Any]:
    """As Twisted's `connectProtocol`, which tells the log of every connection."""
    connected: Deferred[Any] = endpoint.connect(_Once(protocol))
    return connected


class _Once(Factory):
    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, address: Any) -> Protocol:
        return self._protocol


def check(transport: Any, permit: Permit) -> None:
    """Ask whether we may talk on this connection. Raises Malformed."""
    remote = transport.getPeer()
    permit(remote.host, remote.port, transport.getHost().host)


class _Exchange(Protocol):
    """Sends its message when connected; `answered` fires once, with the answer or an error."""

    transport: Any

    def __init__(self, outgoing: Outgoing, permit: Permit) -> None:
        self._outgoing = outgoing
        self._permit = permit
        self._ended = False
        self.answered: Deferred[Answer] = Deferred()

    def connectionMade(self) -> None:
        try:
            check(self.transport, self._permit)
        except SantepacsError:
            self._end(Failure())
        else:
            self.transport.write(self._outgoing.block)

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        try:
            answer = self._outgoing.feed(data)
        except SantepacsError:
            self._end(Failure())
        else:
            if answer is not None:
                self._end(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.give_up()

    def give_up(self) -> None:
        """Nothing more will come, or be waited for."""
        if self._ended:
            return
        try:
            self._end(self._outgoing.ended())
        except SantepacsError:
            self._end(Failure())

    def close(self) -> None:
        """Leave; whatever the other end still wants to say, it says to nobody."""
        self.transport.abortConnection()

    def _end(self, result: Any) -> None:
        self._ended = True
        self.answered.callback(result)
