"""``santepacs token``: the permanent token of a study, or of all studies of a patient."""

from argparse import Namespace

from santepacs.commands.arguments import Commands, text
from santepacs.commands.output import print_table
from santepacs.commands.site import opened
from santepacs.db import blocking, studies
from santepacs.db.database import Transaction
from santepacs.db.studies import StudyRow
from santepacs.errors import Conflict, NotFound
from santepacs.host.listening import first_address
from santepacs.model import tokens
from santepacs.settings import WebSettings

_USUAL_PORT = 80


def declare(commands: Commands) -> None:
    """Add the command to the parser."""
    token = commands.command(
        "token",
        _token,
        "print a study's token; for a patient a line with UID, date, token and description of "
        "each study",
    )
    which = token.add_mutually_exclusive_group(required=True)
    which.add_argument("study", metavar="STUDY_UID", nargs="?", type=text)
    which.add_argument("--patient", metavar="ID", type=text, help="Patient ID")
    token.add_argument(
        "--url", action="store_true", help="the patient's link instead of the bare token"
    )


def _token(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        base = _base(foundation.settings.web) if arguments.url else ""

        def shown(study: StudyRow) -> str:
            return base + tokens.token(
                foundation.secret_key, study.study_instance_uid, study.token_version
            )

        if arguments.patient is None:
            print(
                shown(blocking.transaction(foundation.dsn, lambda tx: _study(tx, arguments.study)))
            )
            return
        found = blocking.transaction(foundation.dsn, lambda tx: _of_patient(tx, arguments.patient))
        print_table(
            (study.study_instance_uid, study.study_date, shown(study), study.study_description)
            for study in found
        )


async def _study(tx: Transaction, study_instance_uid: str) -> StudyRow:
    study = await studies.study(tx, study_instance_uid)
    if study is None:
        raise NotFound("there is no study with this Study Instance UID")
    return study


async def _of_patient(tx: Transaction, patient_id: str) -> list[StudyRow]:
    found = await studies.studies_of_patient_id(tx, patient_id)
    if not found:
        raise NotFound("there is no study of a patient with this ID")
    return found


def _base(web: WebSettings) -> str:
    """What a patient's link begins with, as seen by others."""
    if not web.port:
        raise Conflict("the web server is switched off (web.port is 0): there are no links")
    host = web.server_name or first_address()
    shown = f"[{host}]" if ":" in host else host
    port = "" if web.port == _USUAL_PORT else f":{web.port}"
    return f"http://{shown}{port}/token?"
