"""A real PostgreSQL for tests, and a fresh migrated database for each that asks."""

import os
import shutil
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2 import sql

from santepacs.db import roles
from santepacs.db.embedded import EmbeddedPostgres

TEMPLATE = "migrated"
START_TIMEOUT = 60  # seconds
STOP_TIMEOUT = 10  # seconds
# Tests do not pull the plug, so they need not wait for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@contextmanager
def reachable_folder():
    """An empty folder that the account which runs PostgreSQL can pass (root's tmp_path is not)."""
    folder = Path(tempfile.mkdtemp(prefix="santepacs-"))
    try:
        if os.geteuid() == 0:
            folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def running_postgres():
    """A PostgreSQL of its own in a temporary folder, gone afterwards."""
    with reachable_folder() as folder:
        postgres = EmbeddedPostgres(
            folder / "postgres", folder / "postgres.log", extra_parameters=FAST
        )
        postgres.start(START_TIMEOUT)
        try:
            yield postgres
        finally:
            postgres.stop(STOP_TIMEOUT)


@dataclass(frozen=True)
class DatabaseDsn:
    """Connection strings of one database: as the program works and as its schema's owner."""

    name: str
    runtime: str
    owner: str


def make_template(postgres):
    """Make the migrated database that the fresh ones are copied from; returns its name."""
    from santepacs.db.migrate import migrate

    with superuser(postgres) as cursor:
        roles.create_database(cursor, TEMPLATE)
    with superuser(postgres, TEMPLATE) as cursor:
        roles.set_up_privileges(cursor)
    migrate(postgres.dsn(roles.OWNER, TEMPLATE))
    return TEMPLATE


@contextmanager
def fresh_database(postgres, template, name):
    """A copy of the database `template`, dropped afterwards."""
    with superuser(postgres) as cursor:
        roles.create_database(cursor, name, template)
    try:
        yield DatabaseDsn(name, postgres.dsn(roles.RUNTIME, name), postgres.dsn(roles.OWNER, name))
    finally:
        with superuser(postgres) as cursor:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            cursor.execute(drop)


@contextmanager
def superuser(postgres, database=roles.MAINTENANCE_DATABASE):
    """A cursor that may do anything."""
    dsn = postgres.dsn(roles.SUPERUSER, database)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor
