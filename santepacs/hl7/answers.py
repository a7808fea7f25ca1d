"""What a receiver answers to a message of ours: its acknowledgement, found in what it sends.

The acknowledgement is the one that names our MSH-10 (MSA-2); a refusal may leave it empty, because
a receiver that could not read the message does not know it. What else comes, such as the commit
acknowledgement of MLLP release 2 or somebody else's ACK, is passed over. Bounded in size.
"""

from dataclasses import dataclass

from santepacs.errors import Malformed, Unavailable
from santepacs.hl7.message import Message, parse
from santepacs.hl7.refusal import Refusal
from santepacs.wire.framing import END_BLOCK, Frame, FrameSplitter, FramingError, mllp_block

MAXIMUM_ANSWER = 1 << 20  # bytes of all that a receiver may send
MAXIMUM_FRAMES = 50
TEXT_LENGTH = 200

_ACCEPTED = ("AA", "CA")
_REFUSED = ("AE", "AR", "CE", "CR")
_COMMITTED, _NOT_COMMITTED = b"\x06", b"\x15"  # MLLP release 2
# Table 0357: message type, event, processing and version that the receiver does not process.
_UNSUPPORTED = ("200", "201", "202", "203")


class UnusableAnswer(Malformed):
    """What came back is no acknowledgement of this message; `raw`: as much of it as was kept."""

    def __init__(self, text: str, raw: bytes) -> None:
        super().__init__(text)
        self.raw = raw


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement: `code` of table 0008, `condition` of table 0357 or empty, its remark,
    itself as it came, and the time from the first attempt to connect.
    """

    code: str
    text: str
    raw: bytes
    milliseconds: int = 0
    condition: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the receiver has taken the message."""
        return self.code in _ACCEPTED

    @property
    def is_passing(self) -> bool:
        """Whether the receiver may take the very same message later: AR, but not for its type."""
        return self.code in ("AR", "CR") and self.condition not in _UNSUPPORTED


class Outgoing:
    """One message of ours on its way, and what comes back for it. No I/O."""

    def __init__(self, raw: bytes) -> None:
        """Raises Malformed when `raw` cannot be sent by MLLP."""
        if b"\x0b" in raw or b"\x1c" in raw:
            raise Malformed("the message holds MLLP delimiters")
        try:
            self._control_id = parse(raw).control_id.strip()
        except Refusal as refusal:
            raise Malformed(f"not an HL7 message: {refusal}") from None
        self.block = mllp_block(raw)
        self._frames = FrameSplitter(MAXIMUM_ANSWER)
        self._received = self._count = 0
        self._last = self._other = b""

    def feed(self, received: bytes) -> Answer | None:
        """Take what was received; returns the acknowledgement as soon as it is there.

        Raises UnusableAnswer for too much, Unavailable when the receiver could not keep the
        message.
        """
        self._received += len(received)
        if self._received > MAXIMUM_ANSWER:
            raise UnusableAnswer(f"the answer has more than {MAXIMUM_ANSWER} bytes", self._other)
        self._last = received[-1:]
        self._frames.feed(received)
        try:
            while frame := self._next_frame():
                answer = self._read(frame.payload)
                if answer is not None:
                    return answer
        except FramingError:
            raise UnusableAnswer("the answer is not MLLP", received[:1000]) from None
        return None

    def ended(self) -> Answer:
        """The receiver closed the connection, or the time is over: what it sent is all.

        Raises UnusableAnswer when that was no acknowledgement of this message, Unavailable when it
        was nothing.
        """
        unfinished = self._frames.pending is not None
        frame = self._frames.finish()
        answer = frame and self._read(frame.payload)
        if answer:
            return answer
        if self._other:
            raise UnusableAnswer("the answer is no acknowledgement of this message", self._other)
        how = "did not finish its answer" if unfinished else "did not answer"
        raise Unavailable(f"the receiver {how}")

    def _next_frame(self) -> Frame | None:
        """Some receivers forget what comes after 1C: we wait for nothing else."""
        frame = self._frames.next_frame()
        return frame or (self._frames.settle() if self._last == END_BLOCK else None)

    def _read(self, payload: bytes) -> Answer | None:
        self._count += 1
        if self._count > MAXIMUM_FRAMES:
            raise UnusableAnswer(f"more than {MAXIMUM_FRAMES} answers to one message", self._other)
        if payload.strip() == _COMMITTED:
            return None
        if payload.strip() == _NOT_COMMITTED:
            raise Unavailable("the receiver could not keep the message (MLLP NAK)")
        self._other = payload
        try:
            message = parse(payload)
        except Refusal:
            return None
        code = message.value("MSA", 1, 1).strip().upper()
        acknowledgement = message.first("MSA")
        named = acknowledgement.field(2).strip() if acknowledgement else ""
        is_ours = named == self._control_id or not self._control_id
        if (code in _ACCEPTED and is_ours) or (code in _REFUSED and (is_ours or not named)):
            return Answer(code, _remark(message), payload, condition=_condition(message))
        return None


def _remark(message: Message) -> str:
    """What the receiver's people should read: ERR-8, MSA-3, or another text of ERR."""
    places = (("ERR", 8, 1), ("MSA", 3, 0), ("ERR", 7, 1), ("ERR", 3, 2), ("ERR", 1, 4))
    found = (message.value(*place).strip() for place in places)
    return next(filter(None, found), "")[:TEXT_LENGTH]


def _condition(message: Message) -> str:
    return (message.value("ERR", 3, 1) or message.value("ERR", 1, 4, 1, 1)).strip()
