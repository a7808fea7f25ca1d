"""*What will this scanner see?* A worklist query as a scanner asks it, what it gets, and for any
record why it gets it or not."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from santepacs.access.permissions import Permission
from santepacs.db import peers
from santepacs.db.database import Database, Transaction
from santepacs.errors import Malformed, NotFound
from santepacs.model.order import StepQuery, WorklistQuery
from santepacs.options import check_ae_title
from santepacs.settings import Settings
from santepacs.web.query import form_date
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import page
from santepacs.web.worklist_choice import key_of
from santepacs.worklist.scanner_view import Explanation, ScannerView, Sight

HERE = "/hl7/scanner"
SHOWN = 200
MAXIMUM_LENGTH = 64
FIELDS = (
    "ae_title", "station", "modality", "date_from", "date_to", "patient_name", "patient_id",
    "accession_number",
)  # fmt: skip


class ScannerPages:
    """For the administrator who is told that the worklist on the scanner is empty."""

    def __init__(
        self, clock: Any, settings: Settings, renderer: Renderer, database: Database
    ) -> None:
        self._clock = clock
        self._renderer = renderer
        self._database = database
        self._view = ScannerView(database, settings)

    @page(HERE, Permission.USER)
    async def see(self, request: Request) -> bytes:
        """The question, its answer, and the reasons for one record."""
        given = request.fields()
        values = {name: given.get(name, "").strip()[:MAXIMUM_LENGTH] for name in FIELDS}
        today = datetime.fromtimestamp(self._clock.seconds()).astimezone().date()
        if not any(values.values()):
            values["date_from"] = values["date_to"] = today.isoformat()
        problems = _problems(values)
        record = given.get("record", "").strip()
        sight: Sight | None = None
        reasons: Explanation | None = None
        if values["ae_title"] and not problems:
            query = _query(values)
            try:
                sight = await self._view.see(values["ae_title"], query)
            except Malformed as problem:
                problems["query"] = str(problem)
            if record:
                try:
                    number = key_of(record)
                    reasons = await self._view.explain(values["ae_title"], query, number)
                except (NotFound, Malformed) as problem:
                    problems["record"] = str(problem)

        async def work(tx: Transaction) -> list[str]:
            return [peer.ae_title for peer in await peers.everyone(tx)]

        known = await self._database.transaction("peers", work, read_only=True)
        return self._renderer.page(
            request,
            "hl7/scanner.html",
            values=values,
            problems=problems,
            peers=known,
            sight=sight,
            shown=SHOWN,
            record=record[:18],
            reasons=reasons,
        )


def _problems(values: Mapping[str, str]) -> dict[str, str]:
    problems = {}
    if values["ae_title"] and check_ae_title(values["ae_title"]):
        problems["ae_title"] = "An AE title has 1 to 16 characters of ASCII, without white space."
    for name in ("date_from", "date_to"):
        if values[name] and not form_date(values[name]):
            problems[name] = "Not a date; write it like 2026-11-20."
    return problems


def _query(values: Mapping[str, str]) -> WorklistQuery:
    step = StepQuery(
        station_ae_titles=(values["station"],) if values["station"] else (),
        modalities=(values["modality"].upper(),) if values["modality"] else (),
        start_date_from=form_date(values["date_from"]),
        start_date_to=form_date(values["date_to"]),
    )
    return WorklistQuery(
        patient_name=values["patient_name"],
        patient_id=values["patient_id"],
        accession_number=values["accession_number"],
        steps=(step,),
    )
