"""What every way to PostgreSQL agrees on: a session's settings, and what a failure means."""

import psycopg2
import psycopg2.errorcodes as codes
from twisted.logger import Logger

log = Logger()

ATTEMPTS = 5
RETRIED = {codes.SERIALIZATION_FAILURE, codes.DEADLOCK_DETECTED, codes.UNIQUE_VIOLATION}
"""What another try of the same may not meet again."""
# Classes 08 connection, 53 resources, 57 operator intervention, 58 system error: all passing.
_PASSING = ("08", "53", "57", "58")

SESSION = (
    "SELECT set_config('statement_timeout', %s, false),"
    " set_config('timezone', 'UTC', false),"
    " set_config('idle_in_transaction_session_timeout', '60s', false),"
    # Room to sort the five thousand matches of a search (db/search.py).
    " set_config('work_mem', '16MB', false)"
)
"""Run first in each session; its parameter is the time limit of a statement in milliseconds."""


def is_passing(error: psycopg2.Error) -> bool:
    """Whether the same statement may well succeed later (connection, disk, shutdown, time-out)."""
    if error.pgcode is None:
        return isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError)
    return error.pgcode.startswith(_PASSING)


def pause(attempt: int) -> float:
    """Seconds to wait before trying again what failed so many times."""
    return 0.02 * attempt


class StatementFailed(Exception):
    """A statement that PostgreSQL refused: a defect of ours, or a value nobody foresaw.

    Says what the transaction was for and the SQLSTATE; PostgreSQL's own message may quote values
    of the row, so it goes nowhere.
    """

    def __init__(self, name: str, error: psycopg2.Error) -> None:
        self.code = error.pgcode or "no SQLSTATE"
        super().__init__(f"{name}: PostgreSQL refused a statement ({self.code})")


class Reachability:
    """Says in the log when PostgreSQL is lost and when it is back, once each."""

    def __init__(self) -> None:
        self._lost = False

    def lost(self, name: str, error: psycopg2.Error) -> None:
        """`name`: what it was needed for."""
        if not self._lost:
            # The first line of libpq's message: no row data stands there.
            reason = (str(error).strip().splitlines() or ["connection lost"])[0][:200]
            log.error("database lost at {name}: {reason}", name=name, reason=reason)
        self._lost = True

    def back(self) -> None:
        """A statement succeeded."""
        if self._lost:
            log.info("database is back")
        self._lost = False
