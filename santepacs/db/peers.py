"""The list of DICOM peers."""

from dataclasses import astuple

from santepacs.db.database import Transaction
from santepacs.errors import Conflict, NotFound
from santepacs.model.peers import Peer, checked

_COLUMNS = (
    "ae_title, host, port, may_store, may_query, may_retrieve, may_worklist, enabled"  # as in Peer
)


async def everyone(tx: Transaction) -> list[Peer]:
    """All peers, by AE title."""
    rows = await tx.fetch_all(f"SELECT {_COLUMNS} FROM peer ORDER BY ae_title")  # noqa: S608
    return [Peer(*row) for row in rows]


async def find(tx: Transaction, ae_title: str) -> Peer | None:
    """The peer with this AE title, enabled or not."""
    sql = f"SELECT {_COLUMNS} FROM peer WHERE ae_title = %s"  # noqa: S608
    row = await tx.fetch_one(sql, ae_title)
    return row and Peer(*row)


async def add(tx: Transaction, peer: Peer) -> None:
    """Add a peer. Raises Malformed for an impossible one, Conflict if its AE title is taken."""
    added = await tx.execute(
        f"INSERT INTO peer ({_COLUMNS}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
        " ON CONFLICT DO NOTHING",
        *astuple(checked(peer)),
    )
    if not added:
        raise Conflict(f"there is a peer {peer.ae_title} already")


async def change(tx: Transaction, ae_title: str, peer: Peer) -> None:
    """Make the peer `ae_title` what `peer` says, its AE title included.

    Raises Malformed, NotFound, or Conflict if the new AE title is another peer's.
    """
    checked(peer)
    if peer.ae_title != ae_title and await find(tx, peer.ae_title):
        raise Conflict(f"there is a peer {peer.ae_title} already")
    changed = await tx.execute(
        f"UPDATE peer SET ({_COLUMNS}) = (%s, %s, %s, %s, %s, %s, %s, %s)"  # noqa: S608
        " WHERE ae_title = %s",
        *astuple(peer),
        ae_title,
    )
    if not changed:
        raise NotFound(f"there is no peer {ae_title}")


async def delete(tx: Transaction, ae_title: str) -> None:
    """Remove a peer. Raises NotFound."""
    if not await tx.execute("DELETE FROM peer WHERE ae_title = %s", ae_title):
        raise NotFound(f"there is no peer {ae_title}")
