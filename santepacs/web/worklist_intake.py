"""Records from elsewhere: HL7 messages of a file (S102), another worklist server (S103)."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from twisted.logger import Logger

from santepacs.access.permissions import Permission
from santepacs.db import peers
from santepacs.db.database import Database, Transaction
from santepacs.errors import Malformed, SantepacsError
from santepacs.model.order import FIELDS, StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer
from santepacs.model.peers import checked as checked_peer
from santepacs.web import worklist_form
from santepacs.web.multipart import File
from santepacs.web.query import form_date
from santepacs.web.refusals import sentence
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page, upload
from santepacs.web.shown import size
from santepacs.web.worklist_choice import done
from santepacs.web.worklist_tools import Verdict, WorklistTools
from santepacs.worklist.validation import checked
from santepacs.worklist.worklist import Worklist

log = Logger()

FILE_LIMIT = 2_000_000  # bytes of a file
FOUND_LIMIT = 1 << 20  # bytes of what another server answered, carried by the form
MAXIMUM_FOUND = 80
_ASKED = (
    "peer", "ae_title", "host", "port", "date_from", "date_to", "patient_name", "patient_id",
    "accession_number", "patient_birth_date", "station_ae_title", "modality",
)  # fmt: skip
_CARRIED = (*FIELDS, "placer_order_number", "filler_order_number", "patient_issuer")


@dataclass(frozen=True, slots=True)
class Typed:
    """A query as typed, and what is wrong with it by field."""

    values: dict[str, str]
    problems: dict[str, str]


class WorklistIntake:
    """Bringing records in."""

    def __init__(
        self,
        clock: Any,
        renderer: Renderer,
        database: Database,
        worklist: Worklist,
        tools: WorklistTools,
    ) -> None:
        self._clock = clock
        self._renderer = renderer
        self._database = database
        self._worklist = worklist
        self._tools = tools

    @page("/worklist/import", Permission.EDIT_WORKLIST)
    async def ask_file(self, request: Request) -> bytes:
        """Choose a file, or paste a message."""
        return self._import_page(request)

    @upload("/worklist/import", Permission.EDIT_WORKLIST, limit=2 * FILE_LIMIT + (64 << 10))
    async def take_file(
        self, request: Request, fields: dict[str, str], files: dict[str, File]
    ) -> bytes:
        """Process its messages as if they had come by the HL7 port."""
        typed = fields.get("text", "")
        content = files["file"].content if "file" in files else typed.encode("utf-8")
        name = files["file"].name if "file" in files else ""
        problem = ""
        if not content.strip():
            problem = "Choose a file, or paste a message."
        elif len(content) > FILE_LIMIT:
            problem = f"At most {size(FILE_LIMIT)} are taken here."
        verdicts: list[Verdict] = []
        if not problem:
            try:
                verdicts = await self._tools.take(content, request.asked.client, request.who)
            except Malformed as error:
                problem = f"This was not read: {error}."
        if problem:
            request.setResponseCode(400)
            return self._import_page(request, text=typed, problem=problem)
        log.info("user {name} imported {count} messages", name=request.who, count=len(verdicts))
        return self._import_page(request, text=typed, file_name=name, verdicts=verdicts)

    def _import_page(
        self,
        request: Request,
        *,
        text: str = "",
        problem: str = "",
        file_name: str = "",
        verdicts: list[Verdict] | None = None,
    ) -> bytes:
        return self._renderer.page(
            request,
            "worklist/import.html",
            text=text,
            problem=problem,
            file_name=file_name,
            verdicts=verdicts,
            limit=FILE_LIMIT,
        )

    @page("/worklist/query", Permission.EDIT_WORKLIST)
    async def ask_query(self, request: Request) -> bytes:
        """Which server, and which of its records."""
        today = f"{datetime.fromtimestamp(self._clock.seconds()).astimezone():%Y-%m-%d}"
        values = dict.fromkeys(_ASKED, "") | {"date_from": today, "date_to": today}
        return await self._query_page(request, Typed(values, {}))

    @form("/worklist/query", Permission.EDIT_WORKLIST)
    async def query(self, request: Request, fields: dict[str, str]) -> bytes:
        """Ask the server and show what it has."""
        values = {name: fields.get(name, "").strip()[:200] for name in _ASKED}
        known = await self._peers()
        try:
            peer = _peer(values, known)
        except Malformed as problem:
            words = ("peer", "host", "port")
            where = next((word for word in words if word in str(problem)), "ae_title")
            return await self._query_page(request, Typed(values, {where: sentence(problem)}))
        typed = Typed(values, _date_problems(values))
        if typed.problems:
            return await self._query_page(request, typed)
        try:
            found = await self._tools.ask(peer, _query(values), MAXIMUM_FOUND + 1)
        except SantepacsError as problem:
            return await self._query_page(request, typed, failure=sentence(problem))
        log.info("user {name} asked worklist {ae}", name=request.who, ae=peer.ae_title)
        return await self._query_page(request, typed, peer=peer, found=found)

    async def _query_page(
        self,
        request: Request,
        typed: Typed,
        *,
        failure: str = "",
        peer: Peer | None = None,
        found: list[WorklistRecord] | None = None,
    ) -> bytes:
        if typed.problems:
            request.setResponseCode(400)
        return self._renderer.page(
            request,
            "worklist/query.html",
            typed=typed,
            failure=failure,
            peers=await self._peers(),
            peer=peer,
            found=None if found is None else [(one, lacks(one)) for one in found[:MAXIMUM_FOUND]],
            is_more=found is not None and len(found) > MAXIMUM_FOUND,
            carried=written(found[:MAXIMUM_FOUND]) if found else "",
            maximum=MAXIMUM_FOUND,
        )

    @form("/worklist/query/import", Permission.EDIT_WORKLIST, limit=FOUND_LIMIT)
    async def import_found(self, request: Request, fields: dict[str, str]) -> bytes:
        """Keep the chosen ones."""
        records = carried(fields.get("found", ""))
        wanted = [records[n] for n in range(len(records)) if f"f{n}" in fields]
        if not wanted:
            return request.see_other(f"/worklist?{urlencode(done('none'))}")
        added, updated = await self._worklist.import_records(wanted, request.who)
        log.info(
            "user {name} imported {added} new and {updated} known worklist records",
            name=request.who,
            added=added,
            updated=updated,
        )
        count = added + updated
        said = done("imported", count) if count else done("known")
        return request.see_other("/worklist?" + urlencode(said))

    async def _peers(self) -> list[Peer]:
        async def work(tx: Transaction) -> list[Peer]:
            return [peer for peer in await peers.everyone(tx) if peer.enabled]

        return await self._database.transaction("peers", work, read_only=True)


def lacks(record: WorklistRecord) -> str:
    """Why a record cannot be kept as it is; empty when it can."""
    try:
        checked(record)
    except Malformed as problem:
        return sentence(problem)
    return ""


def written(records: list[WorklistRecord]) -> str:
    """Records as a field of a form; `carried` reads it."""
    found = [{name: getattr(record, name) for name in _CARRIED} for record in records]
    return json.dumps([{n: text for n, text in one.items() if text} for one in found])


def carried(text: str) -> list[WorklistRecord]:
    """Records of a form. Raises Malformed for what `written` did not write."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) > MAXIMUM_FOUND:
        raise Malformed("the form could not be read")
    return [_carried(one) for one in found]


def _carried(one: object) -> WorklistRecord:
    if not isinstance(one, Mapping) or not set(one) <= set(_CARRIED):
        raise Malformed("the form could not be read")
    if not all(isinstance(text, str) and _is_text(text) for text in one.values()):
        raise Malformed("the form could not be read")
    form_values = {name: text for name, text in one.items() if name in FIELDS}
    # Values of another server are not for this user to mend: what cannot be used is left out.
    _, record = worklist_form.read(form_values, WorklistRecord())
    others = {name: text[:199] for name, text in one.items() if name not in FIELDS}
    return replace(record, step_status=StepStatus.SCHEDULED, **others)


def _is_text(text: str) -> bool:
    """Whether the database can keep it: JSON also has NUL and halves of characters."""
    return not re.search("[\0\ud800-\udfff]", text)


def _peer(values: Mapping[str, str], known: list[Peer]) -> Peer:
    """Whom to ask. Raises Malformed."""
    if values["peer"]:
        for peer in known:
            if peer.ae_title == values["peer"]:
                return peer
        raise Malformed("there is no such peer any more")
    port = values["port"]
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= 65535:
        raise Malformed("a port is a number from 1 to 65535")
    return checked_peer(Peer(values["ae_title"], values["host"], int(port)))


def _date_problems(values: Mapping[str, str]) -> dict[str, str]:
    return {
        name: "Not a date; write it like 2026-11-20."
        for name in ("date_from", "date_to", "patient_birth_date")
        if values[name] and not form_date(values[name])
    }


def _query(values: Mapping[str, str]) -> WorklistQuery:
    born = form_date(values["patient_birth_date"])
    name = values["patient_name"].replace(", ", "^").replace(",", "^")
    return WorklistQuery(
        # People type the beginning of a name.
        patient_name=f"{name}*" if name and "*" not in name else name,
        patient_id=values["patient_id"],
        accession_number=values["accession_number"],
        patient_birth_date_from=born,
        patient_birth_date_to=born,
        steps=(
            StepQuery(
                station_ae_titles=tuple(filter(None, (values["station_ae_title"],))),
                modalities=tuple(filter(None, (values["modality"].upper(),))),
                start_date_from=form_date(values["date_from"]),
                start_date_to=form_date(values["date_to"]),
            ),
        ),
    )
