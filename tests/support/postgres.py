"""A real PostgreSQL for tests, and a fresh migrated database for each that asks."""

import os
import shutil
import tempfile
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2

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


class Databases:
    """Migrated databases, lent to one test after the other: emptying one is ten times quicker
    than making one."""

    def __init__(self, postgres):
        self._postgres = postgres
        self._made = 0
        self._free = []

    @contextmanager
    def one(self):
        """An empty database for as long as the block lasts."""
        dsn = self._free.pop() if self._free else self._make()
        yield dsn
        self._empty(dsn)
        self._free.append(dsn)

    def _make(self):
        if not self._made:
            make_template(self._postgres)
        self._made += 1
        name = f"test_{self._made}"
        with superuser(self._postgres) as cursor:
            roles.create_database(cursor, name, TEMPLATE)
        owner, runtime = (self._postgres.dsn(r, name) for r in (roles.OWNER, roles.RUNTIME))
        return DatabaseDsn(name, runtime, owner)

    def _empty(self, dsn):
        with superuser(self._postgres) as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (dsn.name,),
            )
        with superuser(self._postgres, dsn.name) as cursor:
            cursor.execute(
                "SELECT string_agg(format('%I', tablename), ', ') FROM pg_tables"
                " WHERE schemaname = 'public' AND tablename <> 'schema_step'"
            )
            cursor.execute(f"TRUNCATE {cursor.fetchone()[0]} RESTART IDENTITY")


def make_template(postgres):
    """Make the migrated database that others are copied from."""
    from santepacs.db.migrate import migrate

    with superuser(postgres) as cursor:
        roles.create_database(cursor, TEMPLATE)
    with superuser(postgres, TEMPLATE) as cursor:
        roles.set_up_privileges(cursor)
    migrate(postgres.dsn(roles.OWNER, TEMPLATE))


@contextmanager
def superuser(postgres, database=roles.MAINTENANCE_DATABASE):
    """A cursor that may do anything."""
    dsn = postgres.dsn(roles.SUPERUSER, database)
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        yield cursor
