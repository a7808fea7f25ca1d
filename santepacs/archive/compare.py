"""Whether two files hold the same object, encoded in two ways.

A modality that sends a study twice may have it encoded otherwise the second time: in another
transfer syntax, with lengths of sequences instead of delimiters, without padding. That is no
conflict: all attributes are equal, and so are the pixels. Attributes that an encoding decides by
itself are left out. Between transfer syntaxes compressed pixels are not decoded (a lossy copy must
carry a SOP Instance UID of its own, PS3.3 C.7.6.1.1.5).
"""

from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import UID

MAXIMUM_COMPARED = 256_000_000  # bytes
_PIXELS = 0x7FE00010
# Group lengths aside: photometric interpretation, planar configuration, extended offset tables,
# trailing padding, and what a decoder adds to say that there was a lossy compression.
_ENCODING = {
    *(0x00280004, 0x00280006, 0x7FE00001, 0x7FE00002, 0xFFFCFFFC),
    *(0x00282110, 0x00282112, 0x00282114),
}


def same_object(one: Path, other: Path) -> bool:
    """Compare two files (proven complete before, so their nesting is bounded).

    What is too large to be held in memory twice is not shown to be the same.
    """
    if max(one.stat().st_size, other.stat().st_size) > MAXIMUM_COMPARED:
        return False
    try:
        first, second = dcmread(one), dcmread(other)
        return _attributes(first) == _attributes(second) and _same_pixels(first, second)
    except Exception:  # noqa: BLE001 - what pydicom cannot read is not shown to be the same
        return False


def _attributes(dataset: Dataset) -> Dataset:
    kept = Dataset()
    for element in dataset:
        if element.tag.element and element.tag != _PIXELS and element.tag not in _ENCODING:
            kept[element.tag] = element
    return kept


def _same_pixels(one: Dataset, other: Dataset) -> bool:
    syntaxes: list[UID] = [d.file_meta.TransferSyntaxUID for d in (one, other)]
    if syntaxes[0] != syntaxes[1] and any(syntax.is_compressed for syntax in syntaxes):
        return (_PIXELS in one) == (_PIXELS in other)
    first, second = (bytes(d[_PIXELS].value) if _PIXELS in d else b"" for d in (one, other))
    if syntaxes[0].is_little_endian != syntaxes[1].is_little_endian:
        width = int(one.get("BitsAllocated", 8)) // 8
        if width == 2 and one[_PIXELS].VR == other[_PIXELS].VR == "OW":
            second = _swapped(second)
    return first == second


def _swapped(words: bytes) -> bytes:
    swapped = bytearray(words)
    swapped[0::2], swapped[1::2] = words[1::2], words[0::2]
    return bytes(swapped)
