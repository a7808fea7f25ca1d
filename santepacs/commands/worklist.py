"""``santepacs worklist``: records of the worklist."""

import secrets
from argparse import Namespace
from datetime import datetime

from santepacs.commands import scanners
from santepacs.commands.arguments import Commands, key, text
from santepacs.commands.output import write_bytes
from santepacs.commands.site import opened
from santepacs.db import blocking, orders
from santepacs.db.database import Transaction
from santepacs.db.orders import StoredRecord
from santepacs.errors import NotFound
from santepacs.hl7.acknowledgement import Sender
from santepacs.hl7.compose import UTF_8, order_message


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    worklist = commands.group("worklist", "worklist records")
    scanners.declare(worklist)
    export = worklist.command("export", _export, "write a record as an HL7 order message")
    export.add_argument("number", metavar="ID", type=key)
    export.add_argument("file", metavar="FILE", nargs="?", type=text, help="default: stdout")
    export.add_argument("--application", metavar="NAME", type=text, default="", help="MSH-5")
    export.add_argument("--facility", metavar="NAME", type=text, default="", help="MSH-6")
    export.add_argument(
        "--charset",
        metavar="NAME",
        type=text,
        default=UTF_8,
        help="of HL7 table 0211 (default: %(default)s, also for what it cannot hold)",
    )


def _export(arguments: Namespace) -> None:
    async def find(tx: Transaction) -> StoredRecord | None:
        return await orders.record(tx, arguments.number)

    with opened(arguments) as foundation:
        stored = blocking.transaction(foundation.dsn, find)
        if stored is None:
            raise NotFound("there is no such worklist record")
        own = foundation.settings.hl7
        message = order_message(
            stored.record,
            sender=Sender(own.sending_application, own.sending_facility),
            receiver=Sender(arguments.application, arguments.facility),
            control_id=secrets.token_hex(10).upper(),
            now=datetime.now().astimezone(),
            charset=arguments.charset,
        )
        write_bytes(arguments.file, message)
