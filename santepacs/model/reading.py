"""An HL7 message taken apart for people: what stands where, as sent and as understood.

Everything is bounded: a view shows a part of a large message and says how large the whole is.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Part:
    """A component of a field. `place`: where a mapping finds it, ``PID-5.1`` or ``PID-3(2).1``."""

    place: str
    name: str
    value: str
    component: int
    repetition: int


@dataclass(frozen=True, slots=True)
class FieldView:
    """A field that holds something. `wire`: as sent; `value`: without escapes.

    Both may be shortened; `length` counts the characters of the whole field as sent.
    """

    place: str
    number: int
    name: str
    wire: str
    value: str
    length: int
    parts: tuple[Part, ...] = ()

    @property
    def is_shortened(self) -> bool:
        """Whether there is more of it than is shown."""
        return self.length > len(self.wire)


@dataclass(frozen=True, slots=True)
class SegmentView:
    """A segment: the `index`-th of the message (from 1), the `number`-th of its name."""

    index: int
    number: int
    name: str
    title: str
    fields: tuple[FieldView, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the message as sent, and how it ended: ``CR``, ``LF``, ``CR LF`` or nothing."""

    text: str
    end: str
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A message for people. `problem`: why it cannot be taken apart; then it has lines alone."""

    problem: str = ""
    type: str = ""
    version: str = ""
    control_id: str = ""
    sending_application: str = ""
    sending_facility: str = ""
    receiving_application: str = ""
    receiving_facility: str = ""
    declared: str = ""
    codec: str = ""
    doubtful: bool = False
    continued: int = 0
    segments: tuple[SegmentView, ...] = ()
    segment_count: int = 0
    lines: tuple[Line, ...] = ()
    line_count: int = 0
    remarks: tuple[str, ...] = field(default=())

    @property
    def charset(self) -> str:
        """How the bytes became text, in words."""
        declared = f"declared {self.declared}" if self.declared else "no character set declared"
        return f"{declared}, decoded as {self.codec}"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a message would be answered, and what it would do.

    `verdict`: AA, AE or AR. `location`: as in ERR-2. `effects`: for each order (or patient) what
    is to be done and the values of the record, by field name.
    """

    verdict: str
    location: str = ""
    text: str = ""
    effects: tuple[tuple[str, dict[str, str]], ...] = ()


@dataclass(frozen=True, slots=True)
class Preview:
    """What another mapping does to one message: verdicts, and fields as (order, field, before,
    after)."""

    key: int
    before: Judgement
    after: Judgement
    fields: tuple[tuple[int, str, str, str], ...]
