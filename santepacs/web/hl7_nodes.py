"""HL7 nodes: who may send orders and ask for tokens, where messages go, and who was turned away."""

from typing import Any

from santepacs.access.permissions import Permission
from santepacs.db import callers, nodes
from santepacs.db.callers import Caller
from santepacs.db.database import Database, Transaction
from santepacs.db.nodes import Node
from santepacs.errors import Conflict, Malformed, Unavailable
from santepacs.settings import Settings
from santepacs.web.desk import Desk
from santepacs.web.hl7_text import moment
from santepacs.web.hosts import outer_name
from santepacs.web.refusals import not_found
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page

HERE = "/hl7/nodes"


class NodePages:
    """For the administrator who connects a RIS."""

    def __init__(
        self, settings: Settings, renderer: Renderer, database: Database, desk: Desk
    ) -> None:
        self._settings = settings
        self._renderer = renderer
        self._database = database
        self._desk = desk

    @page(HERE, Permission.ADMINISTRATOR)
    async def overview(self, request: Request) -> bytes:
        """The nodes, who was turned away, and a form for another one."""
        values = request.fields()
        return await self._page(request, {"host": values.get("host", "")[:255], "enabled": "yes"})

    @form(HERE, Permission.ADMINISTRATOR)
    async def add(self, request: Request, fields: dict[str, str]) -> bytes:
        """Add a node, or change the one that `was` names."""
        was = fields.get("was", "")
        try:
            node = Node(
                " ".join(fields.get("name", "").split()),
                fields.get("host", "").strip(),
                port_of(fields.get("port", "")),
                fields.get("enabled") == "yes",
            )

            async def save(tx: Transaction) -> None:
                await (nodes.change(tx, was, node) if was else nodes.add(tx, node))

            await self._database.transaction("save an HL7 node", save)
        except (Malformed, Conflict) as problem:
            request.setResponseCode(400)
            return await self._page(request, fields, problem=str(problem))
        return request.see_other(HERE)

    @page(f"{HERE}/edit", Permission.ADMINISTRATOR)
    async def edit(self, request: Request) -> bytes:
        """The form filled in with a node."""
        name = request.fields().get("name", "")

        async def work(tx: Transaction) -> Node | None:
            return await nodes.find(tx, name)

        node = await self._database.transaction("HL7 node", work, read_only=True)
        if node is None:
            raise not_found()
        return await self._page(request, {**_values(node), "was": node.name})

    @form(f"{HERE}/state", Permission.ADMINISTRATOR)
    async def set_state(self, request: Request, fields: dict[str, str]) -> bytes:
        """Let a node in, or keep it out without forgetting it."""
        name, enabled = fields.get("name", ""), fields.get("enabled") == "yes"

        async def work(tx: Transaction) -> None:
            node = await nodes.find(tx, name)
            if node is None:
                raise not_found()
            await nodes.change(tx, name, Node(name, node.host, node.port, enabled))

        await self._database.transaction("enable or disable an HL7 node", work)
        return request.see_other(HERE)

    @form(f"{HERE}/delete", Permission.ADMINISTRATOR)
    async def delete(self, request: Request, fields: dict[str, str]) -> bytes:
        """Delete a node; the page offers to bring it back."""
        name = fields.get("name", "")

        async def work(tx: Transaction) -> Node | None:
            node = await nodes.find(tx, name)
            if node is not None:
                await nodes.delete(tx, name)
            return node

        node = await self._database.transaction("delete an HL7 node", work)
        if node is None:
            raise not_found()
        return await self._page(request, {"enabled": "yes"}, deleted=_values(node))

    @form(f"{HERE}/test", Permission.ADMINISTRATOR)
    async def test(self, request: Request, fields: dict[str, str]) -> bytes:
        """Connect to a node; nothing is sent."""
        name = fields.get("name", "")

        async def work(tx: Transaction) -> Node | None:
            return await nodes.find(tx, name)

        node = await self._database.transaction("HL7 node", work, read_only=True)
        if node is None or not node.port:
            raise not_found()
        tested: dict[str, Any] = {"name": node.name, "problem": "", "milliseconds": 0}
        try:
            tested["milliseconds"] = await self._desk.knock(node.host, node.port)
        except (Malformed, Unavailable) as problem:
            tested["problem"] = str(problem)
        return await self._page(request, {"enabled": "yes"}, tested=tested)

    @form(f"{HERE}/forget", Permission.ADMINISTRATOR)
    async def forget(self, request: Request, fields: dict[str, str]) -> bytes:
        """Remove somebody from the list of those who were turned away."""
        key = fields.get("id", "")

        async def work(tx: Transaction) -> None:
            await callers.forget(tx, int(key))

        if not key.isascii() or not key.isdigit() or len(key) > 18:
            raise not_found()
        await self._database.transaction("forget an unknown caller", work)
        return request.see_other(HERE)

    async def _page(self, request: Request, values: dict[str, str], **said: Any) -> bytes:
        async def work(tx: Transaction) -> tuple[list[Node], list[Caller]]:
            return await nodes.list_all(tx), await callers.everyone(tx)

        known, everyone = await self._database.transaction("HL7 nodes", work, read_only=True)
        context: dict[str, Any] = {"problem": "", "deleted": None, "tested": None, **said}
        return self._renderer.page(
            request,
            "hl7/nodes.html",
            nodes=known,
            callers=[caller for caller in everyone if caller.protocol == "hl7"],
            values={"was": "", "name": "", "host": "", "port": "", "enabled": "", **values},
            hl7=self._settings.hl7,
            own_address=outer_name(self._settings.web, request.asked),
            moment=moment,
            **context,
        )


def _values(node: Node) -> dict[str, str]:
    port = str(node.port) if node.port else ""
    enabled = "yes" if node.enabled else ""
    return {"name": node.name, "host": node.host, "port": port, "enabled": enabled}


def port_of(text: str) -> int:
    """The port in a form; empty: 0. Raises Malformed."""
    text = text.strip() or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        raise Malformed("a port is a number from 0 to 65535")
    return int(text)
