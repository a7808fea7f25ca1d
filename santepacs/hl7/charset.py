"""HL7 character sets (table 0211, MSH-18): bytes of a message into text, whatever was declared.

A message is decoded whole, before it is split: in several sets the second byte of a character may
be a delimiter. The declaration is tried first and not trusted: bytes that contradict it are read
as strict UTF-8, as another set of the same script, and at last as Latin-1, which is doubtful.
"""

import re
from dataclasses import dataclass

from santepacs.hl7 import charset_names, iso2022

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
_JAPANESE = "iso2022_jp_ext"
_C1 = re.compile(rb"[\x80-\x9f]")
_THREE = re.compile(rb"[\xe0-\xef][\x80-\xbf]{2}")
# Capital alpha with tonos is A2 in cp1253 and B6 in ISO 8859-7, where A1 and A2 are quotes:
# Greek Windows programs send cp1253 and call it 8859/7.
_GREEK_WINDOWS = re.compile(rb"[\x80-\x9f\xa1\xa2]")


@dataclass(frozen=True, slots=True)
class Decoded:
    """A message as text, and how it was read.

    `declared` is MSH-18, `codec` Python's name of what was used; `doubtful` when the declaration
    was contradicted by the bytes or nothing fitted.
    """

    text: str
    declared: str
    codec: str
    doubtful: bool

    @property
    def verdict(self) -> str:
        """For people: what was declared, what it was read as, and whether that is doubtful."""
        doubt = (", which contradicts it" if self.declared else ", a guess") * self.doubtful
        return f"{self.declared or 'not declared'}, read as {self.codec}{doubt}"

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
        read = _read(raw, codec)
        if read is not None:
            return Decoded(read, declared, codec, codec not in expected)
    return Decoded(raw.decode("latin-1"), declared, "latin-1", True)


def wide_codec(raw: bytes) -> str:
    """``utf-16-le`` and so on where the first bytes show it (BOM, zero bytes), else empty."""
    for mark, codec in (*_BOMS, *_WIDE):
        if raw.startswith(mark):
            return "" if codec == "utf-8" else codec
    return ""


def codec_of(name: str) -> str:
    """Python's codec for a table 0211 name; ``utf-8`` where it is empty or unknown."""
    return (charset_names.codecs(name) or ("utf-8",))[0]


def _declared_in(text: str) -> str:
    """MSH-18: the sets that it names, the one of the beginning first."""
    header = re.split("[\r\n]", text, maxsplit=1)[0]
    fields = header.split(header[3:4] or "|")
    if len(fields) < 18:
        return ""
    repeat = fields[1][1:2] or "~"
    return "~".join(name.strip() for name in fields[17].split(repeat) if name.strip())


def _meant(declared: str) -> str:
    """The set that tells most: the first besides ASCII, which is part of all of them."""
    return next((name for name in declared.split("~") if not charset_names.says_nothing(name)), "")


def _read(raw: bytes, codec: str) -> str | None:
    """The text, if the bytes are of this set; None if not."""
    try:
        if codec != "utf-8" and iso2022.is_switched(raw):
            # Between Japanese sequences, bytes of eight bits are half-width kana.
            return iso2022.decode(raw, "shift_jis" if codec == _JAPANESE else codec)
        return raw.decode(codec)
    except UnicodeDecodeError:
        return None


def _ascii_codec(declared: str, default: str) -> str:
    """What escaped bytes in a pure ASCII message, and its answer, are encoded in."""
    codecs = charset_names.codecs(_meant(declared)) or charset_names.codecs(default)
    return codecs[0] if codecs else "utf-8"


def _candidates(declared: str, default: str, raw: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The codecs that fit the declaration, then those to fall back on."""
    usual = _in_order(charset_names.codecs(default), raw)
    name = _meant(declared)
    if not name:
        switched = (_JAPANESE,) if iso2022.is_switched(raw) else ()
        # Text in any other set practically never is valid UTF-8 by accident.
        return (*switched, "utf-8", *usual), ("cp1252",)
    expected = _in_order(charset_names.codecs(name), raw)
    others = ("utf-8", *charset_names.in_spite(name), *(() if expected else usual), "cp1252")
    if expected and expected[0] != "utf-8" and _is_utf_8(raw, expected[0]):
        return (), ("utf-8",)
    return expected, others


def _in_order(codecs: tuple[str, ...], raw: bytes) -> tuple[str, ...]:
    """An ISO 8859 part after its Windows page where the bytes exist only in that."""
    windows = _GREEK_WINDOWS if codecs[:1] == ("iso8859-7",) else _C1
    if len(codecs) == 2 and codecs[1].startswith("cp125") and windows.search(raw):
        return codecs[::-1]
    if codecs[:1] == ("shift_jis",) and raw.isascii():
        return codecs[::-1]
    return codecs


def _is_utf_8(raw: bytes, declared: str) -> bool:
    """Whether bytes that are declared as another set are UTF-8.

    By accident a pair of bytes of a set of two bytes may look like it, three bytes do not.
    """
    if not declared.startswith(("iso8859", "cp125", "koi8")) and not _THREE.search(raw):
        return False
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return not raw.isascii()
