"""Search, patients, studies and series, and their zips: what a logged-in user sees."""

import re
from datetime import date, datetime
from typing import Any
from urllib.parse import urlencode

from santepacs.access.permissions import Permission, may
from santepacs.archive.archive import Archive
from santepacs.archive.zipnames import patient_name, safe, series_name, study_name
from santepacs.db import browse, studies
from santepacs.db.browse import PAGE, PatientHit
from santepacs.db.database import Database, Transaction
from santepacs.db.studies import PatientRow, SeriesRow, StudyRow
from santepacs.host.listening import first_address
from santepacs.model.addresses import is_loopback
from santepacs.model.uids import is_valid_uid
from santepacs.settings import Settings
from santepacs.web.downloads import Downloads, entries_of
from santepacs.web.hosts import outer_name
from santepacs.web.query import FIELDS, read
from santepacs.web.refusals import not_found
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import page

MAXIMUM_STUDIES = 500
SORTS = ("date", "name")


class PortalPages:
    """Search -> patient -> study -> series."""

    def __init__(
        self,
        clock: Any,
        settings: Settings,
        renderer: Renderer,
        database: Database,
        archive: Archive,
        downloads: Downloads,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._renderer = renderer
        self._database = database
        self._archive = archive
        self._downloads = downloads

    @page("/search", Permission.USER)
    async def search(self, request: Request) -> bytes:
        """The search line, the full form, and the patients that match, newest first."""
        values = request.fields()
        asked = read(values, self._today())
        sort = values.get("sort", "") if values.get("sort") in SORTS else "date"

        async def work(tx: Transaction) -> tuple[list[PatientHit], bool]:
            hits = await browse.patients(
                tx, asked.criteria, sort=sort, cursor=values.get("after", ""), limit=PAGE + 1
            )
            return hits, not hits and await browse.is_empty(tx)

        hits, archive_is_empty = await self._database.transaction("search", work, read_only=True)
        shown = hits[:PAGE]
        kept = {name: text for name, text in {"q": asked.line, **asked.fields}.items() if text}

        def address(**changes: str) -> str:
            return "/search?" + urlencode({**kept, **changes})

        return self._renderer.page(
            request,
            "portal/search.html",
            asked=asked,
            fields=FIELDS,
            hits=shown,
            sort=sort,
            address=address,
            next=address(sort=sort, after=shown[-1].cursor) if len(hits) > PAGE else "",
            continued=bool(values.get("after")),
            archive_is_empty=archive_is_empty,
            dicom=self._settings.dicom,
            own_address=outer_name(self._settings.web, request.asked),
        )

    @page("/patients/<key>", Permission.USER)
    async def patient(self, request: Request, key: str) -> bytes:
        """The studies of one patient."""
        patient, rows = await self._patient(key)
        return self._renderer.page(
            request,
            "portal/patient.html",
            patient=patient,
            studies=rows,
            maximum=MAXIMUM_STUDIES,
        )

    @page("/studies/<uid>", Permission.USER)
    async def study(self, request: Request, uid: str) -> bytes:
        """The series of one study, and the patient's link for users who may give it away."""
        study = await self._study(uid)

        async def work(tx: Transaction) -> tuple[list[SeriesRow], PatientRow | None]:
            patient = await studies.patient(tx, study.patient)
            return await studies.series_of_study(tx, study.id), patient

        series, patient = await self._database.transaction("series", work, read_only=True)
        link = ""
        if may(request.account, Permission.SHARE):
            token = self._archive.token(study.study_instance_uid, study.token_version)
            link = f"{request.asked.base(self._link_name(request))}/token?{token}"
        return self._renderer.page(
            request,
            "portal/study.html",
            study=study,
            patient=patient,
            series=series,
            link=link,
            link_is_local=not self._link_name(request),
        )

    def _link_name(self, request: Request) -> str:
        """The name or address in links that leave the house; empty when nobody outside has one.

        Who opened the portal as localhost still gives away links that lead here.
        """
        web = self._settings.web
        name = outer_name(web, request.asked)
        if name or is_loopback(web.bind):
            return name
        own = first_address()
        return "" if is_loopback(own) or own == "localhost" else own

    @page("/download/patient/<key>.zip", Permission.USER)
    async def patient_zip(self, request: Request, key: str) -> bytes | None:
        """All studies of a patient."""
        _, rows = await self._patient(key)
        by_uid = {row.study_instance_uid: row for row in rows}
        if not rows:
            raise not_found()

        async def work(tx: Transaction) -> Any:
            return await entries_of(tx, by_uid, patient=int(key))

        entries = await self._database.transaction("patient zip", work, read_only=True)
        return await self._downloads.zip(request, patient_name(rows[0]), entries)

    @page("/download/study/<uid>.zip", Permission.USER)
    async def study_zip(self, request: Request, uid: str) -> bytes | None:
        """All series of a study."""
        return await self._downloads.study(request, self._database, await self._study(uid))

    @page("/download/series/<uid>.zip", Permission.USER)
    async def series_zip(self, request: Request, uid: str) -> bytes | None:
        """One series. (Where two studies share a Series Instance UID, the older one's.)"""
        if not is_valid_uid(uid):
            raise not_found()

        async def find(tx: Transaction) -> str | None:
            return await browse.study_of_series(tx, uid)

        study_uid = await self._database.transaction("series", find, read_only=True)
        study = await self._study(study_uid or "")

        async def work(tx: Transaction) -> Any:
            rows = {study.study_instance_uid: study}
            keys = {"study_instance_uids": [study.study_instance_uid]}
            entries = await entries_of(tx, rows, **keys, series_instance_uids=[uid])
            series = await studies.series_of_study(tx, study.id)
            return entries, next(one for one in series if one.series_instance_uid == uid)

        entries, series = await self._database.transaction("series zip", work, read_only=True)
        parts = [patient_name(study), study_name(study), series_name(series)]
        return await self._downloads.zip(request, safe_join(parts), entries)

    async def _patient(self, key: str) -> tuple[PatientRow, list[StudyRow]]:
        if not re.fullmatch("[0-9]{1,18}", key):
            raise not_found()

        async def work(tx: Transaction) -> tuple[PatientRow | None, list[StudyRow]]:
            rows = await studies.studies_of_patient(tx, int(key), limit=MAXIMUM_STUDIES)
            return await studies.patient(tx, int(key)), rows

        patient, rows = await self._database.transaction("patient", work, read_only=True)
        if patient is None:
            raise not_found()
        return patient, rows

    async def _study(self, uid: str) -> StudyRow:
        if not is_valid_uid(uid):
            raise not_found()

        async def work(tx: Transaction) -> StudyRow | None:
            return await studies.study(tx, uid)

        found = await self._database.transaction("study", work, read_only=True)
        if found is None:
            raise not_found()
        return found

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.seconds()).astimezone().date()


def safe_join(parts: list[str]) -> str:
    """Harmless names joined to one."""
    return safe("_".join(parts), "images")
