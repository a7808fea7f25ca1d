"""A message taken apart for people to look at (`santepacs.model.reading`). Never raises Refusal:
what cannot be read is shown as lines, with the reason."""

import re

from santepacs.hl7 import names
from santepacs.hl7.charset import Decoded, decode
from santepacs.hl7.escapes import unescape
from santepacs.hl7.message import Message, Segment
from santepacs.hl7.refusal import Refusal
from santepacs.model.reading import FieldView, Line, Part, Reading, SegmentView

SHOWN_SEGMENTS = 200
SHOWN_FIELDS = 2_000
SHOWN_CHARACTERS = 300
SHOWN_PARTS = 60
SHOWN_LINES = 400
SHOWN_LINE = 4_000

_LINE = re.compile(r"([^\r\n]*)(\r\n|\r|\n|$)")
_ENDS = {"\r\n": "CR LF", "\r": "CR", "\n": "LF", "": ""}


def read(raw: bytes, default_charset: str = "", first: int = 1) -> Reading:
    """The message; `first`: the segment (from 1) that the view begins with."""
    charset = decode(raw, default_charset)
    lines, line_count = _lines(charset.text)
    try:
        message = Message(charset)
    except Refusal as refusal:
        return Reading(
            problem=str(refusal),
            declared=charset.declared,
            codec=charset.codec,
            doubtful=charset.doubtful,
            lines=lines,
            line_count=line_count,
        )
    return Reading(
        type="^".join(part for part in (message.type, message.event) if part),
        version=message.value("MSH", 12, 1),
        control_id=message.control_id,
        sending_application=message.value("MSH", 3, 1),
        sending_facility=message.value("MSH", 4, 1),
        receiving_application=message.value("MSH", 5, 1),
        receiving_facility=message.value("MSH", 6, 1),
        declared=charset.declared,
        codec=charset.codec,
        doubtful=charset.doubtful,
        continued=message.continued,
        segments=tuple(_segments(message, max(first, 1))),
        segment_count=len(message.segments),
        lines=lines,
        line_count=line_count,
        remarks=tuple(_remarks(message, charset)),
    )


def whole_field(raw: bytes, default_charset: str, index: int, number: int) -> str | None:
    """All of one field, decoded; None when the message has no such field."""
    try:
        message = Message(decode(raw, default_charset))
    except Refusal:
        return None
    if not 0 < index <= len(message.segments):
        return None
    text = message.segments[index - 1].field(number)
    return unescape(text, message.delimiters, message.codec) if text else None


def _remarks(message: Message, charset: Decoded) -> list[str]:
    remarks = []
    if charset.doubtful:
        remarks.append(f"The bytes are not what was declared: {charset.declared or 'nothing'}.")
    if message.continued:
        remarks.append(
            f"{message.continued} lines begin no segment and were joined to the one before."
        )
    return remarks


def _lines(text: str) -> tuple[tuple[Line, ...], int]:
    lines: list[Line] = []
    count = 0
    for match in _LINE.finditer(text):
        if not match[0]:
            continue
        count += 1
        if count <= SHOWN_LINES:
            lines.append(Line(match[1][:SHOWN_LINE], _ENDS[match[2]], len(match[1])))
    return tuple(lines), count


def _segments(message: Message, first: int) -> list[SegmentView]:
    views: list[SegmentView] = []
    seen: dict[str, int] = {}
    room = SHOWN_FIELDS
    for index, segment in enumerate(message.segments, 1):
        seen[segment.name] = number = seen.get(segment.name, 0) + 1
        if index < first:
            continue
        if index >= first + SHOWN_SEGMENTS or (views and room <= 0):
            break
        fields = _fields(message, segment, max(room, 50))
        room -= len(fields)
        title = names.segment_title(segment.name)
        views.append(SegmentView(index, number, segment.name, title, fields))
    return views


def _fields(message: Message, segment: Segment, room: int) -> tuple[FieldView, ...]:
    separators = segment.text.count(message.delimiters.field)
    fields: list[FieldView] = []
    for number in range(1, separators + 2):
        text = segment.field(number)
        if text and len(fields) < room:
            fields.append(_field(message, segment.name, number, text))
    return tuple(fields)


def _field(message: Message, segment: str, number: int, text: str) -> FieldView:
    shown = text[:SHOWN_CHARACTERS]
    is_structure = segment in ("MSH", "BHS", "FHS") and number <= 2
    value = shown if is_structure else unescape(shown, message.delimiters, message.codec)
    parts = () if is_structure else tuple(_parts(message, segment, number, text))
    name = names.field_name(segment, number)
    return FieldView(f"{segment}-{number}", number, name, shown, value, len(text), parts)


def _parts(message: Message, segment: str, number: int, text: str) -> list[Part]:
    """The components of a field that has more than one, of all its repetitions."""
    delimiters = message.delimiters
    repetitions = text[: 100 * SHOWN_CHARACTERS].split(delimiters.repetition)
    if len(repetitions) == 1 and delimiters.component not in text:
        return []
    parts: list[Part] = []
    for repetition, repeated in enumerate(repetitions, 1):
        for component, wire in enumerate(repeated.split(delimiters.component), 1):
            if not wire or len(parts) == SHOWN_PARTS:
                continue
            again = f"({repetition})" if repetition > 1 else ""
            value = unescape(wire[:SHOWN_CHARACTERS], delimiters, message.codec)
            name = names.component_name(segment, number, component)
            place = f"{segment}-{number}{again}.{component}"
            parts.append(Part(place, name, value, component, repetition))
    return parts
