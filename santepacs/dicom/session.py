"""One association that a peer made: who it is, what was negotiated, and answering it."""

from dataclasses import dataclass, field
from typing import Any

from pynetdicom.presentation import PresentationContext

from santepacs.dicom.admission import Caller
from santepacs.dicom.upper import UpperAssociation

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

    def agreed(self, sop_class: str, position: int) -> bool:
        """Whether the option at this byte was agreed for `sop_class`."""
        return self.negotiated.get(sop_class, b"")[position : position + 1] == b"\1"

    def send(self, response: Any, context: PresentationContext) -> None:
        """Send a response in the context of its request."""
        self.association.dimse.send_msg(response, context.context_id or 0)

    def is_cancelled(self, request: Any) -> bool:
        """Whether the peer cancelled its request."""
        return self.association.is_cancelled(request.MessageID)

    def is_open(self) -> bool:
        """Whether the peer is still there."""
        return self.association.is_open()
