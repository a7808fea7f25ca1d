"""Walk the nested parts of an encoded data set: sequences, items, fragments (PS3.5 7.5, A.4).

The top level is walked by `santepacs.archive.header`. Rules kept by both:

- Every declared length must be there and be consumed exactly. Sequences of defined length are
  walked inside too, because whoever decodes the object later walks them as well.
- Nesting, elements, items and fragments are bounded, and no byte is visited twice.
- What the field really sends is taken: odd lengths, unknown VRs, single elements or items in
  Implicit VR within Explicit VR data. Where the standard leaves a choice, pydicom's reading
  counts, so that all parts of this program see the same object.
"""

from mmap import mmap
from struct import Struct

from pydicom.datadict import DicomDictionary

from santepacs.errors import Malformed

Buffer = bytes | bytearray | memoryview | mmap

MAXIMUM_DEPTH = 64
# Elements, items and fragments together: room for the largest enhanced multi-frame objects, and
# still about two seconds at worst.
MAXIMUM_ELEMENTS = 2_000_000

SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
SEQUENCES = frozenset(tag for tag, entry in DicomDictionary.items() if entry[0] == "SQ")
PIXELS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))  # float, double float, integer

UNDEFINED = 0xFFFFFFFF
ODD_GROUP = 0x00010000  # the bit of a tag that marks a private element
DELIMITATION = 0xFFFE  # the group of items and delimiters

# Element headers, Little Endian at [False], Big Endian at [True].
EXPLICIT = (Struct("<HH2sH").unpack_from, Struct(">HH2sH").unpack_from)
IMPLICIT = (Struct("<HHL").unpack_from, Struct(">HHL").unpack_from)
LENGTH = (Struct("<L").unpack_from, Struct(">L").unpack_from)

_ITEMS = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")


class Excessive(Malformed):
    """More elements or deeper nesting than anybody should have to decode."""

    @classmethod
    def elements(cls, position: int) -> "Excessive":
        return cls(f"more than {MAXIMUM_ELEMENTS} elements, at byte {position}")


def is_vr(vr: bytes) -> bool:
    """Any two capital letters: today's VRs and those still to be invented."""
    return vr.isalpha() and vr.isupper()


class Walk:
    """One walk over one data set.

    Each method is told where its room ends (`end`) and returns where the thing it walked has
    ended; `depth` is the nesting of the sequence it may meet. All raise Malformed.
    """

    __slots__ = ("count", "data")

    def __init__(self, data: Buffer) -> None:
        self.data = data
        self.count = 0

    def explicit_value(
        self, tag: int, vr: bytes, position: int, end: int, big: bool, depth: int
    ) -> tuple[int, int]:
        """Start and end of the value of the element at `position`, whose VR is not a short one."""
        start = position + 8
        if not is_vr(vr):
            length = LENGTH[big](self.data, position + 4)[0]
            return start, self.implicit_value(tag, length, start, end, big, depth)
        if vr not in LONG_VRS:
            length = EXPLICIT[big](self.data, position)[3]
            if length:
                return start, start + length
            # A VR of the future has two zero bytes here, then 32 bits of length (PS3.5 7.1.2).
        if end - start < 4:
            raise Malformed(f"data element is cut off at byte {position}")
        length = LENGTH[big](self.data, start)[0]
        start += 4
        if length == UNDEFINED:
            return start, self.delimited_value(tag, vr, start, end, big, depth)
        after = start + length
        if after > end:
            raise Malformed(f"value is cut off: element at byte {position}")
        if vr == b"SQ":
            self.sequence(start, after, big, depth, delimited=False)
        elif vr == b"UN":
            self.opaque(start, after, depth)
        return start, after

    def delimited_value(
        self, tag: int, vr: bytes, start: int, end: int, big: bool, depth: int
    ) -> int:
        """End of an Explicit VR value of undefined length."""
        if vr == b"SQ":
            return self.sequence(start, end, big, depth, delimited=True)
        if tag in PIXELS or vr == b"OB" or vr == b"OW":
            return self.fragments(start, end, big)
        if vr == b"UN" and (tag in SEQUENCES or tag not in DicomDictionary):
            return self.sequence(start, end, self.is_big(start), depth, delimited=True)
        raise Malformed(f"undefined length without a sequence before byte {start}")

    def implicit_value(
        self, tag: int, length: int, start: int, end: int, big: bool, depth: int
    ) -> int:
        """End of a value in Implicit VR, where the tag alone tells a sequence."""
        if length == UNDEFINED:
            if tag in PIXELS:
                return self.fragments(start, end, big)
            if tag in SEQUENCES or tag not in DicomDictionary:
                return self.sequence(start, end, big, depth, delimited=True, implicit=True)
            raise Malformed(f"undefined length without a sequence before byte {start}")
        after = start + length
        if after > end:
            raise Malformed(f"value is cut off at byte {start}")
        if tag in SEQUENCES:
            self.sequence(start, after, big, depth, delimited=False, implicit=True)
        elif tag & ODD_GROUP:
            self.opaque(start, after, depth)
        return after

    def opaque(self, start: int, after: int, depth: int) -> None:
        """A value of unknown kind: if it is a sequence after all, its nesting counts."""
        if after - start < 8 or bytes(self.data[start : start + 4]) not in _ITEMS:
            return
        try:
            self.sequence(start, after, self.is_big(start), depth, delimited=False)
        except Excessive:
            raise
        except Malformed:
            return  # it only looked like one

    def sequence(
        self,
        position: int,
        end: int,
        big: bool,
        depth: int,
        *,
        delimited: bool,
        implicit: bool = False,
    ) -> int:
        """Walk items, up to their delimiter if the length is undefined, else exactly to `end`."""
        if depth > MAXIMUM_DEPTH:
            raise Excessive(f"sequences nested more than {MAXIMUM_DEPTH} deep at byte {position}")
        unpack = IMPLICIT[big]
        while delimited or position < end:
            if end - position < 8:
                raise Malformed(f"sequence is cut off at byte {position}")
            group, element, length = unpack(self.data, position)
            start = position + 8
            if group == DELIMITATION and element == 0xE0DD:
                if length or not (delimited or start == end):
                    raise Malformed(f"wrong sequence delimitation at byte {position}")
                return start
            if group != DELIMITATION or element != 0xE000:
                raise Malformed(f"no sequence item at byte {position}")
            self.spend(position)
            if length == UNDEFINED:
                position = self.item(start, end, big, depth, delimited=True, implicit=implicit)
            elif length > end - start:
                raise Malformed(f"sequence item is cut off at byte {position}")
            else:
                stop = start + length
                position = self.item(start, stop, big, depth, delimited=False, implicit=implicit)
        return position

    def item(
        self, position: int, end: int, big: bool, depth: int, *, delimited: bool, implicit: bool
    ) -> int:
        """Walk an item's elements, up to its delimiter or exactly to `end`.

        In Explicit VR data a whole item may be in Implicit VR; its first element shows it.
        """
        data = self.data
        implicit = implicit or not is_vr(bytes(data[position + 4 : position + 6]))
        unpack = (IMPLICIT if implicit else EXPLICIT)[big]
        while delimited or position < end:
            if end - position < 8:
                raise Malformed(f"sequence item is cut off at byte {position}")
            if implicit:
                group, element, length = unpack(data, position)
            else:
                group, element, vr, length = unpack(data, position)
            start = position + 8
            if group == DELIMITATION:
                length = LENGTH[big](data, position + 4)[0]
                if element != 0xE00D or length or not (delimited or start == end):
                    raise Malformed(f"wrong item delimitation at byte {position}")
                return start
            self.spend(position)
            tag = group << 16 | element
            if implicit:
                after = self.implicit_value(tag, length, start, end, big, depth + 1)
            elif vr in SHORT_VRS:
                after = start + length
            else:
                after = self.explicit_value(tag, vr, position, end, big, depth + 1)[1]
            if after > end:
                raise Malformed(f"value is cut off: element at byte {position}")
            position = after
        return position

    def fragments(self, position: int, end: int, big: bool) -> int:
        """Walk the fragments of an encapsulated value up to their delimiter."""
        unpack = IMPLICIT[big]
        while end - position >= 8:
            group, element, length = unpack(self.data, position)
            start = position + 8
            if group == DELIMITATION and element == 0xE0DD and not length:
                return start
            if group != DELIMITATION or element != 0xE000:
                raise Malformed(f"no fragment at byte {position}")
            self.spend(position)
            if length > end - start:
                raise Malformed(f"fragment is cut off at byte {position}")
            position = start + length
        raise Malformed(f"fragments are cut off at byte {position}")

    def spend(self, position: int) -> None:
        """Count one more element, item or fragment."""
        self.count += 1
        if self.count > MAXIMUM_ELEMENTS:
            raise Excessive.elements(position)

    def is_big(self, position: int) -> bool:
        """In an element of unknown VR the items show their byte order themselves; by PS3.5 6.2.2
        they are Little Endian, whatever the rest is."""
        return bytes(self.data[position : position + 2]) == b"\xff\xfe"
