"""``santepacs worklist see`` and ``query``: worklists as scanners ask for them."""

import secrets
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from datetime import date, datetime, timedelta

from santepacs.commands.arguments import Commands, key, port, text
from santepacs.commands.output import print_table, tell
from santepacs.commands.site import Running, opened, with_reactor
from santepacs.db import blocking, peers
from santepacs.db.database import Transaction
from santepacs.dicom.asking import Answered, find_worklist
from santepacs.dicom.client import Client
from santepacs.errors import NotFound
from santepacs.model.order import VISIBLE, StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer, checked
from santepacs.startup import Foundation
from santepacs.worklist.scanner_view import Explanation, ScannerView, Sight, typical_query
from santepacs.worklist.worklist import Worklist

ACTOR = "command line"
DICOM_PORT = 104
_DAYS = {"today": 0, "yesterday": -1, "tomorrow": 1}


def declare(worklist: Commands) -> None:
    """Add the commands to the group."""
    see = worklist.command("see", _see, "what a scanner sees of our worklist, and why")
    see.add_argument("ae_title", metavar="AE_TITLE", type=_title, help="of the scanner")
    see.add_argument(
        "--record", metavar="ID", type=key, help="say why this record is found or not, key by key"
    )
    _keys(see, "without any key: its own steps of today")
    query = worklist.command("query", _query, "ask another worklist server")
    query.add_argument("ae_title", metavar="AE_TITLE", type=_title, help="of the server: a peer")
    query.add_argument("--host", metavar="HOST", type=text, help="of a server that is no peer")
    query.add_argument("--port", metavar="PORT", type=port, help="its port (default: 104)")
    query.add_argument("--limit", metavar="N", type=key, default=1000, help="default: 1000")
    query.add_argument(
        "--import",
        dest="keep",
        action="store_true",
        help="keep what is found in our worklist; steps that are known are brought up to date",
    )
    _keys(query, "without any key: everything that it has")


def _keys(parser: ArgumentParser, without: str) -> None:
    keys = parser.add_argument_group("keys", f"{without}; * and ? are wildcards")
    keys.add_argument(
        "--from",
        dest="date_from",
        metavar="DATE",
        type=_day,
        help="first start date: YYYY-MM-DD, today, yesterday or tomorrow",
    )
    keys.add_argument("--to", dest="date_to", metavar="DATE", type=_day, help="last start date")
    keys.add_argument("--modality", metavar="CODE", type=text)
    keys.add_argument("--station", metavar="AE_TITLE", type=text, help="scheduled station AE title")
    keys.add_argument("--patient", metavar="NAME", type=text, help="like DOE^J*")
    keys.add_argument("--patient-id", metavar="ID", type=text)
    keys.add_argument("--birth-date", metavar="DATE", type=_day)
    keys.add_argument("--accession", metavar="NUMBER", type=text)
    keys.add_argument("--procedure", metavar="ID", type=text, help="requested procedure ID")
    keys.add_argument(
        "--status", metavar="STATUS", type=_status, help="instead of those that scanners see"
    )


def _title(argument: str) -> str:
    return text(argument).strip(" ")


def _day(argument: str) -> str:
    if argument in _DAYS:
        return f"{_today() + timedelta(days=_DAYS[argument]):%Y%m%d}"
    try:
        return f"{date.fromisoformat(argument):%Y%m%d}"
    except ValueError:
        words = ", ".join(_DAYS)
        raise ArgumentTypeError(f"is no date like 2026-11-20, and none of {words}") from None


def _status(argument: str) -> StepStatus:
    try:
        return StepStatus(argument.upper())
    except ValueError:
        raise ArgumentTypeError(f"is none of {', '.join(StepStatus)}") from None


def _today() -> date:
    return datetime.now().astimezone().date()


def _asked(arguments: Namespace) -> WorklistQuery:
    step = StepQuery(
        station_ae_titles=(arguments.station,) if arguments.station else (),
        modalities=(arguments.modality.upper(),) if arguments.modality else (),
        start_date_from=arguments.date_from or "",
        start_date_to=arguments.date_to or "",
        statuses=(arguments.status,) if arguments.status else VISIBLE,
    )
    return WorklistQuery(
        patient_name=arguments.patient or "",
        patient_id=arguments.patient_id or "",
        patient_birth_date_from=arguments.birth_date or "",
        patient_birth_date_to=arguments.birth_date or "",
        accession_number=arguments.accession or "",
        requested_procedure_id=arguments.procedure or "",
        steps=(step,),
    )


# --- see ----------------------------------------------------------------------------------------


def _see(arguments: Namespace) -> None:
    asked = _asked(arguments)
    if asked == WorklistQuery():
        asked = typical_query(arguments.ae_title, _today())

    with opened(arguments) as foundation:

        async def see(running: Running) -> Sight | Explanation:
            view = ScannerView(running.database, foundation.settings)
            if arguments.record:
                return await view.explain(arguments.ae_title, asked, arguments.record)
            return await view.see(arguments.ae_title, asked)

        seen = with_reactor(foundation, see)
    for note in (seen.refusal, *seen.notes):
        if note:
            tell(note)
    if isinstance(seen, Explanation):
        print_table(("yes" if one.matches else "no", one.key, one.text) for one in seen.reasons)
        sent = "is sent" if seen.is_found else "is not sent"
        print(f"record {seen.stored.id} {sent} to {arguments.ae_title}")
        return
    if not seen.records and not seen.refusal:
        tell("no step is found; --from and the other keys ask otherwise, --record ID says why not")
    print_table((stored.id, *_row(stored.record)) for stored in seen.records)
    if seen.is_cut:
        tell(f"only the first {len(seen.records)} are sent (worklist.maximum_results)")


def _row(record: WorklistRecord) -> tuple[str, ...]:
    return (
        record.start_date,
        record.start_time,
        record.scheduled_station_ae_title,
        record.modality,
        record.step_status.value,
        record.patient_id,
        record.patient_name,
        record.accession_number,
        record.requested_procedure_id,
        record.requested_procedure_description,
    )


# --- query --------------------------------------------------------------------------------------


def _query(arguments: Namespace) -> None:
    asked = _asked(arguments)
    with opened(arguments) as foundation:
        server = _server(arguments, foundation)
        found = find_worklist(Client(foundation.settings), server, asked, arguments.limit)
        print_table(map(_row, found.records))
        if found.is_cut:
            tell(f"there are more than {arguments.limit}; the rest was not waited for")
        if found.left_out:
            tell(f"{found.left_out} answers could not be read")
        if arguments.keep and found.records:
            added, changed = with_reactor(foundation, lambda run: _keep(run, foundation, found))
            tell(f"records added: {added}, changed: {changed}")


def _server(arguments: Namespace, foundation: Foundation) -> Peer:
    """The peer of that title, or the server that the options name."""
    if arguments.host:
        return checked(Peer(arguments.ae_title, arguments.host, arguments.port or DICOM_PORT))

    async def find(tx: Transaction) -> Peer | None:
        return await peers.find(tx, arguments.ae_title)

    peer = blocking.transaction(foundation.dsn, find)
    if peer is None:
        raise NotFound(f"there is no peer {arguments.ae_title}; --host and --port name another")
    return peer


async def _keep(running: Running, foundation: Foundation, found: Answered) -> tuple[int, int]:
    worklist = Worklist(running.database, foundation.settings, secrets.randbelow)
    return await worklist.import_records(found.records, ACTOR)
