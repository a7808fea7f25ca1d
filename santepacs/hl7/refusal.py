"""Why a message is not accepted, in HL7's words (tables 0357, 0008)."""

from santepacs.errors import Malformed

CONDITIONS = {
    "100": "Segment sequence error",
    "101": "Required field missing",
    "102": "Data type error",
    "103": "Table value not found",
    "200": "Unsupported message type",
    "201": "Unsupported event code",
    "202": "Unsupported processing id",
    "203": "Unsupported version id",
    "204": "Unknown key identifier",
    "205": "Duplicate key identifier",
    "206": "Application record locked",
    "207": "Application internal error",
}


class Refusal(Malformed):
    """A message that is answered with AE or AR.

    `code` is of table 0357, `location` an ERR-2 location (``PID^1^3``: segment, its number, field)
    or empty. The text is for the sender's people and holds nothing of the message.
    """

    def __init__(self, code: str, location: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.location = location

    @property
    def acknowledgement_code(self) -> str:
        """AR for what is not ours to process (2xx), AE for content that must be mended (1xx)."""
        return "AR" if self.code.startswith("2") else "AE"
