"""C-STORE as SCP (PS3.4 annex B): success is said only of what is durably stored."""

from typing import Any

from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.dicom import status
from santepacs.dicom.contexts import storage_classes
from santepacs.dicom.elements import part_10_header
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.dicom.spool import Spool
from santepacs.dicom.status import Status
from santepacs.errors import Conflict, Forbidden, Malformed, SantepacsError, Unavailable
from santepacs.logs import fault, one_line
from santepacs.model.uids import is_valid_uid

log = Logger()


def open_spool(
    resources: Resources, session: Session, command: Any, context: PresentationContext
) -> Spool:
    """Where the data set of a C-STORE request goes while it arrives.

    Raises Forbidden, which aborts, when somebody who was not even offered storage sends one.
    """
    if context.abstract_syntax not in storage_classes():
        raise Forbidden("not a storage context")
    if not session.caller.may_store:
        return Spool(None, b"")
    header = part_10_header(
        str(command.AffectedSOPClassUID or ""),
        str(command.AffectedSOPInstanceUID or ""),
        str(context.transfer_syntax[0]),
    )
    return Spool(resources.incoming, header)


def serve(
    resources: Resources, session: Session, request: C_STORE, context: PresentationContext
) -> None:
    """Store the object and answer the request."""
    response: Any = C_STORE()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    response.AffectedSOPInstanceUID = request.AffectedSOPInstanceUID
    try:
        response.Status = _store(resources, session, request, context)
        session.done["stored"] += 1
    except Exception as error:  # noqa: BLE001 - every object gets an answer
        if not isinstance(error, SantepacsError):
            log.error("an object could not be stored: {fault}", fault=fault(error))
        session.done["refused"] += 1
        response.Status = status.of_store(error)
        response.ErrorComment = status.comment(error) or None
        log.info(
            "object of {title} refused with 0x{status:04X}: {reason}",
            title=one_line(session.caller.ae_title),
            status=int(response.Status),
            reason=response.ErrorComment or type(error).__name__,
        )
    session.send(response, context)


def _store(
    resources: Resources, session: Session, request: C_STORE, context: PresentationContext
) -> Status:
    spool = request.DataSet
    if not isinstance(spool, Spool):
        raise Malformed("the request has no data set")
    try:
        if not session.caller.may_store:
            raise Forbidden("this peer may not store")
        sop_class = str(request.AffectedSOPClassUID)
        sop_instance = str(request.AffectedSOPInstanceUID)
        if sop_class != context.abstract_syntax:
            raise Conflict("the SOP class is not that of the presentation context")
        if not is_valid_uid(sop_instance):
            raise Malformed("the Affected SOP Instance UID is no UID")
        path = spool.finish()
        if path is None:
            raise Unavailable("the disk is full")
        outcome = resources.archive.store(
            path,
            source=session.caller.ae_title,
            sop_class_uid=sop_class,
            sop_instance_uid=sop_instance,
        )
        return status.STORED[outcome]
    finally:
        spool.discard()
