"""Identifiers of C-FIND, C-MOVE and C-GET: what a query asks, read with its own character set.

An identifier is hostile: whatever is in it, it is read or refused as Malformed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pynetdicom.presentation import PresentationContext

from santepacs.db.search import Level
from santepacs.dicom.elements import BINARY_VRS, NUMBER_VRS, Element, Encoding, numbers
from santepacs.errors import Malformed
from santepacs.model.matching import Key

MAXIMUM_KEYS = 1000
_CHARACTER_SET = 0x00080005
_LEVEL = 0x00080052
_DELIMITERS = {0x5C, 0x5E, 0x3D}  # \ ^ =


@dataclass(frozen=True, slots=True)
class Identifier:
    """A decoded identifier: its level as written, and its keys by DICOM keyword."""

    level: str
    keys: dict[str, Key]
    elements: list[Element] = field(default_factory=list)
    """What was asked for, to be answered: everything but level and character set."""

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
        """The values of a key of several, such as a list of UIDs."""
        return tuple(value.strip() for value in self.text(attribute).split("\\") if value.strip())


def encoding_of(context: PresentationContext) -> Encoding:
    """How the data sets of a presentation context are written."""
    syntax = context.transfer_syntax[0]
    return Encoding(bool(syntax.is_implicit_VR), not syntax.is_little_endian)


def decode(data_set: BytesIO | None, context: PresentationContext) -> Dataset:
    """The pydicom data set of a request. Raises Malformed."""
    encoding = encoding_of(context)
    if data_set is None:
        raise Malformed("the request has no identifier")
    data_set.seek(0)
    try:
        return read_dataset(data_set, encoding.implicit, not encoding.big_endian)
    except Exception:  # noqa: BLE001 - pydicom raises all sorts for what it cannot read
        raise Malformed("the identifier cannot be decoded") from None


def read(data_set: BytesIO | None, context: PresentationContext) -> Identifier:
    """What a request's identifier asks. Raises Malformed."""
    dataset = decode(data_set, context)
    if len(dataset) > MAXIMUM_KEYS:
        raise Malformed(f"the identifier has more than {MAXIMUM_KEYS} keys")
    big_endian = encoding_of(context).big_endian
    try:
        return _identifier(dataset, big_endian)
    except Exception:  # noqa: BLE001
        raise Malformed("the identifier cannot be decoded") from None


def _identifier(dataset: Dataset, big_endian: bool) -> Identifier:
    codecs = _codecs(dataset)
    level, keys, elements = "", {}, []
    for tag, vr, value in _raw(dataset):
        text = _text(vr, value, codecs, big_endian)
        if tag == _LEVEL:
            level = text.strip(" \0")
        elif tag != _CHARACTER_SET:
            elements.append(Element(tag, vr, text))
            keyword = keyword_for_tag(tag)
            if keyword:
                keys[keyword] = Key(keyword, vr, text)
    return Identifier(level, keys, elements)


def _raw(dataset: Dataset) -> Iterator[tuple[int, str, Any]]:
    """Tag, VR and undecoded value of each element that a query may hold."""
    for tag in dataset.keys():  # noqa: SIM118 - iterating over the data set would decode it
        element = dataset.get_item(tag)
        if tag.group < 8 or tag.element == 0:
            continue
        vr = element.VR or "UN"
        if vr == "UN":
            try:
                vr = dictionary_VR(tag).split()[0]
            except KeyError:
                vr = "UN"
        yield int(tag), vr, element.value


def _codecs(dataset: Dataset) -> list[str]:
    element = dataset.get_item(_CHARACTER_SET) if _CHARACTER_SET in dataset else None
    value = getattr(element, "value", None)
    names = value.decode("ascii", "replace") if isinstance(value, bytes) else ""
    try:
        return list(convert_encodings([name.strip(" \0") for name in names.split("\\")]))
    except LookupError:
        return ["utf-8"]


def _text(vr: str, value: Any, codecs: list[str], big_endian: bool) -> str:
    if not isinstance(value, bytes) or vr in BINARY_VRS:
        return ""
    if vr in NUMBER_VRS:
        return numbers(value, vr, big_endian)
    return str(decode_bytes(value, codecs, _DELIMITERS)).rstrip("\0 ")
