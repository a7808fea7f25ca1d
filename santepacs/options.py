"""What a setting is: its declaration, how text becomes its value, and how that is written back."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from santepacs.errors import Malformed

Value = bool | int | float | str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """The declaration of one setting."""

    section: str
    key: str
    type: type
    default: Value
    meaning: str
    unit: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    live: bool
    start_up: bool
    check: Callable[[str], str | None] | None

    @property
    def name(self) -> str:
        """``section.key``, as on the command line."""
        return f"{self.section}.{self.key}"

    def allowed(self) -> str:
        """What a valid value looks like, for a person."""
        if self.type is bool:
            return "yes or no"
        if self.choices:
            return "one of: " + ", ".join(choice or '""' for choice in self.choices)
        if self.type is tuple:
            return "a list of texts"
        if self.type is str:
            return "a text"
        low, high, unit = self.minimum, self.maximum, f" {self.unit}" if self.unit else ""
        kind = "a whole number" if self.type is int else "a number"
        return f"{kind} from {low:.15g} to {high:.15g}{unit}"

    def parse(self, raw: object, where: str) -> Value:
        """The value that `raw` (TOML value or text) stands for.

        Raises Malformed naming `where`, the setting and what is allowed.
        """
        value = _PARSERS[self.type](raw)
        problem = None if value is None else self._problem(value)
        if value is None or problem:
            reason = problem or f"must be {self.allowed()}"
            raise Malformed(f"{where}: {self.name} {reason}; it says {quoted(raw)}")
        return value

    def _problem(self, value: Value) -> str | None:
        if self.choices and value not in self.choices:
            return f"must be {self.allowed()}"
        if isinstance(value, int | float) and not isinstance(value, bool):
            low, high = self.minimum, self.maximum
            if (low is not None and value < low) or (high is not None and value > high):
                return f"must be {self.allowed()}"
        if self.check is not None:
            for text in value if isinstance(value, tuple) else (value,):
                problem = self.check(str(text))
                if problem:
                    return problem
        return None


def quoted(raw: object) -> str:
    """A value from outside as an error message shows it: short, control characters escaped."""
    text = repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."


def _parse_bool(raw: object) -> bool | None:
    if isinstance(raw, bool):
        return raw
    words = {"yes": True, "true": True, "on": True, "no": False, "false": False, "off": False}
    return words.get(raw.strip().lower()) if isinstance(raw, str) else None


def _parse_int(raw: object) -> int | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int):
        return raw
    if isinstance(raw, str) and re.fullmatch(r"\s*-?[0-9]{1,15}\s*", raw):
        return int(raw)
    return None


def _parse_float(raw: object) -> float | None:
    if isinstance(raw, float):
        return raw if abs(raw) < 1e15 else None
    if isinstance(raw, str) and re.fullmatch(r"\s*-?[0-9]{1,15}(\.[0-9]{1,9})?\s*", raw):
        return float(raw)
    whole = _parse_int(raw)
    return None if whole is None else float(whole)


def _parse_text(raw: object) -> str | None:
    if not isinstance(raw, str) or any(ord(c) < 32 or ord(c) == 127 for c in raw):
        return None
    return raw.strip()


def _parse_list(raw: object) -> tuple[str, ...] | None:
    if isinstance(raw, str):
        raw = [part for part in raw.split(",") if part.strip()]
    if not isinstance(raw, list | tuple):
        return None
    texts = [_parse_text(part) for part in raw]
    return None if None in texts else tuple(text for text in texts if text)


_PARSERS: dict[type, Callable[[object], Any]] = {
    bool: _parse_bool,
    int: _parse_int,
    float: _parse_float,
    str: _parse_text,
    tuple: _parse_list,
}


def value_type(hint: object) -> type:
    """The kind of value that a field's type hint stands for."""
    return hint if isinstance(hint, type) and hint in _PARSERS else tuple


# --- checks that a type and a range cannot say ------------------------------------------------


def check_ae_title(text: str) -> str | None:
    """PS3.5 6.2 AE; no white space (S19), and no comma, which separates titles in a list."""
    if re.fullmatch(r"[\x21-\x2b\x2d-\x5b\x5d-\x7e]{1,16}", text):
        return None
    return "must be an AE title: 1 to 16 characters of ASCII, no white space, backslash or comma"


def check_uid_root(text: str) -> str | None:
    """A root that leaves room for what is appended (PS3.5 9.1: 64 characters)."""
    if len(text) <= 38 and re.fullmatch(r"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))+", text):
        return None
    return "must be a UID root: at most 38 digits and dots, no leading zero in a component"


def check_uid(text: str) -> str | None:
    """PS3.5 9.1, without minding leading zeros: private UIDs are not always by the book."""
    if len(text) <= 64 and re.fullmatch(r"[0-9]+(\.[0-9]+)+", text):
        return None
    return "must be UIDs: at most 64 digits and dots each"


def check_link(text: str) -> str | None:
    """Only what a browser may safely be sent to."""
    if not text or re.fullmatch(r"https?://[^\s\"'<>]+", text):
        return None
    return "must be an address that begins with http:// or https://, or empty"


def check_host(text: str) -> str | None:
    """A DNS name or address, without port and path."""
    if not text or re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\.?", text):
        return None
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return "must be a host name or an address, without http:// and without a port"
    return None


def check_folder(text: str) -> str | None:
    """Where a server's working directory is nobody's business."""
    return None if not text or text.startswith("/") else "must be an absolute path, or empty"


def check_auto_delete_days(text: str) -> str | None:
    """The ages that the seed product offers, and never."""
    return None if text in ("0", "7", "14", "30", "90") else "must be 0, 7, 14, 30 or 90 days"


def check_code_scheme(text: str) -> str | None:
    """PS3.3 8.2: a Short String."""
    if re.fullmatch(r"[A-Za-z0-9._-]{0,16}", text):
        return None
    return "must be a coding scheme designator: at most 16 letters, digits, dots, - and _"


def check_keep_days(text: str) -> str | None:
    """A message that comes again within a week is answered from the log."""
    return "must be 0 or at least 7 days" if text in map(str, range(1, 7)) else None


# --- declaring -----------------------------------------------------------------------------------


def option(
    default: Value,
    meaning: str,
    *,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = True,
    start_up: bool = False,
    check: Callable[[str], str | None] | None = None,
) -> Any:
    """A dataclass field that carries its declaration.

    `live`: a change takes effect at once, else at the next start. `start_up`: needed before the
    database is there, so it can only stand in the file or on the command line.
    """
    declaration = {
        "meaning": meaning,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "live": live and not start_up,
        "start_up": start_up,
        "check": check,
    }
    return field(default=default, metadata=declaration)


# --- writing back --------------------------------------------------------------------------------


def shown(value: Value) -> str:
    """The value as text that `Option.parse` reads back: for the terminal, the portal, the index."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)


def toml(value: Value) -> str:
    """The value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(toml(text) for text in value) + "]"
    if isinstance(value, float):
        return f"{value:.15g}"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
