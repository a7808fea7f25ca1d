"""The index of a running server, looked at and disturbed from outside.

`Index` connects beside the server. Its gates hold a transaction of the server exactly where a test
wants it: while it inserts an object, or while it commits.
"""

import os
import signal
import uuid
from contextlib import closing, contextmanager, suppress

import psycopg2

from santepacs.db import roles
from santepacs.db.embedded import EmbeddedPostgres
from support.dicom import eventually
from support.postgres import superuser

LOCK = 4711
# Nobody pulls the plug of this machine; but what was committed must survive SIGQUIT.
QUICK = {"fsync": "off", "full_page_writes": "off"}
WAIT = 20  # seconds

_GATE = """
CREATE OR REPLACE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    {body};
    RETURN NULL;
END $$;
DROP TRIGGER IF EXISTS gate ON instance;
CREATE {kind} TRIGGER gate AFTER INSERT ON instance {when} FOR EACH ROW EXECUTE FUNCTION gate();
"""
_HOLD = f"PERFORM pg_advisory_xact_lock_shared({LOCK})"

# What the index counts must be what it holds.
_MISCOUNTED = """
SELECT 'study ' || t.id FROM study t
    LEFT JOIN LATERAL (
        SELECT count(DISTINCT s.id) AS series, count(i.id) AS instances,
               coalesce(sum(i.bytes), 0) AS bytes
        FROM series s LEFT JOIN instance i ON i.series = s.id WHERE s.study = t.id) x ON true
    WHERE (t.series_count, t.instance_count, t.bytes) <> (x.series, x.instances, x.bytes)
       OR x.instances = 0
UNION ALL
SELECT 'series ' || s.id FROM series s
    LEFT JOIN LATERAL (
        SELECT count(*) AS instances, coalesce(sum(i.bytes), 0) AS bytes
        FROM instance i WHERE i.series = s.id) x ON true
    WHERE (s.instance_count, s.bytes) <> (x.instances, x.bytes) OR x.instances = 0
UNION ALL
SELECT 'patient ' || p.id FROM patient p
    WHERE NOT EXISTS (SELECT FROM study t WHERE t.patient = p.id)
"""


class Index:
    """The index of a server, as the superuser sees it."""

    def __init__(self, dsn):
        self.dsn = dsn

    def rows(self, sql, *parameters):
        """The rows of a query; of a statement without any, none."""
        with closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters or None)
                return cursor.fetchall() if cursor.description else []

    def value(self, sql, *parameters):
        return self.rows(sql, *parameters)[0][0]

    def objects(self):
        """What is indexed: SOP Instance UID -> digest, hex."""
        return dict(self.rows("SELECT sop_instance_uid, encode(digest, 'hex') FROM instance"))

    def miscounted(self):
        """Studies, series and patients that do not count what they hold."""
        return [row[0] for row in self.rows(_MISCOUNTED)]

    def transactions(self):
        """In how many transactions the objects came."""
        return self.value("SELECT count(DISTINCT received_at) FROM instance")

    @contextmanager
    def trigger(self, body, *, at_commit=False):
        """Run PL/pgSQL for each object that is inserted; `at_commit`: in its COMMIT."""
        kind, when = ("CONSTRAINT", "DEFERRABLE INITIALLY DEFERRED") if at_commit else ("", "")
        self.rows(_GATE.format(body=body, kind=kind, when=when))
        try:
            yield
        finally:
            self.rows("DROP FUNCTION IF EXISTS gate() CASCADE")

    @contextmanager
    def gate(self, *, at_commit=False):
        """Hold every transaction that inserts an object until the block ends or `open` is called.

        The server has linked its files by then; with `at_commit` it has sent COMMIT.
        """
        with closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(f"SELECT pg_advisory_lock({LOCK})")
            gate = Gate(self, cursor)
            with self.trigger(_HOLD, at_commit=at_commit):
                try:
                    yield gate
                finally:
                    gate.open()

    @contextmanager
    def locked(self, sql, *parameters):
        """A transaction of somebody else that holds the locks of one statement."""
        with closing(psycopg2.connect(self.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            yield cursor
            connection.rollback()

    def answers(self):
        """Whether PostgreSQL serves."""
        with suppress(psycopg2.OperationalError):
            return self.value("SELECT true")
        return False

    def kill_session(self):
        """SIGKILL to one session of the server: PostgreSQL ends all others and recovers."""
        (pid, *_), *_ = self.rows(
            "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            " AND backend_type = 'client backend'"
        )
        os.kill(pid, signal.SIGKILL)

    def end_waiting(self):
        """End the sessions that wait for a lock; their transactions have not happened."""
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        )

    def waiting(self):
        """How many sessions wait for a lock."""
        return self.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")


class Gate:
    """A gate that is shut; see `Index.gate`."""

    def __init__(self, index, cursor):
        self._index = index
        self._cursor = cursor
        self._open = False

    def reached(self):
        """Wait until a transaction stands before the gate."""
        eventually(lambda: self._index.waiting() > 0, WAIT)

    def open(self):
        """Let everybody pass."""
        if not self._open:
            self._open = True
            # It may have gone with its PostgreSQL.
            with suppress(psycopg2.DatabaseError):
                self._cursor.execute(f"SELECT pg_advisory_unlock({LOCK})")


class Postgres(EmbeddedPostgres):
    """A PostgreSQL that somebody else runs: a server uses it by `database.url`."""

    @property
    def setting(self):
        return f"database.url={self.owner_dsn}"

    @property
    def index(self):
        return Index(self.dsn(roles.SUPERUSER))

    @contextmanager
    def database(self):
        """An empty database of its own for one server: the setting, and the index."""
        name = f"site_{uuid.uuid4().hex}"
        with superuser(self) as cursor:
            roles.create_database(cursor, name)
        yield f"database.url={self.dsn(roles.OWNER, name)}", Index(self.dsn(roles.SUPERUSER, name))

    def kill(self):
        """End it at once, in the middle of everything (`pg_ctl stop -m immediate`)."""
        os.kill(self._postmaster(), signal.SIGQUIT)
        eventually(lambda: not self.is_running, WAIT)


@contextmanager
def running_postgres(folder, **parameters):
    """A PostgreSQL of its own in `folder`, durable against a crash of its processes."""
    postgres = Postgres(
        folder / "postgres", folder / "postgres.log", extra_parameters=QUICK | parameters
    )
    postgres.start(60)
    try:
        yield postgres
    finally:
        postgres.stop(10)


def index_of(server):
    """The index of a server with an embedded database."""
    postgres = EmbeddedPostgres(server.data / "postgres", server.data / "log" / "postgres.log")
    return Index(postgres.dsn(roles.SUPERUSER))
