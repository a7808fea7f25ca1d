"""Searching the index at the four levels of the Query/Retrieve models (PS3.4 C.6).

`find` is keyset-paged in a stable order, so a search holds one page in memory and new arrivals
neither repeat nor skip a match: studies newest first, all else in the order of arrival. What
matches is what `santepacs.model.matching.matches` says.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from santepacs.db.database import Transaction
from santepacs.db.search_columns import COLUMNS, FROM, ORDER, Level
from santepacs.db.search_conditions import where
from santepacs.model.matching import Criterion

__all__ = ["PAGE", "Contents", "Level", "Match", "Value", "attributes", "contents", "find", "where"]

PAGE = 200  # matches that are held in memory at once

Value = str | int | tuple[str, ...] | None


def attributes(level: Level) -> Collection[str]:
    """The DICOM keywords that a level can answer."""
    return COLUMNS[level].keys()


@dataclass(frozen=True, slots=True)
class Match:
    """One match: its attributes by DICOM keyword, and where to go on after it."""

    values: dict[str, Value]
    position: tuple[Any, ...]


async def find(
    tx: Transaction,
    level: Level,
    criteria: Sequence[Criterion],
    wanted: Collection[str],
    *,
    after: tuple[Any, ...] | None = None,
    limit: int = PAGE,
) -> list[Match]:
    """A page of at most `limit` matches beyond the position `after`.

    `wanted` are the keywords to return; those the level does not know are left out.
    """
    columns = COLUMNS[level]
    keywords = [keyword for keyword in wanted if keyword in columns]
    order = ORDER[level]
    condition, parameters = where(level, criteria)
    direction, beyond = ("DESC", "<") if level is Level.STUDY else ("ASC", ">")
    if after is not None:
        places = ", ".join(["%s"] * len(order))
        condition += f" AND ({', '.join(order)}) {beyond} ({places})"
        parameters.extend(after)
    selected = [f"{columns[keyword].value} AS v{n}" for n, keyword in enumerate(keywords)]
    selected += [f"{place} AS k{n}" for n, place in enumerate(order)]
    sql = (
        f"SELECT {', '.join(selected)} FROM {FROM[level]} WHERE {condition}"  # noqa: S608
        f" ORDER BY {', '.join(f'{place} {direction}' for place in order)} LIMIT %s"
    )
    rows = await tx.fetch_all(sql, *parameters, limit)
    return [_match(keywords, row) for row in rows]


def _match(keywords: Sequence[str], row: Sequence[Any]) -> Match:
    values = {
        keyword: tuple(value) if isinstance(value, list) else value
        for keyword, value in zip(keywords, row, strict=False)
    }
    return Match(values, tuple(row[len(keywords) :]))


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
        f" FROM {FROM[Level.IMAGE]} WHERE {condition}"
        " GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2",
        *parameters,
    )
    return [Contents(*row) for row in rows]
