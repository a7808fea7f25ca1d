"""Bytes of the HL7 port into frames: MLLP messages and token requests, on one connection.

The first byte at a frame boundary decides: ``0B`` begins an MLLP block (HL7 v2 Appendix C), which
ends with ``1C 0D``; ``10`` begins a token request, which ends with ``0D``. Both may follow each
other. What real senders get wrong is tolerated where the meaning is clear: text before a block,
a byte order mark, a message without ``0B``, other white space after ``1C``. What begins like HTTP
or TLS is somebody else's protocol, perhaps a web page that tries to post orders.

No I/O and no clock. The scan goes on where it stopped, so time is linear in what was received,
also when it comes byte by byte.
"""

import re
from dataclasses import dataclass
from enum import Enum

START_BLOCK = b"\x0b"
END_BLOCK = b"\x1c"
START_TOKEN = b"\x10"
CARRIAGE_RETURN = b"\r"

JUNK_LIMIT = 64 * 1024
TOKEN_LIMIT = 256

_BOM = b"\xef\xbb\xbf"
_BARE = (b"MSH", b"FHS", b"BHS")
_FOREIGN = (
    *(b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE "),
    *(b"CONNECT ", b"PRI ", b"PROPFIND ", b"\x16\x03"),
)
_HTTP = b" HTTP/"
# A start inside what belongs to no frame: 0B or 10 anywhere, a bare message at a line's start.
_START = re.compile(rb"[\x0b\x10]|(?<=[\r\n])(?:MSH|FHS|BHS)")
# 1C ends a message only before what may follow a message; elsewhere it is data. 0B with MSH
# begins the next message: the end of this one was lost.
_END = re.compile(rb"\x1c[\r\n\x0b\x10]|\x0bMSH")
_BETWEEN = re.compile(rb"[\r\n\0 \t\x1c]+")


class Kind(Enum):
    """What a frame is."""

    MLLP = "MLLP message"
    TOKEN = "token request"
    BROKEN = "MLLP message cut off by the next one: to be answered, never to be processed"


@dataclass(frozen=True, slots=True)
class Frame:
    """What stood between the delimiters."""

    kind: Kind
    payload: bytes


class FramingError(Exception):
    """The connection cannot go on; the text says why, without content."""


class ForeignProtocol(FramingError):
    """HTTP or TLS: to be closed at once, zero bytes sent."""


def mllp_block(message: bytes) -> bytes:
    """The message as it goes on the wire."""
    return START_BLOCK + message + END_BLOCK + CARRIAGE_RETURN


class FrameSplitter:
    """Collects received bytes and gives their frames, one when asked for."""

    def __init__(self, message_limit: int) -> None:
        """`message_limit`: most bytes of one message."""
        self._limit = message_limit
        self._buffer = bytearray()
        self._scanned = 0
        self._inside: Kind | None = None
        self._bare = False
        self._in_junk = False
        self._junk = 0
        self._first = True
        self.skipped = 0

    @property
    def pending(self) -> Kind | None:
        """What has begun and is not complete: a token request, a message, or nothing."""
        if self._inside is None and self._buffer:
            return Kind.MLLP
        return self._inside

    @property
    def received(self) -> int:
        """Bytes that wait for the rest of their frame."""
        return len(self._buffer)

    @property
    def settles(self) -> bool:
        """Whether silence would complete the frame: no ``0B`` at its start, or ``1C`` last."""
        return self._inside is Kind.MLLP and (self._bare or self._buffer.endswith(END_BLOCK))

    def feed(self, data: bytes) -> None:
        """Take what was received."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next complete frame, or None until more is fed. Raises FramingError."""
        while True:
            if self._inside is None and not self._begin():
                return None
            if self._inside is Kind.TOKEN:
                return self._token()
            end = _END.search(self._buffer, self._scanned)
            if end is None:
                self._scanned = max(0, len(self._buffer) - 3)
                self._check_size(len(self._buffer))
                return None
            frame = self._message(end.start(), ended=end.group().startswith(END_BLOCK))
            if frame.payload:
                return frame

    def settle(self) -> Frame | None:
        """The frame that silence completes, or None."""
        if not self.settles:
            return None
        return self._message(len(self._buffer.removesuffix(END_BLOCK)), ended=True)

    def finish(self) -> Frame | None:
        """The frame that the sender's end of stream completes, or None: a cut one is dropped."""
        frame = self.settle()
        if frame is None and self._inside is Kind.MLLP and self._buffer:
            frame = self._message(len(self._buffer), ended=False)
        self._buffer.clear()
        self._inside = None
        return frame if frame and frame.kind is Kind.MLLP and frame.payload else None

    def _begin(self) -> bool:
        """Find the start of a frame; False when more bytes are needed to tell."""
        if not self._in_junk:
            self._swallow()
            if self._undecided():
                return False
        if (self._in_junk or not self._starts_frame()) and not self._skip_junk():
            return False
        self._first, self._in_junk, self._junk, self._scanned = False, False, 0, 0
        self._bare = self._buffer.startswith(_BARE)
        self._inside = Kind.TOKEN if self._buffer.startswith(START_TOKEN) else Kind.MLLP
        if not self._bare:
            del self._buffer[:1]
        return True

    def _swallow(self) -> None:
        """Drop white space and byte order marks between frames."""
        while True:
            between = _BETWEEN.match(self._buffer)
            if between:
                del self._buffer[: between.end()]
            elif self._buffer.startswith(_BOM):
                del self._buffer[: len(_BOM)]
            else:
                return

    def _undecided(self) -> bool:
        """Whether these may be the first bytes of a known start. Raises ForeignProtocol."""
        if self._first and self._buffer.startswith(_FOREIGN):
            raise ForeignProtocol("HTTP or TLS on the HL7 port")
        words = (_BOM, *_BARE, *_FOREIGN) if self._first else (_BOM, *_BARE)
        start = bytes(self._buffer[:16])
        return any(len(start) < len(word) and word.startswith(start) for word in words)

    def _starts_frame(self) -> bool:
        return self._buffer.startswith((START_BLOCK, START_TOKEN, *_BARE))

    def _skip_junk(self) -> bool:
        """Drop what belongs to no frame, up to the next start; False when there is none yet."""
        self._in_junk = True
        start = _START.search(self._buffer)
        # Without a start the last bytes stay: they may be part of one, or of "HTTP/".
        end = start.start() if start else max(0, len(self._buffer) - len(_HTTP))
        if self._first and _HTTP in self._buffer:
            raise ForeignProtocol("HTTP on the HL7 port")
        self._junk += end
        self.skipped += end
        if self._junk > JUNK_LIMIT:
            raise FramingError(f"more than {JUNK_LIMIT} bytes outside of any frame")
        del self._buffer[:end]
        return start is not None

    def _token(self) -> Frame | None:
        end = self._buffer.find(CARRIAGE_RETURN, self._scanned, TOKEN_LIMIT + 1)
        request = bytes(self._buffer[: TOKEN_LIMIT if end < 0 else end])
        if any(delimiter in request for delimiter in (START_BLOCK, END_BLOCK, START_TOKEN)):
            raise FramingError("another frame's delimiter inside a token request")
        if end < 0:
            if len(self._buffer) > TOKEN_LIMIT:
                raise FramingError(f"a token request of more than {TOKEN_LIMIT} bytes")
            self._scanned = len(self._buffer)
            return None
        del self._buffer[: end + 1]
        self._inside, self._scanned = None, 0
        return Frame(Kind.TOKEN, request)

    def _message(self, end: int, *, ended: bool) -> Frame:
        self._check_size(end)
        payload = bytes(self._buffer[:end])
        del self._buffer[: end + 1 if ended else end]
        self._inside, self._scanned = None, 0
        # Without its end a message counts only if its last segment is complete.
        whole = ended or (payload.startswith(b"MSH") and payload.endswith(CARRIAGE_RETURN))
        return Frame(Kind.MLLP if whole else Kind.BROKEN, payload)

    def _check_size(self, size: int) -> None:
        if size > self._limit:
            raise FramingError(f"a message of more than {self._limit} bytes")
