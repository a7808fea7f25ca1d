"""What stands before every handler: who asks, whether he may, and whether a form is ours."""

from typing import Any
from urllib.parse import quote

from santepacs.access.permissions import Permission, may
from santepacs.access.sessions import Sessions, is_form_proof
from santepacs.db.accounts import AccountRow
from santepacs.web.hosts import split_host
from santepacs.web.multipart import FILES_TYPE, content_type, parse_parts
from santepacs.web.refusals import foreign_form, log_in_first, not_allowed, wrong_type
from santepacs.web.renderer import cookie_of
from santepacs.web.request import Request, parse_fields
from santepacs.web.routes import PROOF_FIELD, Handler, Route

FORM_TYPE = "application/x-www-form-urlencoded"


class Guard:
    """Lets a request through to its handler, or not."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    async def answer(
        self, route: Route, handler: Handler, request: Request, values: dict[str, str]
    ) -> bytes | None:
        """The handler's answer. Raises Refused for who may not have it."""
        if route.permission is not Permission.ANYBODY:
            await self.recognise(request)
            if not may(request.account, route.permission):
                return self._turn_away(route, request)
        if not route.is_form:
            return await handler(request, **values)
        return await handler(request, *await self._content(route, request), **values)

    async def recognise(self, request: Request) -> AccountRow | None:
        """Who is logged in, if anybody; also kept in `request.account`."""
        request.account = await self._sessions.account(cookie_of(request))
        return request.account

    def _turn_away(self, route: Route, request: Request) -> bytes:
        if request.account is not None:
            raise not_allowed()
        if route.is_form:
            raise log_in_first()
        here = request.path.decode("latin-1") + (f"?{request.query}" if request.query else "")
        return request.see_other(f"/login?next={quote(here, safe='/')}")

    async def _content(self, route: Route, request: Request) -> list[Any]:
        """What the form holds: its fields, and its files where the route takes any."""
        _check_source(request)
        kind, boundary = content_type(request.getHeader("content-type") or "")
        if kind != (FILES_TYPE if route.takes_files else FORM_TYPE):
            raise wrong_type("a form of this site")
        body = await request.body(route.limit)
        content: list[Any] = (
            [*parse_parts(body, boundary)] if route.takes_files else [parse_fields(body)]
        )
        if not is_form_proof(cookie_of(request), content[0].pop(PROOF_FIELD, "")):
            raise foreign_form()
        return content


def _check_source(request: Request) -> None:
    """Refuse what the browser itself says comes from another site.

    Our pages send no referrer, so browsers may say ``Origin: null`` for our own forms: then the
    form's proof decides alone, as for browsers that say nothing.
    """
    if request.getHeader("sec-fetch-site") not in (None, "same-origin", "none"):
        raise foreign_form()
    origin = request.getHeader("origin")
    if origin in (None, "null"):
        return
    scheme, _, authority = (origin or "").partition("://")
    usual = {"http": 80, "https": 443}.get(scheme)
    split = split_host(authority)
    if usual is None or split is None:
        raise foreign_form()
    host, port = split
    if (host, port or usual) != (request.asked.host, request.asked.port or usual):
        raise foreign_form()


def local_path(text: str) -> str:
    """`text` if it is a path of this site, else the home of a user: no link leads elsewhere."""
    harmless = text.startswith("/") and not text.startswith(("//", "/\\")) and text.isascii()
    if harmless and text.isprintable() and " " not in text and len(text) <= 2000:
        return text
    return "/search"
