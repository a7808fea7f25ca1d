"""Modality Performed Procedure Step as SCP (PS3.4 annex F): a modality says what it does.

The N-CREATE and each N-SET is answered with success when it is committed, together with what it
changes in the worklist (`santepacs.worklist.progress`).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.archive.walk import Excessive
from santepacs.db import performed as kept
from santepacs.dicom import performed
from santepacs.dicom.contexts import PERFORMED_PROCEDURE_STEP
from santepacs.dicom.identifier import encoding_of
from santepacs.dicom.message import Request
from santepacs.dicom.performed import InvalidValue, MissingAttribute, MissingValue
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.dicom.status import comment
from santepacs.errors import Conflict, Forbidden, NotFound, SantepacsError, Unavailable
from santepacs.logs import fault
from santepacs.model.performed import SentDataSet
from santepacs.worklist.progress import Progress

log = Logger()

# Looser than PS3.5 9.1: the step is the modality's, and so is its name.
_UID = re.compile(r"[0-9.]{1,64}")


class Answer(IntEnum):
    """Statuses of N-CREATE and N-SET responses (PS3.7 10.1.5.1.6, 10.1.3.1.9)."""

    SUCCESS = 0x0000
    INVALID_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_INSTANCE = 0x0111
    NO_SUCH_INSTANCE = 0x0112
    INVALID_INSTANCE = 0x0117
    NO_SUCH_CLASS = 0x0118
    MISSING_ATTRIBUTE = 0x0120
    MISSING_VALUE = 0x0121
    NOT_AUTHORISED = 0x0124
    RESOURCE_LIMITATION = 0x0213


MAY_NO_LONGER_BE_UPDATED = 0xA710
"""The Error ID beside a processing failure (PS3.4 table F.7.2-2)."""

Answers = tuple[tuple[type[Exception], Answer], ...]
_ANSWERS: Answers = (
    (MissingAttribute, Answer.MISSING_ATTRIBUTE),
    (MissingValue, Answer.MISSING_VALUE),
    (InvalidValue, Answer.INVALID_VALUE),
    (Excessive, Answer.RESOURCE_LIMITATION),
    (Forbidden, Answer.NOT_AUTHORISED),
    (NotFound, Answer.NO_SUCH_INSTANCE),
)
OF_CREATE: Answers = (*_ANSWERS, (Conflict, Answer.DUPLICATE_INSTANCE))
OF_SET: Answers = (*_ANSWERS, (Conflict, Answer.PROCESSING_FAILURE))
"""What is answered to an error; any other is a processing failure."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, with what is needed to serve it."""

    resources: Resources
    progress: Progress
    request: Request
    context: PresentationContext
    ae_title: str

    @property
    def sent(self) -> SentDataSet:
        """Its data set as it came; none counts as an empty one."""
        data_set = self.request.data_set
        content = data_set.getvalue() if isinstance(data_set, BytesIO) else b""
        return SentDataSet(str(self.context.transfer_syntax[0]), content)


def serve_create(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """Take a new performed step and answer it; one without a name is given one."""
    _serve(_create, OF_CREATE, resources, session, request, context)


def serve_set(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """Take what has changed of a performed step and answer it."""
    _serve(_set, OF_SET, resources, session, request, context)


def _serve(
    work: Callable[[_Asked], None],
    answers: Answers,
    resources: Resources,
    session: Session,
    request: Request,
    context: PresentationContext,
) -> None:
    answer, said, error_id = _refusal_of_command(request, context), "", None
    if answer == Answer.SUCCESS:
        try:
            work(_admitted(resources, session, request, context))
        except Exception as error:  # noqa: BLE001 - every request gets an answer
            answer, said = answer_to(error, answers), comment(error)
            if not isinstance(error, SantepacsError):
                log.error("a performed step could not be taken: {fault}", fault=fault(error))
            if isinstance(error, Conflict) and answer == Answer.PROCESSING_FAILURE:
                error_id = MAY_NO_LONGER_BE_UPDATED
            session.note_refusal("performed procedure step", answer, error)
    session.done["refused" if answer else "procedure steps"] += 1
    session.respond(request, context, answer, comment=said, error_id=error_id)


def answer_to(error: Exception, answers: Answers) -> Answer:
    """What is answered to an error."""
    for kind, answer in answers:
        if isinstance(error, kind):
            return answer
    return Answer.PROCESSING_FAILURE


def _refusal_of_command(request: Request, context: PresentationContext) -> Answer:
    ours = PERFORMED_PROCEDURE_STEP
    if context.abstract_syntax != ours or request.sop_class_uid != ours:
        return Answer.NO_SUCH_CLASS
    if request.sop_instance_uid and not _UID.fullmatch(request.sop_instance_uid):
        return Answer.INVALID_INSTANCE
    return Answer.SUCCESS


def _admitted(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> _Asked:
    caller = session.caller
    if not (caller.may_store or caller.may_worklist):
        raise Forbidden("this peer may neither store nor ask for the worklist")
    if resources.progress is None:
        raise Unavailable("performed procedure steps are not taken")
    return _Asked(resources, resources.progress, request, context, caller.ae_title)


def _create(asked: _Asked) -> None:
    sent, request = asked.sent, asked.request
    step = performed.begun(
        sent.content, encoding_of(asked.context), request.sop_instance_uid, asked.ae_title
    )
    # The answer names the step.
    request.sop_instance_uid = asked.resources.threads.ask(asked.progress.begin, step, sent)


def _set(asked: _Asked) -> None:
    sent, uid = asked.sent, asked.request.sop_instance_uid
    character_set = asked.resources.read("performed step", kept.character_set, uid)
    update = performed.changed(
        sent.content, encoding_of(asked.context), uid, asked.ae_title, character_set
    )
    asked.resources.threads.ask(asked.progress.update, update, sent)
