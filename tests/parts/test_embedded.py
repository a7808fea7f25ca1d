"""The embedded PostgreSQL, with a real one."""

import os
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from santepacs.db import binaries, cluster, embedded, roles
from santepacs.db.embedded import EmbeddedPostgres
from santepacs.errors import Conflict, Unavailable
from santepacs.host.accounts import run_as, run_script
from support.accounts import needs_root, run_python, some_account, start_python
from support.postgres import reachable_folder

START = 60  # seconds
STOP = 10  # seconds
STARTED_BY_ANOTHER = """
folder = Path(sys.argv[1])
postgres = embedded.EmbeddedPostgres(folder / "postgres", folder / "postgres.log")
postgres.start(60)
print(postgres._postmaster(), flush=True)
"""


def server_in(folder, **options):
    return EmbeddedPostgres(folder / "postgres", folder / "postgres.log", **options)


def query(dsn, statement, *parameters):
    """The rows of a statement, committed."""
    with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []


def value(dsn, statement, *parameters):
    return query(dsn, statement, *parameters)[0][0]


def as_the_server(server, script):
    """The output of a script with the server's process as "$1", run by the server's account.

    It may look into its processes, root without all of its powers (in a container) may not.
    """
    return run_script(cluster.owner(server.folder), script, str(server._postmaster()))


def accepts_connections(server):
    try:
        return value(server.runtime_dsn, "SELECT true")
    except psycopg2.OperationalError:
        return False


def wait_until(condition):
    """For what other processes do and nobody announces."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def processes_about(folder):
    """Every process with the folder in its command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.fsencode(folder) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def skip_if_out_of_reach(account):
    """In a virtual environment in root's home, root alone can copy the programs."""
    programs = binaries._packages_folder() / binaries.INSTALLATION
    if os.geteuid() == 0 and not binaries.usable(programs, account):
        pytest.skip(f"the programs are out of reach for the account {account.pw_name}")


@pytest.fixture(scope="module")
def running():
    """One server as in production, for tests that change nothing."""
    with reachable_folder() as folder:
        server = server_in(folder)
        server.start(START)
        yield server
        server.stop(STOP)


@pytest.fixture(scope="module")
def original():
    """A stopped cluster to copy: quicker than making one for each test."""
    with reachable_folder() as folder:
        server = server_in(folder)
        server.start(START)
        server.stop(STOP)
        yield folder


@pytest.fixture
def server(original, reachable_tmp_path):
    """A server of the test's own, not started."""
    subprocess.run(["cp", "-a", original / "postgres", reachable_tmp_path], check=True)
    server = server_in(reachable_tmp_path)
    yield server
    server.stop(STOP)


# --- starting and stopping


@pytest.mark.parametrize("name", ["short", "x" * 200])
def test_the_first_start_makes_everything_and_the_second_keeps_it(reachable_tmp_path, name):
    folder = reachable_tmp_path / name
    folder.mkdir()
    folder.chmod(0o711)
    server = server_in(folder)
    assert not server.is_running
    server.start(START)
    try:
        query(server.owner_dsn, "CREATE TABLE kept (n integer)")
        query(server.runtime_dsn, "INSERT INTO kept VALUES (1)")
        server.stop(STOP)
        assert not server.is_running
        server.start(START)
        assert query(server.runtime_dsn, "SELECT n FROM kept") == [(1,)]
    finally:
        server.stop(STOP)


def test_a_stopped_server_leaves_no_process(server):
    server.start(START)
    assert server._processes()
    server.stop(STOP)
    assert server._processes() == set()
    server.stop(STOP)


def test_clients_do_not_delay_the_stop(server):
    server.start(START)
    with closing(psycopg2.connect(server.runtime_dsn)) as connection:
        connection.cursor().execute("SELECT 1")
        server.stop(STOP)
    assert not server.is_running


def test_a_server_that_hangs_is_stopped_hard(server):
    server.start(START)
    child = next(pid for pid in server._processes() if pid != server._postmaster())
    os.kill(child, signal.SIGSTOP)
    server.stop(0.1)
    assert server._processes() == set()


def test_rows_survive_the_death_of_the_server(server):
    server.start(START)
    query(server.owner_dsn, "CREATE TABLE kept AS SELECT 1 AS n")
    os.kill(server._postmaster(), signal.SIGKILL)
    server.start(START)
    assert query(server.runtime_dsn, "SELECT n FROM kept") == [(1,)]


def test_what_a_killed_santepacs_left_is_stopped_and_started_anew(server):
    santepacs = start_python(STARTED_BY_ANOTHER + "time.sleep(600)", server.folder.parent)
    left = int(santepacs.stdout.readline())
    santepacs.kill()
    santepacs.communicate()
    assert server._postmaster() == left
    with closing(psycopg2.connect(server.runtime_dsn)):
        server.start(START)
    assert server._postmaster() != left
    assert not embedded._alive(left)


def test_a_daemon_stops_the_server_that_its_parent_started(server):
    code = """
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
psycopg2.connect(postgres.runtime_dsn).close()
postgres.stop(10)
print(postgres.is_running, flush=True)
"""
    started, stopped = run_python(STARTED_BY_ANOTHER + code, server.folder.parent).split()
    assert int(started)
    assert stopped == "False"
    assert server._processes() == set()


def test_the_interrupt_key_of_the_terminal_does_not_reach_the_server(running):
    assert os.getsid(running._postmaster()) == running._postmaster()


def test_a_stale_pid_file_that_names_a_living_process_does_no_harm(server):
    server.start(START)
    pid_file = server.cluster / "postmaster.pid"
    text = pid_file.read_text()
    lock_file = server.folder / "socket" / ".s.PGSQL.5432.lock"
    server.stop(STOP)
    stranger = subprocess.Popen(["sleep", "600"], **embedded.identity(cluster.owner(server.folder)))
    try:
        stale = "\n".join([str(stranger.pid), *text.splitlines()[1:]]) + "\n"
        for file in (pid_file, lock_file):
            file.write_text(stale)
        assert not server.is_running
        server.stop(STOP)
        server.start(START)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_broken_pid_file_does_no_harm(server):
    for content in ("", "x", "-1\n", "0\n", "1\n", "999999999999999999999999\n", "\xff"):
        (server.cluster / "postmaster.pid").write_text(content, "latin-1")
        assert not server.is_running
        server.stop(STOP)
    server.start(START)


def test_a_first_start_killed_half_way_leaves_nothing_half(reachable_tmp_path):
    folder = reachable_tmp_path / "postgres"
    santepacs = start_python(STARTED_BY_ANOTHER, reachable_tmp_path)
    wait_until(lambda: list(folder.glob("cluster.new-*/global")))
    santepacs.kill()
    for pid in processes_about(folder):
        os.kill(pid, signal.SIGKILL)
    santepacs.communicate()
    assert sorted(os.listdir(folder))[0].startswith("cluster.new-")
    server = server_in(reachable_tmp_path)
    server.start(START)
    try:
        assert sorted(os.listdir(folder)) == ["cluster", "socket"]
    finally:
        server.stop(STOP)


# --- what refuses to start says why, in one line, and leaves nothing running


def refused(server, kind, message, timeout=START):
    with pytest.raises(kind, match=message) as caught:
        server.start(timeout)
    assert "\n" not in str(caught.value)
    assert server._processes() == set()


def test_a_cluster_of_another_version_is_refused(server):
    (server.cluster / "PG_VERSION").write_text("17\n")
    refused(server, Conflict, r"made by PostgreSQL 17; this santepacs has PostgreSQL 18")


def test_a_folder_that_is_no_cluster_is_refused(server):
    (server.cluster / "PG_VERSION").unlink()
    refused(server, Unavailable, "is not a PostgreSQL database")


def test_a_server_that_dies_at_once_gives_its_reason(server):
    broken = server_in(server.folder.parent, extra_parameters={"shared_buffers": "nonsense"})
    refused(broken, Unavailable, r"did not start: .*invalid value.*shared_buffers")


def test_a_damaged_cluster_gives_its_reason(server):
    (server.cluster / "global" / "pg_control").unlink()
    refused(server, Unavailable, r"did not start: .*pg_control")


def test_a_server_that_is_not_ready_in_time_is_stopped(server, monkeypatch):
    def never(dsn):
        raise psycopg2.OperationalError("connection refused")

    monkeypatch.setattr(embedded.psycopg2, "connect", never)
    refused(server, Unavailable, "not ready in time: connection refused", timeout=0.05)


def test_a_failing_initdb_gives_its_reason(reachable_tmp_path, monkeypatch):
    monkeypatch.setattr(roles, "SUPERUSER", "pg_reserved")
    refused(server_in(reachable_tmp_path), Unavailable, "cannot make the database: .*pg_")
    assert os.listdir(reachable_tmp_path / "postgres") == ["socket"]


def test_missing_programs_are_named(server, monkeypatch):
    monkeypatch.setattr(binaries, "PACKAGE", "santepacs_no_such_package")
    refused(server, Unavailable, "install it, or set database.url")


def test_a_file_in_the_folder_s_place_is_named(reachable_tmp_path):
    (reachable_tmp_path / "postgres").touch()
    refused(server_in(reachable_tmp_path), Unavailable, "cannot use .*postgres")


@needs_root
def test_a_folder_that_the_account_cannot_reach_is_named(reachable_tmp_path):
    reachable_tmp_path.chmod(0o700)
    message = r"the account \w+, which runs PostgreSQL, cannot reach"
    refused(server_in(reachable_tmp_path), Unavailable, message)


@needs_root
def test_a_cluster_that_belongs_to_root_is_refused(server):
    os.chown(server.folder, 0, 0)
    refused(server, Conflict, "belongs to root, as which PostgreSQL does not run")


@needs_root
def test_a_folder_of_another_account_is_refused(reachable_tmp_path):
    reachable_tmp_path.chmod(0o755)
    (reachable_tmp_path / "postgres").mkdir(mode=0o755)
    code = "try: embedded.EmbeddedPostgres(Path(sys.argv[1]), Path(sys.argv[2])).start(9)\n"
    code += "except Forbidden as error: print(error)"
    folder, log = reachable_tmp_path / "postgres", reachable_tmp_path / "log"
    said = run_python(code, folder, log, unprivileged=True)
    assert said == f"{folder} belongs to root, not to us"


# --- who gets in


def test_the_folders_are_closed(running):
    for folder in (running.folder, running.cluster, running.folder / "socket"):
        assert folder.stat().st_mode & 0o777 == 0o700
    socket = running.folder / "socket" / ".s.PGSQL.5432"
    assert socket.stat().st_mode & 0o777 == 0o700
    assert running.log.stat().st_mode & 0o777 == 0o600


def test_there_is_no_network_port(running):
    assert value(running.runtime_dsn, "SHOW listen_addresses") == ""
    inodes = {
        line.split()[9]
        for table in ("tcp", "tcp6", "udp", "udp6")
        if (path := Path("/proc/net") / table).exists()
        for line in path.read_text().splitlines()[1:]
    }
    opened = set(as_the_server(running, 'readlink "/proc/$1/fd/"*').split())
    assert any(name.startswith("socket:") for name in opened)
    assert not opened & {f"socket:[{inode}]" for inode in inodes}


@needs_root
def test_the_server_runs_without_privileges_and_without_our_environment(server, monkeypatch):
    monkeypatch.setenv("SANTEPACS_ADMIN_PASSWORD", "secret")
    server.start(START)
    process = Path(f"/proc/{server._postmaster()}")
    status = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    account = some_account()
    assert status["Uid"].split() == [str(account.pw_uid)] * 4
    assert status["Gid"].split() == [str(account.pw_gid)] * 4
    assert status["Groups"].split() in ([], [str(account.pw_gid)])
    assert "secret" not in as_the_server(server, 'cat "/proc/$1/environ"')


def test_one_rule_lets_in_one_account(running):
    assert (running.cluster / "pg_hba.conf").read_text() == "local all all peer map=santepacs\n"
    lines = (running.cluster / "pg_ident.conf").read_text().splitlines()
    assert len(lines) == 3
    assert "nobody" not in "".join(lines) or os.geteuid() != 0
    rules = query(running.dsn(roles.SUPERUSER), "SELECT type, auth_method FROM pg_hba_file_rules")
    assert rules == [("local", "peer")]
    errors = "SELECT error FROM pg_ident_file_mappings WHERE error IS NOT NULL"
    assert query(running.dsn(roles.SUPERUSER), errors) == []


@needs_root
@pytest.mark.parametrize("role", [roles.RUNTIME, roles.OWNER, roles.SUPERUSER, "nobody"])
def test_the_account_that_runs_postgresql_is_not_let_in(running, role):
    code = """
try:
    psycopg2.connect(sys.argv[1])
except psycopg2.OperationalError as error:
    print(error)
"""
    said = run_python(code, running.dsn(role), unprivileged=True)
    assert f'Peer authentication failed for user "{role}"' in said


def test_a_role_that_is_not_ours_is_refused(running):
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        psycopg2.connect(running.dsn("root"))


def test_variables_of_the_environment_do_not_lead_elsewhere(running, monkeypatch):
    for name, text in (("PGHOSTADDR", "127.0.0.1"), ("PGPORT", "1"), ("PGUSER", "postgres")):
        monkeypatch.setenv(name, text)
    assert value(running.runtime_dsn, "SELECT current_user") == roles.RUNTIME


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE t (n integer)",
        "CREATE TEMPORARY TABLE t (n integer)",
        "CREATE SCHEMA s",
        "CREATE ROLE r",
        "CREATE DATABASE d",
        "DROP EXTENSION plpgsql",
        "CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "ALTER ROLE santepacs SUPERUSER",
        "ALTER ROLE santepacs SET log_min_messages = 'debug5'",
        "ALTER SYSTEM SET fsync = off",
        "SET ROLE santepacs_owner",
        "SET ROLE postgres",
        "SET log_statement = 'all'",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "COPY (SELECT 1) TO '/tmp/santepacs-test'",
        "SELECT pg_read_file('PG_VERSION')",
        "SELECT pg_ls_dir('.')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT rolpassword FROM pg_authid",
        "LOAD 'plpgsql'",
        "CHECKPOINT",
    ],
)
def test_the_run_time_role_cannot(running, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(running.runtime_dsn, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE ROLE r",
        "CREATE DATABASE d",
        "ALTER ROLE santepacs_owner SUPERUSER",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "SELECT pg_read_file('PG_VERSION')",
        "SET ROLE postgres",
    ],
)
def test_the_schema_s_owner_cannot(running, statement):
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        query(running.owner_dsn, statement)


@pytest.mark.parametrize("database", ["postgres", "template1"])
def test_the_stock_databases_are_closed(running, database):
    for role in (roles.RUNTIME, roles.OWNER):
        with pytest.raises(psycopg2.OperationalError, match="permission denied"):
            psycopg2.connect(running.dsn(role, database))


def test_the_run_time_role_uses_what_the_owner_makes_and_changes_none_of_it(server):
    server.start(START)
    query(
        server.owner_dsn,
        """
        CREATE TABLE t (key bigint GENERATED ALWAYS AS IDENTITY, n serial, word text);
        CREATE FUNCTION f() RETURNS integer LANGUAGE sql AS 'SELECT 1';
        """,
    )
    runtime = server.runtime_dsn
    assert query(runtime, "INSERT INTO t (word) VALUES ('a') RETURNING key, n") == [(1, 1)]
    query(runtime, "UPDATE t SET word = 'b'")
    assert query(runtime, "SELECT word, f() FROM t") == [("b", 1)]
    query(runtime, "DELETE FROM t")
    for statement in (
        "DROP TABLE t",
        "TRUNCATE t",
        "ALTER TABLE t ADD m integer",
        "DROP FUNCTION f",
    ):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            query(runtime, statement)
    public = "SELECT has_function_privilege('pg_monitor', 'f()', 'EXECUTE')"
    assert value(server.dsn(roles.SUPERUSER), public) is False


def test_rights_given_by_hand_to_our_roles_do_not_last(server):
    server.start(START)
    query(server.dsn(roles.SUPERUSER), "ALTER ROLE santepacs SUPERUSER CREATEDB")
    server.stop(STOP)
    server.start(START)
    flags = "SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = 'santepacs'"
    assert query(server.runtime_dsn, flags) == [(False, False)]


# --- durable, and silent about patients


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("max_connections", "50"),
        ("log_statement", "none"),
    ],
)
def test_a_parameter_is_ours(running, name, expected):
    assert value(running.runtime_dsn, f"SHOW {name}") == expected


def test_parameters_left_in_the_cluster_do_not_count(server):
    with open(server.cluster / "postgresql.auto.conf", "a") as file:
        file.write("fsync = 'off'\nlisten_addresses = '*'\n")
    server.start(START)
    assert value(server.runtime_dsn, "SHOW fsync") == "on"
    assert value(server.runtime_dsn, "SHOW listen_addresses") == ""


def test_letters_of_all_scripts_change_case_and_sort_by_code_point(running):
    assert value(running.runtime_dsn, "SELECT lower('ÄÖ ΠΑ ЖД')") == "äö πα жд"
    words = "SELECT array_agg(w ORDER BY w) FROM unnest(ARRAY['é', 'z', 'a', 'Z']) w"
    assert value(running.runtime_dsn, words) == ["Z", "a", "z", "é"]


def test_the_log_holds_nothing_of_a_failing_statement(server):
    server.start(START)
    query(server.owner_dsn, "CREATE TABLE p (name text PRIMARY KEY, n integer)")
    query(server.runtime_dsn, "INSERT INTO p VALUES ('Doe^Jane')")
    for dsn in (server.runtime_dsn, server.owner_dsn):
        for statement in (
            "INSERT INTO p VALUES ('Doe^Jane')",
            "INSERT INTO p VALUES ('x', 'Doe^Jane')",
            "SELECT 'Doe^Jane'::integer",
            "SELECT Doe^Jane FROM",
            "DO $$ BEGIN RAISE WARNING 'Doe^Jane'; RAISE EXCEPTION 'Doe^Jane'; END $$",
        ):
            with pytest.raises(psycopg2.Error):
                query(dsn, statement)
    assert "Doe" not in server.log.read_text()


def test_the_log_does_not_quote_the_statement_of_a_killed_session(server):
    server.start(START)
    with closing(psycopg2.connect(server.runtime_dsn)) as connection:
        pid = connection.info.backend_pid
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'Doe^Jane'")
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: "was terminated by signal 9" in server.log.read_text())
    wait_until(lambda: accepts_connections(server))
    assert "Doe" not in server.log.read_text()


def test_a_big_log_is_set_aside_at_the_start(server, monkeypatch):
    monkeypatch.setattr(embedded, "LOG_LIMIT", 100)
    server.log.write_text("old" * 100)
    server.start(START)
    assert server.log.with_name("postgres.log.1").read_text() == "old" * 100
    assert "old" not in server.log.read_text()


# --- places and accounts


@pytest.mark.parametrize("name", ["x" * 220, "with space, quote'\"\\, Müller, $(id), -c, %h"])
def test_the_folder_may_have_any_path(original, reachable_tmp_path, name):
    folder = reachable_tmp_path / name
    folder.mkdir(mode=0o711)
    folder.chmod(0o711)
    subprocess.run(["cp", "-a", original / "postgres", folder], check=True)
    server = server_in(folder)
    server.start(START)
    try:
        assert value(server.runtime_dsn, "SELECT current_user") == roles.RUNTIME
        directories = value(server.dsn(roles.SUPERUSER), "SHOW unix_socket_directories")
        assert directories == "../socket"
        assert (folder / "postgres" / "socket" / ".s.PGSQL.5432").is_socket()
    finally:
        server.stop(STOP)


@needs_root
def test_programs_out_of_the_account_s_reach_are_copied_once(
    server, reachable_tmp_path, monkeypatch
):
    closed = reachable_tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for part in binaries.PARTS:
        (closed / part).parent.mkdir(parents=True, exist_ok=True)
        (closed / part).symlink_to(binaries._packages_folder() / part)
    monkeypatch.setattr(binaries, "_packages_folder", lambda: closed)
    (reachable_tmp_path / "postgresql-0.1").mkdir()
    (reachable_tmp_path / "postgresql-0.6.0.new").mkdir()
    before = os.umask(0o077)
    try:
        server.start(START)
    finally:
        os.umask(before)
    (copy,) = reachable_tmp_path.glob("postgresql-*")
    assert copy.stat().st_uid == 0
    postgres = copy / binaries.INSTALLATION / "bin" / "postgres"
    assert postgres.stat().st_mode & 0o777 == 0o755
    assert as_the_server(server, 'readlink "/proc/$1/exe"').strip() == str(postgres)
    server.stop(STOP)
    made = postgres.stat().st_mtime_ns
    server.start(START)
    assert postgres.stat().st_mtime_ns == made


def test_an_account_without_privileges_runs_it_all_itself(reachable_tmp_path):
    account = some_account()
    skip_if_out_of_reach(account)
    os.chown(reachable_tmp_path, account.pw_uid, account.pw_gid)
    code = """
import pwd
with psycopg2.connect(postgres.runtime_dsn) as connection, connection.cursor() as cursor:
    cursor.execute("SELECT current_user")
    print(*cursor.fetchone())
print(os.stat(f"/proc/{postgres._postmaster()}").st_uid == os.geteuid() != 0)
postgres.stop(10)
print(postgres.is_running)
"""
    try:
        said = run_python(STARTED_BY_ANOTHER + code, reachable_tmp_path, unprivileged=True)
    finally:
        server_in(reachable_tmp_path).stop(STOP)
    assert said.split()[1:] == ["santepacs", "True", "False"]
    ident = (reachable_tmp_path / "postgres" / "cluster" / "pg_ident.conf").read_text()
    assert f'santepacs "{account.pw_name}" santepacs\n' in ident


@needs_root
def test_another_account_than_before_may_start_it(server):
    """The data directory was root's and is given to the account, and back."""
    account, folder = some_account(), server.folder.parent
    skip_if_out_of_reach(account)
    server.start(START)
    server.stop(STOP)
    for path in (folder, server.log):
        os.chown(path, account.pw_uid, account.pw_gid)
    code = "psycopg2.connect(postgres.runtime_dsn).close(); postgres.stop(10)"
    assert run_python(STARTED_BY_ANOTHER + code, folder, unprivileged=True)
    os.chown(folder, 0, 0)
    server.start(START)
    assert value(server.runtime_dsn, "SELECT current_user") == roles.RUNTIME


@needs_root
def test_the_owner_stays_when_a_better_account_appears(server, monkeypatch):
    account = some_account()
    better = type(account)(("santepacs", "", 54321, 54321, "", "/", ""))
    monkeypatch.setattr(cluster, "unprivileged_account", lambda: better)
    server.start(START)
    assert server.folder.stat().st_uid == account.pw_uid


def test_an_account_without_a_name_is_told(monkeypatch):
    monkeypatch.setattr(cluster.os, "geteuid", lambda: 54321)
    with pytest.raises(Unavailable, match="user number 54321 has no account name"):
        cluster.ident_map()


def test_a_strange_account_name_is_quoted(monkeypatch):
    entry = type(some_account())(('DOMAIN\\a "b"', "", 0, 0, "", "/", ""))
    monkeypatch.setattr(cluster.pwd, "getpwuid", lambda number: entry)
    assert cluster.ident_map().startswith('santepacs "DOMAIN\\a ""b""" postgres\n')


@needs_root
def test_root_follows_no_link_that_the_account_planted(server, reachable_tmp_path):
    """What the account may write through a link is what it may write anyway."""
    precious = reachable_tmp_path / "precious"
    precious.write_text("precious")
    precious.chmod(0o600)
    for name in ("pg_hba.conf.new", "pg_ident.conf.new"):
        assert run_as(some_account(), "ln", "-s", precious, server.cluster / name)[0] == 0
    with pytest.raises(Unavailable):
        server.start(START)
    assert precious.read_text() == "precious"
