"""What associations did, for the portal: the latest ones, and totals for each day and peer.

An association that did nothing (an echo, a health check) is counted in the totals alone.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

from santepacs.db.database import Transaction

MAXIMUM_TITLES = 1000  # that a day has totals for; strangers may call themselves what they like

TOTALS_DAYS = 1100


@dataclass(frozen=True, slots=True)
class Record:
    """An association that has ended."""

    ended_at: datetime
    title: str
    """AE title of the other end."""
    address: str = ""
    outgoing: bool = False
    """Whether we asked for it."""
    tls: bool = False
    seconds: float = 0.0
    stored: int = 0
    sent: int = 0
    queries: int = 0
    found: int = 0
    """Matches of the queries."""
    other: int = 0
    """Whatever else was done: commitments, procedure steps."""
    failed: int = 0
    refused: int = 0
    bytes: int = 0
    """Received when it was asked of us, else sent."""
    ending: str = ""
    """``released``, ``aborted``, ``rejected``, ..."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing was done or tried."""
        done = self.stored, self.sent, self.queries, self.other, self.failed, self.refused
        return not any(done)


@dataclass(frozen=True, slots=True)
class Association(Record):
    """A record that is kept, with its number."""

    id: int = 0


@dataclass(frozen=True, slots=True)
class Day:
    """What a peer did on one day; with an empty title, all those that have no row of their own."""

    day: date
    title: str
    associations: int
    stored: int
    sent: int
    queries: int
    found: int
    other: int
    failed: int
    refused: int
    bytes: int


_COUNTS = ("stored", "sent", "queries", "found", "other", "failed", "refused", "bytes")

_WRITE = f"""
WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS x (
        idle boolean, day date, ended_at timestamptz, title text, address text, outgoing boolean,
        tls boolean, seconds real, stored bigint, sent bigint, queries bigint, found bigint,
        other bigint, failed bigint, refused bigint, bytes bigint, ending text)
), rows AS (
    INSERT INTO association (ended_at, title, address, outgoing, tls, seconds,
                             {", ".join(_COUNTS)}, ending)
    SELECT ended_at, title, address, outgoing, tls, seconds, {", ".join(_COUNTS)}, ending
    FROM given WHERE NOT idle ORDER BY ended_at
), full_days AS (
    SELECT day FROM activity_day WHERE day IN (SELECT day FROM given)
    GROUP BY day HAVING count(*) >= %s
), named AS (
    SELECT given.*, CASE WHEN day IN (SELECT day FROM full_days) AND NOT EXISTS (
        SELECT FROM activity_day d WHERE d.day = given.day AND d.title = given.title)
        THEN '' ELSE title END AS name
    FROM given
)
INSERT INTO activity_day AS d (day, title, associations, {", ".join(_COUNTS)})
SELECT day, name, count(*), {", ".join(f"sum({count})" for count in _COUNTS)}
FROM named GROUP BY day, name ORDER BY day, name
ON CONFLICT (day, title) DO UPDATE SET associations = d.associations + excluded.associations,
    {", ".join(f"{count} = d.{count} + excluded.{count}" for count in _COUNTS)}
"""  # noqa: S608


async def write(tx: Transaction, records: Sequence[Record]) -> None:
    """Keep what associations did, and add it to the totals of their days."""
    await tx.execute(_WRITE, json.dumps([_row(record) for record in records]), MAXIMUM_TITLES)


def _row(record: Record) -> dict[str, Any]:
    return asdict(record) | {
        "idle": record.is_idle,
        "day": record.ended_at.date().isoformat(),
        "ended_at": record.ended_at.isoformat(),
        "title": _clean(record.title),
        "address": _clean(record.address),
    }


def _clean(text: str) -> str:
    return "".join(c for c in text[:64] if c.isprintable()).strip()


async def recent(
    tx: Transaction, *, title: str = "", before: int | None = None, limit: int = 50
) -> list[Association]:
    """Associations that did something, the latest first, of one AE title or of all.

    The next page is `before` the last one's `id`.
    """
    conditions: list[str] = ["true"]
    parameters: list[str | int] = []
    if title:
        conditions.append("title = %s")
        parameters.append(title)
    if before is not None:
        conditions.append("id < %s")
        parameters.append(before)
    rows = await tx.fetch_all(
        f"SELECT id, ended_at, title, address, outgoing, tls, seconds, {', '.join(_COUNTS)}, ending"  # noqa: S608
        f" FROM association WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %s",
        *parameters,
        limit,
    )
    return [Association(**row._asdict()) for row in rows]


async def daily(tx: Transaction, first: date, last: date, *, limit: int = 5000) -> list[Day]:
    """The totals of the days from `first` to `last`, the latest day first, then by AE title."""
    rows = await tx.fetch_all(
        f"SELECT day, title, associations, {', '.join(_COUNTS)} FROM activity_day"  # noqa: S608
        " WHERE day BETWEEN %s AND %s ORDER BY day DESC, title LIMIT %s",
        first,
        last,
        limit,
    )
    return [Day(**row._asdict()) for row in rows]


async def purge(tx: Transaction, days: float, rows: int, step: int) -> int:
    """Forget at most `step` associations older than `days` or beyond the latest `rows`.

    Returns how many. The totals, small as they are, stay for `TOTALS_DAYS`.
    """
    await tx.execute("DELETE FROM activity_day WHERE day < current_date - %s", TOTALS_DAYS)
    return await tx.execute(
        "DELETE FROM association WHERE id IN (SELECT id FROM association"
        " WHERE ended_at < now() - %s * interval '1 day'"
        " OR id <= (SELECT max(id) FROM association) - %s ORDER BY id LIMIT %s)",
        days,
        rows,
        step,
    )
