"""Data sets written in another uncompressed encoding (PS3.5 7.1, A.1 to A.3), values untouched.

Between Implicit VR Little Endian, Explicit VR Little Endian and Explicit VR Big Endian only element
headers and the order of bytes in words differ, so that is all that is changed: text is never
decoded, and a value that breaks its VR's rules goes out as it came in. What has to be decided:

- A VR that Implicit VR does not tell comes from the dictionary; private elements become UN (PS3.5
  6.2.2), as does a value too long for its VR's length field.
- UN stays as it is in every byte order: what it holds is Little Endian.
- Sequences and items get delimiters instead of lengths, group lengths (retired) are left out.
"""

from collections.abc import Callable, Iterator
from struct import Struct
from typing import NamedTuple

from pydicom.datadict import dictionary_VR

from santepacs.archive.walk import (
    DELIMITATION,
    EXPLICIT,
    IMPLICIT,
    LENGTH,
    LONG_VRS,
    ODD_GROUP,
    PIXELS,
    SEQUENCES,
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    Walk,
    is_vr,
)
from santepacs.errors import Malformed
from santepacs.model.transfer_syntaxes import TransferSyntax

Write = Callable[[bytes | memoryview], object]

PIXEL_REPRESENTATION = 0x00280103
_LONGEST_SHORT = 0xFFFF
_WORDS = {
    **dict.fromkeys((b"AT", b"OW", b"SS", b"US"), 2),
    **dict.fromkeys((b"FL", b"OF", b"OL", b"SL", b"UL"), 4),
    **dict.fromkeys((b"FD", b"OD", b"OV", b"SV", b"UV"), 8),
}
_SHORT = (Struct("<HH2sH").pack, Struct(">HH2sH").pack)
_LONG = (Struct("<HH2s2xL").pack, Struct(">HH2s2xL").pack)
_BARE = (Struct("<HHL").pack, Struct(">HHL").pack)


class Element(NamedTuple):
    """Where an element lies; `vr` is empty in Implicit VR, `after` unknown (-1) if undefined."""

    tag: int
    vr: bytes
    position: int
    start: int
    after: int

    @property
    def undefined(self) -> bool:
        """Whether the value ends with a delimiter."""
        return self.after < 0


def element_at(data: Buffer, position: int, implicit: bool, big: bool) -> Element:
    """The header of the element at `position`. Raises struct.error when it is cut off."""
    group, element, length = IMPLICIT[big](data, position)
    tag, start = group << 16 | element, position + 8
    vr = b"" if implicit else bytes(data[position + 4 : position + 6])
    if not is_vr(vr):
        vr = b""  # a single element in Implicit VR
    elif vr in SHORT_VRS or (vr not in LONG_VRS and EXPLICIT[big](data, position)[3]):
        length = EXPLICIT[big](data, position)[3]
    else:
        length, start = LENGTH[big](data, start)[0], position + 12
    return Element(tag, vr, position, start, -1 if length == UNDEFINED else start + length)


def elements(data: Buffer, syntax: TransferSyntax, position: int) -> Iterator[Element]:
    """The elements of the whole data set that begins at `position`, each with its end."""
    walk, end, big = Walk(data), len(data), syntax.big_endian
    while position < end:
        found = element_at(data, position, syntax.implicit, big)
        if found.undefined:
            tag, vr, _, start, _ = found
            if vr:
                after = walk.delimited_value(tag, vr, start, end, big, 1)
            else:
                after = walk.implicit_value(tag, UNDEFINED, start, end, big, 1)
            # The mark of an undefined length is in the bytes still.
            found = found._replace(after=after)
        if found.after > end:
            raise Malformed(f"value is cut off: element at byte {position}")
        yield found
        position = found.after


class Recoding:
    """Writes elements of one data set in another encoding."""

    def __init__(
        self, data: Buffer, source: TransferSyntax, target: TransferSyntax, write: Write
    ) -> None:
        self._data = data
        self._view = memoryview(data)
        self._end = len(data)
        self._source = source
        self._target = target
        self._swap = source.big_endian != target.big_endian
        self._write = write

    def release(self) -> None:
        """Let go of the data, so that a mapped file can be closed."""
        self._view.release()

    def element(self, position: int, *, signed: bool) -> int:
        """Write the element at `position` of the outermost level and return where it ends.

        `signed` says that pixels are (Pixel Representation), for VRs that depend on it.
        """
        return self._element(position, self._source.implicit, signed)

    def header(self, tag: int, vr: bytes, length: int) -> None:
        """Write an element's header in the target encoding."""
        self._write(header(self._target, tag, vr, length))

    def _element(self, position: int, implicit: bool, signed: bool) -> int:
        tag, vr, _, start, after = found = element_at(
            self._data, position, implicit, self._source.big_endian
        )
        if self._is_sequence(found):
            return self._sequence(tag, start, after, not vr, signed)
        if found.undefined:
            return self._opaque(found)
        if after > self._end:
            raise Malformed(f"value is cut off: element at byte {position}")
        if not tag & 0xFFFF:
            return after
        vr = vr or vr_of(tag, signed)
        if after - start > _LONGEST_SHORT and vr in SHORT_VRS and not self._target.implicit:
            vr = b"UN"
        self.header(tag, vr, after - start)
        value = self._view[start:after]
        width = _WORDS.get(vr, 1)
        self._write(swapped(value, width) if self._swap and width > 1 else value)
        return after

    def _is_sequence(self, found: Element) -> bool:
        tag, vr = found.tag, found.vr
        if vr == b"SQ" or (not vr and tag in SEQUENCES):
            return True
        if not found.undefined or tag in PIXELS:
            return False
        # Of unknown kind, but of undefined length: a sequence. Where the target tells VRs it may
        # stay the UN that it is, where it does not its items must be in the target's encoding.
        return not vr or (vr == b"UN" and self._target.implicit)

    def _opaque(self, found: Element) -> int:
        if found.vr != b"UN":
            raise Malformed(f"compressed pixels where none can be, at byte {found.position}")
        after = Walk(self._data).delimited_value(
            found.tag, found.vr, found.start, self._end, self._source.big_endian, 1
        )
        self.header(found.tag, found.vr, UNDEFINED)
        self._write(self._view[found.start : after])
        return after

    def _sequence(self, tag: int, start: int, after: int, implicit: bool, signed: bool) -> int:
        if start == after:
            self.header(tag, b"SQ", 0)
            return after
        self.header(tag, b"SQ", UNDEFINED)
        position = start
        while after < 0 or position < after:
            group, element, length = IMPLICIT[self._source.big_endian](self._data, position)
            position += 8
            if group != DELIMITATION or element != 0xE000:
                break  # the delimiter; a stored object's is where it belongs
            end = -1 if length == UNDEFINED else position + length
            position = self._item(position, end, implicit, signed)
        self._delimiter(0xE0DD)
        return position

    def _item(self, position: int, end: int, implicit: bool, signed: bool) -> int:
        data, big = self._data, self._source.big_endian
        self._write(_BARE[self._target.big_endian](DELIMITATION, 0xE000, UNDEFINED))
        implicit = implicit or not is_vr(bytes(data[position + 4 : position + 6]))
        while end < 0 or position < end:
            if IMPLICIT[big](data, position)[0] == DELIMITATION:
                position += 8
                break
            found = element_at(data, position, implicit, big)
            if found.tag == PIXEL_REPRESENTATION and found.after - found.start == 2:
                signed = any(data[found.start : found.after])
            position = self._element(position, implicit, signed)
        self._delimiter(0xE00D)
        return position

    def _delimiter(self, element: int) -> None:
        self._write(_BARE[self._target.big_endian](DELIMITATION, element, 0))


def header(syntax: TransferSyntax, tag: int, vr: bytes, length: int) -> bytes:
    """An element's header."""
    big, group, element = syntax.big_endian, tag >> 16, tag & 0xFFFF
    if syntax.implicit:
        return _BARE[big](group, element, length)
    if vr in SHORT_VRS:
        return _SHORT[big](group, element, vr, length)
    return _LONG[big](group, element, vr, length)


def vr_of(tag: int, signed: bool) -> bytes:
    """The VR of an element in Implicit VR (PS3.5 A.1, PS3.6)."""
    if tag & ODD_GROUP:
        return b"LO" if 0x10 <= tag & 0xFFFF <= 0xFF else b"UN"
    try:
        vr = dictionary_VR(tag)
    except KeyError:
        return b"UN"
    if vr == "US or SS":
        return b"SS" if signed else b"US"
    return b"OW" if " or " in vr else vr.encode("ascii")


def swapped(value: Buffer, width: int) -> bytes:
    """The bytes of each word of `width` bytes in the opposite order; an odd end stays."""
    whole = len(value) - len(value) % width
    result = bytearray(value)
    for byte in range(width):
        result[byte:whole:width] = value[width - 1 - byte : whole : width]
    return bytes(result)
