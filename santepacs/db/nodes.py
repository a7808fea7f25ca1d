"""HL7 nodes: the systems that may send orders and ask for tokens, and that messages are sent to."""

import re
from dataclasses import dataclass

from santepacs.db import callers
from santepacs.db.database import Transaction
from santepacs.errors import Conflict, Malformed, NotFound

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._:-]{0,251}[A-Za-z0-9:])?|::1?")


@dataclass(frozen=True, slots=True)
class Node:
    """`host`: an address or a DNS name. `port`: where it receives messages; 0: it only sends."""

    name: str
    host: str
    port: int = 0
    enabled: bool = True

    def __post_init__(self) -> None:
        """Raises Malformed naming what is not acceptable."""
        if not self.name.strip() or len(self.name) > 64 or not self.name.isprintable():
            raise Malformed("a node's name has 1 to 64 printable characters")
        if not _HOST.fullmatch(self.host):
            raise Malformed("a node's host is an address or a host name")
        if not 0 <= self.port <= 65535:
            raise Malformed("a port is a number from 0 to 65535")


async def add(tx: Transaction, node: Node) -> None:
    """Add a node. Raises Conflict when there is one of that name."""
    added = await tx.execute(
        "INSERT INTO hl7_node (name, host, port, enabled) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (name) DO NOTHING",
        node.name,
        node.host,
        node.port,
        node.enabled,
    )
    if not added:
        raise Conflict("there is already an HL7 node of this name")
    await callers.forget_node(tx, node.host)


async def list_all(tx: Transaction) -> list[Node]:
    """All nodes by name."""
    rows = await tx.fetch_all("SELECT name, host, port, enabled FROM hl7_node ORDER BY name")
    return [Node(*row) for row in rows]


async def find(tx: Transaction, name: str) -> Node | None:
    """The node of that name."""
    row = await tx.fetch_one("SELECT name, host, port, enabled FROM hl7_node WHERE name = %s", name)
    return None if row is None else Node(*row)


async def change(tx: Transaction, name: str, node: Node) -> None:
    """Make the node `name` what `node` says, its name included.

    Raises NotFound, or Conflict if the new name is another node's.
    """
    if node.name != name and await find(tx, node.name):
        raise Conflict("there is already an HL7 node of this name")
    changed = await tx.execute(
        "UPDATE hl7_node SET name = %s, host = %s, port = %s, enabled = %s WHERE name = %s",
        node.name,
        node.host,
        node.port,
        node.enabled,
        name,
    )
    if not changed:
        raise NotFound("there is no HL7 node of this name")


async def delete(tx: Transaction, name: str) -> None:
    """Delete a node. Raises NotFound."""
    if not await tx.execute("DELETE FROM hl7_node WHERE name = %s", name):
        raise NotFound("there is no HL7 node of this name")


async def enabled_hosts(tx: Transaction) -> list[str]:
    """The hosts of enabled nodes, as they were entered."""
    rows = await tx.fetch_all("SELECT DISTINCT host FROM hl7_node WHERE enabled ORDER BY host")
    return [row.host for row in rows]
