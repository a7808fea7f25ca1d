"""What DIMSE says of an error or outcome: the one table (PS3.4 tables B.2-1, C.4-1 to C.4-3)."""

from enum import IntEnum

from santepacs.errors import (
    Conflict,
    Forbidden,
    Malformed,
    NotFound,
    SantepacsError,
    Unavailable,
)
from santepacs.model.study import Outcome


class Status(IntEnum):
    """The statuses that santepacs answers with."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NOT_AUTHORISED = 0x0124
    OUT_OF_RESOURCES = 0xA700
    SUBOPERATIONS_FAILED = 0xA702
    DESTINATION_UNKNOWN = 0xA801
    MISMATCH = 0xA900
    SOME_FAILED = 0xB000
    KEPT_ASIDE = 0xB000
    NOT_ACCEPTABLE = 0xC000
    CONFLICT_REFUSED = 0xC001
    CANCELLED = 0xFE00
    PENDING = 0xFF00


STORED = {
    Outcome.STORED: Status.SUCCESS,
    Outcome.SAME: Status.SUCCESS,
    Outcome.ASIDE: Status.KEPT_ASIDE,
    Outcome.REFUSED: Status.CONFLICT_REFUSED,
}

_STORE: dict[type[Exception], Status] = {
    Malformed: Status.NOT_ACCEPTABLE,
    Conflict: Status.MISMATCH,
    Unavailable: Status.OUT_OF_RESOURCES,
    Forbidden: Status.NOT_AUTHORISED,
}
_QUERY: dict[type[Exception], Status] = {
    Malformed: Status.MISMATCH,
    NotFound: Status.DESTINATION_UNKNOWN,
    Unavailable: Status.OUT_OF_RESOURCES,
    Forbidden: Status.NOT_AUTHORISED,
}


def of_store(error: Exception) -> Status:
    """The answer to a C-STORE that ended in `error`."""
    return _looked_up(error, _STORE)


def of_query(error: Exception) -> Status:
    """The answer to a C-FIND, C-MOVE or C-GET that ended in `error`."""
    return _looked_up(error, _QUERY)


def _looked_up(error: Exception, table: dict[type[Exception], Status]) -> Status:
    for kind in type(error).mro():
        if kind in table:
            return table[kind]
    return Status.PROCESSING_FAILURE


def is_warning(status: int) -> bool:
    """Whether a C-STORE answer is a warning: the object was kept (PS3.7 annex C)."""
    return status == 0x0001 or status & 0xF000 == 0xB000


def comment(error: Exception) -> str:
    """An Error Comment (0000,0902) for the person who reads the caller's log; ASCII, 64 at most.

    Only our own errors speak: their messages hold no patient data.
    """
    if not isinstance(error, SantepacsError):
        return ""
    return str(error).encode("ascii", "replace").decode()[:64]
