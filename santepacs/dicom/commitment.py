"""Storage Commitment Push Model as SCP (PS3.4 annex J): the peer may delete what we answer for.

The N-ACTION is answered with success when the transaction is recorded. What it asks is found out
by a job (`santepacs.dicom.committing`), which survives a restart, and told by an N-EVENT-REPORT
over an association of our own, to the address that the peer list has for the caller's AE title
and to no other. So a caller that is in no list, though trusted because it calls from this machine,
is refused: nobody would hear of the result.
"""

import hashlib
from collections.abc import Sequence
from enum import IntEnum
from io import BytesIO

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import commitments, jobs, peers
from santepacs.db.database import Transaction
from santepacs.dicom import references
from santepacs.dicom.identifier import encoding_of
from santepacs.dicom.message import Request
from santepacs.dicom.references import Asked, Reference, TooMany
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.errors import Conflict, Forbidden, Malformed, SantepacsError
from santepacs.logs import fault

log = Logger()

STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
"""The SOP class; the one instance that there is of it follows."""
STORAGE_COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
KIND = "storage commitment"
"""The kind of job that reports to a peer; its key is the AE title."""

REQUEST_COMMITMENT = 1  # the only action type


class Answer(IntEnum):
    """Statuses of an N-ACTION response (PS3.7 10.1.4.1.10)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    NO_SUCH_CLASS = 0x0118
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORISED = 0x0124
    DUPLICATE_TRANSACTION = 0x0131  # named by PS3.3 C.14.1.1
    RESOURCE_LIMITATION = 0x0213


_ANSWERS: tuple[tuple[type[Exception], Answer], ...] = (
    (TooMany, Answer.RESOURCE_LIMITATION),  # before the Malformed that it is
    (Malformed, Answer.INVALID_ARGUMENT),
    (Forbidden, Answer.NOT_AUTHORISED),
    (Conflict, Answer.DUPLICATE_TRANSACTION),
)


def serve(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """Take a storage commitment request and answer it."""
    answer, comment = _refusal_of_command(request, context)
    if answer == Answer.SUCCESS:
        try:
            _record(resources, session, request, context)
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            answer = _answer_to(error)
            comment = str(error) if isinstance(error, SantepacsError) else ""
            if not comment:
                log.error("a storage commitment could not be taken: {fault}", fault=fault(error))
            session.note_refusal("storage commitment", answer, error)
    session.done["refused" if answer else "commitments"] += 1
    session.respond(request, context, answer, comment=comment)


def _answer_to(error: Exception) -> Answer:
    for kind, answer in _ANSWERS:
        if isinstance(error, kind):
            return answer
    return Answer.PROCESSING_FAILURE


def _refusal_of_command(request: Request, context: PresentationContext) -> tuple[Answer, str]:
    if request.sop_class_uid != context.abstract_syntax:
        return Answer.NO_SUCH_CLASS, "not the SOP class of the context"
    if request.sop_instance_uid != STORAGE_COMMITMENT_INSTANCE:
        return Answer.NO_SUCH_INSTANCE, "not the well-known SOP instance"
    if request.action_type != REQUEST_COMMITMENT:
        return Answer.NO_SUCH_ACTION, "the only action type is 1"
    return Answer.SUCCESS, ""


def _record(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    ae_title = session.caller.ae_title
    if not session.caller.may_store:
        raise Forbidden("this peer may not store")
    peer = resources.read("find peer", peers.find, ae_title)
    if peer is None or not peer.enabled:
        raise Forbidden("the AE title is not in the peer list: no one to report to")
    if not isinstance(request.data_set, BytesIO):
        raise Malformed("the request has no data set")
    asked = references.read(request.data_set.getbuffer(), encoding_of(context))
    digest = _digest(asked.references)
    resources.cause("take storage commitment", _take, ae_title, asked, digest)


async def _take(tx: Transaction, ae_title: str, asked: Asked, digest: bytes) -> None:
    await commitments.record(tx, ae_title, asked.transaction_uid, digest, asked.references)
    await jobs.add(tx, KIND, {"ae_title": ae_title}, key=ae_title)


def _digest(asked: Sequence[Reference]) -> bytes:
    """Tells the same references, in the same order, from others."""
    return hashlib.sha256("\n".join(" ".join(one) for one in asked).encode("ascii")).digest()
