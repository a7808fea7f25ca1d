"""The table of work to be done later; `santepacs.jobs` does it.

The database's clock alone counts, so that nothing depends on how far another one is off.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from santepacs.db.database import Transaction
from santepacs.errors import Malformed

LARGEST_PAYLOAD = 256 * 1024  # characters of JSON; more belongs in a table of its own
LONGEST_ERROR = 300
SPACING = 5  # seconds between attempts, however often a job is asked for

UNFINISHED = ("waiting", "running")
ENDED = ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that was taken in hand."""

    id: int
    kind: str
    payload: dict[str, Any]
    attempts: int
    """How often it was begun, this time included."""
    age: float
    """Seconds since it was asked for."""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as the portal lists it."""

    id: int
    kind: str
    key: str
    priority: int
    state: str
    attempts: int
    done: int
    total: int
    error: str
    created_at: datetime
    due_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


async def add(
    tx: Transaction,
    kind: str,
    payload: dict[str, Any],
    *,
    key: str = "",
    priority: int = 0,
    delay: float = 0,
) -> int:
    """Ask for a job in the transaction that causes it; returns its id. Wake the queue afterwards.

    If there is one of this `kind` and `key` that has not ended, it is that job: it keeps its
    payload, begins to count its attempts and its age anew, is due no later than this one would be
    (but `SPACING` seconds after it was begun last), and runs once more if it is running already.
    Of what is due the highest `priority` goes first. `delay` in seconds. Raises Malformed for a
    payload that is too large or holds NUL characters.
    """
    text = json.dumps(payload)
    if len(text) > LARGEST_PAYLOAD or "\\u0000" in text:
        raise Malformed("the job's payload is too large or holds NUL characters")
    row = await tx.fetch_one(
        "INSERT INTO job AS j (kind, key, payload, priority, due_at)"
        " VALUES (%s, %s, %s::jsonb, %s, now() + %s * interval '1 second')"
        " ON CONFLICT (kind, key) WHERE key <> '' AND state IN ('waiting', 'running')"
        " DO UPDATE SET due_at = least(j.due_at, greatest(excluded.due_at,"
        "                              j.started_at + %s * interval '1 second')),"
        "               attempts = CASE WHEN j.state = 'running' THEN j.attempts ELSE 0 END,"
        "               created_at = CASE WHEN j.state = 'running' THEN j.created_at"
        "                                 ELSE now() END,"
        "               priority = greatest(j.priority, excluded.priority),"
        "               again = j.again OR j.state = 'running'"
        " RETURNING id",
        kind,
        key,
        text,
        priority,
        delay,
        SPACING,
    )
    assert row is not None
    return int(row.id)


async def free_dead(tx: Transaction, run: str, limits: Mapping[str, int]) -> tuple[int, int]:
    """Give back what earlier runs of the server left running, and give up what they may have died
    of: a job begun `limits[kind]` times. Returns how many of both.

    Only at the start of `run`, when all others are known to be dead. A job that a server died of
    repeatedly waits longer each time, up to an hour.
    """
    given_up = await tx.execute(
        "UPDATE job SET state = 'failed', error = 'the server died at the last attempt',"
        " ended_at = now(), run = '', again = false, cancel = false"
        " FROM unnest(%s::text[], %s::bigint[]) AS l (kind, attempts)"
        " WHERE state = 'running' AND run <> %s"
        " AND job.kind = l.kind AND job.attempts >= l.attempts",
        list(limits),
        list(limits.values()),
        run,
    )
    freed = await tx.execute(
        "UPDATE job SET state = 'waiting', run = '',"
        " due_at = now() + least(3600, 10 * greatest(0, attempts - 1)) * interval '1 second'"
        " WHERE state = 'running' AND run <> %s",
        run,
    )
    return freed, given_up


async def claim(tx: Transaction, run: str, free: Mapping[str, int]) -> list[Claimed]:
    """Take what is due in hand for `run`: at most `free[kind]` of each kind."""
    claimed: list[Claimed] = []
    for kind, count in free.items():
        rows = await tx.fetch_all(
            "UPDATE job SET state = 'running', run = %s, attempts = attempts + 1,"
            " done = 0, total = 0, started_at = now() WHERE id IN"
            " (SELECT id FROM job WHERE state = 'waiting' AND kind = %s AND due_at <= now()"
            "  ORDER BY priority DESC, due_at, id LIMIT %s FOR UPDATE SKIP LOCKED)"
            " RETURNING id, kind, payload, attempts, priority,"
            " extract(epoch FROM now() - created_at)::float8 AS age",
            run,
            kind,
            count,
        )
        rows.sort(key=lambda row: (-row.priority, row.id))
        claimed += [Claimed(r.id, r.kind, r.payload, r.attempts, r.age) for r in rows]
    return claimed


async def seconds_to_next(tx: Transaction, kinds: Collection[str]) -> float | None:
    """Seconds until a job of one of these kinds is due; None if none waits."""
    row = await tx.fetch_one(
        "SELECT extract(epoch FROM min(due) - now())::float8 AS seconds"
        " FROM unnest(%s::text[]) AS k (kind), LATERAL"
        " (SELECT min(due_at) AS due FROM job WHERE state = 'waiting' AND job.kind = k.kind) AS d",
        list(kinds),
    )
    return None if row is None or row.seconds is None else max(0.0, row.seconds)


async def finish(tx: Transaction, run: str, job_id: int, state: str, error: str) -> None:
    """A job of `run` has ended in `state`; one that was asked for again meanwhile begins anew."""
    ended = await tx.execute(
        "UPDATE job SET state = %s, error = %s, ended_at = now(),"
        " run = '', again = false, cancel = false"
        " WHERE id = %s AND run = %s AND state = 'running' AND NOT (again AND %s)",
        state,
        error[:LONGEST_ERROR],
        job_id,
        run,
        state != "cancelled",
    )
    if not ended:
        await tx.execute(
            "UPDATE job SET state = 'waiting', error = %s, attempts = 0,"
            " created_at = now(), due_at = now(), run = '', again = false, cancel = false"
            " WHERE id = %s AND run = %s AND state = 'running'",
            error[:LONGEST_ERROR],
            job_id,
            run,
        )


async def postpone(tx: Transaction, run: str, job_id: int, delay: float, error: str) -> None:
    """A job of `run` has failed for now and is due again in `delay` seconds.

    One that was asked for again meanwhile begins anew, `SPACING` seconds after it was begun.
    """
    await tx.execute(
        "UPDATE job SET state = CASE WHEN cancel THEN 'cancelled' ELSE 'waiting' END,"
        " ended_at = CASE WHEN cancel THEN now() END,"
        " due_at = CASE WHEN again"
        "          THEN greatest(now(), started_at + least(%s, %s) * interval '1 second')"
        "          ELSE now() + %s * interval '1 second' END,"
        " attempts = CASE WHEN again THEN 0 ELSE attempts END,"
        " created_at = CASE WHEN again THEN now() ELSE created_at END,"
        " run = '', again = false, cancel = false, error = %s"
        " WHERE id = %s AND run = %s AND state = 'running'",
        delay,
        SPACING,
        delay,
        error[:LONGEST_ERROR],
        job_id,
        run,
    )


async def give_back(tx: Transaction, run: str, keep: Sequence[int] = ()) -> int:
    """What `run` has in hand, but for `keep`, waits again as if it had not been begun."""
    return await tx.execute(
        "UPDATE job SET state = CASE WHEN cancel THEN 'cancelled' ELSE 'waiting' END,"
        " ended_at = CASE WHEN cancel THEN now() END,"
        " run = '', again = false, cancel = false, attempts = attempts - 1"
        " WHERE state = 'running' AND run = %s AND id <> ALL (%s::bigint[])",
        run,
        list(keep),
    )


async def note_progress(
    tx: Transaction, run: str, progress: Mapping[int, tuple[int, int]]
) -> set[int]:
    """Write down how far jobs are (done, total); returns the running ones to be cancelled."""
    if progress:
        await tx.execute(
            "UPDATE job SET done = p.done, total = p.total"
            " FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS p (id, done, total)"
            " WHERE job.id = p.id AND state = 'running' AND run = %s",
            list(progress),
            [done for done, _ in progress.values()],
            [total for _, total in progress.values()],
            run,
        )
    rows = await tx.fetch_all(
        "SELECT id FROM job WHERE state = 'running' AND run = %s AND cancel", run
    )
    return {row.id for row in rows}


async def cancel(tx: Transaction, job_id: int) -> bool:
    """End a job: at once if it waits; a running one is told within a second or so.

    Returns whether there was anything to end.
    """
    changed = await tx.execute(
        "UPDATE job SET cancel = (state = 'running'),"
        " ended_at = CASE WHEN state = 'waiting' THEN now() END,"
        " state = CASE WHEN state = 'waiting' THEN 'cancelled' ELSE state END"
        " WHERE id = %s AND state IN ('waiting', 'running')",
        job_id,
    )
    return changed > 0


async def purge(tx: Transaction, days: float, step: int) -> int:
    """Forget at most `step` jobs that ended more than `days` ago; returns how many."""
    return await tx.execute(
        "DELETE FROM job WHERE id IN (SELECT id FROM job"
        " WHERE ended_at < now() - %s * interval '1 day' ORDER BY ended_at LIMIT %s)",
        days,
        step,
    )


_ROW = (
    "SELECT id, kind, key, priority, state, attempts, done, total, error,"
    " created_at, due_at, started_at, ended_at FROM job"
)


async def find(tx: Transaction, job_id: int) -> JobRow | None:
    """One job, until it is purged."""
    row = await tx.fetch_one(f"{_ROW} WHERE id = %s", job_id)
    return row and JobRow(*row)


async def page(
    tx: Transaction, state: str = "", *, before: int | None = None, limit: int = 50
) -> list[JobRow]:
    """Jobs in `state` ('': in any), newest first; the next page is `before` the last one's id."""
    conditions: list[str] = ["true"]
    parameters: list[str | int] = []
    if state:
        conditions.append("state = %s")
        parameters.append(state)
    if before is not None:
        conditions.append("id < %s")
        parameters.append(before)
    rows = await tx.fetch_all(
        f"{_ROW} WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %s",
        *parameters,
        limit,
    )
    return [JobRow(*row) for row in rows]


async def counts(tx: Transaction) -> dict[str, dict[str, int]]:
    """How many jobs of each kind wait and run: kind -> state -> count."""
    found: dict[str, dict[str, int]] = {}
    rows = await tx.fetch_all(
        "SELECT kind, state, count(*) AS count FROM job WHERE state IN ('waiting', 'running')"
        " GROUP BY kind, state"
    )
    for row in rows:
        found.setdefault(row.kind, {})[row.state] = row.count
    return found
