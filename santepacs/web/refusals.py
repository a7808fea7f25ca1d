"""Why a request is not answered as asked, in the words of a page: what happened, what to do."""

from dataclasses import dataclass, field

from werkzeug.exceptions import HTTPException, MethodNotAllowed

from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, Unavailable

ERROR_PAGE = "error.html"


@dataclass(eq=False)
class Refused(Exception):
    """An answer that is no page of its own. Raised anywhere in `santepacs.web`."""

    status: int
    title: str
    advice: str = ""
    headers: dict[bytes, bytes] = field(default_factory=dict)
    template: str = ERROR_PAGE


def not_found() -> Refused:
    """One text for everything that is not there or must not be known to be there."""
    return Refused(
        404,
        "There is nothing here",
        "The address may be misspelt, or what stood here has gone.",
    )


def log_in_first() -> Refused:
    """Nobody is logged in."""
    return Refused(401, "Please log in", "This needs a user account, or your session has ended.")


def not_allowed() -> Refused:
    """Somebody is logged in, but may not."""
    return Refused(403, "You may not do this", "Ask an administrator if your work needs it.")


def foreign_form() -> Refused:
    """A form that this site did not give to this browser."""
    return Refused(
        403,
        "This form is not valid any more",
        "Go back, reload the page and send it again. If it comes from another site, do not.",
    )


def too_large(limit: int) -> Refused:
    """More content than the route takes."""
    advice = f"At most {limit} bytes are taken here." if limit else "Nothing can be sent here."
    return Refused(413, "That is too much", advice)


def length_required() -> Refused:
    """Content whose size is not told beforehand."""
    return Refused(411, "The length is missing", "Send it with Content-Length, as browsers do.")


def wrong_type(expected: str) -> Refused:
    """Content of a kind that the route does not read."""
    return Refused(415, "This kind of content is not read here", f"Expected: {expected}.")


def method_not_allowed(allowed: str) -> Refused:
    """A method that the address does not know."""
    return Refused(
        405, "This cannot be done here", f"Allowed: {allowed}.", {b"Allow": allowed.encode()}
    )


def misdirected() -> Refused:
    """Asked under a name that is not ours: a wrong proxy, or an attack by DNS."""
    return Refused(
        421,
        "This server is not known by that name",
        "Use its own address. An administrator can add names to the setting web.allowed_hosts.",
    )


def too_many(seconds: float, title: str = "Too many attempts") -> Refused:
    """A brake is on for some seconds."""
    wait = max(1, round(seconds + 0.5))
    return Refused(429, title, f"Please try again in {wait} s.", {b"Retry-After": b"%d" % wait})


def refusal(error: BaseException) -> Refused | None:
    """What `error` means for the browser; None for a fault of ours."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, MethodNotAllowed):
        methods = sorted(set(error.valid_methods or ()) - {"OPTIONS"})
        return method_not_allowed(", ".join(methods))
    if isinstance(error, HTTPException) and error.code in (404, 308):
        return not_found()
    if isinstance(error, NotFound):
        return not_found()
    if isinstance(error, Malformed):
        return Refused(400, "That could not be understood", sentence(error))
    if isinstance(error, Forbidden):
        return not_allowed()
    if isinstance(error, Conflict):
        return Refused(409, "That does not fit what is there already", sentence(error))
    if isinstance(error, Unavailable):
        return Refused(
            503,
            "The server cannot do this at the moment",
            f"{sentence(error)} Please try again in a moment.",
            {b"Retry-After": b"10"},
        )
    return None


def sentence(error: Exception) -> str:
    """What an error says, as a sentence for people."""
    text = str(error)
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""
