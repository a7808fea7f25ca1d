"""Identifiers of C-FIND, C-MOVE and C-GET: what a query asks, read with its own character set.

An identifier is hostile: whatever is in it, it is read or refused as Malformed. What is inside
sequences is asked of nobody, so they are only walked over.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.presentation import PresentationContext

from santepacs.archive import charset
from santepacs.archive.walk import EXPLICIT, IMPLICIT, LONG_VRS, SHORT_VRS, Walk
from santepacs.db.search import Level
from santepacs.dicom.elements import BINARY_VRS, NUMBER_VRS, Encoding, numbers
from santepacs.errors import Malformed
from santepacs.model.matching import Key

MAXIMUM_KEYS = 1000  # with those inside sequences, and the items of these
_CHARACTER_SET = 0x00080005
_LEVEL = 0x00080052
_LAST = 0xFFFD0000  # no element of a data set is beyond; none that can be asked before the first
_KNOWN_VRS = SHORT_VRS | LONG_VRS


@dataclass(frozen=True, slots=True)
class Identifier:
    """A decoded identifier: its level as written, and its keys by DICOM keyword."""

    level: str
    keys: dict[str, Key]
    asked: dict[int, str] = field(default_factory=dict)
    """Tag and VR of what is to be answered: everything but level and character set."""
    character_set: bytes = b""
    """Specific Character Set as written."""

    def query_level(self) -> Level:
        """The Query/Retrieve Level. Raises Malformed for none or an unknown one."""
        try:
            return Level(self.level)
        except ValueError:
            raise Malformed("the Query/Retrieve Level is missing or unknown") from None

    def text(self, attribute: str) -> str:
        """The text of a key; empty when it is absent or universal."""
        key = self.keys.get(attribute)
        text = key.text.strip(" \0") if key else ""
        return text if text.strip("*") else ""

    def values(self, attribute: str) -> tuple[str, ...]:
        """The values of a key of several, such as a list of UIDs.

        Raises Malformed for a NUL within, behind which each reader would see another value.
        """
        if "\0" in self.text(attribute):
            raise Malformed(f"{attribute} holds a NUL")
        return tuple(value.strip() for value in self.text(attribute).split("\\") if value.strip())


def encoding_of(context: PresentationContext) -> Encoding:
    """How the data sets of a presentation context are written."""
    syntax = context.transfer_syntax[0]
    return Encoding(bool(syntax.is_implicit_VR), not syntax.is_little_endian)


def decode(data_set: Any, context: PresentationContext) -> Dataset:
    """The pydicom data set of a request: `MAXIMUM_KEYS` elements at most. Raises Malformed."""
    encoding = encoding_of(context)
    content = _content(data_set)
    for _ in _elements(content, encoding):
        pass  # whatever is wrong with it is said here
    try:
        return read_dataset(BytesIO(content), encoding.implicit, not encoding.big_endian)
    except Exception:  # noqa: BLE001 - pydicom raises all sorts for what it cannot read
        raise Malformed("the identifier cannot be decoded") from None


def read(data_set: Any, context: PresentationContext) -> Identifier:
    """What a request's identifier asks. Raises Malformed."""
    encoding = encoding_of(context)
    elements = dict(_elements(_content(data_set), encoding))
    character_set = elements.pop(_CHARACTER_SET, ("CS", b""))[1]
    level = elements.pop(_LEVEL, ("CS", b""))[1].decode("latin-1").strip(" \0")
    codecs = charset.encodings(character_set)
    keys = {}
    for tag, (vr, raw) in elements.items():
        keyword = keyword_for_tag(tag)
        if keyword:
            keys[keyword] = Key(keyword, vr, _text(vr, raw, codecs, encoding.big_endian))
    return Identifier(level, keys, {tag: vr for tag, (vr, _) in elements.items()}, character_set)


def _content(data_set: Any) -> bytes:
    if not isinstance(data_set, BytesIO):
        raise Malformed("the request has no identifier")
    return data_set.getvalue()


def _elements(data: bytes, encoding: Encoding) -> Iterator[tuple[int, tuple[str, bytes]]]:
    """Tag, VR and raw value of each element that a query may hold; of a sequence no value."""
    walk, big = Walk(data), encoding.big_endian
    position, end = 0, len(data)
    while position < end:
        if end - position < 8:
            raise Malformed("the identifier is cut off")
        walk.spend(position)
        start = position + 8
        if encoding.implicit:
            group, element, length = IMPLICIT[big](data, position)
            tag, vr = group << 16 | element, b"UN"
            after = walk.implicit_value(tag, length, start, end, big, 1)
        else:
            group, element, vr, length = EXPLICIT[big](data, position)
            tag, after = group << 16 | element, start + length
            if vr not in SHORT_VRS:
                start, after = walk.explicit_value(tag, vr, position, end, big, 1)
        if after > end:
            raise Malformed("the identifier is cut off")
        if walk.count > MAXIMUM_KEYS:
            raise Malformed(f"the identifier has more than {MAXIMUM_KEYS} keys")
        if _CHARACTER_SET <= tag < _LAST and element:
            yield tag, (_vr(tag, vr), data[start:after])
        position = after


def _vr(tag: int, vr: bytes) -> str:
    """The VR of an element: the dictionary's, for peers write what they like."""
    try:
        return str(dictionary_VR(tag)).split()[0]
    except KeyError:
        return vr.decode() if vr in _KNOWN_VRS else "UN"


def _text(vr: str, raw: bytes, codecs: tuple[str, ...], big_endian: bool) -> str:
    if vr in BINARY_VRS:
        return ""
    if vr in NUMBER_VRS:
        return numbers(raw, vr, big_endian)
    return charset.decode(raw, codecs, is_name=vr == "PN").rstrip("\0 ")
