"""The same transactions without a reactor: before it runs, and in commands that need none.

The functions of `santepacs.db` are coroutines that wait for nothing but their statements; here
the statements block, so such a coroutine runs to its end in one go.
"""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import psycopg2
from psycopg2.extras import NamedTupleCursor

from santepacs.db.database import Transaction
from santepacs.db.statements import StatementFailed, is_passing
from santepacs.errors import Unavailable

T = TypeVar("T")


class _BlockingTransaction(Transaction):
    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    async def execute(self, sql: str, *parameters: Any) -> int:
        self._cursor.execute(sql, parameters or None)
        count: int = self._cursor.rowcount
        return count

    async def fetch_all(self, sql: str, *parameters: Any) -> list[Any]:
        self._cursor.execute(sql, parameters or None)
        rows: list[Any] = self._cursor.fetchall()
        return rows

    async def fetch_one(self, sql: str, *parameters: Any) -> Any | None:
        self._cursor.execute(sql, parameters or None)
        return self._cursor.fetchone()


def transaction(dsn: str, work: Callable[[Transaction], Coroutine[Any, Any, T]]) -> T:
    """Run `work` in one transaction and commit it.

    Raises Unavailable when PostgreSQL is away, StatementFailed when it refuses a statement, else
    what `work` raises.
    """
    try:
        connection = psycopg2.connect(dsn, connect_timeout=10, cursor_factory=NamedTupleCursor)
        try:
            with connection, connection.cursor() as cursor:
                return _finished(work(_BlockingTransaction(cursor)))
        finally:
            connection.close()
    except psycopg2.Error as error:
        if is_passing(error):
            raise Unavailable("the database is not available") from None
        raise StatementFailed("a command", error) from None


def _finished(coroutine: Coroutine[Any, Any, T]) -> T:
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    coroutine.close()
    raise RuntimeError("a blocking transaction may wait for its statements only")
