"""HL7 messages that come as a file, of the watched folder: taken like those of the port."""

from santepacs.errors import Unavailable
from santepacs.hl7.receiver import Receiver, Verdict
from santepacs.hl7.refusal import Refusal

_ACCEPTED = ("AA", "CA")
_PASSING = "207"


async def take_file(receiver: Receiver, content: bytes, source: str) -> list[str]:
    """Process the messages of a file; what is wrong with them, a line each, nothing when all are
    accepted. Raises Unavailable when the file is to be taken again later: what of it was accepted
    is known then.
    """
    if content.startswith(b"\x0b"):
        # Written as it came over the wire.
        content = content.replace(b"\x0b", b"\r").replace(b"\x1c", b"\r")
    try:
        verdicts = await receiver.take(content, source)
    except Refusal as refusal:
        return [str(refusal)]
    for verdict in verdicts:
        # A refusal that could not even be kept: the database is away.
        if verdict.refusal and verdict.refusal.code == _PASSING and verdict.key is None:
            raise Unavailable("the worklist is not available: files wait in the watched folder")
    several = len(verdicts) > 1
    return [
        (f"message {number}: " if several else "") + _reason(verdict)
        for number, verdict in enumerate(verdicts, 1)
        if verdict.code not in _ACCEPTED
    ]


def _reason(verdict: Verdict) -> str:
    return " ".join(part for part in (verdict.code, verdict.location, verdict.text) if part)
