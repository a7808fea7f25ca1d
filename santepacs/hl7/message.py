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

# After a line end: what begins with one of two bytes is found several times as fast.
_HEADER = re.compile(rb"[\r\n][ \t]*+MSH(?=[^A-Za-z0-9\s])")
_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_ENVELOPE = ("FHS", "BHS", "BTS", "FTS")
# Lower-case names are accepted for segments that are known, not for any word of wrapped text.
_KNOWN = frozenset(
    ("MSH", "EVN", "PID", "PD1", "PV1", "PV2", "NTE", "AL1", "DG1", "MRG", "ORC", "OBR", "OBX",
     "TQ1", "ZDS", "IPC", "SCH", "RGS", "AIS", "AIG", "AIL", "AIP")
)  # fmt: skip


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
        fields = self._fields
        if fields is None:
            fields = self._fields = self.text.split(self._separator)
            if self.name == "MSH":
                fields.insert(1, self._separator)
        return fields[number] if 0 < number < len(fields) else ""


class Segments:
    """Segments in order, of a message or of one order in it, and the values in them."""

    def __init__(
        self,
        segments: Sequence[Segment],
        delimiters: Delimiters,
        codec: str,
        shared: "Segments | None" = None,
    ) -> None:
        """`shared`: what belongs to `segments` and to others, such as the patient."""
        self.segments = segments
        self.delimiters = delimiters
        self.codec = codec
        self._shared = shared
        # A message may hold thousands of orders, and each is asked for dozens of values.
        self._first: dict[str, Segment] = {}
        for segment in segments:
            self._first.setdefault(segment.name, segment)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def first(self, name: str) -> Segment | None:
        """The first segment of that name: an own one, or else one that is shared."""
        found = self._first.get(name)
        if found is None and self._shared is not None:
            return self._shared.first(name)
        return found

    def only(self, segments: Sequence[Segment], shared: "Segments | None" = None) -> "Segments":
        """Some of these segments, read the same way."""
        return Segments(segments, self.delimiters, self.codec, shared)

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
        if found is None:
            return ""
        return self.value_in(found, field, component, repetition, subcomponent)

    def value_in(
        self,
        segment: Segment,
        field: int,
        component: int = 0,
        repetition: int = 1,
        subcomponent: int = 0,
    ) -> str:
        """The same of this very segment."""
        text = segment.field(field)
        if not text:
            return ""
        delimiters = self.delimiters
        if field > 2 or segment.name != "MSH":
            # Most values have no delimiter at all: the short way first.
            if repetition > 1 or delimiters.repetition in text:
                text = _part(text, delimiters.repetition, repetition)
            if component > 1 or (component and delimiters.component in text):
                text = _part(text, delimiters.component, component)
            if subcomponent:
                text = _part(text, delimiters.subcomponent, subcomponent)
        if delimiters.escape in text:
            return unescape(text[:MAXIMUM_VALUE], delimiters, self.codec)
        return text[:MAXIMUM_VALUE]


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
        lines = text.replace("\r\n", "\r").replace("\n", "\r").split("\r")
        if len(lines) > MAXIMUM_LINES:
            raise Refusal("207", "", f"more than {MAXIMUM_LINES} lines")
        names: list[str] = []
        texts: list[list[str]] = []
        for line in lines:
            stripped = line.lstrip()
            if not stripped:
                continue
            name = _name(stripped, separator)
            if name:
                names.append(name)
                texts.append([stripped])
            else:
                texts[-1].append(line)
                self.continued += 1
        if len(names) > MAXIMUM_SEGMENTS:
            raise Refusal("207", "", f"more than {MAXIMUM_SEGMENTS} segments")
        if names.count("MSH") > 1:
            raise Refusal("100", "MSH^2", "several messages run together")
        return [
            Segment(name, "".join(parts), separator)
            for name, parts in zip(names, texts, strict=True)
            if name not in _ENVELOPE
        ]

    @property
    def type(self) -> str:
        """The message code: MSH-9.1, ``ORM``."""
        return self.value("MSH", 9, 1).partition("_")[0].strip().upper()

    @property
    def event(self) -> str:
        """The trigger event: MSH-9.2, ``O01``; where old senders leave it out, EVN-1."""
        event = self.value("MSH", 9, 2) or self.value("MSH", 9, 1).partition("_")[2]
        return (event or self.value("EVN", 1, 1)).strip().upper()

    @property
    def sender(self) -> tuple[str, str]:
        """The sending application and facility: MSH-3.1 and MSH-4.1."""
        return self.value("MSH", 3, 1), self.value("MSH", 4, 1)

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
    body = payload.removeprefix(b"\xef\xbb\xbf")
    starts = [match.start() for match in _HEADER.finditer(b"\r" + body)]
    if len(starts) > MAXIMUM_MESSAGES:
        raise Refusal("207", "", f"more than {MAXIMUM_MESSAGES} messages in one frame")
    if not starts:
        return [payload]
    ends = [*starts[1:], len(body)]
    return [body[start:end] for start, end in zip(starts, ends, strict=True)]


def _name(line: str, separator: str) -> str:
    """The name of the segment that begins with this line; empty when none does."""
    name, following = line[:3], line[3:4]
    if following not in (separator, ""):
        return ""
    if name in _KNOWN or _NAME.fullmatch(name):
        return name
    return name.upper() if following and name.upper() in _KNOWN else ""


def _part(text: str, delimiter: str, number: int) -> str:
    if number == 0:
        return text
    if delimiter not in text:
        return text if number == 1 else ""
    parts = text.split(delimiter, number)
    return parts[number - 1] if number <= len(parts) else ""
