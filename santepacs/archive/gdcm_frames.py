"""What gdcm can do with frames and pydicom does not ask of it: 12-bit JPEG, lossless compression.

For worker processes alone. A C++ exception in gdcm ends the process, so whoever calls this has
checked what can be checked.
"""

from typing import Any

import gdcm
import numpy as np
from pydicom.uid import JPEGExtended12Bit

from santepacs.archive.pixels import ImagePixel, Samples
from santepacs.errors import Malformed


def decoded_12_bit(frame: bytes, image: ImagePixel) -> Samples:
    """Greyscale JPEG process 4, which gdcm decodes although pydicom does not ask it to."""
    if image.samples != 1 or image.bits_allocated != 16:
        raise Malformed("its transfer syntax cannot be decoded here")
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    picture = gdcm.Image()
    _describe(picture, JPEGExtended12Bit, image)
    picture.SetDataElement(element)
    array = np.frombuffer(_bytes(picture.GetBuffer()), "<u2")
    return array.reshape(image.shape)


def encoded(samples: Samples, syntax: str, image: ImagePixel) -> bytes:
    """One frame as JPEG Lossless (process 14, selection value 1) or JPEG-LS Lossless."""
    writer = gdcm.ImageWriter()  # owns the picture: it must outlive it
    picture = writer.GetImage()
    _describe(picture, "1.2.840.10008.1.2.1", image)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    value = samples.tobytes()
    if len(value) % 2:
        # gdcm cannot compress an odd number of bytes as JPEG; twice the frame is even.
        value += value
        picture.SetNumberOfDimensions(3)
        picture.SetDimensions((image.columns, image.rows, 2))
    element.SetByteStringValue(value)
    picture.SetDataElement(element)
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(_transfer_syntax(syntax))
    change.SetInput(picture)
    if not change.Change():
        raise Malformed("the pixel data cannot be compressed")
    fragments = change.GetOutput().GetDataElement().GetSequenceOfFragments()
    return _bytes(fragments.GetFragment(0).GetByteValue().GetBuffer())


def _describe(picture: Any, syntax: str, image: ImagePixel) -> None:
    kind = gdcm.PhotometricInterpretation.GetPIType(image.photometric)
    picture.SetNumberOfDimensions(2)
    picture.SetDimensions((image.columns, image.rows, 1))
    picture.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    picture.SetTransferSyntax(_transfer_syntax(syntax))
    stored = image.bits_stored
    signed = int(image.signed)
    picture.SetPixelFormat(
        gdcm.PixelFormat(image.samples, image.bits_allocated, stored, stored - 1, signed)
    )
    if image.samples > 1:
        picture.SetPlanarConfiguration(0)


def _transfer_syntax(uid: str) -> Any:
    return gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(uid)))


def _bytes(text: str) -> bytes:
    """gdcm's wrapper hands out bytes as if they were text."""
    return text.encode("utf-8", "surrogateescape")
