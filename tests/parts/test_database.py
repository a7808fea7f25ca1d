"""The database from the reactor: named transactions and the hazards they take away."""

import traceback

import pytest
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.task import deferLater

from santepacs.db.database import Database
from santepacs.db.statements import StatementFailed
from santepacs.errors import Unavailable
from support.postgres import superuser


@pytest.fixture
def database(reactor_thread, database_dsn):
    made = Database(reactor_thread.reactor, database_dsn.runtime, connections=2)
    reactor_thread.run(made.start)
    yield made
    reactor_thread.run(made.stop)


async def count_facts(tx):
    return (await tx.fetch_one("SELECT count(*) AS n FROM fact")).n


async def write_fact(tx):
    await tx.execute("INSERT INTO fact (name, value) VALUES ('a', 'b')")


def test_what_a_transaction_wrote_is_committed(reactor_thread, database):
    reactor_thread.run(database.transaction, "write", write_fact)
    assert reactor_thread.run(database.transaction, "read", count_facts, read_only=True) == 1


def test_a_transaction_that_fails_leaves_nothing(reactor_thread, database):
    async def fail(tx):
        await write_fact(tx)
        raise LookupError("changed my mind")

    with pytest.raises(LookupError):
        reactor_thread.run(database.transaction, "fail", fail)
    assert reactor_thread.run(database.transaction, "read", count_facts) == 0


def test_the_commit_waits_for_a_coroutine(reactor_thread, database):
    """txpostgres's own runInteraction would commit before it ran."""

    async def slow(tx):
        await tx.fetch_one("SELECT pg_sleep(0.05)")
        await write_fact(tx)

    reactor_thread.run(database.transaction, "slow", slow)
    assert reactor_thread.run(database.transaction, "read", count_facts) == 1


def test_a_caller_who_leaves_does_not_cancel_the_transaction(reactor_thread, database_dsn):
    # With one connection the next transaction begins after this one has ended.
    database = Database(reactor_thread.reactor, database_dsn.runtime, connections=1)
    reactor_thread.run(database.start)
    began, finished = Deferred(), Deferred()

    async def work(tx):
        began.callback(None)
        await tx.fetch_one("SELECT pg_sleep(0.1)")
        await write_fact(tx)
        finished.callback(None)

    async def leave():
        waiting = database.transaction("leave", work)
        await began
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
        await finished

    reactor_thread.run(leave)
    assert reactor_thread.run(database.transaction, "read", count_facts) == 1
    reactor_thread.run(database.stop)


@pytest.mark.parametrize("code", ["40001", "40P01"])
def test_a_serialization_failure_is_tried_again(reactor_thread, database, code):
    attempts = []

    async def collide(tx):
        attempts.append(code)
        if len(attempts) < 3:
            await tx.execute(f"DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '{code}'; END $$")
        await write_fact(tx)

    reactor_thread.run(database.transaction, "collide", collide)
    assert len(attempts) == 3
    assert reactor_thread.run(database.transaction, "read", count_facts) == 1


def test_lost_connections_are_opened_again(reactor_thread, database, database_dsn, postgres):
    with superuser(postgres) as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s",
            (database_dsn.name,),
        )
        assert cursor.fetchone()[0] >= 1
    results = []
    for _ in range(4):
        try:
            results.append(reactor_thread.run(database.transaction, "read", count_facts))
        except Unavailable:
            results.append(None)
    assert results[-1] == 0
    assert results.count(None) <= 2


def test_a_connection_lost_in_the_middle_is_unavailable(reactor_thread, database):
    async def suicide(tx):
        await tx.fetch_one("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(Unavailable):
        reactor_thread.run(database.transaction, "suicide", suicide)
    assert reactor_thread.run(database.transaction, "read", count_facts) == 0


def test_many_that_wait_when_postgresql_goes_all_fail_and_no_connection_is_lost(
    reactor_thread, database, tmp_path
):
    """One handed its connection to the next within its own call: deeper than the stack."""

    dsn = database._dsn

    async def suicide(tx):
        await tx.fetch_one("SELECT pg_sleep(0.2)")
        database._dsn = f"host={tmp_path} dbname=x"
        await tx.fetch_one("SELECT pg_terminate_backend(pg_backend_pid())")

    async def all_at_once():
        waiting = [database.transaction("suicide", suicide) for _ in range(1500)]
        outcomes = await DeferredList(waiting, consumeErrors=True)
        return {type(outcome.value) for _, outcome in outcomes}

    assert reactor_thread.run(all_at_once) == {Unavailable}
    database._dsn = dsn
    assert reactor_thread.run(database.transaction, "read", count_facts) == 0
    assert not database._busy


def test_who_works_while_it_stops_is_told(reactor_thread, database):
    async def stopped():
        async def slow(tx):
            deferLater(reactor_thread.reactor, 0.1, database.stop)
            await tx.fetch_one("SELECT pg_sleep(10)")

        await database.transaction("slow", slow)

    with pytest.raises(Unavailable):
        reactor_thread.run(stopped)


def test_a_database_that_is_not_there_is_unavailable(reactor_thread, tmp_path):
    database = Database(reactor_thread.reactor, f"host={tmp_path} dbname=x", connections=1)
    with pytest.raises(Unavailable):
        reactor_thread.run(database.start)
    reactor_thread.run(database.stop)


def test_a_statement_that_takes_too_long_is_unavailable(reactor_thread, database_dsn):
    database = Database(
        reactor_thread.reactor, database_dsn.runtime, connections=1, statement_timeout=0.05
    )
    reactor_thread.run(database.start)

    async def slow(tx):
        await tx.fetch_one("SELECT pg_sleep(5)")

    with pytest.raises(Unavailable):
        reactor_thread.run(database.transaction, "slow", slow)
    reactor_thread.run(database.stop)


def test_waiting_is_bounded(reactor_thread, database_dsn):
    database = Database(
        reactor_thread.reactor, database_dsn.runtime, connections=1, maximum_waiting=1
    )
    reactor_thread.run(database.start)

    async def slow(tx):
        await tx.fetch_one("SELECT pg_sleep(0.1)")

    async def three():
        first, second = (database.transaction("slow", slow) for _ in range(2))
        with pytest.raises(Unavailable):
            await database.transaction("slow", slow)
        await first
        await second

    reactor_thread.run(three)
    reactor_thread.run(database.stop)


def test_a_refused_statement_is_named_without_its_values(reactor_thread, database):
    async def wrong(tx):
        await tx.execute("SELECT %s::integer", "Doe^Jane")

    with pytest.raises(StatementFailed, match=r"^wrong: .*22P02") as failed:
        reactor_thread.run(database.transaction, "wrong", wrong)
    assert "Doe" not in "".join(traceback.format_exception(failed.value))
    assert reactor_thread.run(database.transaction, "read", count_facts) == 0
