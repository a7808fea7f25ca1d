"""A data set read level by level: elements, and the items of sequences (PS3.5 7.1, 7.5).

For the messages of which we want little and that may hold much. Everything is walked once before
anything is read, so what comes afterwards cannot leave its bounds; nothing is built that nobody
asks for, and the time is linear.
"""

from collections.abc import Iterator
from typing import NamedTuple

from santepacs.archive.walk import (
    DELIMITATION,
    EXPLICIT,
    IMPLICIT,
    SHORT_VRS,
    UNDEFINED,
    Excessive,
    Walk,
    is_vr,
)
from santepacs.dicom.elements import Encoding
from santepacs.errors import Malformed

_SEQUENCE_END = 0xE0DD


class Span(NamedTuple):
    """Where something begins and ends."""

    start: int
    end: int


class DataSet:
    """An encoded data set of at most `maximum` elements and items. Raises Malformed, Excessive."""

    def __init__(self, data: bytes, encoding: Encoding, maximum: int) -> None:
        self._data = data
        self._encoding = encoding
        self._walk = Walk(data)
        self.top: dict[int, Span] = {}
        """The elements that are in no sequence, by tag."""
        end = 0
        for tag, span in self._elements(Span(0, len(data))):
            if self._walk.count > maximum:
                raise Excessive(f"the data set has more than {maximum} elements")
            self.top[tag], end = span, span.end
        if end != len(data):
            raise Malformed("a delimiter stands where an element should")

    def value(self, span: Span, limit: int = 1 << 16) -> bytes:
        """The bytes of a value, at most so many."""
        return self._data[span.start : min(span.end, span.start + limit)]

    def elements(self, span: Span) -> dict[int, Span]:
        """The elements of an item; of one that stands there twice the last."""
        return dict(self._elements(span))

    def items(self, span: Span) -> Iterator[Span]:
        """The items of a sequence's value; none where it has another form."""
        position, end = span
        big = self._encoding.big_endian
        while end - position >= 8:
            group, element, length = IMPLICIT[big](self._data, position)
            if group != DELIMITATION or element == _SEQUENCE_END:
                return
            start = position + 8
            if length == UNDEFINED:
                implicit = self._encoding.implicit
                position = self._walk.item(start, end, big, 1, delimited=True, implicit=implicit)
            else:
                position = start + length
            yield Span(start, min(position, end))

    def _elements(self, span: Span) -> Iterator[tuple[int, Span]]:
        data, big = self._data, self._encoding.big_endian
        position, end = span
        # In Explicit VR data a whole item may be in Implicit VR; its first element shows it.
        implicit = self._encoding.implicit or not is_vr(data[position + 4 : position + 6])
        while position < end:
            if end - position < 8:
                raise Malformed("the data set is cut off")
            start = position + 8
            self._walk.spend(position)
            group, element, length = IMPLICIT[big](data, position)
            if group == DELIMITATION:
                return
            tag = group << 16 | element
            if implicit:
                after = self._walk.implicit_value(tag, length, start, end, big, 1)
            else:
                vr, length = EXPLICIT[big](data, position)[2:]
                after = start + length
                if vr not in SHORT_VRS:
                    start, after = self._walk.explicit_value(tag, vr, position, end, big, 1)
            if after > end:
                raise Malformed("a value is cut off")
            yield tag, Span(start, after)
            position = after
