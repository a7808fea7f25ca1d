"""Unexpected errors in the log: what and where, never the message.

The message of somebody else's exception may quote what it failed on, and that may be a patient's:
psycopg2 shows the statement with its values, pydicom the value.
"""

from pathlib import Path
from traceback import extract_tb

_FRAMES = 4


def description(error: BaseException) -> str:
    """The type of `error` and the innermost places that it came through."""
    frames = extract_tb(error.__traceback__)[-_FRAMES:]
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames]
    return f"{type(error).__name__} at {' > '.join(places) or 'an unknown place'}"
