"""Markdown, and the standard's names of things."""

import re
import textwrap
from collections.abc import Iterable, Sequence

from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.uid import UID_dictionary
from pynetdicom import sop_class


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def listed(texts: Iterable[object]) -> str:
    """Several in a sentence."""
    return ", ".join(map(str, texts))


def wrapped(text: str) -> str:
    """`text` with the lines of its paragraphs and lists filled anew."""
    return "\n\n".join(map(_filled, text.strip().split("\n\n"))) + "\n"


def _filled(block: str) -> str:
    if block.startswith(("#", "|", "`", "<", " ")):
        return block
    lines = []
    for item in re.split(r"\n(?=- |[0-9]\. )", block):
        mark = re.match(r"- |[0-9]\. |", item)
        indent = " " * (mark.end() if mark else 0)
        lines += textwrap.wrap(
            " ".join(item.split()),
            100,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return "\n".join(lines)


def uid_name(uid: str) -> str:
    """A UID's name in PS3.6; what pydicom does not know yet as pynetdicom has it."""
    if uid in UID_dictionary:
        name, _, _, retired, _ = UID_dictionary[uid]
        return f"{name} (retired)" if retired else name
    newer = {str(value): keyword for keyword, value in vars(sop_class).items()}
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", newer[uid])


def attribute(keyword: str) -> str:
    """The name of an attribute."""
    return str(dictionary_description(keyword))


def tag(keyword: str) -> str:
    """The tag of an attribute."""
    number = int(tag_for_keyword(keyword) or 0)
    return f"({number >> 16:04X},{number & 0xFFFF:04X})"


def vr(keyword: str) -> str:
    """The VR of an attribute; the first of several."""
    return str(dictionary_VR(keyword)).split()[0]


def attributes(keywords: Iterable[str]) -> str:
    """A table of attributes."""
    rows = [(attribute(one), tag(one), vr(one)) for one in sorted(keywords, key=tag)]
    return table(("Attribute", "Tag", "VR"), rows)
