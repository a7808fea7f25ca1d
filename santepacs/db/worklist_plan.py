"""Two ways to find worklist records in the order of their start.

PostgreSQL chooses badly when few rows are wanted in an order whose index it could walk, so the
choice is made here:

- *Gathering*: what matches a key that few records have is collected by that key's index, up to
  `GATHERED` records, and then sorted.
- *Walking*: along the index of each status, or of each status and station or modality, until there
  are enough. For everything else, and for what so many match that the next one is never far.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from santepacs.db.database import Transaction
from santepacs.db.orders import STORED, StoredRecord, stored
from santepacs.db.worklist_conditions import Conditions

GATHERED = 5000  # records

Place = tuple[str, str, int]
"""Start date, start time and key: where a record stands in the order."""

_ORDER = ("start_date", "start_time", "id")
_Sql = tuple[str, list[Any]]


@dataclass(frozen=True, slots=True)
class Walk:
    """Records of any of `statuses`, and of any of `values` in `column` if there is one."""

    statuses: Sequence[str]
    conditions: Conditions
    """All else that they have to meet."""
    column: str = ""
    """Which stands in an index behind the status."""
    values: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: what any of `walks` finds."""

    walks: Sequence[Walk]
    gathered: Conditions | None = None
    """The same as one condition, if it has a key that few records have."""
    newest_first: bool = False


async def records(
    tx: Transaction, search: Search, limit: int, after: Place | None = None
) -> list[StoredRecord]:
    """The first records in order, or those `after` the place where a page ended."""
    if not search.walks:
        return []
    if search.gathered is not None:
        gathered = await _gather(tx, search, search.gathered, limit, after)
        if gathered is not None:
            return gathered
    return await _walk(tx, search, limit, after)


async def count(tx: Transaction, search: Search, limit: int) -> int:
    """How many records there are; `limit` stands for that many and more."""
    if search.gathered is not None:
        condition, values = search.gathered.sql(), search.gathered.parameters
        inner = f"SELECT id FROM worklist_record WHERE {condition}"  # noqa: S608
    else:
        inner, values = _walks(search.walks, "id", "", [limit], Conditions())
    row = await tx.fetch_one(
        f"SELECT count(*) AS n FROM (SELECT DISTINCT id FROM ({inner} LIMIT %s) found) once",  # noqa: S608
        *values,
        limit,
    )
    return int(row.n) if row else 0


async def _gather(
    tx: Transaction, search: Search, conditions: Conditions, limit: int, after: Place | None
) -> list[StoredRecord] | None:
    """None where too many match."""
    order = _order(search)
    beyond = _beyond(search, after)
    found = await tx.fetch_all(
        f"SELECT id, count(*) OVER () AS gathered FROM (SELECT {', '.join(_ORDER)}"  # noqa: S608
        f" FROM worklist_record WHERE {conditions.sql()} AND {beyond.sql()} LIMIT %s) found"
        f" ORDER BY {order} LIMIT %s",
        *conditions.parameters,
        *beyond.parameters,
        GATHERED + 1,
        limit,
    )
    if not found:
        return []
    if found[0].gathered > GATHERED:
        return None
    rows = await tx.fetch_all(
        f"SELECT {STORED} FROM worklist_record WHERE id = ANY(%s) ORDER BY {order}",  # noqa: S608
        [one.id for one in found],
    )
    return [stored(row) for row in rows]


async def _walk(
    tx: Transaction, search: Search, limit: int, after: Place | None
) -> list[StoredRecord]:
    order = _order(search)
    found, values = _walks(
        search.walks, STORED, f" ORDER BY {order}", [limit], _beyond(search, after)
    )
    # A record that two walks find is found twice.
    once = f"DISTINCT ON ({', '.join(_ORDER)}) " if len(search.walks) > 1 else ""
    rows = await tx.fetch_all(
        f"SELECT {once}* FROM ({found}) found ORDER BY {order} LIMIT %s",  # noqa: S608
        *values,
        limit,
    )
    return [stored(row) for row in rows]


def _walks(
    walks: Sequence[Walk], columns: str, order: str, limit: list[int], beyond: Conditions
) -> _Sql:
    """Each index walked on its own, for as many records as are wanted at most."""
    parts, values = [], []
    for walk in walks:
        conditions, parameters = walk.conditions.sql(), walk.conditions.parameters
        keys, key, chosen = "", "", []
        if walk.column:
            keys, key = ", unnest(%s::text[]) AS k (key)", f" AND {walk.column} = k.key"
            chosen = [list(dict.fromkeys(walk.values))]
        parts.append(
            f"SELECT step.* FROM unnest(%s::text[]) AS s (status){keys}, LATERAL"  # noqa: S608
            f" (SELECT {columns} FROM worklist_record WHERE step_status = s.status{key}"
            f" AND {conditions} AND {beyond.sql()}{order} LIMIT %s) step"
        )
        values += [list(walk.statuses), *chosen, *parameters, *beyond.parameters, *limit]
    return " UNION ALL ".join(parts), values


def _order(search: Search) -> str:
    return ", ".join(f"{column} DESC" if search.newest_first else column for column in _ORDER)


def _beyond(search: Search, after: Place | None) -> Conditions:
    conditions = Conditions()
    if after is not None:
        sign = "<" if search.newest_first else ">"
        conditions.add(f"(start_date, start_time, id) {sign} (%s, %s, %s)", *after)
    return conditions
