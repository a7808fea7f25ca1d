"""What the operator reads: one line an event, never a patient's name, a password, a whole token."""

from pathlib import Path
from traceback import extract_tb

_FRAMES = 4


def one_line(text: object, limit: int = 200) -> str:
    """`text` safe for a log line: control characters escaped, cut to `limit` characters."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def token_hint(token: str) -> str:
    """The first characters of a token: enough to recognise it, useless to use it."""
    return token[:6] + "..."


def fault(error: BaseException | None) -> str:
    """An unexpected error: its type and the innermost places it came through, never its message.

    The message of somebody else's exception may quote what it failed on, and that may be a
    patient's: psycopg2 shows the statement with its values, pydicom the value.
    """
    if error is None:
        return "no error"
    frames = extract_tb(error.__traceback__)[-_FRAMES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    return f"{type(error).__name__} at {' > '.join(places) or 'an unknown place'}"
