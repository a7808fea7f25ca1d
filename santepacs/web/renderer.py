"""Templates to pages, and the cookies that pages need.

Everything is escaped (`autoescape`), and text loses its control characters on the way
(`finalize`): whatever stands in an image or a message is shown as text.
"""

import re
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from santepacs.access.permissions import Permission, may
from santepacs.access.sessions import form_proof, new_cookie
from santepacs.settings import Settings
from santepacs.web import shown, worklist_form
from santepacs.web.hl7_text import in_form
from santepacs.web.request import Request
from santepacs.web.static import Assets, templates_folder
from santepacs.web.worklist_query import STATUS_WORDS

PRODUCT = "santepacs"
THEMES = ("light", "dark")
_COOKIE = re.compile(rb"[A-Za-z0-9_-]{43}")


class Renderer:
    """Makes pages of templates."""

    def __init__(self, settings: Settings) -> None:
        folder = templates_folder()
        self.assets = Assets(folder / "static")
        self._settings = settings
        self._environment = Environment(
            loader=FileSystemLoader(folder),
            autoescape=True,
            finalize=shown.clean,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(
            person=shown.person_name,
            day=shown.day,
            weekday=shown.weekday,
            long_day=shown.long_day,
            clock=shown.clock_time,
            size=shown.size,
            plural=shown.plural,
            hl7_place=shown.hl7_place,
            shortened=shown.shortened,
            modality_names=shown.modality_names,
            moment=shown.moment,
            field_label=worklist_form.label,
            in_form=in_form,
        )
        self._environment.globals.update(
            static=self.assets.path,
            age=shown.age,
            sexes=shown.SEXES,
            modalities=shown.MODALITIES,
            step_words=STATUS_WORDS,
        )

    def page(self, request: Request, template: str, **context: Any) -> bytes:
        """The page as bytes."""
        web = self._settings.web
        account = request.account
        text = self._environment.get_template(template).render(
            product=PRODUCT,
            institution=web.institution,
            department=web.department,
            account=account,
            may_share=may(account, Permission.SHARE),
            may_edit_worklist=may(account, Permission.EDIT_WORKLIST),
            theme=theme(request),
            here=request.path.decode("latin-1"),
            form_proof=lambda: self.proof(request),
            **context,
        )
        return text.encode("utf-8", "replace")

    def proof(self, request: Request) -> str:
        """A form's hidden field; a browser without a cookie gets one that belongs to nobody."""
        cookie = cookie_of(request)
        if not cookie:
            cookie = new_cookie()
            set_cookie(request, cookie)
            request.received_cookies[_name(request)] = cookie.encode()
        return form_proof(cookie)


def theme(request: Request) -> str:
    """The look that the browser remembers; empty: the system's."""
    remembered = request.received_cookies.get(b"santepacs-theme", b"").decode("latin-1")
    return remembered if remembered in THEMES else ""


def cookie_of(request: Request) -> str:
    """The browser's session (or visitor's) cookie; empty when it has none of ours."""
    value = request.received_cookies.get(_name(request), b"")
    return value.decode("ascii") if _COOKIE.fullmatch(value) else ""


def set_cookie(request: Request, cookie: str) -> None:
    """Give the browser its cookie, until it is closed."""
    request.addCookie(
        _name(request), cookie, path="/", secure=request.secure, httpOnly=True, sameSite="lax"
    )


def drop_cookie(request: Request) -> None:
    """Take the cookie away."""
    request.addCookie(
        _name(request), "", path="/", secure=request.secure, httpOnly=True, sameSite="lax",
        max_age="0",
    )  # fmt: skip


def _name(request: Request) -> bytes:
    # The prefix makes the browser itself insist on https, this host and Path=/ (RFC 6265bis).
    return b"__Host-santepacs" if request.secure else b"santepacs"
