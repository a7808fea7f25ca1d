"""Routes: each states its permission where its handler stands, so none can be open by omission."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from santepacs.access.permissions import Permission

FORM_LIMIT = 64 << 10  # bytes
PROOF_FIELD = "proof"

Handler = Callable[..., Awaitable[bytes | None]]
H = TypeVar("H", bound=Handler)


@dataclass(frozen=True, slots=True)
class Route:
    """An address and who may use it. A form changes something; a page never does."""

    path: str
    permission: Permission
    is_form: bool
    limit: int = 0
    """Most bytes of a form."""
    takes_files: bool = False


def page(path: str, permission: Permission) -> Callable[[H], H]:
    """GET and HEAD of `path`. The handler gets the request (and the path's values by name) and
    returns the body, or None when it has answered itself."""
    return _marked(Route(path, permission, is_form=False))


def form(path: str, permission: Permission, *, limit: int = FORM_LIMIT) -> Callable[[H], H]:
    """POST of a form of at most `limit` bytes to `path`. The handler gets the request and the
    fields, after permission, origin, size and the form's proof have been checked."""
    return _marked(Route(path, permission, is_form=True, limit=limit))


def upload(path: str, permission: Permission, *, limit: int) -> Callable[[H], H]:
    """As `form`, for a form with files (``multipart/form-data``): the handler gets the request,
    the fields and the files by field (`santepacs.web.multipart.File`)."""
    return _marked(Route(path, permission, is_form=True, limit=limit, takes_files=True))


def _marked(route: Route) -> Callable[[H], H]:
    def mark(handler: H) -> H:
        handler.route = route  # type: ignore[attr-defined]
        return handler

    return mark


def routes_of(pages: Any) -> Iterator[tuple[Route, Handler]]:
    """The routes of an object whose methods are marked."""
    for name in dir(type(pages)):
        route = getattr(getattr(type(pages), name), "route", None)
        if isinstance(route, Route):
            yield route, getattr(pages, name)
