"""``santepacs mapping``: which field of an HL7 order fills which field of the worklist."""

from argparse import Namespace

from santepacs.commands.arguments import Commands, text
from santepacs.commands.output import read_text, write_text
from santepacs.commands.site import opened
from santepacs.db import blocking, facts
from santepacs.db.database import Transaction
from santepacs.worklist.mapping import DEFAULT
from santepacs.worklist.mapping_json import parsed, written


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    mapping = commands.group("mapping", "HL7 field mapping, as JSON")
    export = mapping.command("export", _export, "write the field mapping to a file or stdout")
    export.add_argument("file", metavar="FILE", nargs="?", type=text)
    read = mapping.command("import", _import, "put the field mapping of a file in force")
    read.add_argument("file", metavar="FILE", type=text)


def _export(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        kept = blocking.transaction(foundation.dsn, facts.hl7_mapping)
        mapping = DEFAULT if kept is None else parsed(kept, "the saved field mapping")
        write_text(arguments.file, written(mapping))


def _import(arguments: Namespace) -> None:
    mapping = parsed(read_text(arguments.file), arguments.file)

    async def keep(tx: Transaction) -> None:
        await facts.keep_hl7_mapping(tx, written(mapping))

    with opened(arguments, may_create=True) as foundation:
        blocking.transaction(foundation.dsn, keep)
        print(f"field mapping with {len(mapping.rows)} rows saved")
