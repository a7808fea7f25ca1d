"""``/health``: can this server store and serve? For monitors: no log-in, no patient data."""

import json
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from santepacs.access.permissions import Permission
from santepacs.db.database import Database, Transaction
from santepacs.errors import SantepacsError, Unavailable
from santepacs.logs import fault
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.web.request import Request
from santepacs.web.routes import page

log = Logger()

Check = Callable[[], Awaitable[None]]
# A flood of questions costs no more than one every so many seconds.
REMEMBER_SECONDS = 2.0


class Health:
    """Named checks; each raises Unavailable with its reason when its part fails."""

    def __init__(
        self,
        clock: Any,
        settings: Settings,
        database: Database,
        threads: Threads,
        folder: Path,
        more: Mapping[str, Check] | None = None,
    ) -> None:
        """`folder`: where objects are received, to try writing; `more`: checks of other parts."""
        self._clock = clock
        self._settings = settings
        self._database = database
        self._threads = threads
        self._folder = folder
        self._checks: dict[str, Check] = {
            "database": self._database_answers,
            "storage": self._storage_takes,
            **(more or {}),
        }
        self._known: dict[str, str] = {}
        self._known_at: float | None = None

    async def parts(self) -> dict[str, str]:
        """Each part's name with ``ok`` or what is wrong with it."""
        now = self._clock.seconds()
        if self._known_at is None or not 0 <= now - self._known_at < REMEMBER_SECONDS:
            self._known = {name: await _outcome(check) for name, check in self._checks.items()}
            self._known_at = now
        return self._known

    async def _database_answers(self) -> None:
        async def work(tx: Transaction) -> None:
            await tx.fetch_one("SELECT 1")

        await self._database.transaction("health", work, read_only=True)

    async def _storage_takes(self) -> None:
        reserve = self._settings.server.disk_reserve * 1_000_000
        await self._threads.run(_check_storage, self._folder, reserve)


async def _outcome(check: Check) -> str:
    try:
        await check()
    except SantepacsError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a monitor must hear of every kind of failure
        log.error("a health check failed: {fault}", fault=fault(error))
        return "failed; see the log"
    return "ok"


def _check_storage(folder: Path, reserve: int) -> None:
    """Raise Unavailable when objects could not be stored in `folder`. Blocking."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"santepacs")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise Unavailable(f"cannot be written: {error.strerror or type(error).__name__}") from None
    if free < reserve:
        raise Unavailable("less disk space is free than the reserve")


class HealthPages:
    """The route."""

    def __init__(self, health: Health) -> None:
        self._health = health

    @page("/health", Permission.ANYBODY)
    async def health(self, request: Request) -> bytes:
        """200 when every part is well, else 503."""
        parts = await self._health.parts()
        well = all(outcome == "ok" for outcome in parts.values())
        request.setResponseCode(200 if well else 503)
        request.setHeader(b"Content-Type", b"application/json; charset=utf-8")
        answer = {"status": "ok" if well else "failing", "parts": parts}
        return json.dumps(answer).encode() + b"\n"
