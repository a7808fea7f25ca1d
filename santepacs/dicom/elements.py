"""Encoding of the elements of flat data sets, such as file meta (PS3.5 chapter 7, PS3.10 7.1).

pydicom would do it too, but slowly, and warns of impossible values by printing them.
"""

import struct
from collections.abc import Iterable
from io import BytesIO
from typing import NamedTuple

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID

_LONG_VRS = frozenset(
    ["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]
)
_NUMBER_FORMATS = {"US": "H", "SS": "h", "UL": "L", "SL": "l"}
_ASCII_VRS = frozenset(["AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"])
NUMBER_VRS = frozenset(_NUMBER_FORMATS)
BINARY_VRS = frozenset(
    ["AT", "FD", "FL", "OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UN", "UV"]
)


class Element(NamedTuple):
    """A data element with its value as text; several values are joined by backslashes."""

    tag: int
    vr: str
    text: str


class Encoding(NamedTuple):
    """How a transfer syntax writes elements."""

    implicit: bool
    big_endian: bool


def is_ascii_only(vr: str) -> bool:
    """Whether Specific Character Set has no say in values of this VR (PS3.5 6.1.2.3)."""
    return vr in _ASCII_VRS


def length_format(vr: str, encoding: Encoding) -> str:
    """How the length of a value of this VR is packed by `struct`."""
    size = "L" if encoding.implicit or vr in _LONG_VRS else "H"
    return (">" if encoding.big_endian else "<") + size


def header(tag: int, vr: str, encoding: Encoding) -> bytes:
    """An element up to the length of its value."""
    group, element = tag >> 16, tag & 0xFFFF
    start = struct.pack(">HH" if encoding.big_endian else "<HH", group, element)
    if encoding.implicit:
        return start
    return start + vr.encode("ascii") + (bytes(2) if vr in _LONG_VRS else b"")


def padded(value: bytes, vr: str) -> bytes:
    """A value of even length."""
    return value if len(value) % 2 == 0 else value + padding(vr)


def padding(vr: str) -> bytes:
    """What follows a value of odd length."""
    return b"\0" if vr == "UI" else b" "


def encode(elements: Iterable[Element], encoding: Encoding) -> bytes:
    """The data set of `elements`, which may come in any order; their text is ASCII."""
    data_set = BytesIO()
    for tag, vr, text in sorted(elements):
        value = raw_numbers(text, vr, encoding) if vr in NUMBER_VRS else text.encode("ascii")
        value = padded(value, vr)
        data_set.write(header(tag, vr, encoding))
        data_set.write(struct.pack(length_format(vr, encoding), len(value)) + value)
    return data_set.getvalue()


def raw_numbers(text: str, vr: str, encoding: Encoding) -> bytes:
    """Numbers as text, joined by backslashes, in binary; nothing if one does not fit the VR."""
    order = ">" if encoding.big_endian else "<"
    values = [int(number) for number in text.split("\\") if number]
    try:
        return struct.pack(f"{order}{len(values)}{_NUMBER_FORMATS[vr]}", *values)
    except struct.error:
        return b""


def numbers(value: bytes, vr: str, big_endian: bool) -> str:
    """The numbers of a binary value as text; nothing for a value of impossible length."""
    kind = (">" if big_endian else "<") + _NUMBER_FORMATS[vr]
    if len(value) % struct.calcsize(kind):
        return ""
    return "\\".join(str(number) for (number,) in struct.iter_unpack(kind, value))


def part_10_header(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and File Meta Information for a data set that is received."""
    explicit = Encoding(implicit=False, big_endian=False)
    meta = encode(
        (
            Element(0x00020002, "UI", sop_class_uid),
            Element(0x00020003, "UI", sop_instance_uid),
            Element(0x00020010, "UI", transfer_syntax_uid),
            Element(0x00020012, "UI", PYNETDICOM_IMPLEMENTATION_UID),
        ),
        explicit,
    )
    version = struct.pack("<HH2s2xL", 0x0002, 0x0001, b"OB", 2) + b"\0\1"
    length = encode((Element(0x00020000, "UL", str(len(version) + len(meta))),), explicit)
    return bytes(128) + b"DICM" + length + version + meta
