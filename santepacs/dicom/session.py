"""One association that a peer made: who it is, what was negotiated, and answering it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db.activity import Record
from santepacs.dicom import message
from santepacs.dicom.admission import Caller
from santepacs.dicom.message import Request
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import SantepacsError
from santepacs.logs import one_line

log = Logger()

_WORTH_A_LINE = ("stored", "refused", "sent", "commitments", "procedure steps")

RELATIONAL = 0
"""Byte of the extended negotiation: relational queries or retrieval (PS3.4 C.5.1.1, C.5.2.1)."""
COMBINED = 1
"""Byte of the extended negotiation: date and time matched as one interval."""
FUZZY = 2
"""Byte of the extended negotiation: fuzzy semantic matching of names."""


@dataclass(slots=True)
class Session:
    """What services need of an association."""

    association: UpperAssociation
    caller: Caller = field(default_factory=lambda: Caller("", "", reason="not admitted"))
    negotiated: dict[str, bytes] = field(default_factory=dict)
    """SOP class -> what was agreed in its extended negotiation."""
    done: Counter[str] = field(default_factory=Counter)
    """What was done over it: ``stored``, ``sent``, ``queries``, ``found``, ``commitments``,
    ``procedure steps``, ``refused``, ``failed``."""
    began: float = field(default_factory=time.monotonic)

    def agreed(self, sop_class: str, position: int) -> bool:
        """Whether the option at this byte was agreed for `sop_class`."""
        return self.negotiated.get(sop_class, b"")[position : position + 1] == b"\1"

    def respond(
        self,
        request: Request,
        context: PresentationContext,
        status: int,
        data_set: bytes = b"",
        **named: Any,
    ) -> None:
        """Answer the request; further elements of the answer as in `message.response`."""
        command = message.response(request, status, data_set=bool(data_set), **named)
        self.association.send_message(context.context_id or 0, command, data_set)

    def respond_later(
        self, request: Request, context: PresentationContext, command: bytes, data_set: bytes
    ) -> None:
        """Answer with an encoded `command`, together with the answers that follow soon."""
        self.association.queue_message(context.context_id or 0, command, data_set)

    def summary(self) -> str:
        """What was done, for the log; empty when that is nothing worth a line."""
        # Queries and verifications come every few seconds, from everybody.
        said = ((word, self.done[word]) for word in _WORTH_A_LINE)
        return ", ".join(f"{count} {word}" for word, count in said if count)

    def record(self, now: datetime) -> Record | None:
        """What the activity log keeps of the association; None if it never was one."""
        association, done = self.association, self.done
        if not (association.is_released or association.is_aborted):
            return None
        return Record(
            now,
            self.caller.ae_title,
            self.caller.address,
            tls=association.connection.is_tls,
            seconds=time.monotonic() - self.began,
            stored=done["stored"],
            sent=done["sent"],
            queries=done["queries"],
            found=done["found"],
            other=done["commitments"] + done["procedure steps"],
            failed=done["failed"],
            refused=done["refused"],
            bytes=association.connection.received,
            ending="released" if association.is_released else "aborted",
        )

    def note_refusal(self, what: str, status: int, error: Exception) -> None:
        """Log that a request was refused, and why, if the reason is one of ours."""
        if isinstance(error, SantepacsError):
            log.info(
                "{what} of {title} from {address} refused with 0x{status:04X}: {reason}",
                what=what,
                title=one_line(self.caller.ae_title),
                address=self.caller.address,
                status=int(status),
                reason=error,
            )

    def is_cancelled(self, request: Request) -> bool:
        """Whether the peer cancelled its request."""
        return self.association.is_cancelled(request.message_id)

    def is_open(self) -> bool:
        """Whether the peer is still there."""
        return self.association.is_open()
