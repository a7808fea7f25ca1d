"""``santepacs peer``: the DICOM applications that santepacs knows."""

from argparse import ArgumentTypeError, Namespace

from santepacs.commands.arguments import Commands, port, text
from santepacs.commands.output import print_table
from santepacs.commands.site import opened
from santepacs.db import blocking, peers
from santepacs.db.database import Transaction
from santepacs.dicom.client import Client
from santepacs.errors import NotFound
from santepacs.model.peers import PERMISSIONS, Peer, checked


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    peer = commands.group("peer", "DICOM peers")
    add = peer.command("add", _add, "let a DICOM application associate, and send to it")
    add.add_argument("ae_title", metavar="AE_TITLE", type=text)
    add.add_argument("host", metavar="HOST", type=text, help="its address or host name")
    add.add_argument("port", metavar="PORT", type=port)
    add.add_argument(
        "--deny",
        metavar="PERMISSIONS",
        type=_permissions,
        default=frozenset(),
        help=f"what it may not ask of us, joined by commas: {', '.join(PERMISSIONS)}",
    )
    peer.command("list", _list, "list all peers: AE title, host, port, permissions, state")
    for name, run, about in (
        ("echo", _echo, "ask a peer whether it answers (C-ECHO)"),
        ("delete", _delete, "remove a peer"),
    ):
        peer.command(name, run, about).add_argument("ae_title", metavar="AE_TITLE", type=text)


def _permissions(argument: str) -> frozenset[str]:
    named = {word.strip().lower() for word in argument.split(",")}
    if not named.issubset(PERMISSIONS):
        raise ArgumentTypeError(f"permissions are {', '.join(PERMISSIONS)}, joined by commas")
    return frozenset(named)


def _add(arguments: Namespace) -> None:
    granted = {f"may_{name}": name not in arguments.deny for name in PERMISSIONS}
    peer = checked(Peer(arguments.ae_title, arguments.host, arguments.port, **granted))

    async def add(tx: Transaction) -> None:
        await peers.add(tx, peer)

    with opened(arguments, may_create=True) as foundation:
        blocking.transaction(foundation.dsn, add)


def _list(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        print_table(map(_row, blocking.transaction(foundation.dsn, peers.everyone)))


def _row(peer: Peer) -> tuple[object, ...]:
    granted = ",".join(name for name in PERMISSIONS if getattr(peer, f"may_{name}"))
    state = "enabled" if peer.enabled else "disabled"
    return peer.ae_title, peer.host, peer.port, granted, state


def _echo(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        peer = blocking.transaction(foundation.dsn, lambda tx: peers.find(tx, arguments.ae_title))
        if peer is None:
            raise NotFound(f"there is no peer {arguments.ae_title}")
        Client(foundation.settings).echo(peer)
        print(f"{peer.ae_title} answers")


def _delete(arguments: Namespace) -> None:
    async def delete(tx: Transaction) -> None:
        await peers.delete(tx, arguments.ae_title)

    with opened(arguments) as foundation:
        blocking.transaction(foundation.dsn, delete)
