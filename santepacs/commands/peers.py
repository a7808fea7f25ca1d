"""``santepacs peer``: the DICOM applications that santepacs knows."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from santepacs.commands.arguments import BAD_USAGE, Commands, port, text
from santepacs.commands.output import MOMENT, print_table, tell
from santepacs.commands.site import opened
from santepacs.db import blocking, callers, peers
from santepacs.db.database import Transaction
from santepacs.dicom import charsets, tls
from santepacs.dicom.client import Client
from santepacs.errors import NotFound
from santepacs.model.addresses import is_loopback
from santepacs.model.peers import PERMISSIONS, TRANSLITERATED, Address, Peer, checked
from santepacs.settings import Settings

MOVE_TO_OTHERS = "move-to-others"
_FLAGS = {**{name: f"may_{name}" for name in PERMISSIONS}, MOVE_TO_OTHERS: "may_move_to_others"}
_MEANING = (
    f"joined by commas: {', '.join(PERMISSIONS)}, and {MOVE_TO_OTHERS} (whether its C-MOVE may "
    "send to others than itself; denied unless it is allowed)"
)


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    peer = commands.group("peer", "DICOM peers")
    add = peer.command("add", _add, "let a DICOM application associate, and send to it")
    _title(add)
    add.add_argument("host", metavar="HOST", type=text, help="its address or host name")
    add.add_argument("port", metavar="PORT", type=port)
    _properties(add)
    edit = peer.command("edit", _edit, "change what is known of a peer; the rest stays")
    _title(edit)
    edit.add_argument("--title", metavar="AE_TITLE", type=text, help="its new AE title")
    edit.add_argument("--host", metavar="HOST", type=text, help="its address or host name")
    edit.add_argument("--port", metavar="PORT", type=port)
    _properties(edit)
    for option, value in (("--enable", True), ("--disable", False)):
        edit.add_argument(
            option,
            dest="enabled",
            action="store_const",
            const=value,
            help=f"{option[2:]} it; a disabled peer is an unknown caller",
        )
    peer.command("list", _list, "list all peers: AE title, host, port, permissions, state, more")
    for name, run, about in (
        ("echo", _echo, "ask a peer whether it answers (C-ECHO)"),
        ("delete", _delete, "remove a peer"),
    ):
        _title(peer.command(name, run, about))
    peer.command(
        "unknown",
        _unknown,
        "list who called without being a peer: title, address, why, count, when",
    )


def _title(parser: ArgumentParser) -> None:
    parser.add_argument("ae_title", metavar="AE_TITLE", type=_stripped)


def _properties(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--address",
        metavar="HOST[:PORT]",
        dest="other_addresses",
        action="append",
        type=_address,
        help="a further address that it calls from, repeatable; without PORT with the first one's",
    )
    parser.add_argument(
        "--no-other-address",
        dest="other_addresses",
        action="store_const",
        const=[],
        help="it calls from its first address alone",
    )
    for option, meaning in (("--deny", "may not"), ("--allow", "may")):
        parser.add_argument(
            option,
            metavar="PERMISSIONS",
            type=_permissions,
            default=frozenset(),
            help=f"what it {meaning} ask of us, {_MEANING}",
        )
    for option, value in (("--tls", True), ("--no-tls", False)):
        how = "with" if value else "without"
        parser.add_argument(
            option, dest="tls", action="store_const", const=value, help=f"call it {how} TLS"
        )
    parser.add_argument(
        "--certificate",
        metavar="FILE",
        type=text,
        help="PEM file with its TLS certificate, '' for none. When it calls us, that stands for its"
        " address if dicom.tls_ca verifies it; when we call it, showing this one is enough",
    )
    parser.add_argument(
        "--worklist-charset",
        metavar="TERMS",
        type=_charset,
        help="character set of its worklist answers: Specific Character Set like ISO_IR 126 or"
        " '\\ISO 2022 IR 87'; 'transliterated' for Latin letters without accents; '' (as at first)"
        " for the smallest that suffices",
    )
    for option, value in (("--append-wildcard", True), ("--no-append-wildcard", False)):
        meaning = "like DOE* (many modalities mean that)" if value else "as it is"
        parser.add_argument(
            option,
            dest="append_wildcard",
            action="store_const",
            const=value,
            help=f"take the name DOE in its worklist queries {meaning}",
        )


def _stripped(argument: str) -> str:
    return text(argument).strip(" ")


def _charset(argument: str) -> str:
    if argument not in ("", TRANSLITERATED) and charsets.asked(text(argument).encode()) is None:
        raise ArgumentTypeError("is no Specific Character Set like ISO_IR 126")
    return argument


def _permissions(argument: str) -> frozenset[str]:
    named = {word.strip().lower() for word in argument.split(",")}
    if not named.issubset(_FLAGS):
        raise ArgumentTypeError(f"permissions are {', '.join(_FLAGS)}, joined by commas")
    return frozenset(named)


def _address(argument: str) -> Address:
    """A host, perhaps with a port; an IPv6 address with a port stands in brackets.

    Port 0 stands for the one of the first address.
    """
    host, colon, number = text(argument).rpartition(":")
    if colon and host.startswith("[") and host.endswith("]"):
        return Address(host[1:-1], port(number))
    if colon and ":" not in host:
        return Address(host, port(number))
    return Address(argument.removeprefix("[").removesuffix("]"), 0)


def _add(arguments: Namespace) -> None:
    new = Peer(arguments.ae_title, arguments.host, arguments.port)
    peer = _changed(new, _changes(arguments))

    async def add(tx: Transaction) -> None:
        await peers.add(tx, peer)

    with opened(arguments, may_create=True) as foundation:
        blocking.transaction(foundation.dsn, add)
        _print_state(peer)
        _warn(peer, arguments, foundation.settings)


def _edit(arguments: Namespace) -> int | None:
    changes = _changes(arguments)
    for name in ("host", "port", "enabled"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    if arguments.title is not None:
        changes["ae_title"] = arguments.title
    if not changes:
        tell("nothing to change (see santepacs peer edit --help)")
        return BAD_USAGE

    async def edit(tx: Transaction) -> Peer:
        peer = await _found(tx, arguments.ae_title)
        changed = _changed(peer, changes)
        await peers.change(tx, peer.ae_title, changed)
        return changed

    with opened(arguments) as foundation:
        changed = blocking.transaction(foundation.dsn, edit)
        _print_state(changed)
        _warn(changed, arguments, foundation.settings)
    return None


def _changes(arguments: Namespace) -> dict[str, Any]:
    """What the options common to both say. Raises Malformed for a file that is no certificate."""
    changes: dict[str, Any] = {_FLAGS[name]: True for name in arguments.allow}
    changes |= {_FLAGS[name]: False for name in arguments.deny}
    if arguments.other_addresses is not None:
        changes["other_addresses"] = tuple(arguments.other_addresses)
    for name in ("tls", "worklist_charset", "append_wildcard"):
        if getattr(arguments, name) is not None:
            changes[name] = getattr(arguments, name)
    if arguments.certificate is not None:
        path = arguments.certificate
        changes["certificate"] = path and tls.fingerprint(tls.read_certificate(path))
    return changes


def _changed(peer: Peer, changes: dict[str, Any]) -> Peer:
    peer = replace(peer, **changes)
    others = (replace(each, port=each.port or peer.port) for each in peer.other_addresses)
    return checked(replace(peer, other_addresses=tuple(others)))


def _print_state(peer: Peer) -> None:
    """What is so now, in a line."""
    ae_title, host, number, granted, state, more = _row(peer)
    further = f", {more}" if more else ""
    print(f"{ae_title} at {host} port {number} is {state}, may {granted or 'only verify'}{further}")


def _warn(peer: Peer, arguments: Namespace, settings: Settings) -> None:
    """Say what may surprise."""
    if arguments.certificate:
        until = tls.expiry(tls.read_certificate(arguments.certificate))
        if until < datetime.now(UTC):
            tell(f"its certificate has expired ({until:{MOMENT}})")
    is_here = any(each.host == "localhost" or is_loopback(each.host) for each in peer.addresses)
    if arguments.deny and is_here and settings.dicom.trust_loopback:
        tell("callers on this machine may do everything while dicom.trust_loopback is on")


def _unknown(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        noted = blocking.transaction(foundation.dsn, callers.everyone)
    print_table(
        (each.title, each.address, each.reason, each.count, f"{each.last_seen:{MOMENT}}")
        for each in noted
        if each.protocol == "dicom"
    )


def _list(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        print_table(map(_row, blocking.transaction(foundation.dsn, peers.everyone)))


def _row(peer: Peer) -> tuple[object, ...]:
    granted = ",".join(name for name, flag in _FLAGS.items() if getattr(peer, flag))
    state = "enabled" if peer.enabled else "disabled"
    return peer.ae_title, peer.host, peer.port, granted, state, ",".join(_more(peer))


def _more(peer: Peer) -> Iterator[str]:
    for address in peer.other_addresses:
        host = f"[{address.host}]" if ":" in address.host else address.host
        yield f"{host}:{address.port}"
    if peer.tls:
        yield "tls"
    if peer.certificate:
        yield f"certificate={peer.certificate[:16]}"
    if peer.worklist_charset:
        yield f"worklist-charset={peer.worklist_charset}"
    if peer.append_wildcard:
        yield "append-wildcard"


def _echo(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        peer = blocking.transaction(foundation.dsn, lambda tx: _found(tx, arguments.ae_title))
        Client(foundation.settings).echo(peer)
        print(f"{peer.ae_title} answers")


def _delete(arguments: Namespace) -> None:
    async def delete(tx: Transaction) -> None:
        await peers.delete(tx, arguments.ae_title)

    with opened(arguments) as foundation:
        blocking.transaction(foundation.dsn, delete)
        print(f"{arguments.ae_title} is no peer any more")


async def _found(tx: Transaction, ae_title: str) -> Peer:
    peer = await peers.find(tx, ae_title)
    if peer is None:
        raise NotFound(f"there is no peer {ae_title}")
    return peer
