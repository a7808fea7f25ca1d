"""The log of received HL7 messages, raw, with what was answered."""

from datetime import datetime

from santepacs.db.database import Transaction
from santepacs.model.order import Arrival


async def add(tx: Transaction, arrival: Arrival, digest: bytes, verdict: str, remark: str) -> int:
    """Keep a message with its acknowledgement code (AA, AE, AR); returns its key.

    `digest`: SHA-256 of the message as it came.
    """
    row = await tx.fetch_one(
        "INSERT INTO hl7_message (received_at, source, sending_application, sending_facility,"
        " message_type, control_id, charset, digest, raw, verdict, remark)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
        arrival.received,
        arrival.source,
        arrival.sending_application,
        arrival.sending_facility,
        arrival.message_type,
        arrival.control_id,
        arrival.charset,
        digest,
        arrival.raw,
        verdict,
        remark,
    )
    assert row is not None
    key: int = row.id
    return key


async def accepted_remark(tx: Transaction, digest: bytes, since: datetime) -> str | None:
    """The remark with which the very same message was accepted since then; None if it was not."""
    row = await tx.fetch_one(
        "SELECT remark FROM hl7_message"
        " WHERE digest = %s AND verdict = 'AA' AND received_at >= %s"
        " ORDER BY id LIMIT 1",
        digest,
        since,
    )
    return None if row is None else row.remark
