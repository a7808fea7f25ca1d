"""Compare two HL7 messages (S105): kept ones, files, or pasted text; field by field."""

from collections.abc import Sequence
from typing import Any

from santepacs.access.permissions import Permission
from santepacs.db.database import Database
from santepacs.errors import Malformed, NotFound
from santepacs.web.desk import Desk
from santepacs.web.hl7_compose import FORM_LIMIT, TEXT_LIMIT, kept, text_of
from santepacs.web.hl7_text import in_form, visible
from santepacs.web.multipart import File
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import page, upload

HERE = "/hl7/compare"
ALWAYS_DIFFERENT = ("MSH-7", "MSH-10")
"""Time and number of a message: no two are the same."""
SHOWN_FIELDS = 2_000
"""A page with all fields of a huge message would keep the server and the browser busy."""
_SIDES = ("first", "second")


class ComparePages:
    """For whoever asks what a sender did otherwise this time."""

    def __init__(self, renderer: Renderer, database: Database, desk: Desk) -> None:
        self._renderer = renderer
        self._database = database
        self._desk = desk

    @page(HERE, Permission.USER)
    async def begin(self, request: Request) -> bytes:
        """Two kept messages, by their numbers in the address, or an empty form."""
        values = request.fields()
        texts = {}
        for side in _SIDES:
            key = values.get(side, "").strip()
            texts[side] = await self._kept(key) if key else ""
        names = {side: f"Message {values[side]}" if texts[side] else "" for side in _SIDES}
        options = {"differences": values.get("differences", ""), "all_fields": ""}
        return await self._page(request, "hl7/compare.html", texts, names, options)

    @upload(HERE, Permission.USER, limit=FORM_LIMIT)
    async def compare(
        self, request: Request, fields: dict[str, str], files: dict[str, File]
    ) -> bytes:
        """What was chosen, pasted or typed, side by side; or the same as a file."""
        texts, names, problems = {}, {}, {}
        for side in _SIDES:
            names[side] = fields.get(f"{side}_name", "")[:200]
            try:
                texts[side] = await self._side(side, fields, files, names)
            except (Malformed, NotFound) as problem:
                texts[side], problems[side] = fields.get(f"{side}_text", ""), str(problem)
        options = {name: fields.get(name, "") for name in ("differences", "all_fields")}
        template = "hl7/compare.html"
        if fields.get("do") == "export" and not problems:
            template = "hl7/compare_export.html"
        return await self._page(request, template, texts, names, options, problems)

    async def _side(
        self, side: str, fields: dict[str, str], files: dict[str, File], names: dict[str, str]
    ) -> str:
        """A file wins over a message's number, that over text."""
        if f"{side}_file" in files:
            file = files[f"{side}_file"]
            names[side] = file.name
            return await text_of(self._desk, file.content)
        key = fields.get(f"{side}_key", "").strip()
        if key:
            names[side] = f"Message {key}"
            return await self._kept(key)
        text = fields.get(f"{side}_text", "")
        if len(text) > TEXT_LIMIT:
            raise Malformed("the message is too large to be compared in a browser")
        return text

    async def _kept(self, key: str) -> str:
        return await text_of(self._desk, await kept(self._database, key))

    async def _page(
        self,
        request: Request,
        template: str,
        texts: dict[str, str],
        names: dict[str, str],
        options: dict[str, str],
        problems: dict[str, str] | None = None,
    ) -> bytes:
        problems = dict(problems or {})
        segments: list[Any] | None = None
        if all(text.strip() for text in texts.values()) and not problems:
            ignore = () if options["all_fields"] else ALWAYS_DIFFERENT
            try:
                first, second = (as_bytes(texts[side]) for side in _SIDES)
                segments = await self._desk.compare(first, second, ignore)
            except Malformed as problem:
                request.setResponseCode(400)
                problems["compare"] = str(problem)
        tables, is_cut = shown(segments or (), bool(options["differences"]))
        if template == "hl7/compare_export.html":
            if segments is None:
                template = "hl7/compare.html"
            else:
                request.setHeader(
                    b"Content-Disposition", b'attachment; filename="hl7-comparison.html"'
                )
        return self._renderer.page(
            request,
            template,
            texts={side: in_form(text) for side, text in texts.items()},
            names={side: names[side] or word for side, word in zip(_SIDES, ("First", "Second"),
                                                                   strict=True)},
            options=options,
            problems=problems,
            segments=segments,
            shown=tables,
            is_cut=is_cut,
            ignored=ALWAYS_DIFFERENT,
            field_name=self._desk.field_name,
            visible=visible,
        )  # fmt: skip


def shown(
    segments: Sequence[Any], only_differences: bool
) -> tuple[list[tuple[Any, list[Any]]], bool]:
    """The segments of the tables, each with its fields; and whether some are left out."""
    found: list[tuple[Any, list[Any]]] = []
    room = SHOWN_FIELDS
    for segment in segments:
        if only_differences and segment.verdict.value == "same":
            continue
        left_out = ("same", "ignored") if only_differences else ()
        fields = [
            field
            for field in segment.fields
            if (field.first or field.second) and field.verdict.value not in left_out
        ]
        if len(fields) >= room:
            return [*found, (segment, fields[:room])], True
        found.append((segment, fields))
        room -= len(fields) + 1
    return found, False


def as_bytes(text: str) -> bytes:
    """A text as a message that is read the same, whatever character set its MSH-18 names."""
    return ("\ufeff" + text.replace("\r\n", "\r").replace("\n", "\r")).encode(
        "utf-16-le", "replace"
    )
