"""Just enough DICOM encoding for test objects and queries (PS3.5 chapter 7), both little endian.

Tags are written 0xGGGGEEEE. The standard library alone, so that a client costs next to nothing.
"""

import struct
from collections.abc import Iterable, Mapping

EXPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
IMPLICIT_VR_LITTLE_ENDIAN = "1.2.840.10008.1.2"
IMPLEMENTATION_CLASS_UID = "1.3.6.1.4.1.99999.77.1"

_LONG_VR = {"OB", "OW", "SQ", "UN", "UT"}
_UID_TAGS = {0x00080018, 0x0020000D, 0x0020000E}

Keys = Mapping[int, "str | Keys"]
"""A query: value by tag; a mapping is a sequence of that one item."""


def explicit(tag: int, vr: str, value: str | bytes) -> bytes:
    """One data element, Explicit VR."""
    value = _padded(value, b"\0" if vr == "UI" else b" ")
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    if vr in _LONG_VR:
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def implicit(tag: int, value: str | bytes = b"") -> bytes:
    """One data element, Implicit VR."""
    value = _padded(value, b"\0" if tag in _UID_TAGS else b" ")
    return struct.pack("<HHI", tag >> 16, tag & 0xFFFF, len(value)) + value


def item(content: bytes) -> bytes:
    """An item of a sequence."""
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def identifier(keys: Keys) -> bytes:
    """The data set of a query, Implicit VR, in the order of its tags."""
    return b"".join(
        implicit(tag, value if isinstance(value, str) else item(identifier(value)))
        for tag, value in sorted(keys.items())
    )


def us(number: int) -> bytes:
    """A value of VR US."""
    return struct.pack("<H", number)


def part10(
    sop_class: str, sop_instance: str, elements: Iterable[tuple[int, str, str | bytes]]
) -> bytes:
    """A DICOM file (PS3.10) of elements given as tag, VR and value in ascending order."""
    meta = b"".join(
        (
            explicit(0x00020001, "OB", b"\0\1"),
            explicit(0x00020002, "UI", sop_class),
            explicit(0x00020003, "UI", sop_instance),
            explicit(0x00020010, "UI", EXPLICIT_VR_LITTLE_ENDIAN),
            explicit(0x00020012, "UI", IMPLEMENTATION_CLASS_UID),
        )
    )
    length = explicit(0x00020000, "UL", struct.pack("<I", len(meta)))
    return bytes(128) + b"DICM" + length + meta + b"".join(explicit(*e) for e in elements)


def _padded(value: str | bytes, pad: bytes) -> bytes:
    if isinstance(value, str):
        value = value.encode("ascii")
    return value + pad * (len(value) % 2)
