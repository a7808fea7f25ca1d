"""``santepacs node``: the HL7 nodes, which may send orders and ask for tokens."""

from argparse import Namespace

from santepacs.commands.arguments import Commands, port, text
from santepacs.commands.output import MOMENT, print_table
from santepacs.commands.site import opened
from santepacs.db import blocking, callers, nodes
from santepacs.db.database import Transaction
from santepacs.db.nodes import Node


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    node = commands.group("node", "HL7 nodes")
    add = node.command("add", _add, "let a system connect to the HL7 port")
    add.add_argument("name", metavar="NAME", type=text)
    add.add_argument("host", metavar="HOST", type=text, help="its address or host name")
    add.add_argument(
        "port",
        metavar="PORT",
        type=port,
        nargs="?",
        default=0,
        help="where it receives messages, if it does",
    )
    node.command("list", _list, "list all HL7 nodes: name, host, port, state")
    node.command("delete", _delete, "remove an HL7 node").add_argument(
        "name", metavar="NAME", type=text
    )
    node.command(
        "unknown", _unknown, "list who called without being a node: address, why, count, when"
    )


def _add(arguments: Namespace) -> None:
    node = Node(arguments.name, arguments.host, arguments.port)

    async def add(tx: Transaction) -> None:
        await nodes.add(tx, node)

    with opened(arguments, may_create=True) as foundation:
        blocking.transaction(foundation.dsn, add)


def _list(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        print_table(
            (node.name, node.host, node.port or "", "enabled" if node.enabled else "disabled")
            for node in blocking.transaction(foundation.dsn, nodes.list_all)
        )


def _unknown(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        noted = blocking.transaction(foundation.dsn, callers.everyone)
    print_table(
        (each.address, each.reason, each.count, f"{each.last_seen:{MOMENT}}")
        for each in noted
        if each.protocol == "hl7"
    )


def _delete(arguments: Namespace) -> None:
    async def delete(tx: Transaction) -> None:
        await nodes.delete(tx, arguments.name)

    with opened(arguments) as foundation:
        blocking.transaction(foundation.dsn, delete)
