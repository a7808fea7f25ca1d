"""Unknown callers of the DICOM and HL7 ports, for the administrator who may want to add them."""

from dataclasses import dataclass
from datetime import datetime

from santepacs.db.database import Transaction

MAXIMUM = 500


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was turned away: how often, and why the last time."""

    id: int
    protocol: str
    """``dicom`` or ``hl7``."""
    title: str
    """The calling AE title; empty for HL7."""
    address: str
    reason: str
    count: int
    first_seen: datetime
    last_seen: datetime


async def note(tx: Transaction, protocol: str, title: str, address: str, reason: str) -> None:
    """Remember an unknown caller; the ones not seen for longest make room for it."""
    await tx.execute(
        "INSERT INTO caller AS c (protocol, title, address, reason) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (protocol, title, address) DO UPDATE"
        " SET count = c.count + 1, last_seen = now(), reason = excluded.reason",
        protocol,
        _clean(title),
        _clean(address),
        reason[:200],
    )
    await tx.execute(
        "DELETE FROM caller WHERE id IN"
        " (SELECT id FROM caller ORDER BY last_seen DESC, id DESC OFFSET %s)",
        MAXIMUM,
    )


async def everyone(tx: Transaction) -> list[Caller]:
    """All of them, the last seen first."""
    rows = await tx.fetch_all(
        "SELECT id, protocol, title, address, reason, count, first_seen, last_seen"
        " FROM caller ORDER BY last_seen DESC, id DESC"
    )
    return [Caller(*row) for row in rows]


async def forget(tx: Transaction, caller_id: int) -> None:
    """Remove one from the list; that it is gone already is fine."""
    await tx.execute("DELETE FROM caller WHERE id = %s", caller_id)


async def forget_peer(tx: Transaction, ae_title: str) -> None:
    """What calls itself so has become a peer."""
    await tx.execute("DELETE FROM caller WHERE protocol = 'dicom' AND title = %s", ae_title)


async def forget_node(tx: Transaction, host: str) -> None:
    """What calls from this address has become an HL7 node."""
    await tx.execute("DELETE FROM caller WHERE protocol = 'hl7' AND address = %s", host)


def _clean(text: str) -> str:
    """What a stranger calls itself, without control characters, cut to 64."""
    return "".join(c for c in text[:64] if c.isprintable()).strip()
