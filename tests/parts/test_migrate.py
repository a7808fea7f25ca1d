"""The schema: applied once, under a lock, refused when it is not ours; core PostgreSQL alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from santepacs.db import roles
from santepacs.db.migrate import migrate, migrations
from santepacs.errors import Conflict, Malformed, Unavailable
from support.postgres import superuser


@pytest.fixture
def empty(postgres):
    """An empty database as its owner sees it."""
    name = "to_migrate"
    with superuser(postgres) as cursor:
        roles.create_database(cursor, name)
    with superuser(postgres, name) as cursor:
        roles.set_up_privileges(cursor)
    yield postgres.dsn(roles.OWNER, name)
    with superuser(postgres) as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def change(postgres, statement):
    with superuser(postgres, "to_migrate") as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else None


def test_every_step_is_applied_once_and_in_order(empty):
    names = [step.name for step in migrations()]
    assert names == sorted(names)
    assert migrate(empty) == names
    assert migrate(empty) == []


def test_two_at_once_take_turns(empty):
    with ThreadPoolExecutor(2) as both:
        applied = list(both.map(migrate, [empty, empty]))
    assert sorted(map(len, applied)) == [0, len(list(migrations()))]


def test_a_newer_schema_is_refused(empty, postgres):
    migrate(empty)
    change(postgres, "INSERT INTO schema_step VALUES (999, '999_future.sql', 'x')")
    with pytest.raises(Conflict, match="999_future"):
        migrate(empty)


def test_a_step_that_was_changed_is_refused(empty, postgres):
    migrate(empty)
    change(postgres, "UPDATE schema_step SET digest = 'x' WHERE number = 1")
    with pytest.raises(Conflict, match="001_archive"):
        migrate(empty)


def test_a_database_of_another_program_is_refused(empty, postgres):
    change(postgres, "CREATE TABLE customer (id integer)")
    with pytest.raises(Conflict, match="another program"):
        migrate(empty)


def test_a_step_that_fails_leaves_nothing(empty, postgres, monkeypatch):
    good = list(migrations())
    bad = type(good[0])(900, "900_bad.sql", "CREATE TABLE half (id integer); SELECT nonsense;")
    monkeypatch.setattr("santepacs.db.migrate.migrations", lambda: iter([*good, bad]))
    with pytest.raises(Exception, match="nonsense"):
        migrate(empty)
    tables = change(postgres, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert tables == []


def test_only_core_postgresql_is_needed(empty, postgres):
    migrate(empty)
    assert change(postgres, "SELECT extname FROM pg_extension") == [("plpgsql",)]


def test_what_cannot_be_reached_is_said(tmp_path):
    with pytest.raises(Unavailable, match="cannot connect"):
        migrate(f"host={tmp_path} dbname=x")
    with pytest.raises(Malformed, match=r"database\.url"):
        migrate("nonsense")
