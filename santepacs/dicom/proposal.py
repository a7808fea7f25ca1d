"""An association request and its answers as plain records (PS3.8 9.3, PS3.7 D.3)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"


class Refusal(NamedTuple):
    """Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21)."""

    result: int
    source: int
    reason: int


WRONG_APPLICATION_CONTEXT = Refusal(1, 1, 2)
CALLING_TITLE_UNKNOWN = Refusal(1, 1, 3)
CALLED_TITLE_UNKNOWN = Refusal(1, 1, 7)
WRONG_PROTOCOL_VERSION = Refusal(1, 2, 2)
CONGESTED = Refusal(2, 3, 1)
TOO_MANY = Refusal(2, 3, 2)


class Proposed(NamedTuple):
    """A presentation context that the caller proposes."""

    context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class Role(NamedTuple):
    """The roles of the caller for one SOP class, proposed or agreed (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


class CommonExtended(NamedTuple):
    """A SOP Class Common Extended Negotiation (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_general_classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """An A-ASSOCIATE-RQ. Padding around AE titles and after UIDs is gone."""

    protocol_version: int
    called_ae_title: str
    calling_ae_title: str
    application_context: str
    contexts: tuple[Proposed, ...]
    maximum_length: int = 0
    """Bytes of a P-DATA-TF that the caller takes; 0: any number."""
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous_operations: tuple[int, int] | None = None
    """How many operations it would like to have invoked and performed at once; 0: any number."""
    roles: Mapping[str, Role] = field(default_factory=dict)
    """By SOP class."""
    extended: Mapping[str, bytes] = field(default_factory=dict)
    """SOP class -> service class application information."""
    common_extended: tuple[CommonExtended, ...] = ()
    user_identity_type: int | None = None

    @property
    def refusal(self) -> Refusal | None:
        """Why nobody could accept this, if so."""
        if not self.protocol_version & 1:
            return WRONG_PROTOCOL_VERSION
        if self.application_context != APPLICATION_CONTEXT:
            return WRONG_APPLICATION_CONTEXT
        return None
