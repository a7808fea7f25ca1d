"""Attribute matching of queries (PS3.4 C.2.2.2): matching keys in, criteria out.

The rules: only ``*`` and ``?`` are wildcards; everything but a person's name is compared case by
case; names are compared folded (`santepacs.model.names`), a pattern without ``=`` against each
component group. An unknown (empty) value matches no criterion, because matching everything is no
criterion at all.

`criteria` is bounded in what it takes, and `matches` says in Python what `santepacs.db.search`
says in SQL.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from santepacs.errors import Malformed
from santepacs.model.names import asked_words, fold_person_name
from santepacs.model.patterns import glob, name_matches, words_match
from santepacs.model.ranges import LAST_TIME, RANGED_VRS, bounds

MAXIMUM_VALUE = 1024  # characters of one value
MAXIMUM_LIST = 10_000  # values of one key

PERSON_NAMES = frozenset({"PatientName", "ReferringPhysicianName"})
"""The attributes that are matched as person names."""

DATE_AND_TIME = {
    "StudyDate": "StudyTime",
    "SeriesDate": "SeriesTime",
    "ContentDate": "ContentTime",
}
"""Pairs that may be matched as one interval (C.2.2.2.5)."""

_WILDCARD_VRS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_SINGLE_VRS = frozenset(("LT", "PN", "ST", "UR", "UT"))  # a backslash is a character there
_NUMBERS = frozenset(("IS", "US", "UL", "SS", "SL"))

_NO_TEXT = re.compile("[\0\ud800-\udfff]")  # what no value in the index can hold
_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")
_RUN_OF_STARS = re.compile(r"\*{2,}")


class Key(NamedTuple):
    """One matching key: DICOM keyword, value representation, decoded text."""

    attribute: str
    vr: str
    text: str


@dataclass(frozen=True, slots=True)
class Equals:
    """Single value matching."""

    attribute: str
    value: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """List of UID matching, and the like for other attributes; wildcards mean nothing here."""

    attribute: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """Wildcard matching; for a person's name also without wildcards."""

    attribute: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """What `Like` finds of a person's name, and its words in any order and script."""

    attribute: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """Range matching: inclusive, as text; an empty bound is open."""

    attribute: str
    low: str
    high: str


@dataclass(frozen=True, slots=True)
class BetweenMoments:
    """One interval over a date and a time; bounds are ``YYYYMMDDHHMMSS.ffffff``, or less."""

    date_attribute: str
    time_attribute: str
    low: str
    high: str


Criterion = Equals | OneOf | Like | Fuzzy | Between | BetweenMoments


def criteria(
    keys: Iterable[Key], *, combined: bool = False, fuzzy: bool = False
) -> list[Criterion]:
    """What `keys` ask for; a universal key (empty, or only ``*``) asks for nothing.

    `combined`: a date range and a time range of one pair are one interval. `fuzzy`: names match in
    any order and script. Raises Malformed for a value that is impossible for its VR, too long, or
    one of too many.
    """
    found: dict[str, Criterion] = {}
    for key in keys:
        criterion = _criterion(key)
        if fuzzy and isinstance(criterion, Like) and key.attribute in PERSON_NAMES:
            criterion = _fuzzy(criterion)
        if criterion is not None:
            found[key.attribute] = criterion
    if combined:
        for date, time in DATE_AND_TIME.items():
            _combine(found, date, time)
    return list(found.values())


def _fuzzy(criterion: Like) -> Like | Fuzzy:
    """Words add nothing to a pattern that they cannot say."""
    if not asked_words(criterion.pattern):
        return criterion
    return Fuzzy(criterion.attribute, criterion.pattern)


def _criterion(key: Key) -> Criterion | None:
    if key.vr == "UI":
        return _one_or_list(key, [uid.strip(" \0") for uid in key.text.split("\\")])
    if key.vr in _SINGLE_VRS:
        return _text(key, key.text.strip())
    values = [value.strip() for value in key.text.split("\\")]
    if len(values) > 1:
        return _one_or_list(key, values)
    value = values[0]
    if not value.strip("*"):
        return None
    if key.vr in RANGED_VRS:
        return _range(key, value)
    if key.vr in _NUMBERS:
        return Equals(key.attribute, _number(key, value))
    return _text(key, value)


def _one_or_list(key: Key, values: list[str]) -> Criterion | None:
    wanted = tuple(dict.fromkeys(value for value in values if value))
    if not wanted or any(not value.strip("*") for value in wanted):
        return None
    if len(wanted) > MAXIMUM_LIST:
        raise Malformed(f"{key.attribute} has more than {MAXIMUM_LIST} values")
    if key.vr in RANGED_VRS:
        raise Malformed(f"{key.attribute} has more than one value")
    for value in wanted:
        _check(key, value)
    if key.vr in _NUMBERS:
        wanted = tuple(_number(key, value) for value in wanted)
    return Equals(key.attribute, wanted[0]) if len(wanted) == 1 else OneOf(key.attribute, wanted)


def _text(key: Key, value: str) -> Criterion | None:
    value = _RUN_OF_STARS.sub("*", value)
    if value in ("", "*"):
        return None
    _check(key, value)
    wildcards = key.vr in _WILDCARD_VRS and ("*" in value or "?" in value)
    if wildcards or key.vr == "PN":
        return Like(key.attribute, value)
    return Equals(key.attribute, value)


def _check(key: Key, value: str) -> None:
    if len(value) > MAXIMUM_VALUE:
        raise Malformed(f"{key.attribute} is longer than {MAXIMUM_VALUE} characters")
    if _NO_TEXT.search(value):
        raise Malformed(f"{key.attribute} is no text")


def _number(key: Key, value: str) -> str:
    if not _INTEGER.fullmatch(value):
        raise Malformed(f"{key.attribute} is no whole number")
    return str(int(value))


def _range(key: Key, value: str) -> Criterion | None:
    """A date, a time, or a range of either: ``A``, ``A-B``, ``A-``, ``-B``; ``-`` is universal."""
    low, high = bounds(key.attribute, key.vr, value)
    if not low and not high:
        return None
    return Equals(key.attribute, low) if low == high else Between(key.attribute, low, high)


def _combine(found: dict[str, Criterion], date: str, time: str) -> None:
    """Make one interval of two ranges; with a single date the two already mean the same."""
    days, hours = found.get(date), found.get(time)
    if not isinstance(days, Between) or not isinstance(hours, Between):
        return
    low = days.low and days.low + hours.low
    high = days.high and days.high + (hours.high or LAST_TIME)
    del found[time]
    found[date] = BetweenMoments(date, time, low, high)


# --- one truth ------------------------------------------------------------------------------------


def matches(criterion: Criterion, attributes: Mapping[str, str | Sequence[str]]) -> bool:
    """Whether an entity with these attributes meets `criterion`; of several values, any may."""
    if isinstance(criterion, BetweenMoments):
        date = str(attributes.get(criterion.date_attribute, ""))
        time = str(attributes.get(criterion.time_attribute, ""))
        return bool(date) and _within(date + time, criterion.low, criterion.high)
    values = attributes.get(criterion.attribute, "")
    several = (values,) if isinstance(values, str) else values
    return any(_value_matches(criterion, value) for value in several if value)


def _value_matches(criterion: Equals | OneOf | Like | Fuzzy | Between, value: str) -> bool:
    if isinstance(criterion, Between):
        return _within(value, criterion.low, criterion.high)
    if isinstance(criterion, Fuzzy):
        return name_matches(criterion.pattern, value) or words_match(criterion.pattern, value)
    is_name = criterion.attribute in PERSON_NAMES
    if isinstance(criterion, Like):
        match = name_matches if is_name else glob
        return match(criterion.pattern, value)
    wanted = criterion.values if isinstance(criterion, OneOf) else (criterion.value,)
    if is_name:
        return any(fold_person_name(value) == fold_person_name(one) for one in wanted)
    return value in wanted


def _within(value: str, low: str, high: str) -> bool:
    return low <= value and (not high or value <= high)
