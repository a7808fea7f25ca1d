"""The HL7 log: what came in and what was answered, each message whole, and why it did what it did.

Whoever is logged in may look; running a message again needs `Permission.EDIT_WORKLIST`.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.logger import Logger

from santepacs.access.permissions import Permission, may
from santepacs.db import message_counts, messages
from santepacs.db.database import Database, Transaction
from santepacs.db.message_counts import SenderCount
from santepacs.db.messages import MessageFilter, MessageRow
from santepacs.errors import Malformed
from santepacs.web import hl7_query
from santepacs.web.desk import Desk
from santepacs.web.hl7_compose import judged, key_of, text_of
from santepacs.web.hl7_query import Asked
from santepacs.web.hl7_text import ago, in_form, moment, visible
from santepacs.web.mapping_form import LABELS
from santepacs.web.refusals import not_found
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page

log = Logger()

PAGE = 50
COUNTED_HOURS = 24
COUNT_SECONDS = 20.0
"""How long the counters are shown before they are counted again: pages ask every few seconds."""
TEXT_FORM = 4 << 20
TRACED = 1 << 20
"""Bytes of a message for which the mapping is explained."""


class Hl7Pages:
    """For the administrator who must see why an order did not arrive."""

    def __init__(self, clock: Any, renderer: Renderer, database: Database, desk: Desk) -> None:
        """`clock`: seconds since 1970 by `seconds()`."""
        self._clock = clock
        self._renderer = renderer
        self._database = database
        self._desk = desk
        self._counts: list[SenderCount] = []
        self._counted = float("-inf")

    @page("/hl7", Permission.USER)
    async def log(self, request: Request) -> bytes:
        """What came in, newest first."""
        return await self._log_page(request, "hl7/log.html")

    @page("/hl7/rows", Permission.USER)
    async def rows(self, request: Request) -> bytes:
        """The part of the log's page that is alive."""
        return await self._log_page(request, "hl7/log_rows.html")

    async def _log_page(self, request: Request, template: str) -> bytes:
        asked = hl7_query.read(request.fields(), self._now())
        is_due = self._clock.seconds() - self._counted > COUNT_SECONDS

        async def work(tx: Transaction) -> tuple[list[MessageRow], list[SenderCount] | None]:
            since = self._now() - timedelta(hours=COUNTED_HOURS)
            counts = await message_counts.by_sender(tx, since) if is_due else None
            return await found(tx, asked), counts

        rows, counts = await self._database.transaction("HL7 log", work, read_only=True)
        if counts is not None:
            self._counts, self._counted = counts, self._clock.seconds()
        return self._renderer.page(
            request,
            template,
            asked=asked,
            rows=rows[:PAGE],
            next=asked.address(before=str(rows[PAGE - 1].id)) if len(rows) > PAGE else "",
            counts=self._counts,
            hours=COUNTED_HOURS,
            verdicts=hl7_query.VERDICTS,
            days=hl7_query.DAYS,
            moment=moment,
            ago=lambda when: ago(when, self._clock.seconds()),
        )

    @page("/hl7/messages/<key>", Permission.USER)
    async def message(self, request: Request, key: str) -> bytes:
        """One message: as sent, field by field, its answer, its records, and why."""
        row = await self._row(key)
        first = request.fields().get("from", "")
        reading = await self._desk.read(
            row.raw, int(first) if re.fullmatch("[0-9]{1,9}", first) else 1
        )
        traces = await self._desk.trace(row.raw) if len(row.raw) <= TRACED else []

        async def work(tx: Transaction) -> list[MessageRow]:
            same = MessageFilter(
                sending_application=row.sending_application,
                sending_facility=row.sending_facility,
            )
            return await messages.page(tx, same, row.id, 1)

        older = await self._database.transaction("HL7 log", work, read_only=True)
        return self._renderer.page(
            request,
            "hl7/message.html",
            row=row,
            reading=reading,
            traces=traces,
            older=older[0] if older else None,
            labels=LABELS,
            may_edit=may(request.account, Permission.EDIT_WORKLIST),
            visible=visible,
            moment=moment,
        )

    @page("/hl7/messages/<key>/field", Permission.USER)
    async def field(self, request: Request, key: str) -> bytes:
        """All of a field that the page shows shortened, as plain text."""
        values = request.fields()
        index, number = (values.get(name, "") for name in ("segment", "field"))
        if not all(re.fullmatch("[0-9]{1,9}", text) for text in (index, number)):
            raise not_found()
        row = await self._row(key)
        text = await self._desk.whole_field(row.raw, int(index), int(number))
        if text is None:
            raise not_found()
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return text.encode("utf-8", "replace")

    @page("/hl7/messages/<key>.hl7", Permission.USER)
    async def export(self, request: Request, key: str) -> bytes:
        """The message as a file, byte for byte as it came."""
        row = await self._row(key)
        request.setHeader(b"Content-Type", b"application/hl7-v2")
        name = b'attachment; filename="message-%d.hl7"' % row.id
        request.setHeader(b"Content-Disposition", name)
        return row.raw

    @page("/hl7/messages/<key>/correct", Permission.EDIT_WORKLIST)
    async def correct(self, request: Request, key: str) -> bytes:
        """The message as text to be mended."""
        row = await self._row(key)
        return await self._correct_page(request, row, await text_of(self._desk, row.raw))

    @form("/hl7/messages/<key>/correct", Permission.EDIT_WORKLIST, limit=TEXT_FORM)
    async def run_again(self, request: Request, fields: dict[str, str], key: str) -> bytes:
        """See what the text would be answered, or let it arrive."""
        row = await self._row(key)
        text = fields.get("text", "")
        judgement = await judged(self._desk, text)
        if fields.get("do") != "run" or judgement is None:
            return await self._correct_page(request, row, text)
        try:
            raw = self._desk.wire(text)
        except Malformed:  # said by the judgement on the page
            return await self._correct_page(request, row, text)
        new = await self._desk.run_again(raw, row.id, request.who)
        log.info(
            "user {user} ran HL7 message {old} again as {new}",
            user=request.who,
            old=row.id,
            new=new,
        )
        return request.see_other(f"/hl7/messages/{new}")

    async def _correct_page(self, request: Request, row: MessageRow, text: str) -> bytes:
        return self._renderer.page(
            request,
            "hl7/correct.html",
            row=row,
            text=in_form(text),
            judgement=await judged(self._desk, text),
            labels=LABELS,
        )

    async def _row(self, key: str) -> MessageRow:
        async def work(tx: Transaction) -> MessageRow | None:
            return await messages.message(tx, key_of(key))

        row = await self._database.transaction("HL7 message", work, read_only=True)
        if row is None:
            raise not_found()
        return row

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)


async def found(tx: Transaction, asked: Asked) -> list[MessageRow]:
    """The messages of the page that is asked for, and one more if there is."""
    rows = [
        row for one in asked.filters for row in await messages.page(tx, one, asked.before, PAGE + 1)
    ]
    return sorted(rows, key=lambda row: row.id, reverse=True)[: PAGE + 1]
