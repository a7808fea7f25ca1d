"""Text of answers in the character set that a query came in (PS3.3 C.12.1.1.2, PS3.5 6.1.2).

Who asks in ISO_IR 126 may understand nothing else. An answer that does not fit its query's
character set is in UTF-8, and one that is ASCII needs none.
"""

import re
from dataclasses import dataclass

from santepacs.archive import charset

# Character sets without code extensions, and Python's names of them. ISO_IR 13 is written with the
# means of the others: Python's codec knows kanji beside it.
_ALONE = {
    "ISO_IR 100": "latin_1",
    "ISO_IR 101": "iso8859_2",
    "ISO_IR 109": "iso8859_3",
    "ISO_IR 110": "iso8859_4",
    "ISO_IR 126": "iso8859_7",
    "ISO_IR 127": "iso8859_6",
    "ISO_IR 138": "iso8859_8",
    "ISO_IR 144": "iso8859_5",
    "ISO_IR 148": "iso8859_9",
    "ISO_IR 166": "tis_620",
    "ISO_IR 203": "iso8859_15",
    "ISO_IR 192": "utf_8",
    "GB18030": "gb18030",
    "GBK": "gbk",
}

# Escape sequence and Python's name of those with code extensions (tables C.12-3, C.12-4).
_EXTENDED = {
    "ISO_IR 13": (b"\x1b)I", "shift_jis"),
    "ISO 2022 IR 13": (b"\x1b)I", "shift_jis"),
    "ISO 2022 IR 100": (b"\x1b-A", "latin_1"),
    "ISO 2022 IR 101": (b"\x1b-B", "iso8859_2"),
    "ISO 2022 IR 109": (b"\x1b-C", "iso8859_3"),
    "ISO 2022 IR 110": (b"\x1b-D", "iso8859_4"),
    "ISO 2022 IR 126": (b"\x1b-F", "iso8859_7"),
    "ISO 2022 IR 127": (b"\x1b-G", "iso8859_6"),
    "ISO 2022 IR 138": (b"\x1b-H", "iso8859_8"),
    "ISO 2022 IR 144": (b"\x1b-L", "iso8859_5"),
    "ISO 2022 IR 148": (b"\x1b-M", "iso8859_9"),
    "ISO 2022 IR 166": (b"\x1b-T", "tis_620"),
    "ISO 2022 IR 203": (b"\x1b-b", "iso8859_15"),
    "ISO 2022 IR 149": (b"\x1b$)C", "euc_kr"),
    "ISO 2022 IR 58": (b"\x1b$)A", "gb2312"),
    # Python writes these with their escape sequences, and returns to ASCII.
    "ISO 2022 IR 87": (b"", "iso2022_jp"),
    "ISO 2022 IR 159": (b"", "iso2022_jp_2"),
}
_PARTS = re.compile(r"([\\^=]+)")
_PIECES = re.compile(rb"\x1b[^\x1b]*")
_ASCII, _ROMAN = b"\x1b(B", b"\x1b(J"


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """What text is written in: Specific Character Set as an answer says it."""

    name: str
    codec: str
    """Python's codec; empty where several character sets are switched between."""

    def encoded(self, text: str) -> bytes:
        """`text`, which may be several values, groups and components. Raises UnicodeError."""
        return text.encode(self.codec) if self.codec else _extended(text, self.name)


ASCII = CharacterSet("", "ascii")
LATIN_1 = CharacterSet("ISO_IR 100", "latin_1")
UTF_8 = CharacterSet("ISO_IR 192", "utf_8")


def asked(specific_character_set: bytes) -> CharacterSet | None:
    """The character set of a query, if there is one beyond ASCII and we can write it."""
    terms = specific_character_set[:256].decode("latin-1").split("\\")
    name = "\\".join(term.strip(" \0") for term in terms)
    first, *others = name.split("\\")
    if not others and first in _ALONE:
        return CharacterSet(name, _ALONE[first])
    if first in ("", "ISO 2022 IR 6"):
        first, *others = others or [""]
    return CharacterSet(name, "") if _EXTENDED.keys() >= {first, *others} else None


def _extended(text: str, name: str) -> bytes:
    """`text` with code extensions: each part of it in one of the character sets of `name`."""
    written = b"".join(
        part.encode() if part.isascii() else _part(part, name.split("\\"))
        for part in _PARTS.split(text)
    )
    if charset.decode(written, charset.encodings(name.encode()), is_name=True) != text:
        raise UnicodeError("it would not be read as it was written")
    return written


def _part(part: str, terms: list[str]) -> bytes:
    for term in terms:
        try:
            return _in_one(part, term, terms)
        except UnicodeError:
            continue
    raise UnicodeError("in none of the character sets")


def _in_one(part: str, term: str, terms: list[str]) -> bytes:
    """`part` in the character set `term` alone, from its escape sequence to the return."""
    if term not in _EXTENDED:
        return part.encode("ascii")
    escape, codec = _EXTENDED[term]
    written = part.encode(codec)
    if codec == "shift_jis" and len(written) != len(part):
        raise UnicodeError("a kanji is not in ISO 2022 IR 13")
    if escape:
        is_default = term == terms[0] and len(written) == len(part)
        return written if is_default else escape + written
    if codec == "iso2022_jp_2" and not _is_only(written, (b"\x1b$(D", b"\x1b$B", _ASCII)):
        raise UnicodeError("that has other character sets, too")
    return written.replace(_ASCII, _ROMAN) if terms[0].endswith("IR 13") else written


def _is_only(written: bytes, escapes: tuple[bytes, ...]) -> bool:
    return all(found.startswith(escapes) for found in _PIECES.findall(written))
