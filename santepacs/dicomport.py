"""The DICOM ports put together: the server, and the later work that its services cause."""

from pathlib import Path
from typing import Any

from santepacs.access.unknown import UnknownCallers
from santepacs.activity import Activity
from santepacs.archive.archive import Archive
from santepacs.db.database import Database
from santepacs.dicom import commitment, committing, forwarding
from santepacs.dicom.committing import Committing
from santepacs.dicom.entity import DicomServer
from santepacs.dicom.forwarding import Forwarding
from santepacs.dicom.resources import Resources
from santepacs.dicom.tls import ServerContext
from santepacs.host.names import HostNames
from santepacs.jobs import Queue
from santepacs.processes import Processes
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.worklist.progress import Progress

LAST_WORDS = 1.0  # seconds that jobs have after their associations were ended


class DicomPort:
    """Everything that DICOM needs, started and stopped in order."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        threads: Threads,
        archive: Archive,
        database: Database,
        incoming: Path,
        names: HostNames,
        unknown: UnknownCallers,
        tls_context: ServerContext | None,
        jobs: Queue,
        progress: Progress | None = None,
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._processes = Processes()
        self._jobs = jobs
        self.activity = Activity(reactor, database)
        resources = Resources(
            settings, threads, archive, database, incoming, self._processes, jobs, progress
        )
        self.server = DicomServer(resources, reactor, names, unknown, tls_context, self.activity)
        jobs.handle(
            commitment.KIND,
            Committing(resources, self.server.client).handle,
            at_once=committing.AT_ONCE,
            retries=committing.RETRIES,
        )
        jobs.handle(
            forwarding.KIND,
            Forwarding(resources, self.server.client).handle,
            at_once=forwarding.AT_ONCE,
        )

    async def start(self, listener: Any, tls_listener: Any) -> None:
        """Do what was left to be done, and serve the sockets that there are."""
        self.activity.start()
        await self._threads.run(self.server.start, listener, tls_listener)

    async def stop(self, grace: float) -> None:
        """Let work in progress end, at most for `grace` seconds; jobs wait for the next start."""
        # A peer that does not read or answer must not keep us any longer.
        end = self._reactor.callLater(grace, self.server.client.stop)
        callers = self._threads.run(self.server.stop, grace)
        await self._jobs.stop(grace + LAST_WORDS)
        await callers
        if end.active():
            end.cancel()
        await self._threads.run(self._processes.stop)
        await self.activity.stop()
