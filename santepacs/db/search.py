"""Searching the index at the four levels of the Query/Retrieve models (PS3.4 C.6).

Matches come in a stable order: studies newest first, within a study and among patients in the
order of arrival. What matches is what `santepacs.model.matching.matches` says.

There are two ways to find, because PostgreSQL chooses badly when few rows are wanted in an order
whose index it could walk: it may pass a million studies to find the ten that match.

- *Gathering*: whatever matches is collected by the indexes of the criteria, in no order, up to
  `GATHERED` matches, and then sorted. So are most searches, and they are over with one page.
- *Walking*: along the index of the order, page by page from where the last one ended, so that any
  number of matches holds one page in memory. For what matches more, then matches are never far,
  and for what asks for nothing but dates.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from santepacs.db.database import Transaction
from santepacs.db.search_columns import COLUMNS, ORDER, Level, tables
from santepacs.db.search_conditions import where
from santepacs.model.matching import BetweenMoments, Criterion

__all__ = [
    "SEPARATOR",
    "Contents",
    "Level",
    "Page",
    "Position",
    "attributes",
    "contents",
    "find",
    "where",
]

FIRST_PAGE = 200  # matches: few, to have the first answers soon
PAGE = 2000  # matches of each page after it
GATHERED = 5000  # matches: with more of a million, one of 200 studies matches

SEPARATOR = "\x1f"
"""Between the values of a match; no text in the index has control characters."""

Position = tuple[str, ...]
"""The place of a match in the order; none is before the first."""


def attributes(level: Level) -> Collection[str]:
    """The DICOM keywords that a level can answer."""
    return COLUMNS[level].keys()


@dataclass(frozen=True, slots=True)
class Page:
    """Matches in their order.

    Each is the values of the wanted attributes as DICOM writes them, joined by `SEPARATOR`;
    something else may follow after the last.
    """

    matches: list[str]
    after: Position = ()
    """Where to go on; empty after the last page."""

    def values(self, wanted: Sequence[str]) -> list[dict[str, str]]:
        """The matches as values by keyword, given what was `wanted`."""
        return [dict(zip(wanted, one.split(SEPARATOR), strict=False)) for one in self.matches]


async def find(
    tx: Transaction,
    level: Level,
    criteria: Sequence[Criterion],
    wanted: Sequence[str],
    *,
    after: Position = (),
    limit: int = 0,
) -> Page:
    """The first matches, or those `after` the position where a page ended.

    `wanted` are keywords of `attributes(level)`. A page has at most `limit` matches unless it is
    the only one.
    """
    if not after and not _only_dates(level, criteria):
        gathered = await _gather(tx, level, criteria, wanted)
        if len(gathered) <= GATHERED:
            return Page(gathered)
    limit = limit or (PAGE if after else FIRST_PAGE)
    return await _walk(tx, level, criteria, wanted, after, limit)


def _only_dates(level: Level, criteria: Sequence[Criterion]) -> bool:
    """Whether the index of the order alone finds what matches."""
    dates = {
        one.date_attribute if isinstance(one, BetweenMoments) else one.attribute for one in criteria
    }
    return dates <= (set() if level is Level.PATIENT else {"StudyDate"})


async def _gather(
    tx: Transaction, level: Level, criteria: Sequence[Criterion], wanted: Sequence[str]
) -> list[str]:
    """All matches in order; where there are more than `GATHERED`, so many and one."""
    condition, parameters = where(level, criteria)
    downwards, upwards = ORDER[level]
    match = _match([COLUMNS[level][keyword].text for keyword in wanted])
    keys = [f"{place} AS k{number}" for number, place in enumerate((*downwards, *upwards))]
    order = [f"k{n} DESC" if n < len(downwards) else f"k{n}" for n in range(len(keys))]
    rows = await tx.fetch_all(
        f"SELECT match FROM (SELECT {match} AS match, {', '.join(keys)}"  # noqa: S608
        f" FROM {tables(level, match + condition)} WHERE {condition} LIMIT %s) found"
        f" ORDER BY {', '.join(order)}",
        *parameters,
        GATHERED + 1,
    )
    return [row.match for row in rows]


async def _walk(
    tx: Transaction,
    level: Level,
    criteria: Sequence[Criterion],
    wanted: Sequence[str],
    after: Position,
    limit: int,
) -> Page:
    """A page of matches in order, from `after` on."""
    condition, parameters = where(level, criteria, trigrams=False)
    if after:
        beyond, bounds = _beyond(level, after)
        condition, parameters = f"{condition} AND {beyond}", [*parameters, *bounds]
    downwards, upwards = ORDER[level]
    places = (*downwards, *upwards)
    # Its position is written behind each match: a second column would cost more.
    match = _match([*(COLUMNS[level][keyword].text for keyword in wanted), *places])
    order = [*(f"{place} DESC" for place in downwards), *upwards]
    rows = await tx.fetch_all(
        f"SELECT {match} AS match FROM {tables(level, match + condition)}"  # noqa: S608
        f" WHERE {condition} ORDER BY {', '.join(order)} LIMIT %s",
        *parameters,
        limit,
    )
    matches = [row.match for row in rows]
    if len(matches) < limit:
        return Page(matches)
    return Page(matches, tuple(matches[-1].split(SEPARATOR)[-len(places) :]))


def _match(values: Sequence[str]) -> str:
    return f"concat_ws(chr(31), {', '.join(values)})" if values else "''"


def _beyond(level: Level, after: Position) -> tuple[str, Position]:
    """The condition that leaves out everything up to the position `after`."""
    downwards, upwards = ORDER[level]
    study, within = after[: len(downwards)], after[len(downwards) :]
    if not upwards:
        return _compared(downwards, "<"), study
    if not downwards:
        return _compared(upwards, ">"), within
    # The first part says less than the second, but has an index.
    return (
        f"{_compared(downwards, '<=')}"
        f" AND ({_compared(downwards, '<')} OR {_compared(upwards, '>')})",
        (*study, *study, *within),
    )


def _compared(places: Sequence[str], operator: str) -> str:
    return f"({', '.join(places)}) {operator} ({', '.join(['%s'] * len(places))})"


@dataclass(frozen=True, slots=True)
class Contents:
    """How many objects of one SOP class lie in one transfer syntax."""

    sop_class_uid: str
    transfer_syntax_uid: str
    count: int


async def contents(tx: Transaction, criteria: Sequence[Criterion]) -> list[Contents]:
    """What kinds of objects match at IMAGE level, the most frequent first."""
    condition, parameters = where(Level.IMAGE, criteria)
    rows = await tx.fetch_all(
        "SELECT i.sop_class_uid, i.transfer_syntax_uid, count(*)"  # noqa: S608
        f" FROM {tables(Level.IMAGE, condition)} WHERE {condition}"
        " GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        *parameters,
    )
    return [Contents(*row) for row in rows]
