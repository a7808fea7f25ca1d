"""What the operator reads: one line an event, never a patient's name, a password, a whole token."""


def one_line(text: object, limit: int = 200) -> str:
    """`text` safe for a log line: control characters escaped, cut to `limit` characters."""
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in str(text))
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def token_hint(token: str) -> str:
    """The first characters of a token: enough to recognise it, useless to use it."""
    return token[:6] + "..."
