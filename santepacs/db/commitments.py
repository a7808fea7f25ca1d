"""Storage commitments that were asked for and not yet reported (PS3.4 annex J)."""

from collections.abc import Sequence
from dataclasses import dataclass

from santepacs.db.database import Transaction
from santepacs.errors import Conflict, Unavailable

MAXIMUM_OPEN = 10_000  # transactions of one peer that wait to be reported
MAXIMUM_REFERENCES = 2_000_000  # in these
_STEP = 2000  # references in one statement

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Commitment:
    """A transaction: its name, its size, and how often it was asked for."""

    id: int
    transaction_uid: str
    size: int
    asked: int


@dataclass(frozen=True, slots=True)
class Referenced:
    """A reference, and the object that the index has under its SOP Instance UID, if any."""

    position: int
    sop_class_uid: str
    sop_instance_uid: str
    proven: str
    """Digest of the content that an earlier attempt has read; '' for none."""
    stored_class_uid: str
    """'' when there is no such object; then the rest says nothing."""
    study_instance_uid: str
    digest: str
    bytes: int


async def record(
    tx: Transaction,
    ae_title: str,
    transaction_uid: str,
    digest: bytes,
    references: Sequence[Reference],
) -> None:
    """Remember what a peer asked for; the same again is the same transaction.

    Raises Conflict when the peer's Transaction UID stands for other references, Unavailable when
    too much of this peer waits already.
    """
    row = await tx.fetch_one(
        "INSERT INTO commitment AS c (ae_title, transaction_uid, digest, size)"
        " VALUES (%s, %s, %s, %s) ON CONFLICT (ae_title, transaction_uid) DO UPDATE"
        " SET asked = c.asked + 1, received_at = now() WHERE c.digest = excluded.digest"
        " RETURNING id, asked",
        ae_title,
        transaction_uid,
        digest,
        len(references),
    )
    if row is None:
        raise Conflict("the Transaction UID is in use for other references")
    if row.asked > 1:
        return
    waiting = await tx.fetch_one(
        "SELECT count(*) AS count, sum(size) AS size FROM commitment WHERE ae_title = %s", ae_title
    )
    if waiting and (waiting.count > MAXIMUM_OPEN or waiting.size > MAXIMUM_REFERENCES):
        raise Unavailable("too many storage commitments wait to be reported")
    for start in range(0, len(references), _STEP):
        step = references[start : start + _STEP]
        await tx.execute(
            "INSERT INTO commitment_reference"
            " (commitment, position, sop_class_uid, sop_instance_uid)"
            " SELECT %s, r.position + %s, r.sop_class_uid, r.sop_instance_uid"
            " FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY"
            " AS r (sop_class_uid, sop_instance_uid, position)",
            row.id,
            start,
            [sop_class for sop_class, _ in step],
            [sop_instance for _, sop_instance in step],
        )


async def waiting(tx: Transaction, ae_title: str) -> list[Commitment]:
    """What a peer waits for: oldest first, those over which associations were lost last."""
    rows = await tx.fetch_all(
        "SELECT id, transaction_uid, size, asked FROM commitment"
        " WHERE ae_title = %s ORDER BY lost, id LIMIT %s",
        ae_title,
        MAXIMUM_OPEN,
    )
    return [Commitment(*row) for row in rows]


async def references(
    tx: Transaction, commitment: int, *, after: int = 0, limit: int = 500
) -> list[Referenced]:
    """References in their order, with what the index says of them now."""
    rows = await tx.fetch_all(
        "SELECT r.position, r.sop_class_uid, r.sop_instance_uid,"
        " coalesce(encode(r.proven, 'hex'), '') AS proven,"
        " coalesce(i.sop_class_uid, '') AS stored_class_uid,"
        " coalesce(t.study_instance_uid, '') AS study_instance_uid,"
        " coalesce(encode(i.digest, 'hex'), '') AS digest, coalesce(i.bytes, 0) AS bytes"
        " FROM commitment_reference r"
        " LEFT JOIN instance i ON i.sop_instance_uid = r.sop_instance_uid"
        " LEFT JOIN series s ON s.id = i.series LEFT JOIN study t ON t.id = s.study"
        " WHERE r.commitment = %s AND r.position > %s ORDER BY r.position LIMIT %s",
        commitment,
        after,
        limit,
    )
    return [Referenced(*row) for row in rows]


async def note_proven(
    tx: Transaction, commitment: int, positions: Sequence[int], digests: Sequence[str]
) -> None:
    """Remember the contents (hex digests) whose files were read and found right."""
    await tx.execute(
        "UPDATE commitment_reference r SET proven = decode(p.digest, 'hex')"
        " FROM unnest(%s::integer[], %s::text[]) AS p (position, digest)"
        " WHERE r.commitment = %s AND r.position = p.position",
        list(positions),
        list(digests),
        commitment,
    )


async def note_lost(tx: Transaction, commitment: Commitment) -> None:
    """Its report cost an association: the others go first from now on."""
    await tx.execute("UPDATE commitment SET lost = lost + 1 WHERE id = %s", commitment.id)


async def forget(tx: Transaction, commitment: Commitment) -> None:
    """It was reported; unless it was asked for again since, that was all."""
    await tx.execute(
        "DELETE FROM commitment WHERE id = %s AND asked = %s", commitment.id, commitment.asked
    )


async def forget_peer(tx: Transaction, ae_title: str) -> int:
    """Nobody is there any more to be told; returns how many transactions are given up."""
    return await tx.execute("DELETE FROM commitment WHERE ae_title = %s", ae_title)


async def expire(tx: Transaction, days: float) -> list[tuple[str, int]]:
    """Give up what could not be reported for so long: peers and their numbers of transactions."""
    rows = await tx.fetch_all(
        "WITH gone AS (DELETE FROM commitment WHERE received_at < now() - %s * interval '1 day'"
        " RETURNING ae_title) SELECT ae_title, count(*) AS count FROM gone GROUP BY ae_title",
        days,
    )
    return [(row.ae_title, row.count) for row in rows]
