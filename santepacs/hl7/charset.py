"""HL7 character sets (table 0211, MSH-18): bytes of a message into text, whatever was declared.

A message is decoded whole, before it is split: in several sets the second byte of a character may
be a delimiter. The declaration is tried first and not trusted: bytes that contradict it are read
as strict UTF-8, as the Windows page of the same script, and at last as Latin-1, which is doubtful.
"""

import re
from dataclasses import dataclass

_ISO_8859 = {
    # part of ISO 8859: the Windows page of the same script, used where bytes 80-9F occur.
    "1": "cp1252", "2": "cp1250", "3": "", "4": "cp1257", "5": "cp1251", "6": "cp1256",
    "7": "cp1253", "8": "cp1255", "9": "cp1254", "15": "cp1252",
}  # fmt: skip
_MULTI_BYTE = {
    "isoir13": ("shift_jis", "iso2022_jp_ext"),
    "isoir14": ("shift_jis", "iso2022_jp_ext"),
    "isoir87": ("iso2022_jp_ext",),
    "isoir159": ("iso2022_jp_ext",),
    "gb180302000": ("gb18030",),
    "gb18030": ("gb18030",),
    "gbk": ("gb18030",),
    "gb2312": ("gb18030",),
    "ksx1001": ("euc_kr", "cp949"),
    "cns116431992": ("big5hkscs",),
    "big5": ("big5hkscs",),
    "shiftjis": ("cp932",),
    "thai": ("cp874",),
}
_UNICODE = {"unicode", "unicodeutf8", "utf8", "unicodeutf16", "unicodeutf32", "utf16", "utf32"}
_UNDECLARED = {"", "ascii", "isoir6", "usascii"}
_BOMS = (
    (b"\xff\xfe\0\0", "utf-32-le"),
    (b"\0\0\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    (b"\xef\xbb\xbf", "utf-8"),
)
_WIDE = (
    (b"M\0\0\0", "utf-32-le"),
    (b"\0\0\0M", "utf-32-be"),
    (b"M\0S\0", "utf-16-le"),
    (b"\0M\0S", "utf-16-be"),
)
_JAPANESE_ESCAPE = re.compile(rb"\x1b(?:\$[@B(]|\([IJ])")
_C1 = re.compile(rb"[\x80-\x9f]")
# Capital alpha with tonos is A2 in cp1253 and B6 in ISO 8859-7, where A1 and A2 are quotes:
# Greek Windows programs send cp1253 and call it 8859/7.
_GREEK_WINDOWS = re.compile(rb"[\x80-\x9f\xa1\xa2]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message as text, and how it was read.

    `declared` is MSH-18 as sent, `codec` Python's name of what was used; `doubtful` when the
    declaration was contradicted by the bytes or nothing fitted.
    """

    text: str
    declared: str
    codec: str
    doubtful: bool

    def encode(self, text: str) -> bytes:
        """`text` in the message's own character set; what it lacks becomes ``?``."""
        mark = "\ufeff" if self.codec.startswith(("utf-16", "utf-32")) else ""
        return (mark + text).encode(self.codec, "replace")


def decode(raw: bytes, default: str = "") -> Decoded:
    """The text of one message. `default`: the character set (table 0211) of undeclared ones.

    Never raises; NUL characters are dropped, because nothing downstream can hold them.
    """
    wide = wide_codec(raw)
    if wide:
        text = raw.decode(wide, "replace").removeprefix("\ufeff")
        return Decoded(text.replace("\0", ""), _declared_in(text), wide, "\ufffd" in text)
    raw = raw.removeprefix(b"\xef\xbb\xbf").replace(b"\0", b"")
    declared = _declared_in(raw[:4096].decode("latin-1"))
    if raw.isascii() and b"\x1b" not in raw:
        return Decoded(raw.decode("ascii"), declared, _ascii_codec(declared, default), False)
    expected, others = _candidates(declared, default, raw)
    for codec in (*expected, *others):
        try:
            return Decoded(raw.decode(codec), declared, codec, codec not in expected)
        except UnicodeDecodeError:
            continue
    return Decoded(raw.decode("latin-1"), declared, "latin-1", True)


def wide_codec(raw: bytes) -> str:
    """``utf-16-le`` and so on where the first bytes show it (BOM, zero bytes), else empty."""
    for mark, codec in (*_BOMS, *_WIDE):
        if raw.startswith(mark):
            return "" if codec == "utf-8" else codec
    return ""


def codec_of(name: str) -> str:
    """Python's codec for a table 0211 name; ``utf-8`` where it is empty or unknown."""
    return (_codecs(_normal(name)) or ("utf-8",))[0]


def _declared_in(text: str) -> str:
    """MSH-18, first repetition that says something."""
    header = re.split("[\r\n]", text, maxsplit=1)[0]
    fields = header.split(header[3:4] or "|")
    if len(fields) < 18:
        return ""
    repeat = fields[1][1:2] or "~"
    return next((name for name in fields[17].split(repeat) if name.strip()), "").strip()


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def _codecs(name: str) -> tuple[str, ...]:
    """The codecs of a normalised character set name; empty when it is unknown."""
    if name in _MULTI_BYTE:
        return _MULTI_BYTE[name]
    if name in _UNICODE:
        return ("utf-8",)
    part = re.fullmatch(r"(?:iso)?8859/?(\d{1,2})", name)
    if part and part[1] in _ISO_8859:
        return tuple(codec for codec in (f"iso8859-{part[1]}", _ISO_8859[part[1]]) if codec)
    page = re.fullmatch(r"(?:cp|windows|win)(125[0-8]|874|932|949)", name)
    return (f"cp{page[1]}",) if page else ()


def _ascii_codec(declared: str, default: str) -> str:
    """What escaped bytes in a pure ASCII message, and its answer, are encoded in."""
    codecs = _codecs(_normal(declared)) or _codecs(_normal(default))
    return codecs[0] if codecs else "utf-8"


def _candidates(declared: str, default: str, raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The codecs that fit the declaration, then those to fall back on."""
    name = _normal(declared)
    if name in _UNDECLARED and _JAPANESE_ESCAPE.search(raw):
        return ("iso2022_jp_ext",), ("utf-8", "cp1252")
    if name in _UNDECLARED:
        # Text in any other set practically never is valid UTF-8 by accident.
        return ("utf-8", *_in_order(_codecs(_normal(default)), raw)), ("cp1252",)
    expected = _in_order(_codecs(name), raw)
    if not expected:
        return (), ("utf-8", *_in_order(_codecs(_normal(default)), raw), "cp1252")
    if expected[0].startswith(("iso8859", "cp125")) and _is_utf_8(raw):
        return (), ("utf-8",)
    return expected, ("utf-8", "cp1252")


def _in_order(codecs: tuple[str, ...], raw: bytes) -> tuple[str, ...]:
    """An ISO 8859 part after its Windows page where the bytes exist only in that."""
    windows = _GREEK_WINDOWS if codecs[:1] == ("iso8859-7",) else _C1
    if len(codecs) == 2 and codecs[1].startswith("cp125") and windows.search(raw):
        return codecs[::-1]
    if codecs[:1] == ("shift_jis",) and raw.isascii():
        return codecs[::-1]
    return codecs


def _is_utf_8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
