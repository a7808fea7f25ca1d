"""A stored object in another transfer syntax (PS3.5 annex A): what it says stays the same.

Uncompressed encodings are turned into each other value by value (`santepacs.archive.recoding`).
Compressed pixels are decoded; uncompressed ones are compressed, never with loss. The SOP Instance
UID stays, as no pixel loses anything by it (PS3.3 C.7.6.1.1.5); that an object was compressed with
loss before is said by its attributes, because its transfer syntax no longer does.

Files in, files out, for worker processes (`santepacs.processes`): the decoders are C libraries fed
with what modalities sent, and whatever goes wrong in them must not be this server's end.
"""

import mmap
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from struct import error as StructError
from struct import pack, unpack_from
from typing import BinaryIO

from santepacs.archive.codecs import Decoded, decode, encode
from santepacs.archive.header import FileMeta, read_file_meta
from santepacs.archive.pixels import ImagePixel, samples_of, value_of
from santepacs.archive.recoding import Element, Recoding, element_at, elements, header, swapped
from santepacs.archive.syntaxes import LOSSY_METHODS
from santepacs.archive.walk import UNDEFINED, Buffer
from santepacs.errors import Malformed
from santepacs.model.transfer_syntaxes import (
    EXPLICIT_LITTLE_ENDIAN,
    STORAGE_TRANSFER_SYNTAXES,
    TransferSyntax,
)

_SAMPLES, _PHOTOMETRIC, _PLANAR, _FRAMES = 0x00280002, 0x00280004, 0x00280006, 0x00280008
_ROWS, _COLUMNS, _ALLOCATED, _STORED = 0x00280010, 0x00280011, 0x00280100, 0x00280101
_HIGH_BIT, _REPRESENTATION = 0x00280102, 0x00280103
_LOSSY, _LOSSY_METHOD = 0x00282110, 0x00282114
_ICON, _PIXEL_DATA = 0x00880200, 0x7FE00010
_OFFSETS = (0x7FE00001, 0x7FE00002, 0x7FE00003)  # Extended Offset Table, lengths, total length
_ENCAPSULATED_ICON = pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", UNDEFINED)

_EXPLICIT = STORAGE_TRANSFER_SYNTAXES[EXPLICIT_LITTLE_ENDIAN]
_ITEM, _DELIMITER = 0xFFFEE000, 0xFFFEE0DD

Changes = dict[int, tuple[bytes, bytes] | None]
"""Attributes to write otherwise, by tag: VR and Little Endian value, None to leave it out."""


@dataclass(frozen=True, slots=True)
class _Pixels:
    """A new value of Pixel Data: Little Endian, in pieces."""

    vr: bytes
    length: int
    pieces: Iterable[bytes]


@dataclass(frozen=True, slots=True)
class _Object:
    """A Part 10 file."""

    data: Buffer
    meta: FileMeta
    syntax: TransferSyntax
    elements: dict[int, Element]

    def value(self, tag: int) -> bytes:
        """The value of an attribute as it is encoded; empty when absent."""
        element = self.elements.get(tag)
        return b"" if element is None else bytes(self.data[element.start : element.after])

    def text(self, tag: int) -> str:
        """The value of an attribute that is text."""
        return self.value(tag).decode("latin-1").strip(" \0")

    def number(self, tag: int) -> int:
        """The value of an attribute that is a US; 0 when absent."""
        value = self.value(tag)
        order = ">H" if self.syntax.big_endian else "<H"
        return int(unpack_from(order, value)[0]) if len(value) >= 2 else 0

    @property
    def is_encapsulated(self) -> bool:
        """Whether there are pixels in fragments."""
        pixels = self.elements.get(_PIXEL_DATA)
        return pixels is not None and self._length(pixels) == UNDEFINED

    def _length(self, element: Element) -> int:
        order = ">L" if self.syntax.big_endian else "<L"
        return int(unpack_from(order, self.data, element.start - 4)[0])

    def image(self) -> ImagePixel:
        """How its pixels are described. Raises Malformed."""
        frames = self.text(_FRAMES) or "1"
        if not (frames.isascii() and frames.isdigit() and len(frames) < 10):
            raise Malformed("the image has an impossible number of frames")
        allocated, stored = self.number(_ALLOCATED), self.number(_STORED)
        if self.number(_HIGH_BIT) != stored - 1:
            stored = allocated  # pixels of old, in the upper bits: each bit counts
        return ImagePixel(
            rows=self.number(_ROWS),
            columns=self.number(_COLUMNS),
            frames=int(frames),
            samples=self.number(_SAMPLES) or 1,
            photometric=self.text(_PHOTOMETRIC),
            planar=self.number(_PLANAR),
            bits_allocated=allocated,
            bits_stored=stored,
            signed=self.number(_REPRESENTATION) == 1,
        )


def to_file(source: str, syntaxes: list[str], target: str) -> list[str | int]:
    """Write the object of the file `source` to the new file `target`.

    It becomes the first of `syntaxes` (`santepacs.archive.syntaxes.preferred`) that it can become;
    that and the offset of its data set in the file are returned. Raises Malformed for an object
    that can become none of them; no file is left then.
    """
    problem = Malformed("there is no transfer syntax for it")
    with open(source, "rb") as file, _opened(file) as found:
        for syntax in syntaxes:
            try:
                with open(target, "xb") as result:
                    offset = _write(found, file, STORAGE_TRANSFER_SYNTAXES[syntax], result)
                return [syntax, offset]
            except Malformed as error:
                os.unlink(target)
                problem = error
            except BaseException:
                os.unlink(target)
                raise
    raise problem


@contextmanager
def _opened(file: BinaryIO) -> Iterator[_Object]:
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            meta = read_file_meta(data)
            syntax = STORAGE_TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
            found = {one.tag: one for one in elements(data, syntax, meta.dataset_offset)}
            yield _Object(data, meta, syntax, found)
        except (StructError, KeyError, RecursionError):
            raise Malformed("the object's file is damaged") from None


def _write(found: _Object, file: BinaryIO, target: TransferSyntax, result: BinaryIO) -> int:
    """Write the object as `target`; returns the offset of its data set."""
    changes, pixels = _changed(found, file, target)
    result.write(_file_header(found, target))
    offset = result.tell()
    # A compressed object's elements are encoded as those of an Explicit VR Little Endian one.
    writer = _Writer(found, _EXPLICIT if target.encapsulated else target, result.write)
    try:
        writer.write(changes, pixels)
    finally:
        writer.release()
    return offset


def _changed(
    found: _Object, file: BinaryIO, target: TransferSyntax
) -> tuple[Changes, _Pixels | None]:
    """What becomes of the attributes that an encoding decides, and of the pixels."""
    if not (found.is_encapsulated or target.encapsulated):
        return {}, None
    if _PIXEL_DATA not in found.elements:
        raise Malformed("there are no pixels to compress")
    image = found.image()
    changes: Changes = dict.fromkeys(_OFFSETS)
    if found.is_encapsulated:
        file.seek(found.elements[_PIXEL_DATA].start)
        tables = (found.value(_OFFSETS[0]), found.value(_OFFSETS[1]))
        decoded = decode(file, found.syntax.uid, image, tables if all(tables) else None)
        changes |= _attributes_of(found, decoded)
        image = replace(image, photometric=decoded.photometric, planar=0)
        frames = decoded.frames
    else:
        frames = samples_of(_native_value(found), image)
    if image.samples > 1:
        changes[_PLANAR] = (b"US", pack("<H", 0))
    if target.encapsulated:
        encoded = [encode(samples, target.uid, image) for samples in frames]
        return changes, _Pixels(b"OB", UNDEFINED, _encapsulated(encoded))
    if _ENCAPSULATED_ICON in found.value(_ICON):
        changes[_ICON] = None  # optional, and no uncompressed object may hold it as it is
    vr = b"OB" if image.bits_allocated <= 8 else b"OW"
    length = image.value_length
    return changes, _Pixels(vr, length + length % 2, value_of(frames, image))


def _attributes_of(found: _Object, decoded: Decoded) -> Changes:
    changes: Changes = {_PHOTOMETRIC: (b"CS", _even(decoded.photometric.encode("ascii")))}
    if decoded.lossy and not found.text(_LOSSY):
        changes[_LOSSY] = (b"CS", b"01")
        changes[_LOSSY_METHOD] = (b"CS", _even(LOSSY_METHODS[found.syntax.uid]))
    return changes


def _native_value(found: _Object) -> Buffer:
    """The uncompressed pixels, Little Endian."""
    pixels = found.elements[_PIXEL_DATA]
    value = found.data[pixels.start : pixels.after]
    return swapped(value, 2) if found.syntax.big_endian and pixels.vr == b"OW" else value


def _encapsulated(frames: list[bytes]) -> Iterator[bytes]:
    """Frames with their Basic Offset Table, one fragment each (PS3.5 A.4)."""
    offsets, position = [], 0
    for frame in frames:
        offsets.append(position)
        position += 8 + len(frame) + len(frame) % 2
    yield _bare(_ITEM, 4 * len(offsets)) + pack(f"<{len(offsets)}L", *offsets)
    for frame in frames:
        yield _bare(_ITEM, len(frame) + len(frame) % 2)
        yield _even(frame, b"\0")
    yield _bare(_DELIMITER, 0)


class _Writer:
    """Writes a data set with some attributes changed."""

    def __init__(
        self, found: _Object, target: TransferSyntax, write: Callable[[Buffer], object]
    ) -> None:
        self._found = found
        self._target = target
        self._write = write
        source = _EXPLICIT if found.syntax.encapsulated else found.syntax
        self._as_it_is = source == target
        self._view = memoryview(found.data)
        self._recoding = Recoding(found.data, source, target, write)

    def release(self) -> None:
        """Let go of the mapped file, so that it can be closed."""
        self._view.release()
        self._recoding.release()

    def write(self, changes: Changes, pixels: _Pixels | None) -> None:
        """Write every element, changed or not, those that are new in their places."""
        signed = self._found.number(_REPRESENTATION) == 1
        new = sorted((tag for tag in changes if tag not in self._found.elements), reverse=True)
        for tag, element in self._found.elements.items():
            while new and new[-1] < tag:
                self._write_changed(new[-1], changes[new.pop()])
            if tag in changes:
                self._write_changed(tag, changes[tag])
            elif tag == _PIXEL_DATA and pixels is not None:
                self._write_pixels(pixels)
            elif not self._as_it_is:
                self._recoding.element(element.position, signed=signed)
            elif tag & 0xFFFF:  # group lengths may be wrong now
                self._write(self._view[element.position : element.after])

    def _write_changed(self, tag: int, change: tuple[bytes, bytes] | None) -> None:
        if change is None:
            return
        vr, value = change
        if vr == b"US" and self._target.big_endian:
            value = swapped(value, 2)
        self._write(header(self._target, tag, vr, len(value)) + value)

    def _write_pixels(self, pixels: _Pixels) -> None:
        self._write(header(self._target, _PIXEL_DATA, pixels.vr, pixels.length))
        written = 0
        for piece in pixels.pieces:
            words = pixels.vr == b"OW" and self._target.big_endian
            self._write(swapped(piece, 2) if words else piece)
            written += len(piece)
        if pixels.length != UNDEFINED:
            self._write(bytes(pixels.length - written))


def _file_header(found: _Object, target: TransferSyntax) -> bytes:
    """Preamble and File Meta Information of the source with the target's transfer syntax."""
    meta = b""
    position = 132
    while position < found.meta.dataset_offset:
        tag, _, _, _, after = element_at(found.data, position, False, False)
        if tag == 0x00020010:
            uid = _even(target.uid.encode("ascii"), b"\0")
            meta += header(_EXPLICIT, tag, b"UI", len(uid)) + uid
        elif tag != 0x00020000:
            meta += bytes(found.data[position:after])
        position = after
    length = header(_EXPLICIT, 0x00020000, b"UL", 4) + pack("<L", len(meta))
    return bytes(128) + b"DICM" + length + meta


def _bare(tag: int, length: int) -> bytes:
    return pack("<HHL", tag >> 16, tag & 0xFFFF, length)


def _even(value: bytes, padding: bytes = b" ") -> bytes:
    return value + padding if len(value) % 2 else value
