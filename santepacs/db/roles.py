"""The embedded database's roles and what each may do.

Three roles: SUPERUSER sets up and is used for nothing else, OWNER owns the database and its schema
(migrations), RUNTIME reads and writes rows and can change no table, run no program and read no
file. Everything here may be repeated at every start.
"""

from typing import Any

from psycopg2 import sql

SUPERUSER = "postgres"
OWNER = "santepacs_owner"
RUNTIME = "santepacs"
DATABASE = "santepacs"
MAINTENANCE_DATABASE = "postgres"

# The server's log must not quote the values of a failing statement, so errors of these sessions
# are not logged at all: whoever sent the statement gets them.
_ROLE = """
ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;
ALTER ROLE {role} SET log_min_messages = 'log';
"""

_DATABASE = """
REVOKE ALL ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT ON DATABASE {database} TO {runtime};
"""

_PRIVILEGES = """
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {runtime};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {runtime};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public
    GRANT USAGE, SELECT ON SEQUENCES TO {runtime};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public
    GRANT EXECUTE ON FUNCTIONS TO {runtime};
"""


def set_up_roles(cursor: Any) -> None:
    """Create the two roles and close the stock databases to them; as SUPERUSER."""
    for role in (OWNER, RUNTIME):
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
        if cursor.fetchone() is None:
            _execute(cursor, "CREATE ROLE {role}", role=role)
        _execute(cursor, _ROLE, role=role)
    for database in (MAINTENANCE_DATABASE, "template1"):
        _execute(cursor, "REVOKE ALL ON DATABASE {database} FROM PUBLIC", database=database)


def create_database(cursor: Any, name: str, template: str = "template1") -> None:
    """Create the database `name` if it is missing, for OWNER and RUNTIME alone; as SUPERUSER.

    The cursor's connection must be in autocommit.
    """
    cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
    if cursor.fetchone() is None:
        _execute(
            cursor,
            "CREATE DATABASE {database} OWNER {owner} TEMPLATE {template}",
            database=name,
            owner=OWNER,
            template=template,
        )
    _execute(cursor, _DATABASE, database=name, runtime=RUNTIME)


def set_up_privileges(cursor: Any) -> None:
    """Give RUNTIME the use of what OWNER creates in the connected database; as SUPERUSER."""
    _execute(cursor, _PRIVILEGES, owner=OWNER, runtime=RUNTIME)


def _execute(cursor: Any, text: str, **names: str) -> None:
    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    cursor.execute(sql.SQL(text).format(**identifiers))
