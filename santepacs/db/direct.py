"""A connection that threads use themselves, one at a time.

A statement by way of the reactor costs a busy server more than the statement itself: two changes
of threads, and the reactor's turn. What is done for every stored object goes this way instead. The
connection is asynchronous, like those of the pool, so that a statement can be given up: when its
time is over, or when the server stops.
"""

import select
import threading
import time
from typing import Any

import psycopg2
from psycopg2.errors import QueryCanceled
from psycopg2.extensions import POLL_OK, POLL_READ
from psycopg2.extras import NamedTupleCursor
from twisted.logger import Logger

from santepacs.db.statements import (
    ATTEMPTS,
    RETRIED,
    SESSION,
    Reachability,
    StatementFailed,
    is_passing,
    pause,
)
from santepacs.errors import Unavailable

log = Logger()

_LOOK = 0.5  # seconds between looks whether the server stops
_MARGIN = 5.0  # seconds beyond the statement's own limit, for a PostgreSQL that does not keep it


class DirectConnection:
    """One connection, opened when it is needed, opened again when it was lost."""

    def __init__(
        self,
        dsn: str,
        reachability: Reachability,
        *,
        statement_timeout: float,
        connect_timeout: float,
    ) -> None:
        """Time-outs in seconds."""
        self._dsn = dsn
        self._reachability = reachability
        self._statement_timeout = statement_timeout
        self._connect_timeout = connect_timeout
        self._connection: Any = None
        self._in_use = threading.Lock()
        self._stopped = False

    def fetch_all(self, name: str, sql: str, *parameters: Any) -> list[Any]:
        """All rows of one statement that commits by itself. Blocking; one thread at a time.

        `name` says in the log what it was for. It may run more than once. Raises Unavailable when
        PostgreSQL is away (then it may or may not have happened), StatementFailed when it refuses.
        """
        with self._in_use:
            try:
                return self._retried(name, sql, parameters)
            finally:
                if self._stopped:
                    self._close()

    def stop(self) -> None:
        """From any thread: whoever waits gets Unavailable soon, and whoever comes, at once."""
        self._stopped = True
        if self._in_use.acquire(blocking=False):
            self._close()
            self._in_use.release()

    def _retried(self, name: str, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        attempt = 1
        while True:
            if self._stopped:
                raise Unavailable("the server is stopping")
            try:
                rows = self._fetch_all(sql, parameters)
                self._reachability.back()
                return rows
            except QueryCanceled:
                log.warn("{name}: cancelled after the time limit", name=name)
                raise Unavailable("the database takes too long") from None
            except psycopg2.Error as error:
                if is_passing(error):
                    self._close()
                    if not self._stopped:
                        self._reachability.lost(name, error)
                    raise Unavailable("the database is not available") from None
                if error.pgcode not in RETRIED or attempt >= ATTEMPTS:
                    raise StatementFailed(name, error) from None
                log.info("{name}: trying again after {code}", name=name, code=error.pgcode)
            time.sleep(pause(attempt))
            attempt += 1

    def _fetch_all(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        if self._connection is None or self._connection.closed:
            self._connect()
        cursor = self._connection.cursor()
        try:
            cursor.execute(sql, parameters or None)
            self._wait(self._statement_timeout + _MARGIN)
        except BaseException as error:
            # Without PostgreSQL's own word the statement may run still, and no other could.
            if getattr(error, "pgcode", None) is None:
                self._close()
            raise
        rows: list[Any] = cursor.fetchall()
        return rows

    def _connect(self) -> None:
        self._connection = psycopg2.connect(self._dsn, async_=True, cursor_factory=NamedTupleCursor)
        self._wait(self._connect_timeout)
        milliseconds = str(int(self._statement_timeout * 1000))
        cursor = self._connection.cursor()  # psycopg2 wants it kept until it has its answer
        cursor.execute(SESSION, (milliseconds,))
        self._wait(self._connect_timeout)

    def _wait(self, seconds: float) -> None:
        """Until the connection is ready. Raises OperationalError when that takes too long."""
        end = time.monotonic() + seconds
        while (state := self._connection.poll()) != POLL_OK:
            poller = select.poll()  # select() itself knows no descriptor beyond 1023
            poller.register(
                self._connection.fileno(), select.POLLIN if state == POLL_READ else select.POLLOUT
            )
            while not poller.poll(_LOOK * 1000):
                if self._stopped or time.monotonic() > end:
                    raise psycopg2.OperationalError("it takes too long")

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
