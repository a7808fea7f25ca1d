"""HL7 messages to be sent to nodes: the queue, and what became of each.

A node gets its messages in the order in which they were asked for, one at a time: there is one job
for a node, which sends whatever waits for it (`santepacs.hl7.outbox`).
"""

from dataclasses import dataclass
from datetime import datetime

from santepacs.db import jobs, nodes
from santepacs.db.database import Transaction
from santepacs.errors import Malformed, NotFound

KIND = "hl7 send"
"""The kind of job."""
MAXIMUM_SIZE = 16_000_000  # bytes of a message
STATES = ("waiting", "sent", "failed", "cancelled")

_HEADER_SIZE = 4096
_LENGTH = 200


@dataclass(frozen=True, slots=True)
class OutgoingRow:
    """A message as the portal lists it.

    `answer_code` and `remark` are of the last attempt, which took `milliseconds`.
    """

    id: int
    node: str
    message_type: str
    control_id: str
    origin: str
    state: str
    attempts: int
    answer_code: str
    remark: str
    milliseconds: int
    created_at: datetime
    attempted_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """A message with its bytes, and those of the last answer."""

    row: OutgoingRow
    raw: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be sent next; `age` in seconds since it was asked for."""

    id: int
    raw: bytes
    attempts: int
    age: float


async def enqueue(tx: Transaction, node: str, raw: bytes, origin: str) -> int:
    """Have a message sent to the node of that name; returns its key. Wake the queue afterwards.

    `origin`: who or what wants it sent, for people. Raises NotFound for an unknown node, Malformed
    for a node that receives nothing and for what is no message.
    """
    receiver = await nodes.find(tx, node)
    if receiver is None:
        raise NotFound("there is no HL7 node of this name")
    if not receiver.port:
        raise Malformed("this HL7 node receives no messages: it has no port")
    if not raw.startswith(b"MSH") or len(raw) > MAXIMUM_SIZE:
        raise Malformed(f"an HL7 message begins with MSH and has at most {MAXIMUM_SIZE} bytes")
    message_type, control_id = _header(raw)
    row = await tx.fetch_one(
        "INSERT INTO hl7_outgoing (node, raw, message_type, control_id, origin)"
        " VALUES (%s, %s, %s, %s, %s) RETURNING id",
        node,
        raw,
        message_type,
        control_id,
        origin[:_LENGTH],
    )
    assert row is not None
    await _ask_for_job(tx, node)
    return int(row.id)


def _header(raw: bytes) -> tuple[str, str]:
    """MSH-9 and MSH-10, for the list."""
    header = raw[:_HEADER_SIZE].decode("latin-1").replace("\n", "\r").split("\r", 1)[0]
    fields = [*header.replace("\0", "").split(header[3:4] or "|"), *[""] * 10]
    return fields[8][:_LENGTH], fields[9][:_LENGTH]


async def _ask_for_job(tx: Transaction, node: str) -> None:
    await jobs.add(tx, KIND, {"node": node}, key=node)


async def revive(tx: Transaction) -> int:
    """Ask for the jobs of all nodes for which something waits; returns for how many.

    At the start of the server: somebody may have cancelled a job, or purged it.
    """
    rows = await tx.fetch_all("SELECT DISTINCT node FROM hl7_outgoing WHERE state = 'waiting'")
    for row in rows:
        await _ask_for_job(tx, row.node)
    return len(rows)


# --- sending --------------------------------------------------------------------------------------


async def begin(tx: Transaction, node: str) -> Due | None:
    """The oldest message that waits for the node, its attempt counted; None when there is none."""
    row = await tx.fetch_one(
        "UPDATE hl7_outgoing SET attempts = attempts + 1, attempted_at = now() WHERE id ="
        " (SELECT id FROM hl7_outgoing WHERE node = %s AND state = 'waiting'"
        "  ORDER BY id LIMIT 1 FOR UPDATE)"
        " RETURNING id, raw, attempts, extract(epoch FROM now() - created_at)::float8 AS age",
        node,
    )
    return row and Due(row.id, bytes(row.raw), row.attempts, row.age)


async def note(
    tx: Transaction,
    key: int,
    state: str,
    *,
    answer: bytes = b"",
    code: str = "",
    remark: str = "",
    milliseconds: int = 0,
) -> None:
    """Write down how an attempt ended; `state`: waiting (to be tried again), sent or failed.

    A message that was cancelled while it was being sent is sent, or failed, all the same.
    """
    await tx.execute(
        "UPDATE hl7_outgoing SET answer = %s, answer_code = %s, remark = %s, milliseconds = %s,"
        " state = CASE WHEN %s = 'waiting' THEN state ELSE %s END,"
        " ended_at = CASE WHEN %s = 'waiting' THEN ended_at ELSE now() END WHERE id = %s",
        answer,
        code.replace("\0", "")[:_LENGTH],
        remark.replace("\0", "")[:_LENGTH],
        milliseconds,
        state,
        state,
        state,
        key,
    )


# --- looking, and deciding otherwise --------------------------------------------------------------

_ROW = (
    "id, node, message_type, control_id, origin, state, attempts, answer_code, remark,"
    " milliseconds, created_at, attempted_at, ended_at"
)


async def page(
    tx: Transaction,
    *,
    state: str = "",
    node: str = "",
    before: int | None = None,
    limit: int = 50,
) -> list[OutgoingRow]:
    """Messages in `state` and for `node` ('': any), newest first; the next page is `before` the
    last one's key.
    """
    conditions: list[str] = ["true"]
    parameters: list[str | int] = []
    for condition, value in (("state = %s", state), ("node = %s", node), ("id < %s", before)):
        if value:
            conditions.append(condition)
            parameters.append(value)
    rows = await tx.fetch_all(
        f"SELECT {_ROW} FROM hl7_outgoing WHERE {' AND '.join(conditions)}"  # noqa: S608
        " ORDER BY id DESC LIMIT %s",
        *parameters,
        limit,
    )
    return [OutgoingRow(*row) for row in rows]


async def message(tx: Transaction, key: int) -> OutgoingMessage | None:
    """One message, until it is deleted for its age."""
    row = await tx.fetch_one(
        f"SELECT {_ROW}, raw, answer FROM hl7_outgoing WHERE id = %s",  # noqa: S608
        key,
    )
    return row and OutgoingMessage(OutgoingRow(*row[:-2]), bytes(row.raw), bytes(row.answer))


async def counts(tx: Transaction) -> dict[str, int]:
    """How many messages wait for each node."""
    rows = await tx.fetch_all(
        "SELECT node, count(*) AS count FROM hl7_outgoing WHERE state = 'waiting' GROUP BY node"
    )
    return {row.node: row.count for row in rows}


async def again(tx: Transaction, key: int, origin: str) -> int:
    """Send a message once more, after all that waits now; returns the key of the new one.

    The old one stays as it is; one that still waits is tried now instead. Wake the queue
    afterwards. Raises NotFound, or what `enqueue` raises.
    """
    known = await message(tx, key)
    if known is None:
        raise NotFound("there is no such message")
    if known.row.state == "waiting":
        await _ask_for_job(tx, known.row.node)
        return key
    return await enqueue(tx, known.row.node, known.raw, origin)


async def cancel(tx: Transaction, key: int) -> bool:
    """Do not send a message; False if it does not wait."""
    return bool(
        await tx.execute(
            "UPDATE hl7_outgoing SET state = 'cancelled', ended_at = now()"
            " WHERE id = %s AND state = 'waiting'",
            key,
        )
    )


async def delete_older(tx: Transaction, days: float, limit: int) -> int:
    """Forget at most `limit` messages that ended more than `days` ago; returns how many."""
    return await tx.execute(
        "DELETE FROM hl7_outgoing WHERE id IN (SELECT id FROM hl7_outgoing"
        " WHERE ended_at < now() - %s * interval '1 day' ORDER BY ended_at LIMIT %s)",
        days,
        limit,
    )
