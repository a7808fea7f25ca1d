"""``santepacs mapping``: which field of an HL7 order fills which field of the worklist."""

from argparse import Namespace

from santepacs.commands.arguments import Commands, text
from santepacs.commands.output import read_text, write_text
from santepacs.commands.site import opened
from santepacs.db import blocking, facts
from santepacs.db.database import Transaction
from santepacs.worklist.mapping import DEFAULT, Mappings
from santepacs.worklist.mapping_json import parsed, written


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    mapping = commands.group("mapping", "HL7 field mapping, as JSON")
    export = mapping.command("export", _export, "write the field mapping to a file or stdout")
    export.add_argument("file", metavar="FILE", nargs="?", type=text)
    read = mapping.command("import", _import, "put the field mapping of a file in force")
    read.add_argument("file", metavar="FILE", type=text)
    mapping.command("default", _default, "put the default field mapping in force again")


def _export(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        kept = blocking.transaction(foundation.dsn, facts.hl7_mapping)
        mappings = parsed(kept, "the saved field mapping") if kept else Mappings(DEFAULT)
        write_text(arguments.file, written(mappings))


def _import(arguments: Namespace) -> None:
    mappings = parsed(read_text(arguments.file), arguments.file)

    async def keep(tx: Transaction) -> None:
        await facts.keep_hl7_mapping(tx, written(mappings))

    with opened(arguments, may_create=True) as foundation:
        blocking.transaction(foundation.dsn, keep)
        senders = f" and {len(mappings.by_sender)} of senders" if mappings.by_sender else ""
        print(f"field mapping with {len(mappings.default.rows)} rows{senders} saved")


def _default(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        blocking.transaction(foundation.dsn, facts.forget_hl7_mapping)
        print("the default field mapping is in force")
