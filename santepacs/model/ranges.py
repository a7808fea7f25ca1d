"""Ranges of dates and times as matching keys write them (PS3.4 C.2.2.2.5, PS3.5 6.2).

Tolerated beside the standard's own forms: ``YYYY.MM.DD`` and ``HH:MM:SS`` of ACR-NEMA.
"""

import re

from santepacs.errors import Malformed

LAST_TIME = "235959.999999"

_LAST_MOMENT = "99991231" + LAST_TIME
_DATE = re.compile(r"[0-9]{4}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])")
_DOTTED_DATE = re.compile(r"([0-9]{4})\.([0-9]{2})\.([0-9]{2})")
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9]([0-5][0-9]|60)?)?")
_FRACTION = re.compile(r"[0-9]{1,6}")
_MOMENT = re.compile(r"([0-9]{4}([0-9]{2}){0,5})(\.[0-9]{1,6})?")


def bounds(attribute: str, vr: str, value: str) -> tuple[str, str]:
    """The first and last text that a date, a time or a range of either (``A-B``) stands for.

    An empty bound is open. Raises Malformed, naming `attribute`, for what is neither.
    """
    low, dash, high = (part.strip() for part in value.partition("-"))
    first, last = _READERS[vr](low), _READERS[vr](high if dash else low)
    if first is None or last is None:
        raise Malformed(f"{attribute} is no {_NAMES[vr]} or range of them")
    return first[0], last[1]


def _date(text: str) -> tuple[str, str] | None:
    text = _DOTTED_DATE.sub(r"\1\2\3", text, count=1)
    return (text, text) if not text or _DATE.fullmatch(text) else None


def _time(text: str) -> tuple[str, str] | None:
    """The first and the last moment that a time of any precision stands for."""
    whole, dot, fraction = text.replace(":", "").partition(".")
    if not text:
        return "", ""
    if not _TIME.fullmatch(whole):
        return None
    if dot and (len(whole) != 6 or not _FRACTION.fullmatch(fraction)):
        return None
    return _precise(whole, fraction, LAST_TIME)


def _moment(text: str) -> tuple[str, str] | None:
    match = _MOMENT.fullmatch(text)
    if not text:
        return "", ""
    if match is None or (match[3] and len(match[1]) != 14):
        return None
    return _precise(match[1], (match[3] or "")[1:], _LAST_MOMENT)


def _precise(whole: str, fraction: str, last: str) -> tuple[str, str]:
    digits = fraction.rstrip("0")
    low = f"{whole}.{digits}" if digits else whole
    high = f"{whole}.{fraction}" if fraction else whole
    return low, high + last[len(high) :]


_READERS = {"DA": _date, "TM": _time, "DT": _moment}
_NAMES = {"DA": "date", "TM": "time", "DT": "date and time"}
RANGED_VRS = frozenset(_READERS)
