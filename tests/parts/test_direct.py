"""The connection that threads use themselves, on a real PostgreSQL."""

import pytest
from psycopg2 import ProgrammingError

from santepacs.db.direct import DirectConnection
from santepacs.db.statements import Reachability, StatementFailed
from santepacs.errors import Unavailable


@pytest.fixture
def connection(database_dsn):
    connection = DirectConnection(
        database_dsn.runtime, Reachability(), statement_timeout=0.2, connect_timeout=5
    )
    yield connection
    connection.stop()


def ask(connection, sql="SELECT 7 AS number"):
    return [row.number for row in connection.fetch_all("test", sql)]


@pytest.mark.parametrize("problem", [MemoryError(), SystemExit(), ProgrammingError("no SQLSTATE")])
def test_whatever_ends_a_statement_in_its_middle_the_next_one_is_served(
    connection, monkeypatch, problem
):
    """The statement went on, and no other could begin until the server was started again."""
    assert ask(connection) == [7]
    with monkeypatch.context() as patch:

        def wait(seconds):
            raise problem

        patch.setattr(connection, "_wait", wait)
        with pytest.raises((type(problem), StatementFailed)):
            ask(connection)
    assert ask(connection) == [7]


def test_what_postgresql_refuses_costs_no_connection(connection):
    ask(connection)
    before = connection._connection
    with pytest.raises(StatementFailed):
        ask(connection, "SELECT 1 / 0 AS number")
    with pytest.raises(Unavailable):
        ask(connection, "SELECT pg_sleep(5) AS number")
    assert ask(connection) == [7]
    assert connection._connection is before


def test_after_the_stop_nothing_is_served(connection):
    ask(connection)
    connection.stop()
    assert connection._connection is None
    with pytest.raises(Unavailable):
        ask(connection)
