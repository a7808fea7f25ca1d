"""Association requests that we have read, in the form that pynetdicom negotiates with.

pynetdicom's own decoder fails on what PS3.8 9.3.1 wants to be skipped (items of unknown types) and
keeps what nobody may keep (the user identity), so it reads no request of a stranger here.
"""

from typing import Any

from pydicom.uid import UID
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
    SOPClassExtendedNegotiation,
)
from pynetdicom.presentation import PresentationContext

from santepacs.dicom import request
from santepacs.dicom.proposal import AssociationRequest, Proposed
from santepacs.errors import Malformed

SHORTEST_PDU = 128
"""Bytes of a P-DATA-TF that a caller must be able to take."""

_NOTHING = "2.25.0"
"""A UID of nothing, for a context that proposes nothing: it is refused like any unknown one."""
_UNNAMED = "1.2.826.0.1.3680043.8.498.1"
"""An implementation class for who does not say its own: pynetdicom must have one."""


class ReceivedRequest:
    """An A-ASSOCIATE-RQ as pynetdicom's state machine takes it. Raises Malformed."""

    def __init__(self, pdu: bytes) -> None:
        self.record = request.parse(pdu)
        if 0 < self.record.maximum_length < SHORTEST_PDU:
            raise Malformed("the caller takes too little at a time")
        self.protocol_version = self.record.protocol_version & 1  # PS3.8 9.3.2: test this bit alone

    def to_primitive(self) -> A_ASSOCIATE:
        """The request for the association. Raises ValueError for values that cannot be."""
        record = self.record
        primitive = A_ASSOCIATE()
        primitive.application_context_name = UID(record.application_context)
        primitive.calling_ae_title = record.calling_ae_title
        primitive.called_ae_title = record.called_ae_title
        primitive.presentation_context_definition_list = [
            _context(proposed) for proposed in record.contexts
        ]
        primitive.user_information = list(_user_information(record))
        return primitive


def _context(proposed: Proposed) -> PresentationContext:
    context = PresentationContext()
    context.context_id = proposed.context_id
    context.abstract_syntax = UID(proposed.abstract_syntax or _NOTHING)
    syntaxes: list[str | bytes | UID] = [UID(uid) for uid in proposed.transfer_syntaxes if uid]
    context.transfer_syntax = syntaxes or [UID(_NOTHING)]
    return context


def _user_information(record: AssociationRequest) -> Any:
    length = MaximumLengthNotification()
    length.maximum_length_received = record.maximum_length
    yield length
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(record.implementation_class_uid or _UNNAMED)
    yield implementation
    name = record.implementation_version_name
    if name and name.isascii() and name.isprintable() and "\\" not in name:
        version = ImplementationVersionNameNotification()
        version.implementation_version_name = name[:16]
        yield version
    if record.asynchronous_operations is not None:
        window = AsynchronousOperationsWindowNegotiation()
        window.maximum_number_operations_invoked = record.asynchronous_operations[0]
        window.maximum_number_operations_performed = record.asynchronous_operations[1]
        yield window
    for sop_class, role in record.roles.items():
        if not (role.scu or role.scp):
            continue
        selection = SCP_SCU_RoleSelectionNegotiation()
        selection.sop_class_uid = UID(sop_class)
        selection.scu_role, selection.scp_role = role
        yield selection
    for sop_class, information in record.extended.items():
        extended = SOPClassExtendedNegotiation()
        extended.sop_class_uid = UID(sop_class)
        extended.service_class_application_information = information
        yield extended
