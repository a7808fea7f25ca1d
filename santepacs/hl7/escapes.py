"""HL7 escape sequences (ch. 2.7), decoded after splitting, in one pass.

What is no known sequence is data and stays as it is: ``C:\\temp`` keeps its backslash. NUL is
dropped, because nothing downstream can hold it.
"""

import re
from functools import lru_cache

from santepacs.hl7 import iso2022
from santepacs.hl7.delimiters import Delimiters

_SEQUENCE = (
    r"{e}(?:(?P<delimiter>[FSTREPHN])|X(?P<hex>(?:[0-9A-Fa-f]{{2}})*)|(?P<format>\.[a-z]{{2}}[+-]?\d*)"
    r"|C(?P<single>[0-9A-Fa-f]{{4}})|M(?P<multi>[0-9A-Fa-f]{{4}}(?:[0-9A-Fa-f]{{2}})?)){e}"
)
_NEW_LINE = {"br", "sp", "ce"}


def unescape(text: str, delimiters: Delimiters, codec: str) -> str:
    """`text` with its escape sequences decoded; `codec` is the message's own, for ``\\X..\\``."""
    if delimiters.escape not in text:
        return text
    pieces: list[str] = []
    switched = b""  # the set that \C..\ or \M..\ selected, until the next one or the end
    run: list[str] = []
    position = 0

    def finish_run() -> None:
        pieces.append(_in_set("".join(run), codec, switched))
        run.clear()

    for match in _pattern(delimiters.escape).finditer(text):
        run.append(text[position : match.start()])
        position = match.end()
        selected = bytes.fromhex(match["single"] or match["multi"] or "")
        if iso2022.is_known(selected):
            finish_run()
            switched = selected
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
    replacements = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        "P": delimiters.truncation or match[0],
        "H": "",
        "N": "",
    }
    return replacements.get(match["delimiter"], match[0])


def _formatted(command: str) -> str:
    if command in _NEW_LINE:
        return "\n"
    return " " if command == "sk" else ""


def _bytes(digits: str, codec: str, switched: bytes) -> str:
    raw = bytes.fromhex(digits).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return iso2022.in_set(raw, switched, "replace") if switched else raw.decode(codec, "replace")


def _in_set(text: str, codec: str, switched: bytes) -> str:
    """`text`, which was decoded as `codec`, read again in the set that was switched to.

    The sequences are ISO 2022's in hexadecimal, without ESC (ch. 2.7.2).
    """
    if not switched:
        return text
    try:
        return iso2022.in_set(text.encode(codec), switched, "replace")
    except UnicodeEncodeError:
        return text
