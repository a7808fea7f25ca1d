"""A tolerant, bounded reader of HL7 v2 messages (ER7, ch. 2).

The text is split when a value is asked for, and escapes are decoded after splitting, so no escape
can make a segment or field. The wire text of every segment is kept. Line ends may be CR, LF or
both; a line that begins no segment continues the one before (wrapped or raw CR in a field).
"""

import re
from collections.abc import Iterator, Sequence

from santepacs.hl7.charset import Decoded, decode, wide_codec
from santepacs.hl7.delimiters import Delimiters, read_delimiters
from santepacs.hl7.escapes import unescape
from santepacs.hl7.refusal import Refusal

MAXIMUM_SEGMENTS = 10_000
MAXIMUM_FIELDS = 100_000
MAXIMUM_LINES = 300_000  # a wrapped document of 16 MB in an OBX has 200,000
MAXIMUM_MESSAGES = 1_000
MAXIMUM_VALUE = 64 * 1024  # characters of a value that are decoded; no record field holds more

_LINES = re.compile(r"[\r\n]+")
_HEADER = re.compile(rb"(?:^|(?<=[\r\n]))[ \t]*MSH(?=[^A-Za-z0-9\s])")
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_ENVELOPE = ("FHS", "BHS", "BTS", "FTS")
# Lower-case names are accepted for segments that are known, not for any word of wrapped text.
_KNOWN = {"MSH", "PID", "PD1", "PV1", "PV2", "ORC", "OBR", "OBX", "NTE", "TQ1", "ZDS", "IPC", "AL1"}


class Segment:
    """One segment: its name and its wire text."""

    __slots__ = ("_fields", "_separator", "name", "text")

    def __init__(self, name: str, text: str, separator: str) -> None:
        self.name = name
        self.text = text
        self._separator = separator
        self._fields: list[str] | None = None

    def field(self, number: int) -> str:
        """The wire text of a field; MSH-1 is the separator itself. Empty when absent."""
        if self._fields is None:
            self._fields = self.text.split(self._separator)
        if self.name == "MSH":
            if number == 1:
                return self._separator
            number -= 1
        return self._fields[number] if 0 < number < len(self._fields) else ""


class Segments:
    """Segments in order, of a message or of one order in it, and the values in them."""

    def __init__(
        self,
        segments: Sequence[Segment],
        delimiters: Delimiters,
        codec: str,
        before: "Segments | None" = None,
    ) -> None:
        """`before`: what stands before `segments` and belongs to them, such as the patient."""
        self.segments = segments
        self.delimiters = delimiters
        self.codec = codec
        self._before = before
        # A message may hold thousands of orders, and each is asked for dozens of values.
        self._first: dict[str, Segment] = {}
        for segment in segments:
            self._first.setdefault(segment.name, segment)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        found = self._before.first(name) if self._before else None
        return found or self._first.get(name)

    def only(self, segments: Sequence[Segment], before: "Segments | None" = None) -> "Segments":
        """Some of these segments, read the same way."""
        return Segments(segments, self.delimiters, self.codec, before)

    def value(
        self,
        segment: str,
        field: int,
        component: int = 0,
        repetition: int = 1,
        subcomponent: int = 0,
    ) -> str:
        """A decoded value of the first such segment; empty when any part of the way is absent.

        Numbers count from 1; 0 means all of it, delimiters included. What is longer than
        `MAXIMUM_VALUE` is cut.
        """
        found = self.first(segment)
        text = found.field(field) if found else ""
        if not text:
            return ""
        if segment != "MSH" or field > 2:
            for number, delimiter in (
                (repetition, self.delimiters.repetition),
                (component, self.delimiters.component),
                (subcomponent, self.delimiters.subcomponent),
            ):
                text = _part(text, delimiter, number)
        return unescape(text[:MAXIMUM_VALUE], self.delimiters, self.codec)


class Message(Segments):
    """One message: an MSH segment and what follows it."""

    def __init__(self, charset: Decoded) -> None:
        """Raises Refusal when there is no usable MSH or there is too much of anything."""
        self.charset = charset
        text = charset.text.lstrip("\ufeff\x0b \t\r\n").rstrip("\x1c \t\r\n")
        if text[:3].upper() != "MSH":
            raise Refusal("100", "MSH^1", "the message does not begin with MSH")
        delimiters = read_delimiters(text)
        if text.count(delimiters.field) > MAXIMUM_FIELDS:
            raise Refusal("207", "", f"more than {MAXIMUM_FIELDS} fields")
        self.continued = 0
        super().__init__(self._split(text, delimiters.field), delimiters, charset.codec)

    def _split(self, text: str, separator: str) -> list[Segment]:
        lines: list[list[str]] = []
        given = _LINES.split(text)
        if len(given) > MAXIMUM_LINES:
            raise Refusal("207", "", f"more than {MAXIMUM_LINES} lines")
        for line in given:
            if not line or line.isspace():
                continue
            stripped = line.lstrip()
            if _begins_segment(stripped, separator):
                lines.append([stripped])
            else:
                lines[-1].append(line)
                self.continued += 1
        if len(lines) > MAXIMUM_SEGMENTS:
            raise Refusal("207", "", f"more than {MAXIMUM_SEGMENTS} segments")
        texts = ("".join(parts) for parts in lines)
        segments = [Segment(text[:3].upper(), text, separator) for text in texts]
        if sum(segment.name == "MSH" for segment in segments) > 1:
            raise Refusal("100", "MSH^2", "several messages run together")
        return [segment for segment in segments if segment.name not in _ENVELOPE]

    @property
    def type(self) -> str:
        """The message code: MSH-9.1, ``ORM``."""
        return self.value("MSH", 9, 1).partition("_")[0]

    @property
    def event(self) -> str:
        """The trigger event: MSH-9.2, ``O01``."""
        return self.value("MSH", 9, 2) or self.value("MSH", 9, 1).partition("_")[2]

    @property
    def control_id(self) -> str:
        """MSH-10, undecoded: what an acknowledgement repeats."""
        return self.segments[0].field(10)

    @property
    def is_acknowledgement(self) -> bool:
        """Whether this answers a message of ours: it must not be answered in turn."""
        return self.type in ("ACK", "MCF") or self.first("MSA") is not None


def parse(raw: bytes, default_charset: str = "") -> Message:
    """One message. Raises Refusal."""
    return Message(decode(raw, default_charset))


def split_messages(payload: bytes) -> list[bytes]:
    """The messages of one frame, which may be a batch (FHS, BHS) or several run together.

    What precedes the first MSH belongs to no message. Without any MSH, the payload as it is.
    Raises Refusal when there are too many.
    """
    if wide_codec(payload):
        return [payload]
    starts = [match.start() for match in _HEADER.finditer(payload.removeprefix(b"\xef\xbb\xbf"))]
    if len(starts) > MAXIMUM_MESSAGES:
        raise Refusal("207", "", f"more than {MAXIMUM_MESSAGES} messages in one frame")
    if not starts:
        return [payload]
    body = payload.removeprefix(b"\xef\xbb\xbf")
    ends = [*starts[1:], len(body)]
    return [body[start:end] for start, end in zip(starts, ends, strict=True)]


def _begins_segment(line: str, separator: str) -> bool:
    if line[3:4] not in (separator, ""):
        return False
    return bool(_NAME.match(line)) or (line[:3].upper() in _KNOWN and line[3:4] == separator)


def _part(text: str, delimiter: str, number: int) -> str:
    if number == 0:
        return text
    if delimiter not in text:
        return text if number == 1 else ""
    parts = text.split(delimiter, number)
    return parts[number - 1] if number <= len(parts) else ""
