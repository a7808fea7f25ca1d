"""The schema: numbered plain SQL files, applied once each, in order, under a lock.

Blocking; runs before the reactor. A schema that this release does not know is refused: a newer
one, one whose files differ from ours, or a database with tables of somebody else.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import psycopg2
from psycopg2.extensions import connection as Connection

from santepacs.errors import Conflict, Malformed, Unavailable

MINIMUM_POSTGRESQL = 14
# Any constant will do; two servers that start on one database at once take turns.
_LOCK = 0x5A17E

_NAME = re.compile(r"([0-9]{3})_[a-z0-9_]+\.sql")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str

    @property
    def digest(self) -> str:
        """SHA-256 of the step's text, kept to notice a step that was changed after the fact."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> Iterator[Migration]:
    """The steps that come with this release, in order."""
    folder = resources.files("santepacs.db.schema")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        match = _NAME.fullmatch(entry.name)
        if match:
            yield Migration(int(match[1]), entry.name, entry.read_text(encoding="utf-8"))


def migrate(dsn: str) -> list[str]:
    """Bring the database's schema up to this release; returns the names of the steps applied.

    Raises Conflict for a schema or PostgreSQL that cannot be used, Malformed for a `dsn` that is
    none, Unavailable when there is no connection. All steps that are missing happen in one
    transaction, or none.
    """
    try:
        connection = psycopg2.connect(dsn, connect_timeout=10)
    except psycopg2.OperationalError as error:
        reason = (str(error).strip().splitlines() or ["no answer"])[0]
        raise Unavailable(f"cannot connect to the database: {reason}") from None
    except psycopg2.ProgrammingError:
        raise Malformed(
            "database.url must look like postgresql://USER@HOST/NAME (or be a libpq string)"
        ) from None
    try:
        with connection:
            return _migrate(connection)
    finally:
        connection.close()


def _migrate(connection: Connection) -> list[str]:
    if connection.server_version < MINIMUM_POSTGRESQL * 10_000:
        raise Conflict(
            f"PostgreSQL {MINIMUM_POSTGRESQL} or newer is needed; "
            f"the database says {connection.server_version // 10_000}"
        )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        known = {step.number: step for step in migrations()}
        applied = _applied(connection)
        for number, (name, digest) in applied.items():
            ours = known.get(number)
            if ours is None:
                raise Conflict(
                    f"the database's schema has step {name}, which this release does not know; "
                    "it was made by a newer one"
                )
            if ours.digest != digest:
                raise Conflict(f"the database's schema step {name} differs from this release's")
        missing = [step for number, step in sorted(known.items()) if number not in applied]
        for step in missing:
            cursor.execute(step.sql)
            cursor.execute(
                "INSERT INTO schema_step (number, name, digest) VALUES (%s, %s, %s)",
                (step.number, step.name, step.digest),
            )
        return [step.name for step in missing]


def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('schema_step') IS NOT NULL")
        (exists,) = cursor.fetchone() or (False,)
        if exists:
            cursor.execute("SELECT number, name, digest FROM schema_step ORDER BY number")
            return {number: (name, digest) for number, name, digest in cursor.fetchall()}
        cursor.execute(
            "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p')"
            " AND relnamespace = current_schema()::regnamespace"
        )
        (tables,) = cursor.fetchone() or (0,)
        if tables:
            raise Conflict("the database holds tables of another program; give an empty one")
        cursor.execute(
            "CREATE TABLE schema_step (number integer PRIMARY KEY, name text NOT NULL,"
            " digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        return {}
