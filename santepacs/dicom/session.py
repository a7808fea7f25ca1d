"""One association that a peer made: who it is, what was negotiated, and answering it."""

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.dicom.admission import Caller
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import SantepacsError
from santepacs.logs import one_line

log = Logger()

RELATIONAL = 0
"""Byte of the extended negotiation: relational queries or retrieval (PS3.4 C.5.1.1, C.5.2.1)."""
COMBINED = 1
"""Byte of the extended negotiation: date and time matched as one interval."""


@dataclass(slots=True)
class Session:
    """What services need of an association."""

    association: UpperAssociation
    caller: Caller = field(default_factory=lambda: Caller("", "", reason="not admitted"))
    negotiated: dict[str, bytes] = field(default_factory=dict)
    """SOP class -> what was agreed in its extended negotiation."""
    done: Counter[str] = field(default_factory=Counter)
    """What was done over it, in words for the log: ``stored``, ``refused``, ``sent``."""
    began: float = field(default_factory=time.monotonic)

    def agreed(self, sop_class: str, position: int) -> bool:
        """Whether the option at this byte was agreed for `sop_class`."""
        return self.negotiated.get(sop_class, b"")[position : position + 1] == b"\1"

    def send(self, response: Any, context: PresentationContext) -> None:
        """Send a response in the context of its request."""
        self.association.dimse.send_msg(response, context.context_id or 0)

    def summary(self) -> str:
        """What was done, for the log; empty when that is nothing worth a line."""
        return ", ".join(f"{count} {word}" for word, count in self.done.items())

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

    def is_cancelled(self, request: Any) -> bool:
        """Whether the peer cancelled its request."""
        return self.association.is_cancelled(request.MessageID)

    def is_open(self) -> bool:
        """Whether the peer is still there."""
        return self.association.is_open()
