"""The data sets of storage commitment (PS3.4 J.3.2, J.3.3; PS3.3 C.14): read and written.

A request may hold 100,000 references and is hostile: of it only the Transaction UID and the
references are read, in linear time, without building anything else.
"""

import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from santepacs.archive.walk import (
    DELIMITATION,
    EXPLICIT,
    IMPLICIT,
    LENGTH,
    LONG_VRS,
    SHORT_VRS,
    UNDEFINED,
    Walk,
)
from santepacs.dicom.elements import Encoding
from santepacs.errors import Malformed

MAXIMUM_REFERENCES = 100_000

RETRIEVE_AE_TITLE = 0x00080054
SOP_CLASS_UID = 0x00081150
SOP_INSTANCE_UID = 0x00081155
TRANSACTION_UID = 0x00081195
FAILURE_REASON = 0x00081197
FAILED_SOP_SEQUENCE = 0x00081198
REFERENCED_SOP_SEQUENCE = 0x00081199

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
# Looser than PS3.5 9.1: what is no UID is not stored, and that is the truth to be reported.
_UID = re.compile(rb"[0-9.]{1,64}")

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


class TooMany(Malformed):
    """More references than one transaction may have."""


class Asked(NamedTuple):
    """What a storage commitment request asks for."""

    transaction_uid: str
    references: list[Reference]


class Failed(NamedTuple):
    """A reference that is not committed, and why (PS3.3 C.14.1.1)."""

    reference: Reference
    reason: int


def read(data: bytes | memoryview, encoding: Encoding) -> Asked:
    """The Action Information of a request. Raises Malformed, TooMany."""
    try:
        return _Reader(data, encoding).asked()
    except struct.error:
        raise Malformed("the request ends within an element") from None


class _Reader:
    """Goes through the data set once; `position` is where the next element begins."""

    def __init__(self, data: bytes | memoryview, encoding: Encoding) -> None:
        self._data = memoryview(data)
        self._implicit, self._big = encoding
        self._header = (IMPLICIT if self._implicit else EXPLICIT)[self._big]
        self._item_header = IMPLICIT[self._big]
        self._walk = Walk(self._data)
        self._position = 0

    def asked(self) -> Asked:
        transaction_uid = ""
        references: list[Reference] | None = None
        for tag, start, end in self._elements(len(self._data), delimited=False):
            if tag == TRANSACTION_UID:
                transaction_uid = self._uid(start, end)
            elif tag == REFERENCED_SOP_SEQUENCE:
                if references is not None:
                    raise Malformed("there are two Referenced SOP Sequences")
                references = list(self._references(start, end))
        if not transaction_uid:
            raise Malformed("there is no Transaction UID")
        if not references:
            raise Malformed("there are no references")
        return Asked(transaction_uid, references)

    def _elements(self, end: int, *, delimited: bool) -> Iterator[tuple[int, int, int]]:
        """Tag, beginning and end of each value up to `end`, or up to the item's delimiter."""
        while delimited or self._position < end:
            tag, start, length, vr = self._next(end)
            if tag == _ITEM_END and delimited:
                self._position = start
                return
            if tag >> 16 == DELIMITATION:
                raise Malformed("a delimiter stands where an element should")
            if length != UNDEFINED:
                after = start + length
            elif self._implicit:
                after = self._walk.implicit_value(tag, length, start, end, self._big, 1)
            else:
                after = self._walk.delimited_value(tag, vr, start, end, self._big, 1)
            if after > end:
                raise Malformed("a value is cut off")
            self._position = after
            yield tag, start, after

    def _next(self, end: int) -> tuple[int, int, int, bytes]:
        """Tag, beginning, length and VR of the value of the next element."""
        position = self._position
        group = element = length = 0
        vr = b""
        if self._implicit:
            group, element, length = self._header(self._data, position)
        else:
            group, element, vr, length = self._header(self._data, position)
        start = position + 8
        if group == DELIMITATION or vr in SHORT_VRS or self._implicit:
            return group << 16 | element, start, length, vr
        if vr not in LONG_VRS:
            raise Malformed("an element is not Explicit VR")
        return group << 16 | element, start + 4, LENGTH[self._big](self._data, start)[0], vr

    def _references(self, position: int, end: int) -> Iterator[Reference]:
        after = self._position
        for count in range(MAXIMUM_REFERENCES + 1):
            if position == end:
                break
            group, element, length = self._item_header(self._data, position)
            tag = group << 16 | element
            if tag == _SEQUENCE_END and position + 8 == end:
                break
            if tag != _ITEM:
                raise Malformed("there is no item where a reference should be")
            if count == MAXIMUM_REFERENCES:
                raise TooMany(f"more than {MAXIMUM_REFERENCES} references")
            self._position = position + 8
            delimited = length == UNDEFINED
            stop = end if delimited else self._position + length
            if stop > end:
                raise Malformed("a reference is cut off")
            yield self._reference(stop, delimited)
            position = self._position
        self._position = after

    def _reference(self, end: int, delimited: bool) -> Reference:
        found: dict[int, str] = {}
        for tag, start, after in self._elements(end, delimited=delimited):
            if tag in (SOP_CLASS_UID, SOP_INSTANCE_UID):
                found[tag] = self._uid(start, after)
        try:
            return found[SOP_CLASS_UID], found[SOP_INSTANCE_UID]
        except KeyError:
            raise Malformed("a reference lacks its SOP Class or Instance UID") from None

    def _uid(self, start: int, end: int) -> str:
        value = bytes(self._data[start : min(end, start + 70)]).rstrip(b"\0 ")
        if not _UID.fullmatch(value):
            raise Malformed("a UID is none")
        return value.decode("ascii")


def report(
    transaction_uid: str,
    retrieve_ae_title: str,
    committed: Iterable[Reference],
    failed: Iterable[Failed],
    encoding: Encoding,
) -> bytes:
    """The Event Information that tells what was committed and what was not."""
    writer = _Writer(encoding)
    successes = b"".join(writer.item(reference) for reference in committed)
    failures = b"".join(writer.item(one.reference, one.reason) for one in failed)
    parts = [writer.element(TRANSACTION_UID, b"UI", transaction_uid.encode("ascii"))]
    if failures:
        parts.append(writer.element(FAILED_SOP_SEQUENCE, b"SQ", failures))
    if successes:
        title = retrieve_ae_title.encode("ascii")
        parts.insert(0, writer.element(RETRIEVE_AE_TITLE, b"AE", title + b" " * (len(title) % 2)))
        parts.append(writer.element(REFERENCED_SOP_SEQUENCE, b"SQ", successes))
    return b"".join(parts)


class _Writer:
    def __init__(self, encoding: Encoding) -> None:
        order = ">" if encoding.big_endian else "<"
        self._implicit = encoding.implicit
        self._long = struct.Struct(order + ("HHL" if self._implicit else "HH2s2xL"))
        self._short = struct.Struct(order + "HH2sH")
        self._item = struct.Struct(order + "HHL")
        self._number = struct.Struct(order + "H")

    def element(self, tag: int, vr: bytes, value: bytes) -> bytes:
        group, element = tag >> 16, tag & 0xFFFF
        if vr == b"UI" and len(value) % 2:
            value += b"\0"
        if self._implicit:
            return self._long.pack(group, element, len(value)) + value
        if vr == b"SQ":
            return self._long.pack(group, element, vr, len(value)) + value
        return self._short.pack(group, element, vr, len(value)) + value

    def item(self, reference: Reference, reason: int | None = None) -> bytes:
        sop_class, sop_instance = reference
        value = self.element(SOP_CLASS_UID, b"UI", sop_class.encode("ascii"))
        value += self.element(SOP_INSTANCE_UID, b"UI", sop_instance.encode("ascii"))
        if reason is not None:
            value += self.element(FAILURE_REASON, b"US", self._number.pack(reason))
        return self._item.pack(0xFFFE, 0xE000, len(value)) + value
