"""HL7 messages on their way out: what waits, what the receivers answered; again, cancel."""

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from santepacs.access.permissions import Permission
from santepacs.db import outgoing
from santepacs.db.database import Database, Transaction
from santepacs.db.outgoing import OutgoingMessage, OutgoingRow
from santepacs.web.desk import Desk
from santepacs.web.hl7_compose import key_of
from santepacs.web.hl7_text import moment, visible
from santepacs.web.refusals import not_found
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page

HERE = "/hl7/outgoing"
PAGE = 50


class OutgoingPages:
    """For whoever wonders whether a message has arrived."""

    def __init__(
        self, renderer: Renderer, database: Database, desk: Desk, wake: Callable[[], Any]
    ) -> None:
        """`wake`: the queue looks at once for what is to be sent."""
        self._renderer = renderer
        self._database = database
        self._desk = desk
        self._wake = wake

    @page(HERE, Permission.USER)
    async def overview(self, request: Request) -> bytes:
        """What was sent or is to be, newest first."""
        return await self._list_page(request, "hl7/outgoing.html")

    @page(f"{HERE}/rows", Permission.USER)
    async def rows(self, request: Request) -> bytes:
        """The part of the page that is alive."""
        return await self._list_page(request, "hl7/outgoing_rows.html")

    async def _list_page(self, request: Request, template: str) -> bytes:
        values = request.fields()
        state = values.get("state", "") if values.get("state") in outgoing.STATES else ""
        node = values.get("node", "")[:64]
        before = values.get("before", "")
        asked = {"state": state, "node": node}

        async def work(tx: Transaction) -> tuple[list[OutgoingRow], dict[str, int]]:
            wanted = int(before) if re.fullmatch("[0-9]{1,18}", before) else None
            rows = await outgoing.page(tx, **asked, before=wanted, limit=PAGE + 1)
            return rows, await outgoing.counts(tx)

        rows, waiting = await self._database.transaction("sent HL7", work, read_only=True)

        def address(path: str = HERE, **changes: str) -> str:
            query = urlencode({name: text for name, text in (asked | changes).items() if text})
            return f"{path}?{query}" if query else path

        return self._renderer.page(
            request,
            template,
            rows=rows[:PAGE],
            waiting=waiting,
            asked=asked,
            address=address,
            continued=bool(before),
            next=address(before=str(rows[PAGE - 1].id)) if len(rows) > PAGE else "",
            states=outgoing.STATES,
            moment=moment,
        )

    @page(f"{HERE}/<key>", Permission.USER)
    async def message(self, request: Request, key: str) -> bytes:
        """One message, and the receiver's answer."""
        found = await self._found(key)
        answer = await self._desk.read(found.answer) if found.answer else None
        return self._renderer.page(
            request,
            "hl7/sent.html",
            row=found.row,
            reading=await self._desk.read(found.raw),
            answer=answer,
            moment=moment,
            visible=visible,
        )

    @form(f"{HERE}/<key>", Permission.EDIT_WORKLIST)
    async def act(self, request: Request, fields: dict[str, str], key: str) -> bytes:
        """Send it again, or do not send it."""
        number = key_of(key)
        actor = request.who

        async def work(tx: Transaction) -> None:
            if fields.get("do") == "again":
                await outgoing.again(tx, number, f"sent again by {actor}")
            elif fields.get("do") == "cancel":
                await outgoing.cancel(tx, number)
            else:
                raise not_found()

        await self._database.transaction("sent HL7", work)
        self._wake()
        return request.see_other(HERE)

    async def _found(self, key: str) -> OutgoingMessage:
        async def work(tx: Transaction) -> OutgoingMessage | None:
            return await outgoing.message(tx, key_of(key))

        found = await self._database.transaction("sent HL7", work, read_only=True)
        if found is None:
            raise not_found()
        return found
