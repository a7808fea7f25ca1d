"""Modality Worklist C-FIND as SCP (PS3.4 annex K)."""

from collections.abc import Iterator

from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import orders
from santepacs.dicom import identifier
from santepacs.dicom.query import respond
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.errors import Forbidden, Malformed
from santepacs.logs import one_line
from santepacs.worklist.datasets import query_from_dataset, response_dataset

log = Logger()

PAGE = 200  # records


def serve(
    resources: Resources, session: Session, request: C_FIND, context: PresentationContext
) -> None:
    """Answer the query, step by step."""

    def answers() -> Iterator[bytes]:
        if not session.caller.may_worklist:
            raise Forbidden("this peer may not ask for the worklist")
        return _steps(resources, session, request, context)

    respond(resources, session, request, context, answers)


def _steps(
    resources: Resources, session: Session, request: C_FIND, context: PresentationContext
) -> Iterator[bytes]:
    dataset = identifier.decode(request.Identifier, context)
    try:
        query = query_from_dataset(dataset, session.caller.ae_title, resources.settings)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise Malformed("the identifier cannot be decoded") from error
    encoding = identifier.encoding_of(context)
    found = 0
    after = None
    while True:
        page = resources.read("worklist", orders.find, query, PAGE, after)
        for step in page:
            answer = encode(
                response_dataset(step.record, dataset), encoding.implicit, not encoding.big_endian
            )
            if answer is None:
                raise RuntimeError("a worklist answer could not be encoded")
            found += 1
            yield answer
        if len(page) < PAGE:
            break
        after = page[-1].place
    if resources.settings.worklist.query_log:
        log.info(
            "worklist: {title} got {found} steps",
            title=one_line(session.caller.ae_title),
            found=found,
        )
