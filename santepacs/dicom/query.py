"""C-FIND of the Query/Retrieve service as SCP (PS3.4 C.4.1)."""

import time
from collections.abc import Callable, Iterator
from itertools import chain

from pydicom.datadict import tag_for_keyword
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import search
from santepacs.db.database import Transaction
from santepacs.db.search import Level, Page, Position
from santepacs.dicom import charsets, identifier, message, status
from santepacs.dicom.answers import Answers
from santepacs.dicom.contexts import PATIENT_ROOT
from santepacs.dicom.identifier import Identifier
from santepacs.dicom.message import Request
from santepacs.dicom.pages import Pages
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import COMBINED, FUZZY, RELATIONAL, Session
from santepacs.dicom.status import Status
from santepacs.errors import Forbidden, Malformed, SantepacsError, Unavailable
from santepacs.logs import fault, one_line
from santepacs.model.matching import criteria

log = Logger()

UNIQUE_KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}

LOOK = 0.05  # seconds between two looks whether the peer cancelled or has gone
_LEVEL = 0x00080052
_RETRIEVE_AE_TITLE = 0x00080054
_AVAILABILITY = 0x00080056


class _Incomplete(Unavailable):
    """There are more matches than may be sent."""


def serve(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """Answer the query, match by match."""

    def answers() -> Iterator[bytes]:
        if not session.caller.may_query:
            raise Forbidden("this peer may not query")
        return _matches(resources, session, request, context)

    maximum = resources.settings.dicom.maximum_results
    respond(session, request, context, answers, maximum=maximum)


def respond(
    session: Session,
    request: Request,
    context: PresentationContext,
    answers: Callable[[], Iterator[bytes]],
    *,
    maximum: int,
) -> None:
    """Send each of `answers` as pending, then the final response.

    Where there are more than `maximum`, if that is not 0, the final status is 0xA700, so that
    nobody takes an incomplete list for a complete one.
    """
    comment = ""
    try:
        final = _send_pending(session, request, context, answers(), maximum)
    except Exception as error:  # noqa: BLE001 - every query gets an answer
        if not isinstance(error, SantepacsError):
            log.error("a query failed: {fault}", fault=fault(error))
        final = status.of_query(error)
        if isinstance(error, _Incomplete):
            log.info(
                "query of {title} from {address} answered in part (0x{status:04X}): {reason}",
                title=one_line(session.caller.ae_title),
                address=session.caller.address,
                status=int(final),
                reason=error,
            )
        else:
            session.note_refusal("query", final, error)
        session.done["failed"] += 1
        comment = status.comment(error)
    session.done["queries"] += 1
    session.respond(request, context, final, comment=comment)


def _send_pending(
    session: Session,
    request: Request,
    context: PresentationContext,
    answers: Iterator[bytes],
    maximum: int,
) -> Status:
    command = message.response(request, Status.PENDING, data_set=True)
    looked = time.monotonic()
    for number, answer in enumerate(answers):
        if maximum and number >= maximum:
            raise _Incomplete(f"only the first {maximum} matches were sent")
        if time.monotonic() - looked > LOOK:
            if session.is_cancelled(request) or not session.is_open():
                return Status.CANCELLED
            looked = time.monotonic()
        session.respond_later(request, context, command, answer)
        session.done["found"] += 1
    return Status.CANCELLED if session.is_cancelled(request) else Status.SUCCESS


def _matches(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> Iterator[bytes]:
    query = identifier.read(request.data_set, context)
    level = query.query_level()
    model = str(context.abstract_syntax)
    check_keys(query, level, model, relational=session.agreed(model, RELATIONAL))
    supported = {int(tag_for_keyword(name) or 0): name for name in search.attributes(level)}
    tags = sorted(supported.keys() & query.asked.keys())
    wanted = [supported[tag] for tag in tags]
    asked = criteria(
        (query.keys[attribute] for attribute in wanted),
        combined=session.agreed(model, COMBINED),
        fuzzy=session.agreed(model, FUZZY),
    )
    answers = Answers(
        query.asked | {_LEVEL: "CS", _RETRIEVE_AE_TITLE: "AE"},
        {
            _LEVEL: level,
            _RETRIEVE_AE_TITLE: resources.settings.dicom.ae_title,
            _AVAILABILITY: "ONLINE",
        },
        tags,
        identifier.encoding_of(context),
        charsets.asked(query.character_set),
    )

    async def read(tx: Transaction, after: Position) -> Page:
        return await search.find(tx, level, asked, wanted, after=after)

    start: Position = ()
    pages = Pages(resources, "C-FIND", read, lambda page: page.after or None, start)
    return map(answers.encoded, chain.from_iterable(page.matches for page in pages))


def check_keys(query: Identifier, level: Level, model: str, *, relational: bool) -> None:
    """Raise Malformed unless `query` may be asked at `level` of the information model.

    A hierarchical query names the one entity of every level above its own (PS3.4 C.4.1.2.1).
    """
    levels = list(Level) if model in PATIENT_ROOT else list(Level)[1:]
    if level not in levels:
        raise Malformed(f"there is no level {level} in the Study Root model")
    if relational:
        return
    for above in levels[: levels.index(level)]:
        value = query.text(UNIQUE_KEYS[above])
        if not value or any(c in value for c in "\\*?"):
            raise Malformed(f"a single {UNIQUE_KEYS[above]} is needed at level {level}")
