"""``santepacs hl7``: send a message, look after the queue of outgoing ones, compare two."""

import re
from argparse import Namespace

from santepacs.commands.arguments import BAD_USAGE, Commands, key, text
from santepacs.commands.output import print_table, tell, write_text
from santepacs.commands.send_hl7 import exchange, message_in, print_message, show
from santepacs.commands.site import opened
from santepacs.db import blocking, nodes, outgoing
from santepacs.db.database import Transaction
from santepacs.db.nodes import Node
from santepacs.db.outgoing import OutgoingMessage, OutgoingRow
from santepacs.errors import Conflict, Malformed, NotFound
from santepacs.hl7.compare import IGNORED, SegmentComparison, Verdict, compare, differences
from santepacs.hl7.comparison_file import html
from santepacs.hl7.message import parse

ORIGIN = "command"
LISTED = 100
_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\s]+)):(?P<port>[0-9]{1,5})")
_MOMENT = "%Y-%m-%d %H:%M:%S"


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    hl7 = commands.group("hl7", "HL7 messages: send, queue, compare")
    send = hl7.command("send", _send, "send a message and print the answer; 0 if it is accepted")
    send.add_argument("receiver", metavar="NODE|HOST:PORT", type=text)
    send.add_argument("file", metavar="FILE", type=text, help="the message; - for standard input")
    send.add_argument(
        "--queue",
        action="store_true",
        help="leave it to the server, which tries until the node has it; prints its number",
    )
    comparing = hl7.command("compare", _compare, "compare two messages segment by segment")
    for name in ("first", "second"):
        comparing.add_argument(name, metavar="FILE", type=text)
    comparing.add_argument("--html", metavar="FILE", type=text, help="write all of it as a page")
    comparing.add_argument(
        "--ignore",
        metavar="FIELDS",
        type=text,
        default=",".join(IGNORED),
        help="fields whose difference does not count (default: %(default)s)",
    )
    _declare_queue(hl7.group("queue", "messages to be sent to HL7 nodes"))


def _declare_queue(queue: Commands) -> None:
    listing = queue.command(
        "list",
        _list,
        "list messages, newest first: number, node, state, attempts, type, control ID, answer,"
        " remark, when",
    )
    listing.add_argument("--state", choices=outgoing.STATES)
    listing.add_argument("--node", metavar="NAME", type=text, default="")
    for name, run, about in (
        ("show", _show, "print a message and its last answer"),
        ("again", _again, "send a message once more; prints its number"),
        ("cancel", _cancel, "do not send a message"),
    ):
        queue.command(name, run, about).add_argument("number", metavar="NUMBER", type=key)


# --- sending --------------------------------------------------------------------------------------


def _send(arguments: Namespace) -> int | None:
    raw = message_in(arguments.file)
    address = _ADDRESS.fullmatch(arguments.receiver)
    if address and arguments.queue:
        tell("only messages to an HL7 node can wait in the queue")
        return BAD_USAGE
    if address:
        return show(exchange(address["six"] or address["host"], int(address["port"]), raw))
    with opened(arguments) as foundation:
        if arguments.queue:

            async def enqueue(tx: Transaction) -> int:
                return await outgoing.enqueue(tx, arguments.receiver, raw, ORIGIN)

            print(blocking.transaction(foundation.dsn, enqueue))
            return None
        node = blocking.transaction(foundation.dsn, lambda tx: _node(tx, arguments.receiver))
        timeout = foundation.settings.hl7.send_timeout
        return show(exchange(node.host, node.port, raw, timeout))


async def _node(tx: Transaction, name: str) -> Node:
    node = await nodes.find(tx, name)
    if node is None:
        raise NotFound("there is no HL7 node of this name")
    if not node.port:
        raise Malformed("this HL7 node receives no messages: it has no port")
    return node


# --- the queue ------------------------------------------------------------------------------------


def _list(arguments: Namespace) -> None:
    async def page(tx: Transaction) -> list[OutgoingRow]:
        state = arguments.state or ""
        return await outgoing.page(tx, state=state, node=arguments.node, limit=LISTED)

    with opened(arguments) as foundation:
        print_table(map(_row, blocking.transaction(foundation.dsn, page)))


def _row(row: OutgoingRow) -> tuple[object, ...]:
    return (
        row.id,
        row.node,
        row.state,
        row.attempts,
        row.message_type,
        row.control_id,
        row.answer_code,
        row.remark,
        f"{row.ended_at or row.attempted_at or row.created_at:{_MOMENT}}",
    )


def _show(arguments: Namespace) -> None:
    async def message(tx: Transaction) -> OutgoingMessage | None:
        return await outgoing.message(tx, arguments.number)

    with opened(arguments) as foundation:
        found = blocking.transaction(foundation.dsn, message)
    if found is None:
        raise NotFound("there is no such message")
    print_table([_row(found.row)])
    for raw in filter(None, (found.raw, found.answer)):
        print()
        print_message(raw)


def _again(arguments: Namespace) -> None:
    async def again(tx: Transaction) -> int:
        return await outgoing.again(tx, arguments.number, ORIGIN)

    with opened(arguments) as foundation:
        print(blocking.transaction(foundation.dsn, again))


def _cancel(arguments: Namespace) -> None:
    async def cancel(tx: Transaction) -> None:
        if await outgoing.message(tx, arguments.number) is None:
            raise NotFound("there is no such message")
        if not await outgoing.cancel(tx, arguments.number):
            raise Conflict("this message does not wait any more")

    with opened(arguments) as foundation:
        blocking.transaction(foundation.dsn, cancel)


# --- comparing ------------------------------------------------------------------------------------


def _compare(arguments: Namespace) -> None:
    first, second = (parse(message_in(path)) for path in (arguments.first, arguments.second))
    found = compare(first, second, ignore=arguments.ignore.split(","))
    different = differences(found)
    print_table(row for each in different for row in _differing_fields(each))
    print(f"{len(different)} of {len(found)} segments differ")
    if arguments.html:
        write_text(arguments.html, html(found, arguments.first, arguments.second))


def _differing_fields(each: SegmentComparison) -> list[tuple[str, ...]]:
    """Field, place in both messages, text in both."""
    places = tuple(str(place or "") for place in (each.first, each.second))
    return [
        (f"{each.name}-{field.number}", *places, field.first, field.second)
        for field in each.fields
        if field.verdict not in (Verdict.SAME, Verdict.IGNORED)
    ]
