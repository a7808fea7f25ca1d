"""The statuses of each service: codes are the code's own, when they are sent is said here.

A failure is said for the error that causes it, and the code's table gives its status.
"""

from collections.abc import Callable, Mapping

from docs.conformance_source.markdown import table
from santepacs.dicom import committing, procedure, status
from santepacs.dicom.commitment import Answer
from santepacs.dicom.status import Status
from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, SantepacsError, Unavailable
from santepacs.model.study import Outcome

Meanings = Mapping[int, str]
Errors = Mapping[type[SantepacsError], str]


def _failures(of: Callable[[Exception], int], errors: Errors) -> dict[int, str]:
    """Meanings by status; `of` is the code's table."""
    return {
        **{int(of(error(""))): meaning for error, meaning in errors.items()},
        int(of(RuntimeError(""))): "an unexpected error of santepacs; its log says where",
    }


def _outcomes(meanings: Mapping[Outcome, str]) -> dict[int, str]:
    joined: dict[int, str] = {}
    for outcome, meaning in meanings.items():
        code = status.STORED[outcome]
        joined[code] = f"{joined[code]}, or {meaning}" if code in joined else meaning
    return joined


STORE: Meanings = {
    **_outcomes(
        {
            Outcome.STORED: "the object is stored durably and indexed",
            Outcome.SAME: "the same object is stored already",
            Outcome.ASIDE: "`dicom.conflict` is `aside`: another object is stored under this SOP "
            "Instance UID; that one stays, and this one is kept apart for the administrator",
            Outcome.REFUSED: "`dicom.conflict` is `refuse`: another object is stored under this "
            "SOP Instance UID; this one is not kept",
        }
    ),
    **_failures(
        status.of_store,
        {
            Malformed: "there is no data set, or it cannot be understood, is not complete, or "
            "lacks a valid SOP Class, SOP Instance, Study or Series Instance UID",
            Conflict: "the SOP class or instance in the data set is not that of the request, or "
            "the request's SOP class not that of the presentation context",
            Unavailable: "it cannot be kept now: the disk is full or has less free space than "
            "`server.disk_reserve`, or the database does not answer",
            Forbidden: "this peer may retrieve, so the context was accepted, but not store",
        },
    ),
}

FIND: Meanings = {
    Status.PENDING: "a match",
    Status.SUCCESS: "all matches were sent",
    Status.CANCELLED: "the peer cancelled the query",
    **_failures(
        status.of_query,
        {
            Malformed: "the identifier cannot be read, has no or an unknown Query/Retrieve Level, "
            "lacks the single unique key of a level above (hierarchical query), or has a value "
            "that is impossible for its VR or too long",
            Unavailable: "the database does not answer, or `dicom.maximum_results` matches were "
            "sent and there are more",
            Forbidden: "this peer may not query",
        },
    ),
}

WORKLIST: Meanings = {
    **FIND,
    Status.PENDING: "a scheduled procedure step",
    Status.SUCCESS: "all matches were sent, or the first `worklist.maximum_results` of them",
    **_failures(
        status.of_query,
        {
            Malformed: "the identifier cannot be read, or has a value that cannot be matched",
            Unavailable: "the database does not answer",
            Forbidden: "this peer may not ask for the worklist",
        },
    ),
}

_RETRIEVE: Meanings = {
    Status.PENDING: "sub-operations go on",
    Status.SUCCESS: "every sub-operation succeeded, or nothing matched",
    Status.SOME_FAILED: "some sub-operations failed or ended with a warning",
    Status.SUBOPERATIONS_FAILED: "every sub-operation failed",
    Status.CANCELLED: "the peer cancelled it before all was sent",
}
_SELECTION: Errors = {
    Malformed: "the identifier cannot be read, has no or an unknown Query/Retrieve Level, lacks a "
    "unique key, or has too many values of it",
    Unavailable: "the database does not answer",
    Forbidden: "this peer may not retrieve",
}
_DESTINATION: Errors = {
    NotFound: "the Move Destination is no enabled peer, or this caller may move to itself alone",
}
GET: Meanings = {**_RETRIEVE, **_failures(status.of_query, _SELECTION)}
MOVE: Meanings = {**_RETRIEVE, **_failures(status.of_query, {**_SELECTION, **_DESTINATION})}

COMMITMENT: Meanings = {
    Answer.SUCCESS: "the request is recorded; its result will be reported",
    Answer.PROCESSING_FAILURE: "it cannot be recorded now: the database does not answer, or too "
    "much of this peer waits to be reported, or an unexpected error",
    Answer.NO_SUCH_INSTANCE: "not the well-known SOP instance",
    Answer.INVALID_ARGUMENT: "the data set cannot be read, or lacks Transaction UID or references",
    Answer.NO_SUCH_CLASS: "the SOP class is not that of the presentation context",
    Answer.NO_SUCH_ACTION: "another action type than 1",
    Answer.NOT_AUTHORISED: "this peer may not store, or the caller is no enabled peer, so that "
    "there is nobody to report to",
    Answer.DUPLICATE_TRANSACTION: "the Transaction UID is in use for other references",
    Answer.RESOURCE_LIMITATION: "more references than one request may have",
}

REASONS: Meanings = {
    committing.PROCESSING_FAILURE: "the object's file cannot be read, or is not what was stored",
    committing.NO_SUCH_OBJECT: "there is no such object, or its file is missing",
    committing.CLASS_INSTANCE_CONFLICT: "the stored object is of another SOP class",
}

_PROCEDURE: Meanings = {
    procedure.Answer.INVALID_VALUE: "a status, date or time that cannot be",
    procedure.Answer.INVALID_INSTANCE: "the SOP Instance UID is none",
    procedure.Answer.NO_SUCH_CLASS: "the SOP class is not that of the presentation context",
    procedure.Answer.MISSING_VALUE: "an attribute that must have a value has none",
    procedure.Answer.NOT_AUTHORISED: "this peer may neither store nor ask for the worklist",
    procedure.Answer.RESOURCE_LIMITATION: "more elements than one data set may have",
}
CREATE: Meanings = {
    **_PROCEDURE,
    procedure.Answer.SUCCESS: "the step is kept and the worklist brought up to date",
    procedure.Answer.INVALID_VALUE: "another Performed Procedure Step Status than IN PROGRESS, or "
    "a date or time that cannot be",
    procedure.Answer.MISSING_ATTRIBUTE: "an attribute that is required is missing",
    procedure.Answer.DUPLICATE_INSTANCE: "there is a step of this SOP Instance UID",
    procedure.Answer.PROCESSING_FAILURE: "the data set cannot be read, the database does not "
    "answer, or an unexpected error",
}
SET: Meanings = {
    **_PROCEDURE,
    procedure.Answer.SUCCESS: "the step and the worklist are brought up to date",
    procedure.Answer.NO_SUCH_INSTANCE: "there is no step of this SOP Instance UID",
    procedure.Answer.PROCESSING_FAILURE: "the step is COMPLETED or DISCONTINUED already and may no "
    "longer be updated (then with an Error ID); or the data set cannot be read, there were too "
    "many updates, the database does not answer, or an unexpected error",
}


def statuses(meanings: Meanings) -> str:
    """A table of statuses by code."""
    rows = [(f"0x{code:04X}", _kind(code), text) for code, text in sorted(meanings.items())]
    return table(("Status", "Kind", "When"), rows)


def reasons(meanings: Meanings) -> str:
    """A table of failure reasons by code."""
    rows = [(f"0x{code:04X}", text) for code, text in sorted(meanings.items())]
    return table(("Failure Reason", "When"), rows)


def _kind(code: int) -> str:
    """PS3.7 annex C."""
    named = {Status.SUCCESS: "Success", Status.CANCELLED: "Cancel", Status.PENDING: "Pending"}
    if code in named:
        return named[Status(code)]
    return "Warning" if status.is_warning(code) else "Failure"
