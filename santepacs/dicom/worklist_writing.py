"""Worklist answers as bytes, in the character set that their scanner understands.

A scanner's own setting decides (`Peer.worklist_charset`). Without one it is the smallest set that
suffices: none for ASCII, then the one of the query, then one of eight bits that fits the text, and
UTF-8 for what needs it. A set that was chosen for a scanner is never left: what it does not have is
transliterated.
"""

import struct

from twisted.logger import Logger

from santepacs.dicom import charsets
from santepacs.dicom.charsets import ASCII, UTF_8, CharacterSet
from santepacs.dicom.elements import Encoding, header, is_ascii_only, length_format, padded
from santepacs.model import transliterate
from santepacs.model.order import WorklistRecord
from santepacs.model.peers import TRANSLITERATED
from santepacs.worklist.datasets import AnswerForm, Element, Elements

log = Logger()

# What one of them fits, the next need not be tried for: the most usual first.
_OF_EIGHT_BITS = (
    "ISO_IR 100", "ISO_IR 101", "ISO_IR 126", "ISO_IR 144", "ISO_IR 148", "ISO_IR 109",
    "ISO_IR 110", "ISO_IR 127", "ISO_IR 138", "ISO_IR 166",
)  # fmt: skip
# HL7 table 0211: what the site's own messages are in, says what its scanners can show.
_OF_SITES = {
    "8859/1": "ISO_IR 100", "8859/2": "ISO_IR 101", "8859/3": "ISO_IR 109", "8859/4": "ISO_IR 110",
    "8859/5": "ISO_IR 144", "8859/6": "ISO_IR 127", "8859/7": "ISO_IR 126", "8859/8": "ISO_IR 138",
    "8859/9": "ISO_IR 148",
}  # fmt: skip

_CHARACTER_SET = 0x00080005
_ITEM = 0xFFFEE000


class Writer:
    """Writes the answers to one query."""

    def __init__(
        self,
        form: AnswerForm,
        encoding: Encoding,
        *,
        chosen: str = "",
        query_charset: str = "",
        site_charset: str = "",
    ) -> None:
        """`chosen`: the scanner's `worklist_charset`. `query_charset`: Specific Character Set of
        its query. `site_charset`: what the site's HL7 messages are in, as HL7 says it.
        """
        self._form = form
        self._encoding = encoding
        self._chosen = _known(chosen) if chosen != TRANSLITERATED else ASCII
        self._in_turn = _in_turn(query_charset, site_charset)

    def encoded(self, record: WorklistRecord) -> bytes:
        """The answer for a record. Raises UnicodeError for text that even UTF-8 cannot hold."""
        answer = self._form.answer(record)
        if _is_ascii(answer):
            return self._data_set(answer, ASCII)
        if self._chosen is not None:
            return self._in_chosen(record, answer, self._chosen)
        for character_set in self._in_turn:
            try:
                return self._said(answer, character_set)
            except UnicodeError:
                continue
        return self._said(answer, UTF_8)

    def _in_chosen(
        self, record: WorklistRecord, answer: Elements, character_set: CharacterSet
    ) -> bytes:
        try:
            return self._said(answer, character_set)
        except UnicodeError:
            pass

        def rewrite(text: str, vr: str) -> str:
            if vr == "PN":
                return transliterate.person_name(text, lambda one: _fits(one, character_set))
            return transliterate.text(text, lambda one: _fits(one, character_set))

        answer = self._form.answer(record, rewrite)
        try:
            return self._said(answer, character_set)
        except UnicodeError:
            return self._said(answer, UTF_8)

    def _said(self, answer: Elements, character_set: CharacterSet) -> bytes:
        """The answer with its Specific Character Set, if it needs one."""
        if character_set is not ASCII and not _is_ascii(answer):
            answer = sorted([*answer, Element(_CHARACTER_SET, "CS", character_set.name)])
        return self._data_set(answer, character_set)

    def _data_set(self, elements: Elements, character_set: CharacterSet) -> bytes:
        encoding = self._encoding
        return b"".join(
            header(tag, vr, encoding)
            + _with_length(self._value(vr, value, character_set), length_format(vr, encoding))
            for tag, vr, value in elements
        )

    def _value(self, vr: str, value: str | list[Elements], character_set: CharacterSet) -> bytes:
        if isinstance(value, str):
            of_text = ASCII if is_ascii_only(vr) else character_set
            return padded(of_text.encoded(value), vr) if value else b""
        length = length_format("SQ", self._encoding)
        start = header(_ITEM, "", Encoding(True, self._encoding.big_endian))
        items = (_with_length(self._data_set(item, character_set), length) for item in value)
        return b"".join(start + item for item in items)


def _in_turn(query_charset: str, site_charset: str) -> list[CharacterSet]:
    of_query = _known(query_charset)
    if of_query is UTF_8 or (of_query is not None and of_query.name == UTF_8.name):
        return [UTF_8]  # it understands all there is
    names = (_OF_SITES.get(site_charset.strip().upper(), ""), *_OF_EIGHT_BITS)
    known = [of_query, *(_known(name) for name in dict.fromkeys(names))]
    return [one for one in known if one is not None]


def _known(name: str) -> CharacterSet | None:
    return charsets.asked(name.encode("ascii", "replace")) if name else None


def _fits(text: str, character_set: CharacterSet) -> bool:
    try:
        character_set.encoded(text)
    except UnicodeError:
        return False
    return True


def _is_ascii(elements: Elements) -> bool:
    return all(
        value.isascii() if isinstance(value, str) else all(map(_is_ascii, value))
        for _, _, value in elements
    )


def _with_length(value: bytes, length: str) -> bytes:
    return struct.pack(length, len(value)) + value
