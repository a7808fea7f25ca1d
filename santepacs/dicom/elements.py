"""Encoding of flat data sets: file meta, answers to queries (PS3.5 chapter 7, PS3.10 7.1).

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


def character_set(texts: Iterable[str]) -> str:
    """The Specific Character Set that suffices for `texts`; empty for ASCII (PS3.3 C.12.1.1.2)."""
    highest = "\0"
    for text in texts:
        if not text.isascii():
            if any(c > "\xff" or "\x7f" <= c < "\xa0" for c in text):
                return "ISO_IR 192"
            highest = max(highest, max(text))
    return "ISO_IR 100" if highest > "\x7f" else ""


def encode(elements: Iterable[Element], encoding: Encoding, charset: str = "") -> bytes:
    """The data set of `elements`, which may come in any order."""
    codec = {"": "ascii", "ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8"}[charset]
    data_set = BytesIO()
    for element in sorted(elements):
        data_set.write(_element(element, encoding, codec))
    return data_set.getvalue()


def _element(element: Element, encoding: Encoding, codec: str) -> bytes:
    order = ">" if encoding.big_endian else "<"
    value = _value(element, order, codec)
    tag = struct.pack(order + "HH", element.tag >> 16, element.tag & 0xFFFF)
    if encoding.implicit:
        return tag + struct.pack(order + "L", len(value)) + value
    vr = element.vr.encode("ascii")
    if element.vr in _LONG_VRS:
        return tag + vr + bytes(2) + struct.pack(order + "L", len(value)) + value
    return tag + vr + struct.pack(order + "H", len(value)) + value


def _value(element: Element, order: str, codec: str) -> bytes:
    if element.vr in _NUMBER_FORMATS:
        numbers = [int(text) for text in element.text.split("\\") if text]
        return struct.pack(f"{order}{len(numbers)}{_NUMBER_FORMATS[element.vr]}", *numbers)
    if element.vr in BINARY_VRS:
        return b""
    value = element.text.encode("ascii" if element.vr in _ASCII_VRS else codec, "replace")
    if len(value) % 2:
        value += b"\0" if element.vr == "UI" else b" "
    return value


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
