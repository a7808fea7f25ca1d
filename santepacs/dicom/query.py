"""C-FIND of the Query/Retrieve service as SCP (PS3.4 C.4.1)."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

from pydicom.datadict import keyword_for_tag
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import search
from santepacs.db.search import Level, Match, Value
from santepacs.dicom import identifier, status
from santepacs.dicom.contexts import PATIENT_ROOT
from santepacs.dicom.elements import Element, Encoding, character_set, encode
from santepacs.dicom.identifier import Identifier
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import COMBINED, RELATIONAL, Session
from santepacs.dicom.status import Status
from santepacs.errors import Forbidden, Malformed, SantepacsError, Unavailable
from santepacs.logs import fault
from santepacs.model.matching import Criterion, criteria

log = Logger()

UNIQUE_KEYS = {
    Level.PATIENT: "PatientID",
    Level.STUDY: "StudyInstanceUID",
    Level.SERIES: "SeriesInstanceUID",
    Level.IMAGE: "SOPInstanceUID",
}
_CHARACTER_SET = 0x00080005
_LEVEL = 0x00080052
_RETRIEVE_AE_TITLE = 0x00080054


def serve(
    resources: Resources, session: Session, request: C_FIND, context: PresentationContext
) -> None:
    """Answer the query, match by match."""

    def answers() -> Iterator[bytes]:
        if not session.caller.may_query:
            raise Forbidden("this peer may not query")
        return _matches(resources, session, request, context)

    respond(resources, session, request, context, answers)


def respond(
    resources: Resources,
    session: Session,
    request: C_FIND,
    context: PresentationContext,
    answers: Callable[[], Iterator[bytes]],
) -> None:
    """Send each of `answers` as pending, then the final response.

    Where `dicom.maximum_results` cuts the list, the final status is 0xA700, so that nobody takes
    an incomplete list for a complete one.
    """
    response: Any = C_FIND()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID
    try:
        final = _send_pending(resources, session, request, response, context, answers())
    except Exception as error:  # noqa: BLE001 - every query gets an answer
        if not isinstance(error, SantepacsError):
            log.error("a query failed: {fault}", fault=fault(error))
        final = status.of_query(error)
        session.note_refusal("query", final, error)
        response.ErrorComment = status.comment(error) or None
    response.Identifier = None
    response.Status = final
    session.send(response, context)


def _send_pending(
    resources: Resources,
    session: Session,
    request: C_FIND,
    response: Any,
    context: PresentationContext,
    answers: Iterator[bytes],
) -> Status:
    maximum = resources.settings.dicom.maximum_results
    for number, answer in enumerate(answers):
        if session.is_cancelled(request) or not session.is_open():
            return Status.CANCELLED
        if maximum and number >= maximum:
            raise Unavailable(f"only the first {maximum} matches were sent")
        response.Status = Status.PENDING
        response.Identifier = BytesIO(answer)
        session.send(response, context)
    return Status.CANCELLED if session.is_cancelled(request) else Status.SUCCESS


def _matches(
    resources: Resources, session: Session, request: C_FIND, context: PresentationContext
) -> Iterator[bytes]:
    query = identifier.read(request.Identifier, context)
    level = query.query_level()
    model = str(context.abstract_syntax)
    check_keys(query, level, model, relational=session.agreed(model, RELATIONAL))
    wanted = [attribute for attribute in query.keys if attribute in search.attributes(level)]
    asked = criteria(
        (query.keys[attribute] for attribute in wanted),
        combined=session.agreed(model, COMBINED),
    )
    answer = _Answer(query, level, resources.settings.dicom.ae_title)
    encoding = identifier.encoding_of(context)
    return (answer.encoded(match, encoding) for match in _pages(resources, level, asked, wanted))


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


def _pages(
    resources: Resources, level: Level, asked: list[Criterion], wanted: list[str]
) -> Iterator[Match]:
    after = None
    while True:
        page = resources.read("C-FIND", search.find, level, asked, wanted, after=after)
        yield from page
        if len(page) < search.PAGE:
            return
        after = page[-1].position


class _Answer:
    """Turns matches into identifiers that hold exactly what the query asked for."""

    def __init__(self, query: Identifier, level: Level, ae_title: str) -> None:
        self._asked = [
            (element, keyword_for_tag(element.tag))
            for element in query.elements
            if element.tag != _RETRIEVE_AE_TITLE
        ]
        self._always = [
            Element(_LEVEL, "CS", str(level)),
            Element(_RETRIEVE_AE_TITLE, "AE", ae_title),
        ]

    def encoded(self, match: Match, encoding: Encoding) -> bytes:
        values = {"InstanceAvailability": "ONLINE", **match.values}
        elements = [
            Element(element.tag, element.vr, _text(values.get(keyword)))
            for element, keyword in self._asked
        ]
        charset = character_set(element.text for element in elements)
        if charset:
            elements.append(Element(_CHARACTER_SET, "CS", charset))
        return encode([*elements, *self._always], encoding, charset)


def _text(value: Value) -> str:
    if value is None:
        return ""
    return "\\".join(value) if isinstance(value, tuple) else str(value)
