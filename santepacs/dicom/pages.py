"""Pages of a search, each read while the one before it is being sent.

At most one page is read ahead, so that a search of any size holds two pages in memory; between
them nothing of the database is in use, however slowly the peer takes its answers.
"""

from collections.abc import Iterator, Sequence

from twisted.internet.defer import Deferred

from santepacs.db import search
from santepacs.db.database import Transaction
from santepacs.db.search import Level, Page, Position
from santepacs.dicom.resources import Resources
from santepacs.model.matching import Criterion


class Pages:
    """The matches of one search, to be iterated over in a thread.

    Raises what the database raises.
    """

    def __init__(
        self,
        resources: Resources,
        level: Level,
        criteria: Sequence[Criterion],
        wanted: Sequence[str],
    ) -> None:
        self._resources = resources
        self._level = level
        self._criteria = criteria
        self._wanted = wanted
        self._ahead: Deferred[Page | Exception] | None = None

    def __iter__(self) -> Iterator[str]:
        more = True
        while more:
            page = self._resources.threads.ask(self._next)
            yield from page.matches
            more = bool(page.after)

    async def _next(self) -> Page:
        """The next page; the one after it is on its way. On the reactor."""
        page = await (self._ahead or self._read(()))
        if isinstance(page, Exception):
            raise page
        if page.after:
            self._ahead = Deferred.fromCoroutine(self._read(page.after))
        return page

    async def _read(self, after: Position) -> Page | Exception:
        """A page, or why there is none: nobody may come to ask for it."""

        async def work(tx: Transaction) -> Page:
            return await search.find(tx, self._level, self._criteria, self._wanted, after=after)

        try:
            return await self._resources.database.transaction("C-FIND", work, read_only=True)
        except Exception as error:  # noqa: BLE001 - handed to whoever asks
            return error
