"""Compose and send an HL7 message (S104): load, paste or take a template, edit, send, see the
answer. What is typed is never lost."""

import re
from typing import Any

from twisted.logger import Logger

from santepacs.access.permissions import Permission
from santepacs.db import messages, nodes
from santepacs.db.database import Database, Transaction
from santepacs.db.messages import MessageRow
from santepacs.db.nodes import Node
from santepacs.errors import Malformed, NotFound, Unavailable
from santepacs.logs import one_line
from santepacs.model.reading import Judgement
from santepacs.web.desk import Desk
from santepacs.web.hl7_nodes import port_of
from santepacs.web.hl7_text import editable, in_form, visible
from santepacs.web.multipart import File
from santepacs.web.refusals import not_found
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import page, upload

log = Logger()

TEXT_LIMIT = 1_000_000
"""Characters of a message that is edited in a browser."""
FORM_LIMIT = 8 << 20
ANSWER_SHOWN = 2_000
"""Bytes of what came back when it was no answer."""
HERE = "/hl7/compose"
_FIELDS = (
    "text", "node", "host", "port", "template", "receiving_application", "receiving_facility",
)  # fmt: skip


class ComposePages:
    """For whoever tries an interface."""

    def __init__(self, renderer: Renderer, database: Database, desk: Desk) -> None:
        self._renderer = renderer
        self._database = database
        self._desk = desk

    @page(HERE, Permission.EDIT_WORKLIST)
    async def begin(self, request: Request) -> bytes:
        """An empty form, a template, or the text of a kept message."""
        values = request.fields()
        name, key = values.get("template", ""), values.get("message", "")
        text = ""
        if key:
            text = await self._kept(key)
        elif name in self._desk.sample_names:
            text = self._desk.sample(name)
        return await self._page(request, {"text": text, "template": name})

    @upload(HERE, Permission.EDIT_WORKLIST, limit=FORM_LIMIT)
    async def act(self, request: Request, fields: dict[str, str], files: dict[str, File]) -> bytes:
        """Load a file or a template, check, or send."""
        fields = {name: fields.get(name, "") for name in (*_FIELDS, "do")}
        what = fields.pop("do")
        if "file" in files:
            fields["text"] = await self.text_of_file(files["file"])
            return await self._page(request, fields)
        if what == "template":
            name = fields["template"]
            return await self._page(request, {**fields, "text": self._desk.sample(name)})
        if what == "send":
            return await self._send(request, fields)
        return await self._page(request, fields)

    async def text_of_file(self, file: File) -> str:
        """A file as text to be edited. Raises Malformed for one that is too large."""
        return await text_of(self._desk, file.content)

    async def _kept(self, key: str) -> str:
        raw = await kept(self._database, key)
        return await text_of(self._desk, raw)

    async def _send(self, request: Request, fields: dict[str, str]) -> bytes:
        problems: dict[str, str] = {}
        answer: Any = None
        try:
            host, port = await self._destination(fields)
            text = addressed(
                fields["text"], fields["receiving_application"], fields["receiving_facility"]
            )
            answer = await self._desk.send(host, port, self._desk.wire(text))
            log.info(
                "user {user} sent an HL7 message to {host}:{port}: {code}",
                user=request.who,
                host=one_line(host, 100),
                port=port,
                code=one_line(answer.code, 10),
            )
        except (Malformed, Unavailable) as problem:
            request.setResponseCode(400 if isinstance(problem, Malformed) else 502)
            problems["send"] = str(problem)
            problems["raw"] = getattr(problem, "raw", b"")[:ANSWER_SHOWN].decode("latin-1")
        return await self._page(request, fields, answer=answer, problems=problems)

    async def _destination(self, fields: dict[str, str]) -> tuple[str, int]:
        if not fields["text"].strip():
            raise Malformed("there is no message to send")
        if fields["node"]:

            async def work(tx: Transaction) -> Node | None:
                return await nodes.find(tx, fields["node"])

            node = await self._database.transaction("HL7 node", work, read_only=True)
            if node is None or not node.port:
                raise Malformed("this node receives no messages")
            return node.host, node.port
        host, port = fields["host"].strip(), port_of(fields["port"])
        if not host or not port:
            raise Malformed("choose a node, or type a host and a port")
        Node("typed", host, port)  # raises Malformed for what is no host
        return host, port

    async def _page(
        self,
        request: Request,
        fields: dict[str, str],
        *,
        answer: Any = None,
        problems: dict[str, str] | None = None,
    ) -> bytes:
        async def work(tx: Transaction) -> list[Node]:
            return await nodes.list_all(tx)

        known = await self._database.transaction("HL7 nodes", work, read_only=True)
        reading = await self._desk.read(answer.raw) if answer is not None and answer.raw else None
        values = {name: fields.get(name, "") for name in _FIELDS}
        return self._renderer.page(
            request,
            "hl7/compose.html",
            values=values,
            text=in_form(values["text"]),
            nodes=[node for node in known if node.port],
            templates=self._desk.sample_names,
            judgement=await judged(self._desk, values["text"]),
            answer=answer,
            reading=reading,
            problems=problems or {},
            visible=visible,
        )


async def judged(desk: Desk, text: str) -> Judgement | None:
    """What a typed message would be answered here; None: there is no message yet."""
    if not text.strip():
        return None
    try:
        return await desk.judge(desk.wire(text))
    except Malformed as problem:
        return Judgement("AE", text=str(problem))


async def kept(database: Database, key: str) -> bytes:
    """The wire bytes of a kept message. Raises NotFound."""
    number = int(key) if re.fullmatch("[0-9]{1,18}", key) else 0

    async def work(tx: Transaction) -> MessageRow | None:
        return await messages.message(tx, number)

    found = await database.transaction("HL7 message", work, read_only=True)
    if found is None:
        raise NotFound("there is no such message")
    return found.raw


def key_of(text: str) -> int:
    """The key of a kept message in an address. Raises Refused for what is none."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise not_found()
    return int(text)


async def text_of(desk: Desk, raw: bytes) -> str:
    """A message as text to be edited. Raises Malformed for one that is too large for that."""
    if len(raw) > 4 * TEXT_LIMIT:
        raise Malformed("the message is too large to be edited in a browser")
    text, codec = await desk.text(raw)
    if len(text) > TEXT_LIMIT:
        raise Malformed("the message is too large to be edited in a browser")
    return editable(text, codec)


def addressed(text: str, application: str, facility: str) -> str:
    """The message with another receiver (MSH-5, MSH-6); an empty one changes nothing."""
    header, line_end, rest = text.lstrip().partition("\n")
    if not (application or facility) or not header.startswith("MSH"):
        return text
    separator = header[3:4]
    fields = header.rstrip("\r").split(separator) + [""] * 6
    end = max(6, header.count(separator) + 1)
    fields = fields[:end]
    fields[4] = _data(application, separator) or fields[4]
    fields[5] = _data(facility, separator) or fields[5]
    return separator.join(fields) + line_end + rest


def _data(text: str, separator: str) -> str:
    return " ".join(text.split()).replace(separator, " ")
