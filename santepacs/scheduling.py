"""The worklist put together: its use cases, what moves its records on, and what tidies up."""

import secrets
from collections.abc import Callable
from datetime import datetime
from typing import Any

from santepacs.db.database import Database
from santepacs.hl7.announcing import StatusMessages
from santepacs.hl7.filing import take_file
from santepacs.hl7.outbox import Outbox
from santepacs.hl7port import hl7_receiver
from santepacs.jobs import Queue
from santepacs.model.study import ObjectRecord
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.worklist import mapping_json
from santepacs.worklist.arriving import ImagesArriving
from santepacs.worklist.folder import WatchedFolder
from santepacs.worklist.housekeeping import Housekeeping
from santepacs.worklist.mapping import DEFAULT, Mappings
from santepacs.worklist.progress import Progress
from santepacs.worklist.worklist import Worklist


class Scheduling:
    """Everything of the worklist that belongs to no door, started and stopped in order."""

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        threads: Threads,
        database: Database,
        jobs: Queue,
        clock: Callable[[], datetime],
    ) -> None:
        """`clock`: local time with its zone."""
        self._jobs = jobs
        self.mappings = Mappings(DEFAULT)
        """The HL7 field mappings in force."""
        self._kept_mapping: str | None = None
        self.worklist = Worklist(database, settings, secrets.randbelow, clock)
        self.receiver = hl7_receiver(
            settings, database, self.worklist, lambda: self.mappings, clock
        )
        status = StatusMessages(settings, clock, lambda: secrets.token_hex(10).upper())
        self.progress = Progress(database, settings, secrets.randbelow, status.announce, jobs.wake)
        self._arriving = ImagesArriving(reactor, settings, self.progress)
        self._outbox = Outbox(reactor, database, settings)
        self._folder = WatchedFolder(reactor, threads, settings, self._take_file)
        self._housekeeping = Housekeeping(reactor, database, settings)

    def arrived(self, record: ObjectRecord) -> None:
        """An object was stored; from any thread."""
        self._arriving.note(
            record.study_instance_uid,
            record.accession_number,
            record.patient_id,
            record.modality,
        )

    def use_mapping(self, kept: str | None) -> None:
        """Put the mappings that are kept as JSON in force; None: the default.

        Raises Malformed when they cannot be read; then those of before stay.
        """
        if kept != self._kept_mapping:
            self._kept_mapping = kept
            self.mappings = mapping_json.parsed(kept, "it") if kept else Mappings(DEFAULT)

    async def start(self) -> None:
        """When the database is there, before the queue of jobs starts."""
        await self._outbox.start(self._jobs)
        await self._arriving.start()
        self._folder.start()
        self._housekeeping.start()

    async def stop(self) -> None:
        """When nothing arrives any more, before the database goes."""
        await self._folder.stop()
        await self._housekeeping.stop()
        await self._arriving.stop()

    async def _take_file(self, content: bytes, source: str) -> list[str]:
        return await take_file(self.receiver, content, source)
