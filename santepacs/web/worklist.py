"""The worklist's pages: the list, a record beside it, and what is done to records.

Whoever is logged in may look; changing needs `Permission.EDIT_WORKLIST`.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from twisted.logger import Logger

from santepacs.access.permissions import Permission
from santepacs.db import messages, orders, worklist_search
from santepacs.db.database import Database, Transaction
from santepacs.db.messages import MessageRow
from santepacs.db.orders import Event, StoredRecord
from santepacs.errors import NotFound
from santepacs.model.order import StepStatus
from santepacs.settings import Settings
from santepacs.web import worklist_form, worklist_query
from santepacs.web.desk import Desk
from santepacs.web.hosts import outer_name
from santepacs.web.refusals import not_found
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page
from santepacs.web.worklist_choice import chosen, done, kept_records, key_of, keys_text, notice
from santepacs.web.worklist_query import STATUS_WORDS, Asked
from santepacs.web.worklist_why import Why, reasons
from santepacs.worklist.worklist import Worklist

log = Logger()

PAGE = 50
COUNTED = 1000
MAXIMUM_EVENTS = 200
# A larger message is shown by its own page, without working out here what it gave.
EXPLAINED = 1 << 20  # bytes
STATUS_CHOICES = (
    ("", "any"),
    ("open", "not finished"),
    *((status.value, word) for status, word in STATUS_WORDS.items()),
)
# What may be chosen by hand, and from where it makes sense.
STATUSES = {
    StepStatus.ARRIVED: (StepStatus.SCHEDULED, StepStatus.HELD, StepStatus.READY),
    StepStatus.SCHEDULED: tuple(s for s in StepStatus if s is not StepStatus.SCHEDULED),
    StepStatus.CANCELED: worklist_query.OPEN,
}


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the list. `doubts`: reasons by record; `count` is None on a further page."""

    rows: list[StoredRecord]
    doubts: dict[int, list[str]]
    count: int | None
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The record beside the list, and the kept message that explains it."""

    stored: StoredRecord
    doubts: list[str]
    events: list[Event]
    message: MessageRow | None
    why: dict[str, Why]


class WorklistPages:
    """Looking at the worklist, and the short changes: status and delete."""

    def __init__(
        self,
        clock: Any,
        settings: Settings,
        renderer: Renderer,
        database: Database,
        worklist: Worklist,
        desk: Desk,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._renderer = renderer
        self._database = database
        self._worklist = worklist
        self._desk = desk

    @page("/worklist", Permission.USER)
    async def worklist(self, request: Request) -> bytes:
        """Search, list and actions."""
        return await self._page(request, None)

    @page("/worklist/<key>", Permission.USER)
    async def record(self, request: Request, key: str) -> bytes:
        """The list with one record beside it."""
        return await self._page(request, key_of(key))

    async def _page(self, request: Request, key: int | None) -> bytes:
        values = request.fields()
        asked = worklist_query.read(values, self._today())

        async def work(tx: Transaction) -> tuple[Listing, Opened | None]:
            found = await listing(tx, asked, needs_station)
            return found, None if key is None else await opened(tx, key, needs_station)

        needs_station = not self._settings.worklist.station_or_none

        found, record = await self._database.transaction("worklist", work, read_only=True)
        if record is not None:
            record = await self._explained(record)
        return self._renderer.page(
            request,
            "worklist/record.html" if record else "worklist/list.html",
            asked=asked,
            listing=found,
            opened=record,
            notice=notice(values),
            groups=worklist_form.GROUPS,
            days=worklist_query.DAY_WORDS,
            statuses=STATUS_CHOICES,
            changes=STATUSES,
            settings=self._settings,
            own_address=outer_name(self._settings.web, request.asked),
            counted=COUNTED,
        )

    async def _explained(self, record: Opened) -> Opened:
        message = record.message
        if message is None or len(message.raw) > EXPLAINED:
            return record
        traces = await self._desk.trace(message.raw)
        return replace(record, why=reasons(traces, record.stored.record))

    @form("/worklist/selected", Permission.USER)
    async def selected(self, request: Request, fields: dict[str, str]) -> bytes:
        """The list's buttons: on to the page of what is to be done with the chosen records."""
        asked = worklist_query.again(fields.get("search", ""), self._today())
        keys, wanted = chosen(fields), fields.get("do", "")
        alone = {
            "view": lambda key: asked.address(f"/worklist/{key}"),
            "edit": "/worklist/{}/edit".format,
            "duplicate": "/worklist/new?from={}".format,
        }
        if not keys:
            return request.see_other(asked.address(**done("none")))
        if wanted in alone:
            if len(keys) > 1:
                return request.see_other(asked.address(**done("one")))
            return request.see_other(alone[wanted](keys[0]))
        if wanted not in ("send", "export", "text", "delete"):
            raise not_found()
        return request.see_other(f"/worklist/{wanted}?records={keys_text(keys)}")

    @page("/worklist/delete", Permission.EDIT_WORKLIST)
    async def ask_delete(self, request: Request) -> bytes:
        """Which records will be deleted."""
        records = await kept_records(self._database, request.fields().get("records", ""))
        return self._renderer.page(request, "worklist/delete.html", records=records)

    @form("/worklist/delete", Permission.EDIT_WORKLIST)
    async def delete(self, request: Request, fields: dict[str, str]) -> bytes:
        """Delete them."""
        count = await self._worklist.delete(chosen(fields), request.who)
        log.info("user {name} deleted {count} worklist records", name=request.who, count=count)
        return request.see_other("/worklist?" + urlencode(done("deleted", count)))

    @form("/worklist/status", Permission.EDIT_WORKLIST)
    async def set_status(self, request: Request, fields: dict[str, str]) -> bytes:
        """Say by hand where the chosen steps stand."""
        asked = worklist_query.again(fields.get("search", ""), self._today())
        keys, wanted = chosen(fields), fields.get("status", "")
        if not keys:
            return request.see_other(asked.address(**done("none")))
        if wanted not in {status.value for status in STATUSES}:
            raise not_found()
        status = StepStatus(wanted)
        await self._worklist.set_status(keys, status, request.who)
        log.info(
            "user {name} set {count} worklist records to {status}",
            name=request.who,
            count=len(keys),
            status=status.value,
        )
        shown = fields.get("from", "")
        path = f"/worklist/{key_of(shown)}" if shown else "/worklist"
        return request.see_other(asked.address(path, **done("status", len(keys))))

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.seconds()).astimezone().date()


async def listing(tx: Transaction, asked: Asked, needs_station: bool) -> Listing:
    """The page of the list that is asked for."""
    query = asked.query
    if asked.backwards:
        query = replace(query, newest_first=not query.newest_first)
    rows = await worklist_search.page(tx, query, asked.after, PAGE + 1)
    more, rows = len(rows) > PAGE, rows[:PAGE]
    if asked.backwards:
        rows.reverse()
    first, last = (
        (worklist_query.place_text(rows[0].place), worklist_query.place_text(rows[-1].place))
        if rows
        else ("", "")
    )
    return Listing(
        rows,
        await orders.doubtful(tx, rows, needs_station=needs_station),
        None if asked.after else await worklist_search.count(tx, asked.query, COUNTED),
        before=first if (more if asked.backwards else asked.after) else "",
        after=last if asked.backwards or more else "",
    )


async def opened(tx: Transaction, key: int, needs_station: bool) -> Opened:
    """A record and its story. Raises NotFound."""
    stored = await orders.record(tx, key)
    if stored is None:
        raise NotFound("there is no such record")
    events = await orders.events(tx, key, MAXIMUM_EVENTS)
    message = None
    for number in dict.fromkeys(event.message for event in events if event.message):
        message = await messages.message(tx, number)
        if message is not None:
            break
    doubts = await orders.doubtful(tx, [stored], needs_station=needs_station)
    return Opened(stored, doubts.get(key, []), events, message, {})
