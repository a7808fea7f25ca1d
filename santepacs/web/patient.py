"""The patient's page behind a study's link: ``/token?<64 characters>`` (S154-S161, S125).

The token is the whole raw query, no field of it. An unknown, malformed, expired or renewed one
gives one and the same page, and who tries too many must wait. Only that study is reached.
"""

from collections import Counter
from datetime import date, datetime
from typing import Any

from twisted.logger import Logger

from santepacs.access.grants import last_day
from santepacs.access.permissions import Permission
from santepacs.access.throttle import Rate, network
from santepacs.db import studies
from santepacs.db.database import Database, Transaction
from santepacs.db.studies import StudyRow
from santepacs.logs import token_hint
from santepacs.model import tokens
from santepacs.settings import Settings
from santepacs.web.downloads import Downloads
from santepacs.web.refusals import Refused, too_many
from santepacs.web.renderer import Renderer
from santepacs.web.request import Request
from santepacs.web.routes import page

log = Logger()


class PatientPages:
    """What a patient sees."""

    def __init__(
        self,
        clock: Any,
        settings: Settings,
        renderer: Renderer,
        database: Database,
        downloads: Downloads,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._renderer = renderer
        self._database = database
        self._downloads = downloads
        self._failures = Rate(clock)
        self._running: Counter[str] = Counter()

    @page("/token", Permission.ANYBODY)
    async def token(self, request: Request) -> bytes:
        """Whose images these are, and how to get them."""
        study, until = await self._study(request)
        return self._renderer.page(
            request,
            "patient/study.html",
            study=study,
            until=until,
            token=request.query,
            client=request.asked.client,
            viewer_url=self._settings.web.viewer_url,
            year=self._today().year,
        )

    @page("/token/zip", Permission.ANYBODY)
    async def token_zip(self, request: Request) -> bytes | None:
        """The zip of the study; a few at once by one link."""
        study, _ = await self._study(request)
        if self._running[request.query] >= self._settings.web.maximum_downloads:
            raise _waiting(30, "This study is being downloaded already")
        token = request.query
        self._running[token] += 1
        try:
            return await self._downloads.study(request, self._database, study)
        finally:
            self._running[token] -= 1
            if not self._running[token]:
                del self._running[token]

    async def _study(self, request: Request) -> tuple[StudyRow, date | None]:
        """The study of the request's token and the last day of its link. Raises Refused."""
        address, limit = network(request.asked.client), self._settings.web.token_attempts
        if self._failures.exceeded(address, limit):
            log.warn("too many unknown patient links from {address}", address=request.asked.client)
            raise _waiting(60, "Too many attempts")
        found = await self._reachable(request.query)
        if found is None:
            self._failures.note(address, limit)
            raise Refused(404, "This link does not work", template="patient/none.html")
        log.info(
            "patient link {token} used from {address}",
            token=token_hint(request.query),
            address=request.asked.client,
        )
        return found

    async def _reachable(self, token: str) -> tuple[StudyRow, date | None] | None:
        if not tokens.is_token(token):
            return None

        async def work(tx: Transaction) -> StudyRow | None:
            return await studies.study_by_token(tx, tokens.digest(token))

        study = await self._database.transaction("patient link", work, read_only=True)
        if study is None:
            return None
        received = study.received_at.astimezone().date()
        until = last_day(study.study_date, received, self._settings.web.study_accessibility)
        return None if until is not None and self._today() > until else (study, until)

    def _today(self) -> date:
        return datetime.fromtimestamp(self._clock.seconds()).astimezone().date()


def _waiting(seconds: float, title: str) -> Refused:
    refused = too_many(seconds, title)
    refused.template = "patient/none.html"
    return refused
