"""The web server: puts the pages behind one front door.

Every request passes `WebServer.serve`: name asked for, method, path; then Klein finds the route,
the guard asks for permission, the handler answers. Every error comes back here and becomes a page
that says what happened and what to do.
"""

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server

from santepacs.access.accounts import Accounts
from santepacs.access.sessions import Sessions
from santepacs.access.setup import Setup
from santepacs.archive.archive import Archive
from santepacs.db.database import Database
from santepacs.errors import SantepacsError
from santepacs.logs import fault, one_line, token_hint
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.web.auth import AuthPages
from santepacs.web.channel import Channel
from santepacs.web.desk import Desk
from santepacs.web.downloads import Downloads
from santepacs.web.guard import Guard
from santepacs.web.health import Health, HealthPages
from santepacs.web.hl7_site import hl7_pages
from santepacs.web.hosts import asked, is_ours
from santepacs.web.patient import PatientPages
from santepacs.web.portal import PortalPages
from santepacs.web.refusals import (
    ERROR_PAGE,
    Refused,
    method_not_allowed,
    misdirected,
    not_found,
    refusal,
    too_large,
    wrong_type,
)
from santepacs.web.renderer import Renderer, cookie_of
from santepacs.web.request import Request
from santepacs.web.routes import FORM_LIMIT, Handler, Route, routes_of
from santepacs.web.static import StaticPages
from santepacs.web.worklist_site import worklist_pages
from santepacs.web.worklist_tools import WorklistTools
from santepacs.worklist.worklist import Worklist

log = Logger()

MAXIMUM_CONNECTIONS = 1000
METHODS = (b"GET", b"HEAD", b"POST")
# A mistyped link has its token or set-up secret in the path (`/token%3F...`); a UID has dots, and
# no more than 39 digits between them.
_SECRET = re.compile(r"[A-Za-z0-9_-]{40,}")


class WebServer:
    """The portal, patients' links and downloads; `factory` is to be listened with."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        database: Database,
        threads: Threads,
        archive: Archive,
        accounts: Accounts,
        setup: Setup,
        health: Health,
        worklist: Worklist,
        tools: WorklistTools,
        desk: Desk,
        wake: Callable[[], Any],
    ) -> None:
        """`reactor` gives time and delayed calls (a test may give a clock). `wake`: the queue of
        jobs looks for work."""
        self._settings = settings
        self._renderer = Renderer(settings)
        sessions = Sessions(database, settings, reactor)
        self._guard = Guard(sessions)
        self._app = Klein()
        self._app.url_map.merge_slashes = False
        self._app.handle_errors(Exception)(self._failed)
        downloads = Downloads(reactor, threads, archive.files)
        for pages in (
            StaticPages(self._renderer.assets),
            HealthPages(health),
            AuthPages(reactor, settings, self._renderer, self._guard, accounts, sessions, setup),
            PortalPages(reactor, settings, self._renderer, database, archive, downloads),
            PatientPages(reactor, settings, self._renderer, database, downloads),
            *worklist_pages(
                reactor, settings, self._renderer, database, worklist, tools, desk, wake
            ),
            *hl7_pages(reactor, settings, self._renderer, database, desk, wake),
        ):
            for route, handler in routes_of(pages):
                self._mount(route, handler)
        self._resource = self._app.resource()
        self.factory = Site(reactor, self)
        self._answering = 0

    def _mount(self, route: Route, handler: Handler) -> None:
        async def answer(request: Request, **values: str) -> bytes | None:
            body = await self._guard.answer(route, handler, request, values)
            if body is not None:
                request.setHeader(b"Content-Length", b"%d" % len(body))
            return body

        methods = ["POST"] if route.is_form else ["GET"]
        self._app.route(route.path, methods=methods, endpoint=f"{methods[0]} {route.path}")(answer)

    @property
    def busy(self) -> int:
        """How many requests are being answered."""
        return self._answering

    def serve(self, request: Request) -> None:
        """Answer one request."""
        self._answering += 1
        request.notifyFinish().addBoth(self._answered)
        try:
            self._admit(request)
            self._resource.render(request)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001 - the last resort: whatever it is, it becomes a page
            Deferred.fromCoroutine(self._refuse(request, Failure()))

    async def _refuse(self, request: Request, failure: Failure) -> None:
        left: list[Failure] = []
        request.notifyFinish().addErrback(left.append)
        body = await self._failed(request, failure)
        if not left:
            request.write(body)
            request.finish()

    def _answered(self, _outcome: object) -> None:
        self._answering -= 1

    def _admit(self, request: Request) -> None:
        """What can be judged before a route is looked for."""
        request.reference = secrets.token_hex(4)
        self._identify(request)
        if request.method not in METHODS:
            raise method_not_allowed("GET, HEAD, POST")
        if not request.path.startswith(b"/"):
            raise Refused(400, "That is no address of this server")
        try:
            path = b"/".join(request.postpath or []).decode("utf-8")
        except UnicodeDecodeError:
            raise not_found() from None
        if b"//" in request.path or any(ord(c) < 32 or ord(c) == 127 for c in path):
            raise not_found()
        if request.method != b"POST" and request.announced != 0:
            raise too_large(0)
        if (request.getHeader("content-encoding") or "identity").lower() != "identity":
            raise wrong_type("content that is not compressed")

    def _identify(self, request: Request) -> None:
        local = request.getHost()
        headers = request.requestHeaders
        outer = asked(
            self._settings.web,
            request.getClientAddress().host,
            bool(request.isSecure()),
            local.host,
            local.port,
            [host.decode("latin-1") for host in headers.getRawHeaders(b"Host", [])],
            {
                name: ",".join(headers.getRawHeaders(f"X-Forwarded-{name}", []))
                for name in ("for", "proto", "host")
            },
        )
        if outer is None or (not request.requestHeaders.hasHeader(b"Host") and is_modern(request)):
            raise Refused(400, "That is no address of this server")
        request.asked = outer
        if not is_ours(self._settings.web, outer.host, local.host):
            raise misdirected()

    async def _failed(self, request: Request, failure: Failure) -> bytes:
        """The page for an error that a route ended with; a begun answer is cut off instead."""
        if request.startedWriting:
            log.error(
                "{reference} broke off an answer: {fault}",
                reference=request.reference,
                fault=fault(failure.value),
            )
            request.loseConnection()
            return b""
        refused = self._refused(request, failure)
        if request.account is None and refused.template == ERROR_PAGE and cookie_of(request):
            with suppress(SantepacsError):
                await self._guard.recognise(request)  # his way on stays on the page
        return self._refusal_page(request, refused)

    def _refused(self, request: Request, failure: Failure) -> Refused:
        """What to tell the browser; what it is not told is in the log."""
        error = failure.value
        refused = None if error is None else refusal(error)
        if refused is None:
            log.error(
                "{reference} failed: {fault}", reference=request.reference, fault=fault(error)
            )
            return Refused(
                500,
                "Something went wrong here",
                "It is not your fault. Try again; if it stays, tell an administrator.",
            )
        if refused.status not in (401, 404):
            log.info(
                "{reference} refused with {status}: {title}",
                reference=request.reference,
                status=refused.status,
                title=one_line(refused.title),
            )
        return refused

    def _refusal_page(self, request: Request, refused: Refused) -> bytes:
        request.setResponseCode(refused.status)
        for name, value in refused.headers.items():
            request.setHeader(name, value)
        # What is not there must look the same every time: no reference on it.
        reference = "" if refused.status == 404 else request.reference
        body = self._renderer.page(request, refused.template, refused=refused, reference=reference)
        request.setHeader(b"Content-Length", b"%d" % len(body))
        return body


def _hint(secret: re.Match[str]) -> str:
    return token_hint(secret[0])


def is_modern(request: Request) -> bool:
    """Whether the request is of a version that must name a host (RFC 9112 3.2)."""
    return bool(request.clientproto == b"HTTP/1.1")


class Site(server.Site):
    """The factory of connections."""

    noisy = False
    requestFactory = Request
    protocol = Channel  # type: ignore[assignment]  # Twisted declares its own proxy of one
    reactor: Any
    body_limit = FORM_LIMIT

    def __init__(self, reactor: Any, web: WebServer) -> None:
        super().__init__(None, reactor=reactor, timeout=None)
        self._web = web
        self._open = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self._open >= MAXIMUM_CONNECTIONS:
            log.warn("too many web connections: one was closed")
            return None
        return super().buildProtocol(addr)

    def opened(self) -> None:
        """A connection was made."""
        self._open += 1

    def closed(self) -> None:
        """A connection is gone."""
        self._open -= 1

    def serve(self, request: Request) -> None:
        """Answer a request whose header is there."""
        request.began = self.reactor.seconds()
        self._web.serve(request)

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]

    def log(self, request: Any, outcome: str = "") -> None:
        """The access log: no queries, they may hold a token; no names of anybody."""
        log.info(
            "web {client} {method} {path} {status} {outcome}{bytes} bytes {milliseconds} ms",
            outcome=outcome,
            client=request.asked.client,
            method=one_line(request.method.decode("latin-1"), 20),
            path=one_line(_SECRET.sub(_hint, request.path.decode("latin-1")), 150),
            status=request.code,
            bytes=request.sentLength,
            milliseconds=round(1000 * (self.reactor.seconds() - request.began)),
        )
