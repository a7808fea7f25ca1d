"""Decode text by Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1).

pydicom knows the character sets and their escape sequences; the decoding is done here because
what comes from outside must neither raise nor leave a warning behind for every strange value.
Unknown character sets count as the default one, undecodable bytes become U+FFFD.
"""

import re
from collections.abc import Sequence

from pydicom.charset import CODES_TO_ENCODINGS, STAND_ALONE_ENCODINGS, python_encoding

_DEFAULT = "latin_1"  # ISO_IR 6; what lies beyond ASCII is most often Latin-1
_STAND_ALONE = frozenset(python_encoding[name] for name in STAND_ALONE_ENCODINGS)
_ENCODINGS = {
    **{name.replace("_", " "): encoding for name, encoding in python_encoding.items()},
    "": _DEFAULT,
    "ISO IR 203": "iso8859_15",
    "ISO 2022 IR 203": "iso8859_15",
    "UTF 8": "utf_8",  # not a defined term, but seen
}
_ESCAPES = {**CODES_TO_ENCODINGS, b"\x1b(B": _DEFAULT, b"\x1b-b": "iso8859_15"}
_KEEPS_ITS_ESCAPE = ("iso2022_jp", "iso2022_jp_2")  # Python's codecs want to see it

_FRAGMENT = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
_TEXT_END = re.compile(rb"[\\\r\n\f\t]")
_NAME_END = re.compile(rb"[\\=]")


def encodings(specific_character_set: bytes) -> tuple[str, ...]:
    """Python's names for the values of (0008,0005); the first one is the initial encoding."""
    names = specific_character_set[:1024].decode("latin-1").split("\\")
    found = [_encoding(name) for name in names]
    if found[0] in _STAND_ALONE:
        return (found[0],)
    return (found[0], *(each for each in found[1:] if each not in _STAND_ALONE))


def _encoding(name: str) -> str:
    plain = " ".join(name.strip("\0 ").upper().replace("_", " ").replace("-", " ").split())
    return _ENCODINGS.get(plain, _DEFAULT)


def decode(raw: bytes, encodings: Sequence[str], *, is_name: bool = False) -> str:
    """Decode a value, its values and (of a person name) its component groups still joined."""
    if b"\x1b" not in raw:
        return raw.decode("ascii" if raw.isascii() else encodings[0], "replace")
    end = _NAME_END if is_name else _TEXT_END
    return "".join(_decode_fragment(part, encodings, end) for part in _FRAGMENT.findall(raw))


def _decode_fragment(part: bytes, encodings: Sequence[str], end: re.Pattern[bytes]) -> str:
    """Decode from one escape sequence to the next; delimiters return to the first encoding."""
    length = 4 if part[1:3] in (b"$(", b"$)") else 3
    encoding = _ESCAPES.get(part[:length])
    if encoding is None or (encoding != _DEFAULT and encoding not in encodings):
        return part.decode(encodings[0], "replace")
    if encoding in _KEEPS_ITS_ESCAPE:
        return part.decode(encoding, "replace")
    text = part[length:]
    delimiter = end.search(text)
    stop = delimiter.start() if delimiter else len(text)
    return text[:stop].decode(encoding, "replace") + text[stop:].decode(encodings[0], "replace")
