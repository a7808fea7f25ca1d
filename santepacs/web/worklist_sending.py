"""Worklist records on their way out: to an HL7 node, as a file, onto the clipboard (S97-S99)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from twisted.logger import Logger

from santepacs.access.permissions import Permission
from santepacs.db import nodes, outgoing
from santepacs.db.database import Database, Transaction
from santepacs.db.nodes import Node
from santepacs.db.orders import StoredRecord
from santepacs.errors import Malformed, SantepacsError
from santepacs.web.desk import Desk
from santepacs.web.refusals import sentence
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page
from santepacs.web.worklist_choice import chosen, done, kept_records, keys_text
from santepacs.web.worklist_tools import WorklistTools

log = Logger()

FIELDS = ("node", "application", "facility", "host", "port")
_LENGTH = 180  # characters of an application's or facility's name (HD, HL7 2.5 ch. 2.A.33)


@dataclass(frozen=True, slots=True)
class Sent:
    """How sending one record directly ended. `code`: of the answer; empty: there was none."""

    stored: StoredRecord
    code: str
    text: str


class WorklistSending:
    """Records as HL7 messages."""

    def __init__(
        self,
        renderer: Renderer,
        database: Database,
        tools: WorklistTools,
        desk: Desk,
        wake: Callable[[], Any],
    ) -> None:
        self._renderer = renderer
        self._database = database
        self._tools = tools
        self._desk = desk
        self._wake = wake

    @page("/worklist/export", Permission.USER)
    async def export(self, request: Request) -> bytes:
        """The chosen records as a file of HL7 messages."""
        records = await self._records(request)
        name = f"worklist-{records[0].id}" + (f"-and-{len(records) - 1}-more" * (len(records) > 1))
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        request.setHeader(
            b"Content-Disposition", f'attachment; filename="{name}.hl7"'.encode("ascii")
        )
        return b"".join(self._tools.compose(stored.record) for stored in records)

    @page("/worklist/text", Permission.USER)
    async def text(self, request: Request) -> bytes:
        """The chosen records as text to be copied."""
        records = await self._records(request)
        messages = [self._tools.compose(stored.record) for stored in records]
        text = "\n".join(m.decode("utf-8", "replace").replace("\r", "\n") for m in messages)
        return self._renderer.page(
            request,
            "worklist/text.html",
            records=records,
            text=text,
            keys=keys_text([stored.id for stored in records]),
        )

    @page("/worklist/send", Permission.EDIT_WORKLIST)
    async def ask_send(self, request: Request) -> bytes:
        """Where the chosen records are to be sent."""
        return await self._form(request, await self._records(request), {})

    @form("/worklist/send", Permission.EDIT_WORKLIST)
    async def send(self, request: Request, fields: dict[str, str]) -> bytes:
        """To a node through its queue, which tries again; to any other address at once."""
        records = await kept_records(self._database, keys_text(chosen(fields)))
        typed = {name: fields.get(name, "").strip()[:300] for name in FIELDS}
        problems = {
            name: f"At most {_LENGTH} characters."
            for name in ("application", "facility")
            if len(typed[name]) > _LENGTH
        }
        if typed["node"] and not problems:
            try:
                return await self._enqueue(request, records, typed)
            except SantepacsError as problem:
                problems["node"] = sentence(problem)
        elif not problems:
            try:
                place = _place(typed["host"], typed["port"])
            except Malformed as problem:
                problems["port" if "port" in str(problem) else "host"] = sentence(problem)
            else:
                return await self._send(request, records, typed, place)
        request.setResponseCode(400)
        return await self._form(request, records, typed, problems)

    async def _enqueue(
        self, request: Request, records: list[StoredRecord], typed: dict[str, str]
    ) -> bytes:
        messages = [self._compose(stored, typed) for stored in records]

        async def work(tx: Transaction) -> None:
            for raw in messages:
                await outgoing.enqueue(tx, typed["node"], raw, request.who)

        await self._database.transaction("send worklist records", work)
        self._wake()
        log.info("user {name} sends {count} records", name=request.who, count=len(messages))
        return request.see_other("/worklist?" + urlencode(done("queued", len(messages))))

    async def _send(
        self, request: Request, records: list[StoredRecord], typed: dict[str, str], place: Node
    ) -> bytes:
        results: list[Sent] = []
        for stored in records:
            try:
                answer = await self._desk.send(place.host, place.port, self._compose(stored, typed))
            except SantepacsError as problem:
                results.append(Sent(stored, "", sentence(problem)))
                break  # the next one would wait as long for the same
            results.append(Sent(stored, answer.code, answer.text))
        log.info("user {name} sent {count} records", name=request.who, count=len(results))
        return self._renderer.page(
            request,
            "worklist/sent.html",
            results=results,
            left=len(records) - len(results),
            host=place.host,
            port=place.port,
        )

    async def _form(
        self,
        request: Request,
        records: list[StoredRecord],
        typed: dict[str, str],
        problems: dict[str, str] | None = None,
    ) -> bytes:
        async def work(tx: Transaction) -> list[Node]:
            return [node for node in await nodes.list_all(tx) if node.port and node.enabled]

        return self._renderer.page(
            request,
            "worklist/send.html",
            records=records,
            nodes=await self._database.transaction("HL7 nodes", work, read_only=True),
            typed=dict.fromkeys(FIELDS, "") | typed,
            problems=problems or {},
        )

    def _compose(self, stored: StoredRecord, typed: dict[str, str]) -> bytes:
        return self._tools.compose_for(typed["application"], typed["facility"], stored.record)

    async def _records(self, request: Request) -> list[StoredRecord]:
        return await kept_records(self._database, request.fields().get("records", ""))


def _place(host: str, port: str) -> Node:
    """Where to send to. Raises Malformed."""
    if not host:
        raise Malformed("choose a node, or type a host")
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= 65535:
        raise Malformed("a port is a number from 1 to 65535")
    return Node("typed", host, int(port))
