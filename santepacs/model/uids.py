"""Unique identifiers (PS3.5 chapter 9)."""

import re

_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))*")


def is_valid_uid(text: str) -> bool:
    """Whether `text` is a UID by PS3.5 9.1: at most 64 characters, numbers joined by dots.

    Padding is the caller's business: take it off before asking.
    """
    return len(text) <= 64 and _UID.fullmatch(text) is not None
