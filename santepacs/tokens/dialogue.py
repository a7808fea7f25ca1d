"""Token requests ``10 <id> 0D`` and their answers, as bytes.

An id is a Study Instance UID or a Patient ID. Every text in an answer is one line: a carriage
return in a study description would forge a study, so control characters become spaces.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

START = b"\x10"
END = b"\r"
NOTHING = START + END

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class StudyToken:
    """A study and its token. `study_date`: YYYYMMDD or empty."""

    study_uid: str
    study_date: str
    study_description: str
    token: str


def identifier(payload: bytes, codec: str) -> str:
    """The id that a request asks for, exactly as sent; empty when it cannot be one.

    `codec`: Python's name of the character set of ids that are not UTF-8.
    """
    for name in ("utf-8", codec):
        try:
            text = payload.decode(name)
        except UnicodeDecodeError:
            continue
        return "" if _UNPRINTABLE.search(text) else text
    return ""


def study_reply(token: str) -> bytes:
    """The answer to a Study Instance UID: ``10 <token> 0D``."""
    return START + token.encode("ascii") + END


def patient_reply(studies: Sequence[StudyToken], form: str, codec: str) -> bytes:
    """The answer to a Patient ID, by date, then UID: four lines a study, or two as ``pairs``.

    Without studies it is the answer to everything unknown.
    """
    if not studies:
        return NOTHING
    ordered = sorted(studies, key=lambda study: (study.study_date, study.study_uid))
    lines = [line for study in ordered for line in _lines(study, form)]
    # In UTF-16 and UTF-32 other characters hold the byte 0D too.
    encoding = "utf-8" if codec.startswith(("utf-16", "utf-32")) else codec
    return START + b"".join(_line(text, encoding) for text in lines) + END


def _lines(study: StudyToken, form: str) -> tuple[str, ...]:
    if form == "pairs":
        return study.study_uid, study.token
    return study.study_uid, study.study_date, study.study_description, study.token


def _line(text: str, encoding: str) -> bytes:
    """One line, never empty: an absent value is one space."""
    printable = _UNPRINTABLE.sub(" ", text).strip() or " "
    return printable.encode(encoding, "replace") + END
