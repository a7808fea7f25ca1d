"""Modality Worklist C-FIND as SCP (PS3.4 annex K)."""

from collections.abc import Iterator
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import peers, worklist_search
from santepacs.db.orders import StoredRecord
from santepacs.dicom import identifier
from santepacs.dicom.message import Request
from santepacs.dicom.query import respond
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.dicom.worklist_writing import Writer
from santepacs.errors import Forbidden
from santepacs.logs import fault, one_line
from santepacs.model.order import WorklistQuery
from santepacs.model.worklist_matching import WILDCARD
from santepacs.worklist.datasets import AnswerForm, Asker, lacking
from santepacs.worklist.keys import query_from_dataset
from santepacs.worklist.requests import UNKNOWN_STATION

log = Logger()

PAGE = 200  # records

_LOGGED = ("station_ae_titles", "modalities", "start_date_from", "start_date_to", "statuses")


def serve(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """Answer the query, step by step."""

    def answers() -> Iterator[bytes]:
        if not session.caller.may_worklist:
            raise Forbidden("this peer may not ask for the worklist")
        return _steps(resources, session, request, context)

    respond(session, request, context, answers, maximum=0)


def _steps(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> Iterator[bytes]:
    """The answers; a record that cannot be sent is left out, and does not keep back the others."""
    settings, title = resources.settings, session.caller.ae_title
    dataset = identifier.decode(request.data_set, context)
    peer = resources.read("find peer", peers.find, title)
    query = query_from_dataset(
        dataset, title, settings, append_wildcard=peer is not None and peer.append_wildcard
    )
    asker = Asker(
        station=_own_station(query),
        today=f"{datetime.now().astimezone():%Y%m%d}",
        code_scheme=settings.worklist.code_scheme,
    )
    writer = Writer(
        AnswerForm(dataset, asker),
        identifier.encoding_of(context),
        chosen=peer.worklist_charset if peer is not None else "",
        query_charset=_character_set(dataset),
        site_charset=settings.hl7.default_charset,
    )
    found = sent = 0
    left_out = ""
    for step in _records(resources, query, settings.worklist.maximum_results):
        found += 1
        try:
            lacks = lacking(step.record)
            answer = None if lacks else writer.encoded(step.record)
            left_out = left_out or (lacks and f"record {step.id} has no {lacks}")
        except Exception as error:  # noqa: BLE001 - one record must not keep back the others
            left_out = left_out or f"record {step.id}: {fault(error)}"
            continue
        if answer is not None:
            sent += 1
            yield answer
    if left_out:
        log.warn(
            "worklist: {count} records cannot be sent, the first one because {reason}",
            count=found - sent,
            reason=left_out,
        )
    if settings.worklist.query_log:
        _log(title, query, sent)


def _records(resources: Resources, query: WorklistQuery, maximum: int) -> Iterator[StoredRecord]:
    """What matches, page by page; at most so many records, if that is not 0."""
    found, after = 0, None
    while True:
        # One more than may be sent, to know of it.
        wanted = min(PAGE, maximum - found + 1) if maximum else PAGE
        page = resources.read("worklist", worklist_search.find, query, wanted, after)
        for step in page:
            if found == maximum != 0:
                log.info("worklist: only the first {maximum} steps were sent", maximum=maximum)
                return
            found += 1
            yield step
        if len(page) < wanted:
            return
        after = page[-1].place


def _own_station(query: WorklistQuery) -> str:
    """What stands for a station that is not known: the one that the query asks for.

    Its steps are offered to that station (`worklist.station_or_none`); where none is asked for, to
    say any would be a lie.
    """
    asked = {
        title
        for step in query.steps
        for title in step.station_ae_titles
        if title and not WILDCARD.search(title)
    }
    return asked.pop() if len(asked) == 1 else UNKNOWN_STATION


def _character_set(dataset: Dataset) -> str:
    value = dataset.get("SpecificCharacterSet") or ""
    return "\\".join(map(str, value)) if isinstance(value, MultiValue | list) else str(value)


def _log(title: str, query: WorklistQuery, sent: int) -> None:
    """What was asked of the steps; of other keys that they were there, for they name patients."""
    keys = [
        f"{name} {', '.join(map(str, value)) if isinstance(value, tuple) else value}"
        for step in query.steps
        for name in _LOGGED
        if (value := getattr(step, name))
    ]
    plain = WorklistQuery()
    others = [
        name
        for name in WorklistQuery.__slots__
        if name != "steps" and getattr(query, name) != getattr(plain, name)
    ]
    log.info(
        "worklist: {title} got {sent} steps; it asked for {keys}",
        title=one_line(title),
        sent=sent,
        keys=one_line("; ".join([*keys, *others]) or "everything", 500),
    )
