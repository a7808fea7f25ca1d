"""The mapping page (S71-S79): a message on the left, the table of the HL7 field mapping on the
right, what it gives, and what a change would do to the last messages before it is saved."""

import re

from twisted.logger import Logger

from santepacs.access.permissions import Permission
from santepacs.db import facts, messages
from santepacs.db.database import Database, Transaction
from santepacs.db.messages import MessageFilter, MessageRow
from santepacs.errors import Malformed, NotFound
from santepacs.model.reading import Preview
from santepacs.web import mapping_form
from santepacs.web.desk import Desk
from santepacs.web.hl7_compose import FORM_LIMIT, kept, text_of
from santepacs.web.hl7_text import in_form, moment, visible
from santepacs.web.mapping_form import EVERYBODY, LABELS, Sender, Work
from santepacs.web.multipart import File
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import page, upload
from santepacs.worklist import mapping_json
from santepacs.worklist.mapping import PRESETS, FieldMapping, Mappings, Row, Trace

log = Logger()

HERE = "/hl7/mapping"
RECENT = 30
PREVIEWED = 100
PREVIEWED_BYTES = 8 << 20
SHOWN_PREVIEWS = 30


class MappingPages:
    """For the administrator who connects a RIS."""

    def __init__(self, renderer: Renderer, database: Database, desk: Desk) -> None:
        self._renderer = renderer
        self._database = database
        self._desk = desk

    @page(HERE, Permission.ADMINISTRATOR)
    async def begin(self, request: Request) -> bytes:
        """The mapping in force, and the message in the address or the newest one."""
        values = request.fields()
        work = Work(await self._in_force())
        sender = mapping_form.sender_of(values.get("sender", ""))
        if sender in work.mappings.by_sender:
            work = Work(work.mappings, sender)
        key = values.get("message", "")
        if not key and "message" not in values:
            newest = await self._recent(1)
            key = str(newest[0].id) if newest else ""
        if "sender" not in values:
            work = Work(work.mappings, await self._reading(work.mappings, key))
        return await self._page(request, work, {"message": key}, saved="saved" in values)

    @upload(HERE, Permission.ADMINISTRATOR, limit=FORM_LIMIT)
    async def act(self, request: Request, fields: dict[str, str], files: dict[str, File]) -> bytes:
        """Whatever a button of the page does; only *Save* changes anything."""
        work = mapping_form.act(mapping_form.read(fields), fields)
        sample = {name: fields.get(name, "") for name in ("message", "sample")}
        what = fields.get("do", "")
        if "sample_file" in files:
            sample = {
                "message": "",
                "sample": await text_of(self._desk, files["sample_file"].content),
            }
        if "import_file" in files:
            work = self._imported(work, files["import_file"])
        if what == "export" and not work.problem:
            return _export(request, work.mappings)
        if what == "save" and not work.problem:
            return await self._save(request, work.mappings, sample)
        preview = await self._preview(work.mappings) if what == "preview" else None
        return await self._page(request, work, sample, preview=preview)

    def _imported(self, work: Work, file: File) -> Work:
        """The mapping of a file on the page; it is not saved yet."""
        try:
            text = file.content.decode("utf-8-sig")
            return Work(mapping_json.parsed(text, "the file"))
        except UnicodeDecodeError:
            return Work(work.mappings, work.sender, problem="the file is not text")
        except Malformed as problem:
            return Work(work.mappings, work.sender, problem=str(problem))

    async def _save(self, request: Request, mappings: Mappings, sample: dict[str, str]) -> bytes:
        async def work(tx: Transaction) -> None:
            await facts.keep_hl7_mapping(tx, mapping_json.written(mappings))

        await self._database.transaction("save the HL7 mapping", work)
        name = request.who
        log.info("user {user} saved the HL7 field mapping", user=name)
        key = sample["message"]
        shown = f"&message={key}" if re.fullmatch("[0-9]{1,18}", key) else ""
        return request.see_other(f"{HERE}?saved{shown}")

    async def _in_force(self) -> Mappings:
        """What is saved, which the HL7 port takes up within two seconds."""

        async def work(tx: Transaction) -> str | None:
            return await facts.hl7_mapping(tx)

        saved = await self._database.transaction("HL7 mapping", work, read_only=True)
        return mapping_json.parsed(saved, "it") if saved else self._desk.mappings

    async def _reading(self, mappings: Mappings, key: str) -> Sender:
        """Whose mapping reads the message of the log with this key."""
        try:
            reading = await self._desk.read(await kept(self._database, key))
        except (Malformed, NotFound):
            return EVERYBODY
        return mappings.sender_of(reading.sending_application, reading.sending_facility)

    async def _recent(self, limit: int) -> list[MessageRow]:
        async def work(tx: Transaction) -> list[MessageRow]:
            return await messages.page(tx, MessageFilter(), None, limit)

        return await self._database.transaction("HL7 log", work, read_only=True)

    async def _preview(self, candidate: Mappings) -> tuple[list[Preview], int]:
        """What the last messages would give, where it is another thing; and how many were tried."""

        async def work(tx: Transaction) -> list[tuple[int, bytes]]:
            found, room = [], PREVIEWED_BYTES
            for row in await messages.page(tx, MessageFilter(), None, PREVIEWED):
                room -= row.bytes
                message = await messages.message(tx, row.id) if room >= 0 else None
                if message is not None:
                    found.append((row.id, message.raw))
            return found

        tried = await self._database.transaction("HL7 log", work, read_only=True)
        return await self._desk.preview(tried, candidate), len(tried)

    async def _page(
        self,
        request: Request,
        work: Work,
        sample: dict[str, str],
        *,
        preview: tuple[list[Preview], int] | None = None,
        saved: bool = False,
    ) -> bytes:
        raw, problem = await self._sample(sample)
        reading = await self._desk.read(raw) if raw else None
        traces = await self._desk.trace(raw, Mappings(work.mapping)) if raw else []
        offers = await self._offers(raw, work.picked)
        recent = await self._recent(RECENT)
        found: dict[tuple[str, Row], Trace] = {}
        for trace in traces[0] if traces else []:
            found.setdefault((trace.field, trace.row), trace)
        if problem or work.problem:
            request.setResponseCode(400)
        return self._renderer.page(
            request,
            "hl7/mapping.html",
            work=work,
            state=in_form(mapping_json.written(work.mappings)),
            groups=_groups(work),
            unmapped=[name for name in mapping_form.ordered_fields()
                      if name not in work.mapping.by_field],
            found=found,
            labels=LABELS,
            presets=PRESETS,
            everybody=EVERYBODY,
            message=sample.get("message", ""),
            sample=in_form(sample.get("sample", "")),
            sample_problem=problem,
            reading=reading,
            orders=len(traces),
            offers=offers,
            recent=recent,
            is_changed=work.mappings != await self._in_force(),
            saved=saved,
            preview=preview[0][:SHOWN_PREVIEWS] if preview else None,
            preview_count=len(preview[0]) if preview else 0,
            tried=preview[1] if preview else 0,
            moment=moment,
            visible=visible,
        )  # fmt: skip

    async def _sample(self, sample: dict[str, str]) -> tuple[bytes, str]:
        """The message on the left as bytes, and what is wrong with it."""
        try:
            if sample.get("message"):
                return await kept(self._database, sample["message"]), ""
            if sample.get("sample", "").strip():
                return self._desk.wire(sample["sample"]), ""
        except (Malformed, NotFound) as problem:
            return b"", str(problem)
        return b"", ""

    async def _offers(self, raw: bytes, picked: str) -> list[Trace]:
        """The fields that the clicked value could feed, those with narrow rules first."""
        if not raw or not picked:
            return []
        at = mapping_form.place(picked)
        rows = tuple(
            Row(name, at.segment, at.position, at.component, at.repetition, at.subcomponent)
            for name in mapping_form.ordered_fields()
        )
        orders = await self._desk.trace(raw, Mappings(FieldMapping(rows)))
        fitting = [trace for trace in (orders[0] if orders else []) if trace.value]
        return sorted(fitting, key=lambda trace: not mapping_form.is_narrow(trace.field))


def _groups(work: Work) -> list[tuple[str, list[tuple[int, Row]]]]:
    """The rows by field, in the order of the table, each with its number."""
    numbered = list(enumerate(work.rows))
    return [
        (name, [(number, row) for number, row in numbered if row.field == name])
        for name in mapping_form.ordered_fields()
        if name in work.mapping.by_field
    ]


def _export(request: Request, mappings: Mappings) -> bytes:
    request.setHeader(b"Content-Type", b"application/json")
    request.setHeader(b"Content-Disposition", b'attachment; filename="hl7-mapping.json"')
    return mapping_json.written(mappings).encode()
