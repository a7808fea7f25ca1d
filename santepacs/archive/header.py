"""What a DICOM object says on its outside: is it complete, where are its pixels, what is in it?

`read_file_meta` reads the beginning of a Part 10 file (PS3.10 7.1), `scan` walks a data set
(PS3.5 7) once from its first to its last byte and keeps the raw values that the index wants.
Nothing is decoded: pixels are measured, never opened. Elements out of order are taken, the same
element twice never, so that every reader finds the same value. Nested parts follow the rules of
`santepacs.archive.walk`.

The input may be bytes, a memoryview or an mmap. Every refusal is a Malformed that names the
reason and, as far as there is one, the byte offset; never a value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pydicom.datadict import DicomDictionary
from pydicom.tag import Tag

from santepacs.archive.walk import (
    EXPLICIT,
    IMPLICIT,
    LENGTH,
    LONG_VRS,
    MAXIMUM_ELEMENTS,
    ODD_GROUP,
    PIXELS,
    SEQUENCES,
    SHORT_VRS,
    UNDEFINED,
    Buffer,
    Excessive,
    Walk,
    is_vr,
)
from santepacs.errors import Malformed
from santepacs.model.transfer_syntaxes import TransferSyntax
from santepacs.model.uids import is_valid_uid

MAXIMUM_VALUE = 64 * 1024  # bytes; a longer value is walked over but not kept

TAGS: dict[str, int] = {
    keyword: int(Tag(keyword))
    for keyword in (
        *("SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID"),
        *("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex"),
        *("StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID"),
        *("StudyDescription", "ReferringPhysicianName", "InstitutionName"),
        *("SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "SeriesDate", "SeriesTime"),
        *("Modality", "BodyPartExamined", "ProtocolName", "StationName"),
        *("InstanceNumber", "ContentDate", "ContentTime", "NumberOfFrames"),
        *("Rows", "Columns", "BitsAllocated", "PixelDataProviderURL"),
    )
}
"""The attributes that a `Header` keeps, by keyword."""

_KEPT = PIXELS.union(TAGS.values())
_LAST_OF_GROUP_2 = 0x0002FFFF
_FIRST_DELIMITATION = 0xFFFE0000


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the File Meta Information says; None where it says nothing."""

    sop_class_uid: str | None
    sop_instance_uid: str | None
    transfer_syntax_uid: str
    dataset_offset: int


class PixelData(NamedTuple):
    """Where the value of a pixel data element lies, counted from the beginning of the input.

    `length` covers the whole value: when encapsulated, every fragment and the delimiter.
    """

    tag: int
    offset: int
    length: int
    encapsulated: bool


@dataclass(frozen=True, slots=True)
class Header:
    """A complete data set: the raw values of its `TAGS`, and where its pixels are."""

    transfer_syntax: TransferSyntax
    values: Mapping[int, bytes]
    pixel_data: PixelData | None
    size: int  # bytes of the data set

    def value(self, keyword: str) -> bytes:
        """The raw value of one of the `TAGS`, padding included; empty when absent."""
        return self.values.get(TAGS[keyword], b"")


def read_file_meta(data: Buffer) -> FileMeta:
    """Read preamble, prefix and group 0002 of a Part 10 file; Malformed if that fails.

    The group ends where its elements end. A group length that says otherwise is forgiven, unless
    it points beyond the file.
    """
    end = len(data)
    if end < 132 or bytes(data[128:132]) != b"DICM":
        raise Malformed("not a DICOM file: no DICM prefix at byte 128")
    values: dict[int, bytes] = {}
    position = 132
    while end - position >= 8:
        group, element, vr, length = EXPLICIT[False](data, position)
        if group != 0x0002:
            break
        start = position + 8
        if vr in LONG_VRS and end - start >= 4:
            length = LENGTH[False](data, start)[0]
            start += 4
        elif vr not in SHORT_VRS:
            raise Malformed(f"file meta information is not Explicit VR at byte {position}")
        if length > end - start:
            raise Malformed(f"file meta information is cut off at byte {position}")
        if element in values:
            raise Malformed(f"(0002,{element:04X}) is there twice, at byte {position}")
        position = start + length
        values[element] = bytes(data[start : min(position, start + MAXIMUM_VALUE)])

    stated = values.get(0x0000, b"")
    if len(stated) == 4 and LENGTH[False](stated)[0] > end - 144:
        raise Malformed("group length of the file meta information points beyond the file")
    transfer_syntax_uid = _meta_uid(values, 0x0010, "transfer syntax UID")
    if transfer_syntax_uid is None:
        raise Malformed("file meta information has no transfer syntax UID")
    return FileMeta(
        sop_class_uid=_meta_uid(values, 0x0002, "media storage SOP class UID"),
        sop_instance_uid=_meta_uid(values, 0x0003, "media storage SOP instance UID"),
        transfer_syntax_uid=transfer_syntax_uid,
        dataset_offset=position,
    )


def _meta_uid(values: Mapping[int, bytes], element: int, name: str) -> str | None:
    uid = values.get(element, b"").rstrip(b"\0 ").decode("latin-1")
    if not uid:
        return None
    if not is_valid_uid(uid):
        raise Malformed(f"{name} (0002,{element:04X}) is not a valid UID")
    return uid


def scan(data: Buffer, transfer_syntax: TransferSyntax, offset: int = 0) -> Header:
    """Walk the data set in `data` from `offset` to the last byte.

    Raises Malformed for whatever is cut off, contradicts itself, is not encoded as
    `transfer_syntax` says, holds more than this server takes, or is an image without pixels.
    """
    end = len(data)
    implicit, big = transfer_syntax.implicit, transfer_syntax.big_endian
    _check_encoding(data, offset, implicit)
    walk = Walk(data)
    unpack = (IMPLICIT if implicit else EXPLICIT)[big]
    short_vrs, sequences, kept = SHORT_VRS, SEQUENCES, _KEPT  # locals: this loop is the hot one
    values: dict[int, bytes] = {}
    pixel_data: PixelData | None = None
    tags: list[int] = []
    in_order = True
    previous = _LAST_OF_GROUP_2
    position = offset
    for _ in range(MAXIMUM_ELEMENTS):
        if end - position < 8:
            break
        if implicit:
            group, element, length = unpack(data, position)
            tag = group << 16 | element
            start = position + 8
            if length == UNDEFINED or group & 1 or tag in sequences:
                after = walk.implicit_value(tag, length, start, end, big, 1)
            else:
                after = start + length
        else:
            group, element, vr, length = unpack(data, position)
            tag = group << 16 | element
            if vr in short_vrs:
                start = position + 8
                after = start + length
            else:
                start, after = walk.explicit_value(tag, vr, position, end, big, 1)
        if after > end:
            raise Malformed(f"value is cut off: element at byte {position}")
        if tag <= previous:
            _check_disorder(tag, previous, position)
            in_order = False
        elif tag >= _FIRST_DELIMITATION:
            raise Malformed(f"{_name(tag)} does not belong here, at byte {position}")
        tags.append(tag)
        previous = tag
        if tag in kept:
            if tag in PIXELS:
                encapsulated = LENGTH[big](data, start - 4)[0] == UNDEFINED
                pixel_data = PixelData(tag, start, after - start, encapsulated)
            elif after - start <= MAXIMUM_VALUE:
                values[tag] = bytes(data[start:after])
        position = after
    if end - position >= 8 or walk.count + len(tags) > MAXIMUM_ELEMENTS:
        raise Excessive.elements(position)
    if position != end:
        raise Malformed(f"data element is cut off at byte {position}")
    if not in_order and len(set(tags)) != len(tags):
        raise Malformed("a data element is there twice")
    header = Header(transfer_syntax, values, pixel_data, end - offset)
    _check_pixels(header)
    return header


def _check_encoding(data: Buffer, offset: int, implicit: bool) -> None:
    """The first element shows whether the data set is encoded as its transfer syntax says."""
    if len(data) - offset < 8:
        raise Malformed(f"no data element at byte {offset}")
    vr = bytes(data[offset + 4 : offset + 6])
    if implicit and (vr in SHORT_VRS or vr in LONG_VRS):
        raise Malformed(f"Explicit VR data in an Implicit VR transfer syntax at byte {offset}")
    if not implicit and not is_vr(vr):
        raise Malformed(f"Implicit VR data in an Explicit VR transfer syntax at byte {offset}")


def _check_disorder(tag: int, previous: int, position: int) -> None:
    """Out of order, only what certainly is an element of a data set is taken; nothing twice."""
    if tag <= _LAST_OF_GROUP_2:
        raise Malformed(f"{_name(tag)} does not belong here, at byte {position}")
    if tag == previous:
        raise Malformed(f"{_name(tag)} is there twice, at byte {position}")
    is_group_length = not tag & 0xFFFF
    if not (is_group_length or tag & ODD_GROUP or tag in DicomDictionary):
        raise Malformed(f"unknown element out of order at byte {position}")


def _check_pixels(header: Header) -> None:
    described = all(map(header.value, ("Rows", "Columns", "BitsAllocated")))
    if described and header.pixel_data is None and not header.value("PixelDataProviderURL"):
        raise Malformed("image without pixel data (cut off?)")


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
