"""The errors that may cross from one room of santepacs into another.

Everything else stays where it was raised. A door (DICOM, HL7, web) turns these into the words of
its protocol in one place; nobody else catches them, except to undo something.
The message is written for the person or program on the other side: it names what is wrong, and
never holds a patient's name, a password or a whole token.
"""


class SantepacsError(Exception):
    """The family; raise one of its members."""


class Malformed(SantepacsError):
    """What was sent is broken or not acceptable; sending it again will fail again."""


class NotFound(SantepacsError):
    """There is no such thing (or the asker may not know that there is)."""


class Forbidden(SantepacsError):
    """The asker is known but may not do this."""


class Conflict(SantepacsError):
    """It contradicts something that is already kept."""


class Unavailable(SantepacsError):
    """A passing fault (no database, full disk, too busy); trying again later may succeed."""
