"""What the worklist's pages need of other doors, given to them by the composition root."""

from dataclasses import dataclass
from typing import Protocol

from santepacs.model.order import WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one message of a file: AA, AE or AR (empty: it needs no answer), and why.

    `location`: of an error, as in ERR-2. `key`: its place in the HL7 log, if it is kept there.
    """

    code: str
    text: str
    location: str = ""
    key: int | None = None


class WorklistTools(Protocol):
    """HL7 messages of records, and other worklist servers."""

    def compose(self, record: WorklistRecord) -> bytes:
        """The record as an order message, to be kept; segments ended by CR."""

    def compose_for(self, application: str, facility: str, record: WorklistRecord) -> bytes:
        """The record as a message that does to this receiver's order what was done to ours."""

    async def take(self, content: bytes, source: str, actor: str) -> list[Verdict]:
        """Process the messages of a file as if they had come by the HL7 port.

        Raises Malformed for a file with too many of them.
        """

    async def ask(self, peer: Peer, query: WorklistQuery, limit: int) -> list[WorklistRecord]:
        """Ask another worklist server; at most `limit` records.

        Raises Unavailable, Forbidden or Malformed with what went wrong.
        """
