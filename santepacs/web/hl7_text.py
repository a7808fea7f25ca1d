"""Wire text on a page: control characters as their names, and text that can be edited again."""

import re
from datetime import UTC, datetime

from markupsafe import Markup, escape

_NAMES = (  # noqa: SIM905 - a table
    "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN"
    " EM SUB ESC FS GS RS US"
).split()
# Control characters (C0, DEL, C1), and those that turn, hide or separate text (UAX 9).
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]"
)
_NOT_EDITABLE = re.compile("(?![\n\t])" + _HIDDEN.pattern)


def character_name(character: str) -> str:
    """What a character that cannot be seen is called: ``VT``, ``U+202E``."""
    code = ord(character)
    return _NAMES[code] if code < 32 else "DEL" if code == 127 else f"U+{code:04X}"


def visible(text: str) -> Markup:
    """Text of a message, its unseen characters as names."""
    pieces = []
    at = 0
    for match in _HIDDEN.finditer(text):
        name = character_name(match[0])
        pieces.append(escape(text[at : match.start()]))
        pieces.append(Markup('<span class="control">{}</span>').format(name))
        at = match.end()
    pieces.append(escape(text[at:]))
    return Markup("").join(pieces)


def editable(text: str, codec: str = "utf-8", escape_character: str = "\\") -> str:
    """The text of a message for a form: one segment a line, unseen characters as HL7 escapes
    ``\\Xdd\\``, which mean the same."""
    lines = re.sub(r"\r\n?|\n", "\n", text.lstrip("\ufeff\x0b").rstrip("\x1c\r\n"))
    return _NOT_EDITABLE.sub(
        lambda match: (
            f"{escape_character}X{match[0].encode(codec, 'replace').hex().upper()}"
            f"{escape_character}"
        ),
        lines,
    )


def in_form(text: str) -> Markup:
    """`text` as the content of a ``textarea``, its line ends kept."""
    # Browsers drop one line feed after the tag.
    return Markup("\n") + escape(_NOT_EDITABLE.sub(" ", text.replace("\r\n", "\n")))


def moment(when: datetime) -> str:
    """A time of this site with its zone: ``2026-11-20 14:03:07 CET``."""
    return f"{when.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def ago(when: datetime, now: float) -> str:
    """How long ago, roughly: ``less than a minute``, ``5 min``, ``3 h``, ``2 d``."""
    minutes = round(now - when.astimezone(UTC).timestamp()) // 60
    if minutes < 1:
        return "less than a minute"
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2880 else f"{minutes // 1440} d"
