"""Zip archives of stored objects, laid out before the first byte is sent.

Entries are stored, not compressed (images hardly shrink, and compressing costs more than the
network saves), so the whole length follows from names and sizes: `length` is the exact
Content-Length of what `items` gives. Format: PKWARE APPNOTE 6.3.10; Zip64 (4.3.14, 4.5.3) where a
size, an offset or the number of entries does not fit. Pure: the files are opened by who sends.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from santepacs.archive.zipnames import Names
from santepacs.db.studies import ObjectFile, StudyRow

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")

_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_PLAIN, _ZIP64 = 20, 45  # version needed to extract: 2.0, 4.5
_UNIX = 3 << 8
_REGULAR_FILE = 0o100644 << 16
# 1 January 1980, the format's first day: the archive knows no time of day that belongs here,
# and the same objects give the same zip.
_TIME, _DATE = 0, (1 << 5) | 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in a zip."""

    name: bytes
    """Path in the zip: letters, digits, ``.``, ``_``, ``-`` and ``/``."""
    bytes: int
    crc32: int
    study_instance_uid: str
    digest: str


def entries(objects: Iterable[ObjectFile], studies: Mapping[str, StudyRow]) -> list[Entry]:
    """The zip entries of `objects`, each in ``<patient>/<study>/<series>/<number>.dcm``.

    `studies` has the study of every object, by Study Instance UID.
    """
    names = Names()
    return [
        Entry(
            names.of(item, studies[item.study_instance_uid]).encode("ascii"),
            item.bytes,
            item.crc32,
            item.study_instance_uid,
            item.digest,
        )
        for item in objects
    ]


def items(files: Sequence[Entry]) -> Iterator[bytes | Entry]:
    """The zip in order: bytes to send as they are, and entries whose file's content follows."""
    directory = bytearray()
    offset = 0
    for file in files:
        header = _local_header(file)
        directory += _central_header(file, offset)
        offset += len(header) + file.bytes
        yield header
        yield file
    yield bytes(directory)
    yield _end(len(files), len(directory), offset)


def length(files: Sequence[Entry]) -> int:
    """How many bytes the zip has."""
    offset = directory = 0
    for file in files:
        directory += len(_central_header(file, offset))
        offset += len(_local_header(file)) + file.bytes
    return offset + directory + len(_end(len(files), directory, offset))


def _local_header(file: Entry) -> bytes:
    extra = b""
    size = file.bytes
    if size >= _MAX32:
        extra = struct.pack("<2H2Q", 1, 16, size, size)
        size = _MAX32
    version = _ZIP64 if extra else _PLAIN
    return (
        _LOCAL.pack(
            b"PK\3\4", version, 0, 0, _TIME, _DATE, file.crc32, size, size,
            len(file.name), len(extra),
        )
        + file.name
        + extra
    )  # fmt: skip


def _central_header(file: Entry, offset: int) -> bytes:
    size, wide = file.bytes, []
    if size >= _MAX32:
        wide += [size, size]
        size = _MAX32
    if offset >= _MAX32:
        wide.append(offset)
        offset = _MAX32
    extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    version = _ZIP64 if wide else _PLAIN
    return (
        _CENTRAL.pack(
            b"PK\1\2", _UNIX | version, version, 0, 0, _TIME, _DATE, file.crc32, size, size,
            len(file.name), len(extra), 0, 0, 0, _REGULAR_FILE, offset,
        )
        + file.name
        + extra
    )  # fmt: skip


def _end(count: int, directory: int, offset: int) -> bytes:
    """The end of central directory, with its Zip64 form before it when it is needed."""
    end64 = b""
    if count >= _MAX16 or directory >= _MAX32 or offset >= _MAX32:
        end64 = _END64.pack(
            b"PK\6\6", _END64.size - 12, _UNIX | _ZIP64, _ZIP64, 0, 0,
            count, count, directory, offset,
        ) + _LOCATOR64.pack(b"PK\6\7", 0, offset + directory, 1)  # fmt: skip
    count16 = min(count, _MAX16)
    return end64 + _END.pack(
        b"PK\5\6", 0, 0, count16, count16, min(directory, _MAX32), min(offset, _MAX32), 0
    )
