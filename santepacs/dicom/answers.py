"""Identifiers of C-FIND answers, encoded quickly: what is the same in all of them once a query.

An answer holds exactly what the query asked for (PS3.4 C.4.1.1.3.2): what is not supported is
there without a value. Its text is in the character set of the query where it fits.
"""

import struct
from collections.abc import Mapping, Sequence

from santepacs.db.search import SEPARATOR
from santepacs.dicom.charsets import ASCII, LATIN_1, UTF_8, CharacterSet
from santepacs.dicom.elements import (
    NUMBER_VRS,
    Encoding,
    header,
    is_ascii_only,
    length_format,
    padded,
    padding,
    raw_numbers,
)

_CHARACTER_SET = 0x00080005
_LONGEST_SHORT = 0xFFFE  # bytes of a value whose length is written in 16 bits

_Place = tuple[bytes, struct.Struct, bytes, int]
"""What stands before a value, how its length is packed, its padding, and its greatest length."""


class Answers:
    """Encodes the matches of one query.

    `asked` is tag -> VR of everything in an answer. Of it `constant` has the values that are the
    same in all; `wanted` are the tags, ascending, whose values a match brings along in this order;
    the others have no value.
    """

    def __init__(
        self,
        asked: Mapping[int, str],
        constant: Mapping[int, str],
        wanted: Sequence[int],
        encoding: Encoding,
        character_set: CharacterSet | None,
    ) -> None:
        self._encoding = encoding
        self._vrs = [asked[tag] for tag in wanted]
        self._has_numbers = not NUMBER_VRS.isdisjoint(self._vrs)
        self._in_turn = (character_set or LATIN_1, UTF_8)
        self._places: list[_Place] = []
        before = b""
        for tag, vr in sorted(asked.items()):
            before += header(tag, vr, encoding)
            length = struct.Struct(length_format(vr, encoding))
            if tag in wanted:
                longest = _LONGEST_SHORT if length.size == 2 else 1 << 31
                self._places.append((before, length, padding(vr), longest))
                before = b""
            else:
                value = padded(constant.get(tag, "").encode("ascii"), vr)
                before += length.pack(len(value)) + value
        self._end = before

    def encoded(self, match: str) -> bytes:
        """The identifier of a match of `santepacs.db.search`."""
        if match.isascii() and not self._has_numbers:
            return self._joined(b"", match.encode().split(b"\x1f"))
        values = match.split(SEPARATOR)[: len(self._vrs)]
        if all(value.isascii() for value in values):
            return self._joined(b"", self._values(values, ASCII))
        for character_set in self._in_turn:
            try:
                written = self._values(values, character_set)
            except UnicodeError:
                continue
            return self._joined(self._said(character_set), written)
        raise UnicodeError("text that even UTF-8 cannot hold")

    def _values(self, texts: list[str], character_set: CharacterSet) -> list[bytes]:
        return [
            raw_numbers(text, vr, self._encoding)
            if vr in NUMBER_VRS
            else text.encode("ascii", "replace")
            if is_ascii_only(vr)
            else character_set.encoded(text)
            for text, vr in zip(texts, self._vrs, strict=True)
        ]

    def _said(self, character_set: CharacterSet) -> bytes:
        """Specific Character Set: the first element, for nothing before it can be asked for."""
        value = padded(character_set.name.encode("ascii"), "CS")
        length = struct.pack(length_format("CS", self._encoding), len(value))
        return header(_CHARACTER_SET, "CS", self._encoding) + length + value

    def _joined(self, start: bytes, values: list[bytes]) -> bytes:
        if len(values) < len(self._places):
            raise ValueError("a match without all of its values")
        pieces = [start]
        for (before, length, pad, longest), value in zip(self._places, values, strict=False):
            size = len(value)
            if size & 1:
                value += pad
                size += 1
            if size > longest:
                value, size = b"", 0
            pieces += (before, length.pack(size), value)
        pieces.append(self._end)
        return b"".join(pieces)
