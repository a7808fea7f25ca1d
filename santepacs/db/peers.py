"""The list of DICOM peers."""

from typing import Any

from santepacs.db import callers
from santepacs.db.database import Transaction
from santepacs.errors import Conflict, NotFound
from santepacs.model.peers import Address, Peer, checked

_PEERS = (
    "SELECT p.ae_title, p.may_store, p.may_query, p.may_retrieve, p.may_worklist, p.enabled,"
    " p.may_move_to_others, p.tls, p.certificate, p.worklist_charset, p.append_wildcard,"
    " array_agg(a.host ORDER BY a.place) AS hosts, array_agg(a.port ORDER BY a.place) AS ports"
    " FROM peer p JOIN peer_address a USING (ae_title)"
)


async def everyone(tx: Transaction) -> list[Peer]:
    """All peers, by AE title."""
    rows = await tx.fetch_all(f"{_PEERS} GROUP BY p.ae_title ORDER BY p.ae_title")
    return [_peer(row) for row in rows]


async def find(tx: Transaction, ae_title: str) -> Peer | None:
    """The peer with this AE title, enabled or not."""
    row = await tx.fetch_one(f"{_PEERS} WHERE p.ae_title = %s GROUP BY p.ae_title", ae_title)
    return row and _peer(row)


async def add(tx: Transaction, peer: Peer) -> None:
    """Add a peer. Raises Malformed for an impossible one, Conflict if its AE title is taken."""
    peer = checked(peer)
    added = await tx.execute(
        "INSERT INTO peer (ae_title, may_store, may_query, may_retrieve, may_worklist, enabled,"
        " may_move_to_others, tls, certificate, worklist_charset, append_wildcard)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
        *_columns(peer),
    )
    if not added:
        raise Conflict(f"there is a peer {peer.ae_title} already; it can be edited")
    await _add_addresses(tx, peer)
    await callers.forget_peer(tx, peer.ae_title)


async def change(tx: Transaction, ae_title: str, peer: Peer) -> None:
    """Make the peer `ae_title` what `peer` says, its AE title included.

    Raises Malformed, NotFound, or Conflict if the new AE title is another peer's.
    """
    peer = checked(peer)
    if peer.ae_title != ae_title and await find(tx, peer.ae_title):
        raise Conflict(f"there is a peer {peer.ae_title} already")
    changed = await tx.execute(
        "UPDATE peer SET (ae_title, may_store, may_query, may_retrieve, may_worklist, enabled,"
        " may_move_to_others, tls, certificate, worklist_charset, append_wildcard)"
        " = (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) WHERE ae_title = %s",
        *_columns(peer),
        ae_title,
    )
    if not changed:
        raise NotFound(f"there is no peer {ae_title}")
    await tx.execute("DELETE FROM peer_address WHERE ae_title = %s", peer.ae_title)
    await _add_addresses(tx, peer)
    await callers.forget_peer(tx, peer.ae_title)


async def delete(tx: Transaction, ae_title: str) -> None:
    """Remove a peer. Raises NotFound."""
    if not await tx.execute("DELETE FROM peer WHERE ae_title = %s", ae_title):
        raise NotFound(f"there is no peer {ae_title}")


async def _add_addresses(tx: Transaction, peer: Peer) -> None:
    await tx.execute(
        "INSERT INTO peer_address (ae_title, place, host, port)"
        " SELECT %s, place, host, port"
        " FROM unnest(%s::text[], %s::integer[]) WITH ORDINALITY AS given (host, port, place)",
        peer.ae_title,
        [address.host for address in peer.addresses],
        [address.port for address in peer.addresses],
    )


def _peer(row: Any) -> Peer:
    first, *others = map(Address, row.hosts, row.ports)
    return Peer(
        row.ae_title,
        first.host,
        first.port,
        may_store=row.may_store,
        may_query=row.may_query,
        may_retrieve=row.may_retrieve,
        may_worklist=row.may_worklist,
        enabled=row.enabled,
        other_addresses=tuple(others),
        may_move_to_others=row.may_move_to_others,
        tls=row.tls,
        certificate=row.certificate,
        worklist_charset=row.worklist_charset,
        append_wildcard=row.append_wildcard,
    )


def _columns(peer: Peer) -> tuple[Any, ...]:
    return (
        peer.ae_title,
        peer.may_store,
        peer.may_query,
        peer.may_retrieve,
        peer.may_worklist,
        peer.enabled,
        peer.may_move_to_others,
        peer.tls,
        peer.certificate,
        peer.worklist_charset,
        peer.append_wildcard,
    )
