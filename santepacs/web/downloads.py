"""Answers a request with the zip of some objects."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from santepacs.archive import zips
from santepacs.archive.files import ObjectFiles
from santepacs.archive.zipnames import patient_name, safe, study_name
from santepacs.archive.zips import Entry
from santepacs.db import studies
from santepacs.db.database import Database, Transaction
from santepacs.db.studies import ObjectFile, StudyRow
from santepacs.threads import Threads
from santepacs.web.refusals import not_found
from santepacs.web.request import Request
from santepacs.web.sending import ZipSender

PAGE = 1000


class Downloads:
    """Streams zips."""

    def __init__(self, reactor: Any, threads: Threads, files: ObjectFiles) -> None:
        self._reactor = reactor
        self._threads = threads
        self._files = files

    async def zip(self, request: Request, name: str, entries: Sequence[Entry]) -> bytes | None:
        """Send `entries` as the zip file `name` (already harmless). Raises Refused for none."""
        if not entries:
            raise not_found()
        request.setHeader(b"Content-Type", b"application/zip")
        disposition = f'attachment; filename="{name}.zip"'
        request.setHeader(b"Content-Disposition", disposition.encode("ascii"))
        request.setHeader(b"Content-Length", b"%d" % zips.length(entries))
        if request.method == b"HEAD":
            request.write(b"")
            return None
        sender = ZipSender(self._reactor, self._threads, request, entries, self._path)
        # Shielded: the sender itself notices that the client left, and leaves nothing half done.
        done: Deferred[bool] = Deferred()
        Deferred.fromCoroutine(sender.send()).addBoth(done.callback)
        if not await done:
            await Deferred()  # the connection is being cut; there is no answer to finish
        return None

    async def study(self, request: Request, database: Database, study: StudyRow) -> bytes | None:
        """Send all objects of a study."""
        uid = study.study_instance_uid

        async def work(tx: Transaction) -> list[Entry]:
            return await entries_of(tx, {uid: study}, study_instance_uids=[uid])

        entries = await database.transaction("study zip", work, read_only=True)
        name = safe(f"{patient_name(study)}_{study_name(study)}", "images")
        return await self.zip(request, name, entries)

    def _path(self, entry: Entry) -> Path:
        return self._files.path(entry.study_instance_uid, entry.digest)


async def entries_of(tx: Transaction, rows: Mapping[str, StudyRow], **keys: Any) -> list[Entry]:
    """The zip entries of the objects under `keys` (see `santepacs.db.studies.objects`).

    `rows` has the studies that they may lie in; read page by page, about 300 bytes an object.
    """

    found: list[ObjectFile] = []
    after, more = 0, True
    while more:
        objects = await studies.objects(tx, **keys, after=after, limit=PAGE)
        found += [item for item in objects if item.study_instance_uid in rows]
        more = len(objects) == PAGE
        after = objects[-1].id if objects else after
    return zips.entries(found, rows)
