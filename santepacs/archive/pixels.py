"""Uncompressed pixels and the attributes that describe them (PS3.3 C.7.6.3, PS3.5 8.1.1)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from santepacs.archive.walk import Buffer
from santepacs.errors import Malformed

Samples = np.ndarray[Any, Any]
"""One frame: rows, columns and, if there are several samples a pixel, samples."""

LARGEST_DECODED = 512 * 1024 * 1024  # bytes of all frames of an object

_ENCODABLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL")


@dataclass(frozen=True, slots=True)
class ImagePixel:
    """The attributes of the Image Pixel module that say how pixels are encoded (C.7.6.3)."""

    rows: int
    columns: int
    frames: int
    samples: int
    photometric: str
    planar: int
    bits_allocated: int
    bits_stored: int
    signed: bool

    def check(self) -> None:
        """Raise Malformed for what no decoder should be asked to decode."""
        if not (self.rows and self.columns and self.frames):
            raise Malformed("the image has no pixels")
        if self.samples not in (1, 3):
            raise Malformed("the image has an unknown number of samples per pixel")
        if self.bits_allocated not in (1, 8, 16, 32):
            raise Malformed("the image has an unknown number of bits allocated")
        if not 1 <= self.bits_stored <= self.bits_allocated:
            raise Malformed("the image has an impossible number of bits stored")
        if self.frames * self.frame_length > LARGEST_DECODED:
            raise Malformed("the decoded image is too large")

    @property
    def sample_type(self) -> "np.dtype[Any]":
        """The type of one decoded sample."""
        kind = "i" if self.signed and self.bits_allocated > 1 else "u"
        return np.dtype(f"<{kind}{max(self.bits_allocated // 8, 1)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one frame's `Samples`."""
        plane = (self.rows, self.columns)
        return plane if self.samples == 1 else (*plane, self.samples)

    @property
    def frame_length(self) -> int:
        """Bytes of one frame's `Samples`."""
        return self.rows * self.columns * self.samples * max(self.bits_allocated // 8, 1)

    @property
    def value_length(self) -> int:
        """Bytes of all frames uncompressed, without padding."""
        if self.bits_allocated > 1:
            return self.frames * self.frame_length
        return (self.frames * self.frame_length + 7) // 8

    def options(self) -> dict[str, Any]:
        """The same in pydicom's words."""
        return {
            "rows": self.rows,
            "columns": self.columns,
            "number_of_frames": self.frames,
            "samples_per_pixel": self.samples,
            "photometric_interpretation": self.photometric,
            "planar_configuration": self.planar,
            "bits_allocated": self.bits_allocated,
            "bits_stored": self.bits_stored,
            "pixel_representation": int(self.signed),
            "pixel_keyword": "PixelData",
        }


def check_encodable(image: ImagePixel) -> None:
    """Raise Malformed for an image that no syntax of `LOSSLESS` can hold."""
    image.check()
    if image.bits_allocated not in (8, 16) or image.photometric not in _ENCODABLE:
        raise Malformed("such an image cannot be compressed without loss")


def samples_of(value: Buffer, image: ImagePixel) -> Iterator[Samples]:
    """The frames of an uncompressed Little Endian value. Raises Malformed."""
    check_encodable(image)
    if len(value) < image.frames * image.frame_length:
        raise Malformed("the pixel data is shorter than its attributes say")
    for number in range(image.frames):
        flat = np.frombuffer(
            value, image.sample_type, image.frame_length // image.sample_type.itemsize,
            number * image.frame_length,
        )  # fmt: skip
        if image.samples > 1 and image.planar == 1:
            planes = flat.reshape(image.samples, image.rows, image.columns)
            yield np.ascontiguousarray(planes.transpose(1, 2, 0))
        else:
            yield flat.reshape(image.shape)


def value_of(frames: Iterator[Samples], image: ImagePixel) -> Iterator[bytes]:
    """The uncompressed Little Endian value of frames, in pieces (PS3.5 8.1.1)."""
    if image.bits_allocated > 1:
        for samples in frames:
            yield samples.tobytes()
        return
    # Single bits run on from one frame into the next.
    bits = np.concatenate([samples.ravel() for samples in frames])
    yield np.packbits(bits, bitorder="little").tobytes()


def without_unused_bits(samples: Samples, image: ImagePixel) -> Samples | None:
    """The samples with nothing but their sign beyond Bits Stored; None if more lies there.

    What lies there is an overlay of old, or a mistake; either way it must not get lost.
    """
    unused = image.bits_allocated - image.bits_stored
    if not unused:
        return samples
    extended = (samples << unused) >> unused
    cleared = samples & ((1 << image.bits_stored) - 1)
    empty = (samples == extended) | (samples == cleared)
    return extended if empty.all() else None
