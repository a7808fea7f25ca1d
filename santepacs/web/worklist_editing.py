"""Creating, duplicating and editing a worklist record by hand (S95, S96, S101)."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from twisted.logger import Logger

from santepacs.access.permissions import Permission
from santepacs.db import orders
from santepacs.db.database import Database, Transaction
from santepacs.db.orders import StoredRecord
from santepacs.errors import Conflict, Malformed
from santepacs.model.order import MANDATORY, WorklistRecord
from santepacs.web import worklist_form
from santepacs.web.refusals import not_found, sentence
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page
from santepacs.web.worklist_choice import done, key_of
from santepacs.web.worklist_form import Form
from santepacs.worklist.worklist import Worklist

log = Logger()

# What a second record must not have from the first: its own study and its place in the orders.
_NOT_DUPLICATED = (
    "study_instance_uid", "scheduled_procedure_step_id", "status", "placer_order_number",
    "filler_order_number",
)  # fmt: skip
_HELP = {
    "patient_name": "Doe, Jane, or Family^Given^Middle^Prefix^Suffix",
    "study_instance_uid": "Empty: made by the settings of the Study UID set-up",
    "start_date": "Empty: now",
    "status": "What the sender calls it (ORC-5); where the step stands is set by its own buttons",
    "requested_timing": "A note about when",
}
_TYPES = {"patient_birth_date": "date", "start_date": "date", "start_time": "time"}


class WorklistEditing:
    """The form of a record."""

    def __init__(
        self, clock: Any, renderer: Renderer, database: Database, worklist: Worklist
    ) -> None:
        self._clock = clock
        self._renderer = renderer
        self._database = database
        self._worklist = worklist

    @page("/worklist/new", Permission.EDIT_WORKLIST)
    async def ask_new(self, request: Request) -> bytes:
        """An empty form, or one filled like another record (``?from=12``)."""
        values = request.fields()
        if "from" not in values:
            now = datetime.fromtimestamp(self._clock.seconds()).astimezone()
            blank = WorklistRecord(start_date=f"{now:%Y%m%d}", start_time=f"{now:%H%M}00")
            return self._form(request, worklist_form.filled(blank))
        stored = await self._stored(values["from"])
        record = replace(stored.record, **dict.fromkeys(_NOT_DUPLICATED, ""))  # type: ignore[arg-type]
        return self._form(request, worklist_form.filled(record), heading="Duplicate record")

    @form("/worklist/new", Permission.EDIT_WORKLIST)
    async def create(self, request: Request, fields: dict[str, str]) -> bytes:
        """Make the record."""
        typed, record = worklist_form.read(fields, WorklistRecord())
        if typed.problems:
            return self._form(request, typed)
        try:
            key = await self._worklist.create(record, request.who)
        except Malformed as problem:
            return self._form(request, typed, refusal=sentence(problem))
        log.info("user {name} created worklist record {key}", name=request.who, key=key)
        return self._shown(request, key, "created")

    @page("/worklist/<key>/edit", Permission.EDIT_WORKLIST)
    async def ask_edit(self, request: Request, key: str) -> bytes:
        """The form of a record."""
        stored = await self._stored(key)
        return self._form(request, worklist_form.filled(stored.record), stored)

    @form("/worklist/<key>/edit", Permission.EDIT_WORKLIST)
    async def edit(self, request: Request, fields: dict[str, str], key: str) -> bytes:
        """Save it, unless it was changed by somebody else since the form was made."""
        stored = await self._stored(key)
        typed, record = worklist_form.read(fields, stored.record)
        is_old = fields.get("seen") != _version(stored)
        if not is_old and not typed.problems:
            if record == stored.record:
                return self._shown(request, stored.id, "unchanged")
            try:
                await self._worklist.edit(stored.id, record, request.who, stored.updated_at)
            except Malformed as problem:
                return self._form(request, typed, stored, refusal=sentence(problem))
            except Conflict:
                stored, is_old = await self._stored(key), True
            else:
                log.info(
                    "user {name} edited worklist record {key}", name=request.who, key=stored.id
                )
                return self._shown(request, stored.id, "saved")
        meanwhile = worklist_form.differences(stored.record, record) if is_old else None
        return self._form(request, typed, stored, meanwhile=meanwhile)

    def _form(
        self,
        request: Request,
        typed: Form,
        stored: StoredRecord | None = None,
        *,
        heading: str = "",
        meanwhile: dict[str, str] | None = None,
        refusal: str = "",
    ) -> bytes:
        """`stored`: the record that is edited; None: a new one. `meanwhile`: what others saved."""
        if meanwhile is not None:
            request.setResponseCode(409)
        elif typed.problems or refusal:
            request.setResponseCode(400)
        return self._renderer.page(
            request,
            "worklist/edit.html",
            heading=heading or ("Edit record" if stored else "Create new record"),
            button="Save" if stored else "Create record",
            action=f"/worklist/{stored.id}/edit" if stored else "/worklist/new",
            leave=f"/worklist/{stored.id}" if stored else "/worklist",
            seen=_version(stored) if stored else "",
            form=typed,
            refusal=refusal,
            meanwhile=meanwhile,
            groups=worklist_form.GROUPS,
            mandatory=MANDATORY,
            helps=_HELP,
            types=_TYPES,
            priorities=[(word, word.lower()) for word in worklist_form.PRIORITIES],
            field_label=worklist_form.label,
        )

    async def _stored(self, key: str) -> StoredRecord:
        number = key_of(key)

        async def work(tx: Transaction) -> StoredRecord | None:
            return await orders.record(tx, number)

        stored = await self._database.transaction("worklist record", work, read_only=True)
        if stored is None:
            raise not_found()
        return stored

    def _shown(self, request: Request, key: int, said: str) -> bytes:
        return request.see_other(f"/worklist/{key}?{urlencode(done(said))}")


def _version(stored: StoredRecord) -> str:
    return stored.updated_at.isoformat()
