"""Names of character sets: HL7 table 0211, DICOM's terms, and what senders call them."""

import re

_WINDOWS = {
    # Part of ISO 8859: the Windows page of the same script.
    "1": "cp1252", "2": "cp1250", "4": "cp1257", "5": "cp1251", "6": "cp1256", "7": "cp1253",
    "8": "cp1255", "9": "cp1254", "11": "cp874", "13": "cp1257", "15": "cp1252",
}  # fmt: skip
_PARTS = ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "13", "14", "15", "16")
_PAGES = (
    *("437", "737", "850", "852", "855", "857", "858", "860", "861", "862", "863", "864", "865"),
    *("866", "869", "874", "932", "949", "950"),
    *("1250", "1251", "1252", "1253", "1254", "1255", "1256", "1257", "1258"),
)
_REGISTERED = {
    # International Registry number: part of ISO 8859.
    "100": "1", "101": "2", "109": "3", "110": "4", "144": "5", "127": "6", "126": "7",
    "138": "8", "148": "9", "203": "15", "166": "11",
}  # fmt: skip
_JAPANESE = ("iso2022_jp_ext",)
_KOREAN = ("euc_kr", "cp949")
_CHINESE = ("gb18030",)
_TAIWANESE = ("big5hkscs", "cp950")
_OTHERS = {
    **dict.fromkeys(("ir13", "ir14"), ("shift_jis", "iso2022_jp_ext")),
    **dict.fromkeys(("ir87", "ir159", "iso2022jp"), _JAPANESE),
    **dict.fromkeys(("sjis", "shiftjis", "windows31j", "mskanji"), ("cp932",)),
    "eucjp": ("euc_jp",),
    **dict.fromkeys(("ir149", "ksx1001", "ksc5601", "euckr", "uhc"), _KOREAN),
    **dict.fromkeys(("ir58", "gb18030", "gb180302000", "gbk", "gb2312", "936"), _CHINESE),
    **dict.fromkeys(("big5", "big5hkscs"), _TAIWANESE),
    **dict.fromkeys(("tis620", "thai"), ("cp874",)),
    **dict.fromkeys(("latin1", "l1"), ("iso8859-1", "cp1252")),
    "latin2": ("iso8859-2", "cp1250"),
    "latin9": ("iso8859-15", "cp1252"),
    "koi8r": ("koi8_r",),
    "koi8u": ("koi8_u",),
    **dict.fromkeys(
        ("ir192", "unicode", "utf8", "unicodeutf8", "utf16", "unicodeutf16", "utf32",
         "unicodeutf32"),
        ("utf-8",),
    ),
}  # fmt: skip
# What senders of a script use in spite of their declaration. There is no codec for CNS 11643.
_IN_SPITE = {
    **dict.fromkeys(("ir13", "ir14", "ir87", "ir159", "iso2022jp"), ("cp932", "euc_jp")),
    **dict.fromkeys(("cns11643", "cns116431992"), _TAIWANESE),
}


def normal(name: str) -> str:
    """The name without the marks and prefixes in which its spellings differ."""
    plain = re.sub(r"[\s_/.:-]", "", name.lower())
    return re.sub(r"^(?:iso(?:2022)?(?=ir)|iso(?=8859)|(?:cp|windows|win|ms|ibm)(?=\d))", "", plain)


def codecs(name: str) -> tuple[str, ...]:
    """Python's codecs for it, the most usual first; empty when it is unknown or names nothing.

    UTF-16 and UTF-32 are known by their bytes and never reach this: what says so is UTF-8.
    """
    name = normal(name)
    part = name.removeprefix("8859") if name.startswith("8859") else ""
    if name.startswith("ir"):
        part = _REGISTERED.get(name.removeprefix("ir"), "")
    if part in _PARTS:
        codec = "cp874" if part == "11" else f"iso8859-{part}"
        return tuple(dict.fromkeys(filter(None, (codec, _WINDOWS.get(part)))))
    return (f"cp{name}",) if name in _PAGES else _OTHERS.get(name, ())


def in_spite(name: str) -> tuple[str, ...]:
    """Codecs to try where those of the name do not fit."""
    return _IN_SPITE.get(normal(name), ())


def says_nothing(name: str) -> bool:
    """Whether the declaration is that of plain ASCII, or none."""
    return normal(name) in ("", "ascii", "usascii", "ir6")
