"""Our own PostgreSQL: made, started and stopped by santepacs, reachable by nobody else.

It listens on a Unix socket alone, never runs as root (then the account that
`santepacs.host.accounts` names runs it), and gets its access rules and parameters from our code
at every start. Its files are the subject of `santepacs.db.cluster`, its roles that of
`santepacs.db.roles`.

Everything here blocks: it is called before the reactor runs, from a thread, or by a command.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn

from santepacs.db import binaries, cluster, roles
from santepacs.errors import Unavailable
from santepacs.host.accounts import identity, run_script

PORT = 5432  # only a part of the socket's name
LONGEST_SOCKET_PATH = 107  # bytes
LOG_LIMIT = 10 * 1024 * 1024  # bytes
QUIT_TIMEOUT = 10.0  # seconds; PostgreSQL itself kills its children 5 s after SIGQUIT
ORPHANS_TIMEOUT = 10.0  # seconds
POLL = 0.01  # seconds
LONGEST_PAUSE = 0.32  # seconds between two tries to connect

PARAMETERS = {
    "listen_addresses": "",
    # Relative to the cluster, where PostgreSQL's processes live: no limit on the folder's path.
    "unix_socket_directories": "../socket",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    # Files below the cluster instead of /dev/shm, which containers keep tiny and systemd may empty
    # when a user logs out; only parallel queries would need it, and ours are short.
    "dynamic_shared_memory_type": "mmap",
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # What the log may hold: no statement, no value, no detail that quotes one.
    "log_destination": "stderr",
    "logging_collector": "off",
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_checkpoints": "off",
}

# Run by the account, which may look into its own processes; root in a container may not.
_PROCESSES = """
for process in /proc/[0-9]*; do
    [ "$process/cwd" -ef "$1" ] || continue
    read -r name < "$process/comm" || continue
    [ "$name" != postgres ] || echo "${process#/proc/}"
done 2> /dev/null
"""


class EmbeddedPostgres:
    """The PostgreSQL whose files are in `folder` and whose messages go to the file `log`.

    The parents of both exist and belong to us. Only one santepacs may use a folder at a time (the
    data directory's lock). PostgreSQL may have been started by another process than the one that
    stops it, such as before daemonising.
    """

    def __init__(
        self,
        folder: Path,
        log: Path,
        *,
        connections: int = 50,
        extra_parameters: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.log = log.absolute()
        self._parameters = PARAMETERS | {"max_connections": str(connections)}
        self._parameters |= extra_parameters or {}
        self._process: subprocess.Popen[bytes] | None = None
        self._socket_folder: int | None = None

    @property
    def cluster(self) -> Path:
        """PostgreSQL's data directory."""
        return self.folder / "cluster"

    @property
    def owner_dsn(self) -> str:
        """For migrations alone."""
        return self.dsn(roles.OWNER)

    @property
    def runtime_dsn(self) -> str:
        """For everything that is not a migration."""
        return self.dsn(roles.RUNTIME)

    def dsn(self, role: str, database: str = roles.DATABASE) -> str:
        """The libpq connection string of `role`; it is good in this process and its forks."""
        return make_dsn(
            host=self._host(),
            hostaddr="",  # or PGHOSTADDR of the environment would win over the socket
            port=PORT,
            user=role,
            dbname=database,
            sslmode="disable",
            gssencmode="disable",
            client_encoding="UTF8",
            application_name="santepacs",
        )

    @property
    def is_running(self) -> bool:
        """Whether this folder's PostgreSQL runs, whoever started it."""
        return self._postmaster() is not None

    def start(self, timeout: float) -> None:
        """Start PostgreSQL and wait until it serves, `timeout` seconds with crash recovery.

        Makes the cluster, roles and database that are missing. One that runs already (its
        santepacs was killed) is stopped first. Raises Unavailable, Conflict (made by another
        PostgreSQL version) or Forbidden (belongs to somebody else); nothing is left running then.
        """
        cluster.claim(self.folder)
        self._end_leftovers(timeout)
        programs = binaries.installation(cluster.owner(self.folder), self.folder.parent)
        cluster.make_ready(self.folder, programs)
        log_start = self._launch(programs)
        try:
            self._wait_until_ready(timeout, log_start)
            self._set_up()
        except BaseException:
            self.stop(QUIT_TIMEOUT)
            raise

    def stop(self, timeout: float) -> None:
        """Stop PostgreSQL orderly, after `timeout` seconds hard; nothing happens if none runs.

        Raises Unavailable when it does not end.
        """
        pid = self._postmaster()
        if pid is None:
            return
        for how, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, QUIT_TIMEOUT)):
            if _alive(pid):
                os.kill(pid, how)
            if self._wait_for(lambda: not _alive(pid), patience):
                return
        raise Unavailable(f"PostgreSQL (process {pid}) does not stop")

    def _launch(self, programs: Path) -> int:
        """Start the server; returns where its messages begin in the log."""
        command: list[str | Path] = [programs / "bin" / "postgres", "-D", self.cluster]
        for name, value in self._parameters.items():
            command += ["-c", f"{name}={value}"]
        try:
            if self.log.exists() and self.log.stat().st_size > LOG_LIMIT:
                self.log.rename(self.log.with_name(f"{self.log.name}.1"))
            with open(self.log, "ab", opener=_open_private) as log:
                log_start = log.tell()
                # In a session of its own: Ctrl-C in the terminal is for santepacs, which stops
                # PostgreSQL last.
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    **identity(cluster.owner(self.folder)),
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"cannot start PostgreSQL: {error}") from error
        return log_start

    def _wait_until_ready(self, timeout: float, log_start: int) -> None:
        deadline, pause = time.monotonic() + timeout, POLL
        while True:
            if self._process is None or self._process.poll() is not None:
                raise Unavailable(f"PostgreSQL did not start: {self._last_message(log_start)}")
            try:
                psycopg2.connect(self.dsn(roles.SUPERUSER, roles.MAINTENANCE_DATABASE)).close()
                return
            except psycopg2.OperationalError as error:
                if time.monotonic() > deadline:
                    why = cluster.reason(str(error))
                    raise Unavailable(f"PostgreSQL is not ready in time: {why}") from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)  # each try may leave a line in the log

    def _last_message(self, log_start: int) -> str:
        with open(self.log, "rb") as log:
            log.seek(max(log_start, self.log.stat().st_size - 4096))
            return cluster.reason(log.read().decode("utf-8", "replace"))

    def _set_up(self) -> None:
        try:
            stock = psycopg2.connect(self.dsn(roles.SUPERUSER, roles.MAINTENANCE_DATABASE))
            with closing(stock) as connection, connection.cursor() as cursor:
                connection.autocommit = True
                roles.set_up_roles(cursor)
                roles.create_database(cursor, roles.DATABASE)
            ours = psycopg2.connect(self.dsn(roles.SUPERUSER))
            with closing(ours) as connection, connection, connection.cursor() as cursor:
                roles.set_up_privileges(cursor)
        except psycopg2.Error as error:
            raise Unavailable(
                f"cannot set up the database: {cluster.reason(str(error))}"
            ) from error

    def _postmaster(self) -> int | None:
        """The server's process, if it runs: our child, or the one that the pid file names."""
        if self._process is not None and self._process.poll() is None:
            return self._process.pid
        try:
            pid = int((self.cluster / "postmaster.pid").read_bytes()[:20].split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return pid if pid in self._processes() else None

    def _processes(self) -> set[int]:
        """PostgreSQL's processes in our cluster: a number in a file alone proves nothing."""
        if not self.cluster.exists():
            return set()
        found = run_script(cluster.owner(self.folder), _PROCESSES, self.cluster)
        return {int(pid) for pid in found.split()}

    def _end_leftovers(self, timeout: float) -> None:
        """Stop what a killed santepacs left, and wait for what a killed server left."""
        self.stop(timeout)
        if not self._wait_for(lambda: not self._processes(), ORPHANS_TIMEOUT):
            listed = ", ".join(map(str, sorted(self._processes())))
            raise Unavailable(f"an earlier PostgreSQL still uses {self.cluster} (process {listed})")

    def _wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL)
            if self._process is not None:
                self._process.poll()  # a child that ended stays until its parent looks
        return True

    def _host(self) -> str:
        """The socket's folder as libpq takes it.

        A path too long for a socket, or with the comma that separates libpq's hosts, is replaced
        by a descriptor of the folder, which stays open in this process.
        """
        folder = self.folder / "socket"
        socket = os.fsencode(folder / f".s.PGSQL.{PORT}")
        if len(socket) <= LONGEST_SOCKET_PATH and b"," not in socket:
            return str(folder)
        if self._socket_folder is None:
            self._socket_folder = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._socket_folder}"


def _alive(pid: int) -> bool:
    """Whether the process exists and is not merely waiting to be collected by its parent."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
