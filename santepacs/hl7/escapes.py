"""HL7 escape sequences (ch. 2.7), decoded after splitting, in one pass.

What is no known sequence is data and stays as it is: ``C:\\temp`` keeps its backslash. NUL is
dropped, because nothing downstream can hold it.
"""

import re
from functools import lru_cache

from santepacs.hl7.delimiters import Delimiters

_SEQUENCE = (
    r"{e}(?:(?P<delimiter>[FSTREPHN])|X(?P<hex>(?:[0-9A-Fa-f]{{2}})*)|(?P<format>\.[a-z]{{2}}[+-]?\d*)"
    r"|C(?P<single>[0-9A-Fa-f]{{4}})|M(?P<multi>[0-9A-Fa-f]{{4}}(?:[0-9A-Fa-f]{{2}})?)){e}"
)
_NEW_LINE = {"br", "sp", "ce"}
# Escape sequences of ISO 2022 without their ESC, as table 2.9.2 lists them.
_SINGLE_BYTE = {
    "2842": "ascii", "2D41": "iso8859-1", "2D42": "iso8859-2", "2D43": "iso8859-3",
    "2D44": "iso8859-4", "2D4C": "iso8859-5", "2D47": "iso8859-6", "2D46": "iso8859-7",
    "2D48": "iso8859-8", "2D4D": "iso8859-9", "284A": "shift_jis", "2949": "shift_jis",
}  # fmt: skip


def unescape(text: str, delimiters: Delimiters, codec: str) -> str:
    """`text` with its escape sequences decoded; `codec` is the message's own, for ``\\X..\\``."""
    if delimiters.escape not in text:
        return text
    pieces: list[str] = []
    switched = ""  # the set that \C..\ or \M..\ selected, until the next one or the end
    run: list[str] = []
    position = 0

    def finish_run() -> None:
        pieces.append(_in_set("".join(run), codec, switched))
        run.clear()

    for match in _pattern(delimiters.escape).finditer(text):
        run.append(text[position : match.start()])
        position = match.end()
        if match["single"] or match["multi"]:
            finish_run()
            switched = (match["single"] or match["multi"]).upper()
        elif match["hex"] is not None:
            finish_run()
            pieces.append(_bytes(match["hex"], codec, switched))
        else:
            run.append(_replacement(match, delimiters))
    run.append(text[position:])
    finish_run()
    return "".join(pieces).replace("\0", "")


@lru_cache(maxsize=64)
def _pattern(escape: str) -> re.Pattern[str]:
    return re.compile(_SEQUENCE.format(e=re.escape(escape)))


def _replacement(match: re.Match[str], delimiters: Delimiters) -> str:
    if match["format"]:
        return _formatted(match["format"][1:3])
    return {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "P": delimiters.truncation or match[0],
    }.get(match["delimiter"], "")


def _formatted(command: str) -> str:
    if command in _NEW_LINE:
        return "\n"
    return " " if command == "sk" else ""


def _bytes(digits: str, codec: str, switched: str) -> str:
    raw = bytes.fromhex(digits).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return _switched(raw, switched) if switched else raw.decode(codec, "replace")


def _in_set(text: str, codec: str, switched: str) -> str:
    """`text`, which was decoded as `codec`, read again in the set that was switched to."""
    if not switched:
        return text
    try:
        return _switched(text.encode(codec), switched)
    except UnicodeEncodeError:
        return text


def _switched(raw: bytes, selected: str) -> str:
    """Bytes in the set that an ISO 2022 escape sequence (hexadecimal, without ESC) selects."""
    target = _SINGLE_BYTE.get(selected)
    if target:
        return raw.decode(target, "replace")
    return (b"\x1b" + bytes.fromhex(selected) + raw).decode("iso2022_jp_ext", "replace")
