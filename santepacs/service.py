"""The composition root: everything is made, wired, started and stopped here, top to bottom.

``twistd santepacs`` calls `makeService`. It tries whatever can be wrong with blocking calls before
the reactor runs (`santepacs.startup`, then the ports), so that a failure is one line and exit
status 1. When the reactor runs, the pool and the doors start in order; at the end they stop in
the opposite order, work in progress within `server.stop_grace` seconds.
"""

import atexit
import os
import random
import signal
import socket
import sys
import uuid
from datetime import datetime
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger
from twisted.python import usage

from santepacs import ports, startup
from santepacs.access.accounts import Accounts
from santepacs.access.passwords import Passwords, check_new_password
from santepacs.access.setup import Setup
from santepacs.access.unknown import UnknownCallers
from santepacs.archive.archive import Archive
from santepacs.archive.files import ObjectFiles
from santepacs.db import facts
from santepacs.db.database import Database, Transaction
from santepacs.dicom.asking import OtherWorklists
from santepacs.dicom.tls import ServerContext
from santepacs.dicomport import DicomPort
from santepacs.errors import Malformed, SantepacsError, Unavailable
from santepacs.greeting import greeting
from santepacs.hl7port import hl7_factory
from santepacs.host.descriptors import raise_descriptor_limit
from santepacs.host.names import HostNames
from santepacs.jobs import Queue
from santepacs.scheduling import Scheduling
from santepacs.startup import Foundation
from santepacs.threads import Threads
from santepacs.web.health import Health
from santepacs.webport import web_server

log = Logger()

SETTINGS_INTERVAL = 2.0  # seconds between looks for settings that were saved elsewhere
LAST_WORDS = 5.0  # seconds beyond its grace that each part has to write down where it stands
FIRST_ADMINISTRATOR = "admin"
PASSWORD_VARIABLE = "SANTEPACS_ADMIN_PASSWORD"


class Options(usage.Options):
    """What ``twistd santepacs`` understands."""

    optParameters = [
        ["config", "c", None, "Configuration file (TOML); etc/santepacs.toml is a sample."],
        ["data", "d", None, "Data directory; default: ./var"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["set"] = []

    def opt_set(self, setting: str) -> None:
        """Pin a setting, as SECTION.KEY=VALUE; may be repeated and wins over the file."""
        self["set"].append(setting)

    opt_s = opt_set


def makeService(options: Options) -> "SantepacsService":
    """The service of ``twistd santepacs``; whatever is wrong ends the program here, in one line."""
    from twisted.internet import reactor

    password = os.environ.pop(PASSWORD_VARIABLE, "")
    # Until the reactor looks after it, SIGTERM would end us and leave our PostgreSQL behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        if password:
            _check_first_password(password)
        foundation = startup.for_server(options["config"], options["data"], options["set"])
        try:
            tls_context = ports.tls_context(foundation.settings)
            sockets = ports.bind(foundation.settings)
        except BaseException:
            foundation.release()
            raise
    except SantepacsError as problem:
        raise SystemExit(f"santepacs: {problem}") from None
    atexit.register(foundation.release)
    raise_descriptor_limit()
    return SantepacsService(reactor, foundation, sockets, password, tls_context)


def _check_first_password(password: str) -> None:
    try:
        check_new_password(password, FIRST_ADMINISTRATOR)
    except Malformed as problem:
        raise Malformed(f"{PASSWORD_VARIABLE}: {problem}") from None


class SantepacsService(Service):
    """The whole server."""

    name = "santepacs"

    def __init__(
        self,
        reactor: Any,
        foundation: Foundation,
        sockets: dict[str, socket.socket],
        admin_password: str = "",
        tls_context: ServerContext | None = None,
    ) -> None:
        """`sockets`: listening already, by module. `admin_password`: of the first administrator,
        if there is none yet. `tls_context`: for the DICOM port with TLS.
        """
        self._reactor = reactor
        self._foundation = foundation
        self._sockets = sockets
        self._admin_password = admin_password
        self._ports: list[Any] = []
        self._failed = False

        settings, directory = foundation.settings, foundation.directory
        self._settings = settings
        self._threads = Threads(reactor)
        self._database = Database(
            reactor,
            foundation.dsn,
            connections=settings.database.connections,
            statement_timeout=settings.database.timeout,
        )
        self._files = ObjectFiles(directory.objects, directory.incoming, directory.aside)
        self._jobs = Queue(reactor, self._database, random.random, uuid.uuid4().hex)
        self._scheduling = Scheduling(
            reactor, settings, self._threads, self._database, self._jobs, _now
        )
        self._archive = Archive(
            self._database,
            self._threads,
            self._files,
            foundation.secret_key,
            settings,
            self._scheduling.arrived,
        )
        names = HostNames(self._threads, reactor.seconds)
        unknown = UnknownCallers(self._database, reactor)
        passwords = Passwords(self._threads)
        self._accounts = Accounts(self._database, passwords)
        self._setup = Setup(self._database, passwords, reactor)
        self._dicom = DicomPort(
            reactor,
            settings,
            self._threads,
            self._archive,
            self._database,
            directory.incoming,
            names,
            unknown,
            tls_context,
            self._jobs,
            self._scheduling.progress,
        )
        self._hl7 = hl7_factory(
            reactor,
            settings,
            self._database,
            self._archive,
            self._scheduling.receiver,
            names,
            unknown,
        )
        self._web = web_server(
            reactor,
            settings,
            self._database,
            self._threads,
            self._archive,
            self._accounts,
            self._setup,
            Health(reactor, settings, self._database, self._threads, directory.incoming),
            self._scheduling.worklist,
            self._scheduling.receiver,
            lambda: self._scheduling.mappings,
            OtherWorklists(settings, self._threads, self._dicom.server.client).ask,
            self._jobs.wake,
            _now,
        )
        self._settings_watch = LoopingCall(self._look_for_settings)
        self._settings_watch.clock = reactor

    # --- start

    def startService(self) -> None:
        """Begin as soon as the reactor runs."""
        super().startService()
        if self._foundation.lock is not None:
            self._foundation.lock.sign()
        for note in self._foundation.notes:
            log.info("{note}", note=note)
        self._reactor.callWhenRunning(self._begin)

    def _begin(self) -> None:
        Deferred.fromCoroutine(self._start()).addErrback(self._start_failed)

    async def _start(self) -> None:
        self._threads.start()
        await self._database.start()
        swept = await self._threads.run(self._files.sweep_incoming)
        if swept:
            log.info("removed {count} half received objects of an earlier run", count=swept)
        await self._look_for_settings()
        await self._first_administrator()
        dicom, dicom_tls = self._sockets.get("dicom"), self._sockets.get("dicom tls")
        await self._dicom.start(dicom, dicom_tls)
        await self._scheduling.start()
        await self._jobs.start()
        self._listen("hl7", self._hl7)
        self._listen("web", self._web.factory)
        self._settings_watch.start(SETTINGS_INTERVAL, now=False)
        await self._say_where()
        startup.notify_systemd("READY=1")

    def _start_failed(self, failure: Any) -> None:
        log.critical("cannot start: {reason}", reason=failure.getErrorMessage())
        if not failure.check(SantepacsError):
            log.failure("this should not happen", failure)
        # twistd ends with status 0 whatever happens while the reactor runs. After its orderly
        # end nothing of ours is left to lose.
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        self._reactor.stop()

    def _listen(self, module: str, factory: Any) -> None:
        bound = self._sockets.get(module)
        if bound is not None:
            bound.setblocking(False)
            port = self._reactor.adoptStreamPort(bound.fileno(), bound.family, factory)
            bound.close()
            self._ports.append(port)

    async def _first_administrator(self) -> None:
        if not self._admin_password or await self._setup.new_link() is None:
            return
        await self._accounts.create(
            FIRST_ADMINISTRATOR, self._admin_password, administrator=True, may_upload=True
        )
        self._admin_password = ""

    async def _say_where(self) -> None:
        link = await self._setup.new_link()
        for line in greeting(self._settings, self._foundation.directory.root, link or ""):
            log.info("{line}", line=line)

    async def _look_for_settings(self) -> None:
        """Put in force what the command or the portal saved since the last look."""

        async def look(tx: Transaction) -> tuple[dict[str, str], str | None]:
            return await facts.saved_settings(tx), await facts.hl7_mapping(tx)

        try:
            saved, kept_mapping = await self._database.transaction("settings", look, read_only=True)
            self._scheduling.use_mapping(kept_mapping)
        except Unavailable:
            return  # the next look will do
        except SantepacsError as problem:
            log.error("the saved HL7 mapping is not used: {problem}", problem=problem)
            return
        for complaint in self._settings.take(saved, live_only=True):
            log.warn("{complaint}", complaint=complaint)

    # --- stop

    def stopService(self) -> "Deferred[None]":
        """Close the doors, let work in progress end, then take down what it stood on."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        startup.notify_systemd("STOPPING=1")
        grace = self._settings.server.stop_grace
        # What waits then for a PostgreSQL that does not answer would wait for ever.
        end = self._reactor.callLater(2 * grace + LAST_WORDS, self._database.stop)
        try:
            await self._close_doors(grace)
        except Exception:  # noqa: BLE001 - whatever it is, the database must still be stopped
            log.failure("a door did not close orderly")
        if end.active():
            end.cancel()
        self._database.stop()
        self._threads.stop()
        self._foundation.release()
        log.info("stopped")

    async def _close_doors(self, grace: float) -> None:
        if self._settings_watch.running:
            self._settings_watch.stop()
        for port in self._ports:
            await port.stopListening()
        await self._dicom.stop(grace)
        await self._quiet(grace)
        self._hl7.close_all()
        await self._scheduling.stop()

    async def _quiet(self, grace: float) -> None:
        """Wait until nothing is being answered, at most `grace` seconds."""
        end = self._reactor.seconds() + grace
        while self._reactor.seconds() < end and self._hl7.busy + self._web.busy:
            await deferLater(self._reactor, 0.05)


def _now() -> datetime:
    return datetime.now().astimezone()
