"""Compressed frames to samples and back (PS3.5 8.2), for worker processes alone.

The decoders are C libraries fed with whatever a modality sent. What can be known before they start
is checked here: the attributes are possible, the decoded size is bounded, and the code stream is
of the size that the attributes say. Nothing is ever compressed with loss, and each compressed
frame is decoded again and compared before it counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from struct import unpack_from
from typing import BinaryIO

import numpy as np
from pydicom.encaps import generate_frames
from pydicom.pixels import get_decoder, get_encoder
from pydicom.uid import UID, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from santepacs.archive import gdcm_frames
from santepacs.archive.pixels import ImagePixel, Samples, check_encodable, without_unused_bits
from santepacs.archive.syntaxes import DECODABLE, JPEG, JPEG_2000, JPEG_LS, LOSSY_METHODS
from santepacs.errors import Malformed

_GDCM = frozenset(DECODABLE.difference(JPEG_2000, (RLELossless,)))


@dataclass(frozen=True, slots=True)
class Decoded:
    """Decoded pixels; `lossy` says that compressing them had lost something."""

    photometric: str
    lossy: bool
    frames: Iterator[Samples]


def decode(
    pixels: BinaryIO,
    syntax: str,
    image: ImagePixel,
    offsets: tuple[bytes, bytes] | None = None,
) -> Decoded:
    """Decode the encapsulated value at which `pixels` stands.

    `offsets`: Extended Offset Table and its lengths, if there are any. Baseline colour comes out
    as RGB. Raises Malformed, also later from the frames, when not all of them can be decoded.
    """
    image.check()
    if syntax not in DECODABLE:
        raise Malformed("its transfer syntax cannot be decoded here")
    encoded = islice(_frames(pixels, image, offsets), image.frames)
    first = next(encoded, b"")
    photometric, samples = _decoded(first, syntax, image)

    def frames() -> Iterator[Samples]:
        yield samples
        count = 1
        for frame in encoded:
            found, more = _decoded(frame, syntax, image)
            if found != photometric:
                raise Malformed("the frames differ in colour space")
            count += 1
            yield more
        if count < image.frames:
            raise Malformed("frames are missing")

    return Decoded(photometric, _is_lossy(first, syntax), frames())


def _frames(
    pixels: BinaryIO, image: ImagePixel, offsets: tuple[bytes, bytes] | None
) -> Iterator[bytes]:
    try:
        yield from generate_frames(pixels, number_of_frames=image.frames, extended_offsets=offsets)
    except Exception:  # noqa: BLE001 - pydicom raises all sorts
        raise Malformed("the fragments of the pixel data cannot be read") from None


def encode(samples: Samples, syntax: str, image: ImagePixel) -> bytes:
    """One frame compressed without loss as `syntax`, which must be one of `LOSSLESS`.

    Raises Malformed when it cannot be done.
    """
    check_encodable(image)
    single = replace(image, frames=1, planar=0)
    attempts = [(samples, image.bits_allocated)]
    plain = without_unused_bits(samples, image)
    # Of fewer than 8 of 8 bits gdcm would end the process.
    if plain is not None and image.bits_allocated > 8:
        attempts.insert(0, (plain, image.bits_stored))
    for content, bits in attempts:
        exact = replace(single, bits_stored=bits)
        try:
            frame = _encoded(content, syntax, exact)
            _, again = _decoded(frame, syntax, exact, exactly=True)
        except Malformed:
            continue
        if np.array_equal(again, content):
            return frame
    raise Malformed("the image cannot be compressed without loss")


def _decoded(
    frame: bytes, syntax: str, image: ImagePixel, *, exactly: bool = False
) -> tuple[str, Samples]:
    """Photometric Interpretation and samples of one frame."""
    _check_size(frame, image)
    # The colour space of lossless syntaxes stays what it is.
    options = {**image.options(), "number_of_frames": 1, "as_rgb": syntax in JPEG}
    if exactly:
        options["correct_unused_bits"] = False
    if image.bits_allocated == 8 and syntax in _GDCM:
        options["bits_stored"] = 8  # of fewer, gdcm would end the process
    try:
        if syntax == JPEGExtended12Bit and image.bits_stored > 8:
            return image.photometric, _fitted(gdcm_frames.decoded_12_bit(frame, image), image)
        runner = get_decoder(UID(syntax))
        array, found = next(
            runner.iter_array(
                _encapsulated(frame),
                decoding_plugin="gdcm" if syntax in _GDCM else "pylibjpeg",
                **options,
            )
        )
    except Malformed:
        raise
    except Exception:  # noqa: BLE001 - the libraries raise all sorts
        raise Malformed("the pixel data cannot be decoded") from None
    return _interleaved(str(found["photometric_interpretation"])), _fitted(array, image)


def _encapsulated(frame: bytes) -> bytes:
    """One frame as pydicom's decoders want it: with an empty offset table (PS3.5 A.4)."""
    item = b"\xfe\xff\x00\xe0"
    size = (len(frame) + len(frame) % 2).to_bytes(4, "little")
    return item + bytes(4) + item + size + frame + bytes(len(frame) % 2)


def _interleaved(photometric: str) -> str:
    # What decoders give is never subsampled any more.
    return "YBR_FULL" if photometric == "YBR_FULL_422" else photometric


def _fitted(array: Samples, image: ImagePixel) -> Samples:
    """The samples in the type and shape that the attributes say."""
    if array.shape != image.shape:
        raise Malformed("the code stream has another size than its attributes say")
    if array.dtype.itemsize > image.sample_type.itemsize:
        raise Malformed("the code stream has more bits than its attributes say")
    return np.ascontiguousarray(array, dtype=image.sample_type)


def _check_size(frame: bytes, image: ImagePixel) -> None:
    """Refuse a code stream that says it is larger or smaller than the image, unseen."""
    found = _stated_size(frame)
    if found is not None and found != (image.rows, image.columns):
        raise Malformed("the code stream has another size than its attributes say")


def _stated_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns as a JPEG, JPEG-LS or JPEG 2000 code stream says them."""
    if frame[:4] == b"\xff\x4f\xff\x51" and len(frame) >= 24:
        right, bottom, left, top = unpack_from(">4L", frame, 8)  # SIZ (ISO/IEC 15444-1 A.5.1)
        return bottom - top, right - left
    if frame[:2] != b"\xff\xd8":
        return None
    position = 2
    while position + 9 <= len(frame) and frame[position] == 0xFF:
        marker = frame[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        # SOF0 to SOF15 but DHT, JPG and DAC (ISO/IEC 10918-1 B.2.2); SOF55 of JPEG-LS.
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = unpack_from(">2H", frame, position + 5)
            return rows, columns
        position += 2 + int.from_bytes(frame[position + 2 : position + 4], "big")
    return None


def _is_lossy(frame: bytes, syntax: str) -> bool:
    """Whether a code stream has lost something, of the syntaxes that allow both."""
    if syntax not in LOSSY_METHODS:
        return False
    if syntax in JPEG_LS:
        scan = frame.find(b"\xff\xda")  # its NEAR is 0 if nothing was lost (ISO/IEC 14495-1 C.2.3)
        return scan < 0 or any(
            frame[scan + 5 + 2 * frame[scan + 4] : scan + 6 + 2 * frame[scan + 4]]
        )
    if syntax in JPEG_2000:
        style = frame.find(b"\xff\x52")  # COD; wavelet 1 is the reversible one (15444-1 A.6.1)
        return style < 0 or frame[style + 13 : style + 14] != b"\1"
    return True


def _encoded(samples: Samples, syntax: str, image: ImagePixel) -> bytes:
    try:
        if syntax in (JPEGLosslessSV1, JPEGLSLossless):
            return gdcm_frames.encoded(samples, syntax, image)
        return bytes(
            get_encoder(UID(syntax)).encode(
                samples.tobytes(), encoding_plugin="pylibjpeg", **image.options()
            )
        )
    except Malformed:
        raise
    except Exception:  # noqa: BLE001 - the libraries raise all sorts
        raise Malformed("the pixel data cannot be compressed") from None
