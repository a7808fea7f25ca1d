"""Study UID setup (S80-S83): which orders without a Study Instance UID get one, and its root."""

from typing import Any

from santepacs.access.permissions import Permission
from santepacs.db import facts, peers
from santepacs.db.database import Database, Transaction
from santepacs.errors import Malformed
from santepacs.options import Option, Value, shown
from santepacs.settings import Settings, find_option
from santepacs.web.hl7_text import in_form
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import form, page

HERE = "/hl7/uids"
ROOT, FOR_ALL, TITLES = (
    f"worklist.{key}" for key in ("study_uid_root", "study_uid_for_all", "study_uid_ae_titles")
)


class StudyUidPages:
    """For the administrator whose scanner refuses answers without a Study Instance UID."""

    def __init__(self, settings: Settings, renderer: Renderer, database: Database) -> None:
        self._settings = settings
        self._renderer = renderer
        self._database = database

    @page(HERE, Permission.ADMINISTRATOR)
    async def show(self, request: Request) -> bytes:
        """What is set, and what is pinned elsewhere."""
        return await self._page(
            request,
            {
                "root": shown(self._settings.value(ROOT)),
                "for_all": shown(self._settings.value(FOR_ALL)),
                "titles": "\n".join(self._settings.worklist.study_uid_ae_titles),
            },
            saved="saved" in request.fields(),
        )

    @form(HERE, Permission.ADMINISTRATOR)
    async def save(self, request: Request, fields: dict[str, str]) -> bytes:
        """Save what is not pinned; it is in force at once."""
        titles = fields.get("titles", "").replace(",", "\n").split("\n")
        given: dict[str, object] = {
            ROOT: fields.get("root", "").strip() or find_option(ROOT).default,
            FOR_ALL: fields.get("for_all", ""),
            TITLES: list(dict.fromkeys(title.strip() for title in titles if title.strip())),
        }
        values: dict[Option, Value] = {}
        problems: dict[str, str] = {}
        for name, raw in given.items():
            option = find_option(name)
            if name in self._settings.pinned:
                continue
            try:
                values[option] = option.parse(raw, "")
            except Malformed as problem:
                problems[option.key] = str(problem).removeprefix(f": {name} ").partition(";")[0]
        if problems:
            request.setResponseCode(400)
            return await self._page(request, fields, problems=problems)

        async def work(tx: Transaction) -> dict[str, str]:
            for option, value in values.items():
                await facts.save_setting(tx, option.name, shown(value))
            return await facts.saved_settings(tx)

        self._settings.take(await self._database.transaction("save settings", work), live_only=True)
        return request.see_other(f"{HERE}?saved")

    async def _page(self, request: Request, values: dict[str, str], **said: Any) -> bytes:
        async def work(tx: Transaction) -> list[str]:
            return [peer.ae_title for peer in await peers.everyone(tx)]

        known = await self._database.transaction("peers", work, read_only=True)
        context: dict[str, Any] = {"saved": False, "problems": {}, **said}
        return self._renderer.page(
            request,
            "hl7/uids.html",
            values={"root": "", "for_all": "", **values},
            titles=in_form(values.get("titles", "")),
            default_root=find_option(ROOT).default,
            pinned={name.partition(".")[2]: where for name, where in self._settings.pinned.items()
                    if name in (ROOT, FOR_ALL, TITLES)},
            peers=known,
            **context,
        )  # fmt: skip
