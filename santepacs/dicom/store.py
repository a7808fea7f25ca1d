"""C-STORE as SCP (PS3.4 annex B): success is said only of what is durably stored."""

from pathlib import Path

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.archive.archive import storage_failure
from santepacs.dicom import status
from santepacs.dicom.contexts import is_storage
from santepacs.dicom.elements import part_10_header
from santepacs.dicom.message import Request
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.dicom.spool import Spool
from santepacs.dicom.status import Status
from santepacs.errors import Conflict, Forbidden, Malformed, SantepacsError
from santepacs.logs import fault, one_line
from santepacs.model.uids import is_valid_uid

log = Logger()


def open_spool(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> Spool:
    """Where the data set of a C-STORE request goes while it arrives.

    Raises Malformed, which aborts, when somebody who was not even offered storage sends one.
    """
    if not is_storage(context.abstract_syntax, resources.settings.dicom.private_sop_classes):
        raise Malformed("not a storage context")
    if not session.caller.may_store:
        return Spool(None, b"")
    header = part_10_header(
        request.sop_class_uid, request.sop_instance_uid, str(context.transfer_syntax[0])
    )
    return Spool(resources.incoming, header, resources.archive.check_space)


def serve(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """Store the object and answer the request."""
    comment = ""
    try:
        answer = _store(resources, session, request, context)
        session.done["stored"] += 1
    except Exception as error:  # noqa: BLE001 - every object gets an answer
        if not isinstance(error, SantepacsError):
            log.error("an object could not be stored: {fault}", fault=fault(error))
        session.done["refused"] += 1
        answer, comment = status.of_store(error), status.comment(error)
        log.info(
            "object of {title} refused with 0x{status:04X}: {reason}",
            title=one_line(session.caller.ae_title),
            status=int(answer),
            reason=comment or type(error).__name__,
        )
    session.respond(request, context, answer, comment=comment)


def _store(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> Status:
    spool = request.data_set
    if not isinstance(spool, Spool):
        raise Malformed("the request has no data set")
    try:
        if not session.caller.may_store:
            raise Forbidden("this peer may not store")
        if request.sop_class_uid != context.abstract_syntax:
            raise Conflict("the SOP class is not that of the presentation context")
        if not is_valid_uid(request.sop_instance_uid):
            raise Malformed("the Affected SOP Instance UID is no UID")
        outcome = resources.archive.store(
            _received(spool),
            source=session.caller.ae_title,
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
        )
        return status.STORED[outcome]
    finally:
        spool.discard()


def _received(spool: Spool) -> Path | bytearray:
    try:
        return spool.finish()
    except OSError as error:
        raise storage_failure(error) from error
