"""How many HL7 messages each sender sent, and how many of them were refused."""

from dataclasses import dataclass
from datetime import datetime

from santepacs.db.database import Transaction

MAXIMUM_SENDERS = 30


@dataclass(frozen=True, slots=True)
class SenderCount:
    """The messages of one sender (MSH-3.1, MSH-4.1) since a moment."""

    sending_application: str
    sending_facility: str
    accepted: int
    refused: int
    last: datetime


async def by_sender(tx: Transaction, since: datetime) -> list[SenderCount]:
    """The busiest senders since then, the busiest first."""
    rows = await tx.fetch_all(
        "SELECT sending_application, sending_facility,"
        " count(*) FILTER (WHERE verdict = 'AA') AS accepted,"
        " count(*) FILTER (WHERE verdict <> 'AA') AS refused, max(received_at) AS last"
        " FROM hl7_message WHERE received_at >= %s"
        " GROUP BY sending_application, sending_facility"
        " ORDER BY count(*) DESC, sending_application, sending_facility LIMIT %s",
        since,
        MAXIMUM_SENDERS,
    )
    return [SenderCount(*row) for row in rows]
