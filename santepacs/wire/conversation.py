"""One connection to the HL7 port: frames are answered strictly in order, one at a time.

Each connection is one coroutine that admits, then waits for a frame, has it handled, writes the
answer and waits until it has left. While it does not wait for bytes, reading is paused as soon as
some arrive, so a sender can fill no memory. Everything has its deadline: a frame that has begun,
silence between frames, a peer that does not read its answers.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IPushProducer,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from santepacs.errors import SantepacsError
from santepacs.logs import fault
from santepacs.model.addresses import plain_address
from santepacs.wire.framing import Frame, FrameSplitter, FramingError, Kind

log = Logger()

Handler = Callable[[bytes, str], Awaitable[bytes | None]]

# A frame may take its time-out, and one second more for each so many bytes: slow lines with
# large messages pass, one byte a second does not.
SLOWEST_RATE = 16 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection, and all together, may take. Times in seconds, sizes in bytes."""

    message_size: int = 16 * 1024 * 1024
    connections: int = 200
    connections_per_address: int = 100
    frame_timeout: float = 30.0
    token_timeout: float = 10.0
    settle_timeout: float = 3.0
    idle_timeout: float = 3600.0
    write_timeout: float = 30.0


class _Expired(Exception):
    """A deadline has passed; the text says which."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Conversation(Protocol):
    """Serves one connection; made by `ConversationFactory`."""

    factory: "ConversationFactory"

    def __init__(self, source: str, limits: Limits) -> None:
        self.busy = False
        self._source = source
        self._limits = limits
        self._splitter = FrameSplitter(limits.message_size)
        self._waiting: Deferred[None] | None = None
        self._read_closed = False
        self._lost = False
        self._choked = False
        self._leaving: Any = None

    # --- what the transport calls -----------------------------------------------------------

    def connectionMade(self) -> None:
        """Admit first: until then nothing is read."""
        transport: Any = self.transport
        transport.pauseProducing()
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        transport.registerProducer(self, True)
        Deferred.fromCoroutine(self._converse()).addErrback(self._failed)

    def dataReceived(self, data: bytes) -> None:
        """Keep the bytes; wake the conversation, or read no more until it asks."""
        self._splitter.feed(data)
        # Who sends and never reads would else fill the memory, and be waited for ever.
        if self._waiting is None or self._choked:
            self._transport.pauseProducing()
        else:
            self._wake()

    def readConnectionLost(self) -> None:
        """The peer will send no more, but may read the answers."""
        self._read_closed = True
        self._wake()

    def writeConnectionLost(self) -> None:
        """The peer reads no more: no use in going on."""
        self._transport.abortConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """End whatever the conversation waits for. A handler at work is left to finish."""
        self._lost = True
        self.factory.closed(self, self._source)
        if self._leaving is not None and self._leaving.active():
            self._leaving.cancel()
        self._wake()

    def pauseProducing(self) -> None:
        """The peer does not read: what is written would pile up here."""
        self._choked = True

    def resumeProducing(self) -> None:
        """The peer has read."""
        self._choked = False
        self._wake()

    def stopProducing(self) -> None:
        """The connection is going; `connectionLost` follows."""

    def close(self) -> None:
        """Close at once, without a byte more."""
        self._transport.abortConnection()

    # --- the conversation -------------------------------------------------------------------

    async def _converse(self) -> None:
        try:
            if await self._admitted():
                while (frame := await self._frame()) is not None:
                    await self._serve(frame)
        except (FramingError, SantepacsError, _Expired) as reason:
            log.info("{source} closed: {reason}", source=self._source, reason=reason)
        self._leave()

    def _leave(self) -> None:
        """Close; answers that are still on their way get their time, unless they are not read."""
        if self._lost:
            return
        if self._choked:
            self._transport.abortConnection()
            return
        self._leaving = self.factory.reactor.callLater(
            self._limits.write_timeout, self._transport.abortConnection
        )
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    async def _admitted(self) -> bool:
        try:
            admitted = await self.factory.admit(self._source)
        except SantepacsError as error:
            self.factory.refused(self._source, str(error))
            return False
        if not admitted:
            self.factory.refused(self._source, "not an HL7 node's address")
        return admitted and not self._lost

    async def _frame(self) -> Frame | None:
        """The next frame; None at the end of the connection."""
        began: float | None = None
        while True:
            skipped = self._splitter.skipped
            frame = self._splitter.next_frame()
            if self._splitter.skipped > skipped:
                log.info(
                    "{source}: {count} bytes outside of any frame skipped",
                    source=self._source,
                    count=self._splitter.skipped - skipped,
                )
            if frame is not None:
                return frame
            if self._lost:
                return None
            if self._read_closed:
                return self._splitter.finish()
            now = self.factory.reactor.seconds()
            if self._splitter.pending is None:
                began = None
            elif began is None:
                began = now
            try:
                await self._more(*self._patience(began, now))
            except _Expired:
                frame = self._splitter.settle()
                if frame is None:
                    raise
                return frame

    def _patience(self, began: float | None, now: float) -> tuple[float, str]:
        """How long to wait for the next byte, and what it means when none comes."""
        pending = self._splitter.pending
        if began is None or pending is None:
            return self._limits.idle_timeout, "silence"
        if pending is Kind.TOKEN:
            return began + self._limits.token_timeout - now, "unfinished token request"
        rest = began + self._limits.frame_timeout + self._splitter.received / SLOWEST_RATE - now
        if self._splitter.settles:
            return min(rest, self._limits.settle_timeout), "unfinished message"
        return rest, "unfinished message"

    async def _more(self, patience: float, meaning: str) -> None:
        """Read until something comes; raises _Expired when nothing does in time."""
        if patience <= 0:
            raise _Expired(meaning)
        self._transport.resumeProducing()
        await self._wait(patience, meaning)

    async def _serve(self, frame: Frame) -> None:
        """Have a frame handled, and its answer sent and read."""
        self.busy = True
        try:
            answer = await self.factory.handlers[frame.kind](frame.payload, self._source)
        finally:
            self.busy = False
        if answer and not self._lost:
            self._transport.write(answer)
        while self._choked and not self._lost:
            await self._wait(self._limits.write_timeout, "answers are not read")

    async def _wait(self, patience: float, meaning: str) -> None:
        waiting: Deferred[None] = Deferred()
        self._waiting = waiting
        timer = self.factory.reactor.callLater(patience, self._expire, meaning)
        try:
            await waiting
        finally:
            if timer.active():
                timer.cancel()

    def _wake(self) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)

    def _expire(self, meaning: str) -> None:
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.errback(_Expired(meaning))

    def _failed(self, failure: Failure) -> None:
        log.error(
            "a conversation with {source} failed: {fault}",
            source=self._source,
            fault=fault(failure.value),
        )
        self._transport.abortConnection()

    @property
    def _transport(self) -> Any:
        return self.transport


class ConversationFactory(ServerFactory):
    """Makes a `Conversation` of each connection, and counts them."""

    noisy = False

    def __init__(
        self,
        reactor: Any,
        limits: Callable[[], Limits],
        admit: Callable[[str], Awaitable[bool]],
        refused: Callable[[str, str], None],
        handlers: Mapping[Kind, Handler],
    ) -> None:
        """`handlers` has one for every `Kind`.

        `refused(address, reason)` hears of callers that were closed at once.

        A handler gets a payload and the caller's address and returns the bytes to send, or None
        for no answer; when it raises, the connection is closed. `limits` is asked for each
        connection.
        """
        self.reactor = reactor
        self.admit = admit
        self.refused = refused
        self.handlers = handlers
        self._limits = limits
        self._open: set[Conversation] = set()
        self._by_address: Counter[str] = Counter()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """A conversation, or None (closed at once) when there are too many."""
        limits = self._limits()
        source = plain_address(getattr(addr, "host", "") or "")
        if len(self._open) >= limits.connections:
            self.refused(source, "too many connections")
            return None
        if self._by_address[source] >= limits.connections_per_address:
            self.refused(source, "too many connections from this address")
            return None
        conversation = Conversation(source, limits)
        conversation.factory = self
        self._open.add(conversation)
        self._by_address[source] += 1
        return conversation

    def closed(self, conversation: Conversation, source: str) -> None:
        """Forget a connection that has ended."""
        self._open.discard(conversation)
        self._by_address[source] -= 1
        if not self._by_address[source]:
            del self._by_address[source]

    @property
    def busy(self) -> int:
        """How many frames are being handled, whose answers are still to be sent."""
        return sum(conversation.busy for conversation in self._open)

    def close_all(self) -> None:
        """Close every connection, for the server's stop."""
        for conversation in tuple(self._open):
            conversation.close()
