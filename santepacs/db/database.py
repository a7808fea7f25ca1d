"""PostgreSQL from the reactor: a pool of connections and named transactions.

The only place that knows txpostgres, so that it can be replaced here. What it makes safe:

- A transaction handed to a caller is *shielded*: a web client that leaves cancels its Deferred,
  and txpostgres answers a cancellation by raising out of the canceller, perhaps in mid-statement.
- A lost connection is opened again by the next transaction that gets it; txpostgres's own pool
  would keep the dead one for ever.
- Serialization failures and deadlocks are retried, so `work` must be repeatable.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg2
from psycopg2.extras import NamedTupleCursor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from txpostgres import txpostgres

from santepacs.db.direct import DirectConnection
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

T = TypeVar("T")


class Transaction:
    """What `work` gets: statements inside one transaction. Not to be kept after it."""

    def __init__(self, cursor: txpostgres.Cursor, statements: float = math.inf) -> None:
        self._cursor = cursor
        self._statements_left = statements

    async def _run(self, sql: str, parameters: tuple[Any, ...]) -> None:
        self._statements_left -= 1
        if self._statements_left < 0:
            raise RuntimeError("a second statement where one was announced")
        await self._cursor.execute(sql, parameters or None)

    async def execute(self, sql: str, *parameters: Any) -> int:
        """Run one statement; returns the number of rows it touched."""
        await self._run(sql, parameters)
        count: int = self._cursor.rowcount
        return count

    async def fetch_all(self, sql: str, *parameters: Any) -> list[Any]:
        """All rows of a query, as named tuples. The query bounds how many there can be."""
        await self._run(sql, parameters)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    async def fetch_one(self, sql: str, *parameters: Any) -> Any | None:
        """The first row of a query, or None."""
        await self._run(sql, parameters)
        return self._cursor.fetchone()


class _Connection(txpostgres.Connection):
    """A connection that dies quietly while idle: the next user of it notices and reconnects."""

    def doRead(self) -> None:
        try:
            super().doRead()
        except (psycopg2.Error, ValueError):  # ValueError: closed between two turns of the reactor
            self.close()


class Database:
    """A pool of connections to one database. `start` before use, `stop` at the end."""

    def __init__(
        self,
        reactor: Any,
        dsn: str,
        *,
        connections: int = 8,
        statement_timeout: float = 20.0,
        connect_timeout: float = 5.0,
        maximum_waiting: int = 2000,
    ) -> None:
        """`dsn`: a libpq connection string or URL. Time-outs in seconds.

        More than `maximum_waiting` transactions that wait for a connection are refused.
        """
        self._reactor = reactor
        self._dsn = dsn
        self._size = connections
        self._statement_timeout = statement_timeout
        self._connect_timeout = connect_timeout
        self._maximum_waiting = maximum_waiting
        self._idle: list[_Connection] = []
        self._waiting: deque[Deferred[_Connection]] = deque()
        self._busy: set[_Connection] = set()
        self._reachability = Reachability()
        self._stopped = False
        self.direct = DirectConnection(
            dsn,
            self._reachability,
            statement_timeout=statement_timeout,
            connect_timeout=connect_timeout,
        )
        """For threads; of use from the start on."""

    async def start(self) -> None:
        """Raise Unavailable if PostgreSQL does not answer. Connections open as they are needed."""
        for _ in range(self._size):
            self._idle.append(_Connection(self._reactor))
        await self.transaction("start", _nothing)

    def stop(self) -> None:
        """Close every connection; whoever still waits or works gets Unavailable."""
        self._stopped = True
        self.direct.stop()
        while self._waiting:
            self._waiting.popleft().errback(Unavailable("the server is stopping"))
        for connection in [*self._idle, *self._busy]:
            _close(connection)
        self._idle.clear()

    def transaction(
        self,
        name: str,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        read_only: bool = False,
        single: bool = False,
    ) -> "Deferred[T]":
        """Run `work` in one transaction and commit it; all of it happened, or nothing.

        What is `read_only` needs no transaction around it (each statement sees the newest rows
        either way), and what is a `single` statement commits by itself: one round trip, not three.

        `name` says in the log what it was for. `work` may run more than once. Raises Unavailable
        when PostgreSQL is away or overloaded (then a commit may or may not have happened: writes
        are repeatable), StatementFailed when it refuses a statement, else what `work` raises.
        """
        statements = math.inf if read_only else 1 if single else None
        return _shielded(name, Deferred.fromCoroutine(self._retried(name, statements, work)))

    async def _retried(
        self, name: str, statements: float | None, work: Callable[[Transaction], Awaitable[T]]
    ) -> T:
        attempt = 1
        while True:
            try:
                return await self._once(statements, work)
            except CancelledError:
                # Nobody can cancel from outside: PostgreSQL did, after statement_timeout, and
                # txpostgres says it in this word.
                log.warn("{name}: cancelled after the time limit", name=name)
                raise Unavailable("the database takes too long") from None
            except ConnectionClosed:
                # txpostgres's word for a connection that `stop` has closed under a statement.
                raise Unavailable("the server is stopping") from None
            except psycopg2.Error as error:
                if is_passing(error):
                    if not self._stopped:
                        self._reachability.lost(name, error)
                    raise Unavailable("the database is not available") from None
                if error.pgcode not in RETRIED or attempt >= ATTEMPTS:
                    raise StatementFailed(name, error) from None
                log.info("{name}: trying again after {code}", name=name, code=error.pgcode)
            await deferLater(self._reactor, pause(attempt))
            attempt += 1

    async def _once(
        self, statements: float | None, work: Callable[[Transaction], Awaitable[T]]
    ) -> T:
        """Run `work`: so many statements that stand alone, or a transaction if that is None."""
        connection = await self._take()
        try:
            if self._stopped:
                raise Unavailable("the server is stopping")
            if connection.pollable() is None or connection.closed:
                await self._connect(connection)
            cursor = connection.cursor()
            if statements is None:
                result = await self._in_transaction(connection, cursor, work)
            else:
                result = await work(Transaction(cursor, statements))
            self._reachability.back()
            return result
        finally:
            self._give_back(connection)

    async def _in_transaction(
        self,
        connection: _Connection,
        cursor: txpostgres.Cursor,
        work: Callable[[Transaction], Awaitable[T]],
    ) -> T:
        await cursor.execute("BEGIN")
        try:
            result = await work(Transaction(cursor))
            await cursor.execute("COMMIT")
        except BaseException:
            await self._roll_back(connection, cursor)
            raise
        return result

    async def _connect(self, connection: _Connection) -> None:
        timer = self._reactor.callLater(self._connect_timeout, _close, connection)
        try:
            await connection.connect(self._dsn, cursor_factory=NamedTupleCursor)
            milliseconds = int(self._statement_timeout * 1000)
            await connection.cursor().execute(SESSION, (str(milliseconds),))
        except psycopg2.Error:
            _close(connection)
            raise
        except Exception as error:
            _close(connection)
            raise psycopg2.OperationalError("no connection") from error
        finally:
            if timer.active():
                timer.cancel()

    async def _roll_back(self, connection: _Connection, cursor: txpostgres.Cursor) -> None:
        if connection.closed:
            return
        try:
            await cursor.execute("ROLLBACK")
        except psycopg2.Error:
            _close(connection)

    def _take(self) -> "Deferred[_Connection]":
        taken: Deferred[_Connection] = Deferred()
        if self._stopped:
            taken.errback(Unavailable("the server is stopping"))
        elif self._idle:
            connection = self._idle.pop()
            self._busy.add(connection)
            taken.callback(connection)
        elif len(self._waiting) >= self._maximum_waiting:
            taken.errback(Unavailable("too many requests wait for the database"))
        else:
            self._waiting.append(taken)
        return taken

    def _give_back(self, connection: _Connection) -> None:
        if self._stopped:
            _close(connection)
        elif self._waiting:
            # In a turn of its own: while PostgreSQL is away each fails at once and hands on to the
            # next, deeper than the stack if that were one call.
            self._reactor.callLater(0, self._waiting.popleft().callback, connection)
            return
        else:
            self._idle.append(connection)
        self._busy.discard(connection)


async def _nothing(tx: Transaction) -> None:
    await tx.fetch_one("SELECT 1")


def _close(connection: _Connection) -> None:
    if connection.pollable() is not None:
        connection.close()


def _shielded(name: str, inner: "Deferred[T]") -> "Deferred[T]":
    """A Deferred for the caller whose cancellation does not reach the transaction."""
    outer: Deferred[T] = Deferred()

    def failed(failure: Failure) -> None:
        if outer.called:
            log.warn("{name} failed after its caller had left", name=name)
        outer.errback(failure)

    inner.addCallbacks(outer.callback, failed)
    return outer
