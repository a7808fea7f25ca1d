"""What is read from the index page by page, each page while the one before it is being sent.

At most one page is read ahead, so that a search or a retrieval of any size holds two pages in
memory; between them nothing of the database is in use, however slowly the peer takes its answers.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred

from santepacs.db.database import Transaction
from santepacs.dicom.resources import Resources

P = TypeVar("P")
C = TypeVar("C")

Read = Callable[[Transaction, C], Awaitable[P]]
"""Reads the page behind a place."""


class Pages(Generic[P, C]):
    """Pages to be iterated over in a thread. Raises what the database raises."""

    def __init__(
        self,
        resources: Resources,
        name: str,
        read: Read[C, P],
        place_after: Callable[[P], C | None],
        start: C,
    ) -> None:
        """`name` is the transaction's. `place_after` a page is where to go on; None at the end."""
        self._resources = resources
        self._name = name
        self._page_behind = read
        self._place_after = place_after
        self._start = start
        self._ahead: Deferred[P | Exception] | None = None

    def __iter__(self) -> Iterator[P]:
        more = True
        while more:
            page, more = self._resources.threads.ask(self._next)
            yield page

    async def _next(self) -> tuple[P, bool]:
        """The next page and whether one follows, which is on its way then. On the reactor."""
        page = await (self._ahead or self._read(self._start))
        if isinstance(page, Exception):
            raise page
        place = self._place_after(page)
        if place is None:
            return page, False
        self._ahead = Deferred.fromCoroutine(self._read(place))
        return page, True

    async def _read(self, place: C) -> P | Exception:
        """A page, or why there is none: nobody may come to ask for it."""

        async def work(tx: Transaction) -> P:
            return await self._page_behind(tx, place)

        try:
            return await self._resources.database.transaction(self._name, work, read_only=True)
        except Exception as error:  # noqa: BLE001 - handed to whoever asks
            return error
