"""What has to stand before anything runs: settings, data directory, key, database, schema.

Blocking and in order; whatever is wrong is raised here, before a port is open. The server and the
admin command come the same way, so a command sees the same site, beside a running server or
without one.
"""

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from twisted.logger import Logger

from santepacs import settings as configuration
from santepacs.db import blocking, facts
from santepacs.db.database import Transaction
from santepacs.db.embedded import EmbeddedPostgres
from santepacs.db.migrate import migrate
from santepacs.errors import Conflict, Malformed, NotFound
from santepacs.host.accounts import become_owner
from santepacs.host.datadir import DataDirectory, default_data_directory, prepare
from santepacs.host.lock import Lock, Role, lock, who_holds
from santepacs.host.secretkey import create_secret_key, secret_key
from santepacs.model import tokens
from santepacs.options import shown
from santepacs.settings import Settings

log = Logger()

POSTGRES_START = 120.0  # seconds; crash recovery of a large index included
POSTGRES_STOP = 30.0
COMMAND_WAIT = 30.0  # seconds that a command or server waits for another command to end
_SPARE_CONNECTIONS = 12  # beside the pool: commands, migrations, a person with psql
_KEY_FACT = "secret key"
_PINS_FACT = "pins of the server"


@dataclass(slots=True)
class Foundation:
    """What everything else stands on; `release` takes it down again."""

    settings: Settings
    directory: DataDirectory
    dsn: str
    secret_key: bytes
    postgres: EmbeddedPostgres | None
    """The embedded PostgreSQL if it is ours to stop."""
    lock: Lock | None
    notes: list[str]
    """Lines that the operator should read."""

    def release(self) -> None:
        """Stop the database if it is ours and let others use the data directory. Blocking.

        Once only: afterwards both may be somebody else's.
        """
        postgres, self.postgres = self.postgres, None
        lock, self.lock = self.lock, None
        try:
            if postgres is not None:
                postgres.stop(POSTGRES_STOP)
        finally:
            if lock is not None:
                lock.release()


def read_settings(config: str | None, overrides: list[str]) -> Settings:
    """The settings of the file `config` (or none) and the command line. Raises Malformed."""
    if config is None:
        return configuration.load(overrides=overrides)
    try:
        text = Path(config).read_text(encoding="utf-8")
    except OSError as error:
        raise Malformed(f"cannot read {config}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Malformed(f"{config} is not UTF-8 text") from None
    return configuration.load(text, config, overrides)


def for_server(config: str | None, data: str | None, overrides: list[str]) -> Foundation:
    """The foundation for the one server of a data directory.

    Raises an error of `santepacs.errors` with one clear line; nothing is left running then.
    """
    return _lay(config, data, overrides, "server")


def for_command(config: str | None, data: str | None, overrides: list[str]) -> Foundation:
    """The foundation for an admin command: beside a running server on the server's database.

    Acts as the owner of the data directory, or raises Forbidden.
    """
    return _lay(config, data, overrides, "command")


def _lay(config: str | None, data: str | None, overrides: list[str], role: Role) -> Foundation:
    settings = read_settings(config, overrides)
    root, note = (Path(data), "") if data else default_data_directory()
    if role == "command":
        become_owner(root)
    directory = prepare(root)
    foundation = Foundation(settings, directory, "", b"", None, None, [note] if note else [])
    try:
        if role == "server" or not _server_runs(directory):
            foundation.lock = lock(directory.root, role, COMMAND_WAIT)
        _start_database(foundation)
        _check_key(foundation)
        foundation.notes += settings.take(
            blocking.transaction(foundation.dsn, facts.saved_settings)
        )
        if role == "server":
            _publish_pins(foundation)
        elif foundation.lock is None:
            _adopt_pins(foundation)
    except BaseException:
        foundation.release()
        raise
    return foundation


def _server_runs(directory: DataDirectory) -> bool:
    holder = who_holds(directory.root)
    return holder is not None and holder.role == "server"


def _start_database(foundation: Foundation) -> None:
    """Bring the database up, and its schema to this release if we are alone."""
    url, directory = foundation.settings.database.url, foundation.directory
    if url:
        foundation.dsn = url
        owner_dsn = url
    else:
        connections = foundation.settings.database.connections + _SPARE_CONNECTIONS
        postgres = EmbeddedPostgres(
            directory.postgres,
            directory.log / "postgres.log",
            connections=connections,
        )
        if (directory.root / "secret.key").exists() and not directory.postgres.exists():
            raise Conflict(
                f"{directory.root} has been used with another database: give its database.url, "
                f"or restore {directory.postgres} from the backup"
            )
        if foundation.lock is not None:
            postgres.start(POSTGRES_START)
            foundation.postgres = postgres
        foundation.dsn, owner_dsn = postgres.runtime_dsn, postgres.owner_dsn
    if foundation.lock is not None:
        migrate(owner_dsn)


def _check_key(foundation: Foundation) -> None:
    """The secret key must be the one that the index was made with: patients' links hang on it."""
    root = foundation.directory.root
    known = blocking.transaction(foundation.dsn, _known_key)
    try:
        key = secret_key(root)
    except NotFound:
        if known is not None:
            raise Conflict(
                f"{root / 'secret.key'} is missing, but the database has been used with one: "
                "restore it from the backup (without it every patient's link is dead)"
            ) from None
        key = create_secret_key(root)
    fingerprint = tokens.fingerprint(key)
    if known is None:

        async def record(tx: Transaction) -> None:
            await facts.record_fact(tx, _KEY_FACT, fingerprint)

        blocking.transaction(foundation.dsn, record)
    elif known != fingerprint:
        raise Conflict(
            f"{root / 'secret.key'} is not the key that this database was made with; "
            "restore the right one (with this one every patient's link is dead)"
        )
    foundation.secret_key = key


async def _known_key(tx: Transaction) -> str | None:
    return await facts.fact(tx, _KEY_FACT)


def _publish_pins(foundation: Foundation) -> None:
    """Let commands beside this server know what its file and command line pin."""
    settings = foundation.settings
    pins = {
        name: [where, shown(settings.value(name))]
        for name, where in settings.pinned.items()
        if not configuration.find_option(name).start_up
    }

    async def publish(tx: Transaction) -> None:
        await facts.change_fact(tx, _PINS_FACT, json.dumps(pins))

    blocking.transaction(foundation.dsn, publish)


def _adopt_pins(foundation: Foundation) -> None:
    """The running server's pins are the site's, except where the command names its own."""

    async def published(tx: Transaction) -> str | None:
        return await facts.fact(tx, _PINS_FACT)

    settings = foundation.settings
    pins = json.loads(blocking.transaction(foundation.dsn, published) or "{}")
    for name, (where, text) in pins.items():
        if name in settings.pinned:
            continue
        try:
            declaration = configuration.find_option(name)
            settings.pin(declaration, declaration.parse(text, where), f"the server's {where}")
        except Malformed:
            continue  # a server of another release


def notify_systemd(state: str) -> None:
    """Tell systemd, if it started us with Type=notify (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address[0] == "@":
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        try:
            notify.sendto(state.encode(), address)
        except OSError as error:
            log.warn("cannot notify systemd: {reason}", reason=error.strerror)
