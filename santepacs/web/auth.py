"""Landing page, log-in, log-out, the first set-up, and the look that a browser remembers."""

from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import Logger

from santepacs.access.accounts import Accounts
from santepacs.access.passwords import MINIMUM_CHARACTERS
from santepacs.access.permissions import Permission
from santepacs.access.sessions import Sessions
from santepacs.access.setup import Setup
from santepacs.access.throttle import Waits, network
from santepacs.errors import Conflict, Malformed, Unavailable
from santepacs.model.addresses import is_loopback
from santepacs.model.names import fold
from santepacs.settings import Settings
from santepacs.web.guard import Guard, local_path
from santepacs.web.hosts import outer_name
from santepacs.web.refusals import Refused
from santepacs.web.renderer import THEMES, Renderer, cookie_of, drop_cookie, set_cookie
from santepacs.web.request import Request
from santepacs.web.routes import form, page

log = Logger()

# However often others have guessed at a user, he himself waits no longer than this elsewhere.
LONGEST_DELAY = 3.0
A_YEAR = 365 * 86400


class AuthPages:
    """Who comes in."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        renderer: Renderer,
        guard: Guard,
        accounts: Accounts,
        sessions: Sessions,
        setup: Setup,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._renderer = renderer
        self._guard = guard
        self._accounts = accounts
        self._sessions = sessions
        self._setup = setup
        self._of_address = Waits(reactor)
        self._of_user = Waits(reactor, first=0.25)

    @page("/", Permission.ANYBODY)
    async def landing(self, request: Request) -> bytes:
        """Whose server this is, and the way in."""
        if cookie_of(request):
            await self._guard.recognise(request)
        return self._renderer.page(
            request, "access/landing.html", viewer_url=self._settings.web.viewer_url
        )

    @page("/login", Permission.ANYBODY)
    async def login(self, request: Request) -> bytes:
        """The form."""
        return self._login_page(request, next=local_path(request.fields().get("next", "")))

    @form("/login", Permission.ANYBODY)
    async def log_in(self, request: Request, fields: dict[str, str]) -> bytes:
        """Check name and password; a right pair gets a new session."""
        name, password = fields.get("username", "").strip(), fields.get("password", "")
        onward = local_path(fields.get("next", ""))
        if not name or not password:
            request.setResponseCode(400)
            problem = "Please type your user name and your password."
            return self._login_page(request, next=onward, name=name, problem=problem)

        address, user = network(request.asked.client), fold(name[:256])
        free = self._settings.web.login_attempts
        wait = self._of_address.remaining(address, free)
        if wait > 0:
            log.warn("log-in from {address} must wait", address=request.asked.client)
            request.setResponseCode(429)
            request.setHeader(b"Retry-After", b"%d" % (wait + 1))
            problem = f"Too many failed attempts from here. Please try again in {wait + 1:.0f} s."
            return self._login_page(request, next=onward, name=name, problem=problem)

        # Counted before it is known, so that many at once count as many.
        delay = min(self._of_user.remaining(user, free), LONGEST_DELAY)
        self._of_address.failed(address)
        self._of_user.failed(user)
        if delay > 0:
            await deferLater(self._reactor, delay)
        try:
            account = await self._accounts.verify(name, password)
        except Unavailable:
            self._of_address.forgive(address)
            self._of_user.forgive(user)
            raise
        if account is None:
            log.warn("failed log-in from {address}", address=request.asked.client)
            request.setResponseCode(401)
            problem = "User name and password do not fit together."
            return self._login_page(request, next=onward, name=name, problem=problem)

        self._of_address.forgive(address)
        self._of_user.succeeded(user)
        cookie = await self._sessions.begin(account, request.asked.client, cookie_of(request))
        set_cookie(request, cookie)
        log.info(
            "user {name} logged in from {address}",
            name=account.name,
            address=request.asked.client,
        )
        return request.see_other(onward)

    def _login_page(
        self, request: Request, *, next: str, name: str = "", problem: str = ""
    ) -> bytes:
        in_clear = not request.secure and not is_loopback(request.asked.client)
        return self._renderer.page(
            request,
            "access/login.html",
            next=next,
            name=name[:256],
            problem=problem,
            in_clear=in_clear,
        )

    @page("/logout", Permission.ANYBODY)
    async def logout(self, request: Request) -> bytes:
        """Asking to log out changes nothing yet: a link elsewhere must not do it."""
        await self._guard.recognise(request)
        if request.account is None:
            return request.see_other("/")
        return self._renderer.page(request, "access/logout.html")

    @form("/logout", Permission.ANYBODY)
    async def log_out(self, request: Request, fields: dict[str, str]) -> bytes:
        """End the session."""
        await self._sessions.end(cookie_of(request))
        drop_cookie(request)
        return request.see_other("/")

    @page("/setup", Permission.ANYBODY)
    async def setup(self, request: Request) -> bytes:
        """The form of the one-time link ``/setup?<secret>``."""
        if not await self._setup.is_open(request.query):
            raise _dead_link()
        return self._setup_page(request, request.query)

    @form("/setup", Permission.ANYBODY)
    async def set_up(self, request: Request, fields: dict[str, str]) -> bytes:
        """Make the first administrator and log him in."""
        secret, name = fields.get("link", ""), fields.get("username", "").strip()
        if not await self._setup.is_open(secret):
            raise _dead_link()
        try:
            if fields.get("password", "") != fields.get("again", ""):
                raise Malformed("the two passwords are not the same")
            account = await self._setup.finish(secret, name, fields.get("password", ""))
        except (Malformed, Conflict) as problem:
            request.setResponseCode(400)
            return self._setup_page(request, secret, name=name, problem=str(problem))
        cookie = await self._sessions.begin(account, request.asked.client, cookie_of(request))
        set_cookie(request, cookie)
        return request.see_other("/search")

    def _setup_page(
        self, request: Request, secret: str, *, name: str = "admin", problem: str = ""
    ) -> bytes:
        return self._renderer.page(
            request,
            "access/setup.html",
            link=secret,
            name=name[:256],
            problem=problem,
            minimum=MINIMUM_CHARACTERS,
            settings=self._settings,
            own_address=outer_name(self._settings.web, request.asked),
        )

    @form("/appearance", Permission.ANYBODY)
    async def appearance(self, request: Request, fields: dict[str, str]) -> bytes:
        """Light, dark, or as the system says."""
        chosen = fields.get("theme", "")
        request.addCookie(
            "santepacs-theme", chosen if chosen in THEMES else "", path="/", sameSite="lax",
            secure=request.secure, httpOnly=True, max_age=str(A_YEAR if chosen in THEMES else 0),
        )  # fmt: skip
        return request.see_other(local_path(fields.get("next", "")))


def _dead_link() -> Refused:
    return Refused(
        404,
        "This set-up link does not work any more",
        "It works once, for 24 hours, and only while there is no administrator. "
        "Restart the server for a new one, or use: santepacs user add NAME --admin",
    )
