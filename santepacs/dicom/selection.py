"""Which stored objects are to be sent, and reading them from the index page by page."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from twisted.internet.defer import Deferred

from santepacs.db import search, studies
from santepacs.db.database import Transaction
from santepacs.db.search import Contents
from santepacs.db.studies import ObjectFile
from santepacs.dicom.resources import Resources
from santepacs.model.matching import Criterion, OneOf

PAGE = 500  # objects

_ATTRIBUTES = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, slots=True)
class Selection:
    """The objects that lie under the keys; each list that is not empty narrows it.

    Without any key there are none.
    """

    patient_ids: tuple[str, ...] = ()
    study_instance_uids: tuple[str, ...] = ()
    series_instance_uids: tuple[str, ...] = ()
    sop_instance_uids: tuple[str, ...] = ()

    def as_values(self) -> dict[str, Any]:
        """For JSON; `Selection.of` turns it back."""
        return {name: list(values) for name, values in asdict(self).items() if values}

    @classmethod
    def of(cls, values: dict[str, Any]) -> "Selection":
        """The selection that `as_values` gave."""
        return cls(**{name: tuple(map(str, uids)) for name, uids in values.items()})


def kinds(resources: Resources, selection: Selection) -> list[Contents]:
    """How many objects there are of each kind. In a thread; raises Unavailable."""
    criteria: list[Criterion] = [
        OneOf(attribute, tuple(values))
        for attribute, values in zip(_ATTRIBUTES, asdict(selection).values(), strict=True)
        if values
    ]
    return resources.read("count objects", search.contents, criteria) if criteria else []


class Objects:
    """The objects of a selection by `id`, to be iterated over in a thread.

    Each page is read while the one before it is being sent, so that nobody waits for the database
    and two pages are in memory, whatever is sent. Raises what the database raises.
    """

    def __init__(self, resources: Resources, selection: Selection, after: int = 0) -> None:
        """`after`: the `id` behind which to begin."""
        self._resources = resources
        self._selection = selection
        self._after = after
        self._ahead: Deferred[list[ObjectFile] | Exception] | None = None

    def __iter__(self) -> Iterator[ObjectFile]:
        more = True
        while more:
            page = self._resources.threads.ask(self._next)
            yield from page
            more = len(page) == PAGE

    async def _next(self) -> list[ObjectFile]:
        page = await (self._ahead or self._read())
        if isinstance(page, Exception):
            raise page
        if len(page) == PAGE:
            self._after = page[-1].id
            self._ahead = Deferred.fromCoroutine(self._read())
        return page

    async def _read(self) -> list[ObjectFile] | Exception:
        """A page, or why there is none: nobody may come to ask for it."""

        async def work(tx: Transaction) -> list[ObjectFile]:
            keys = asdict(self._selection)
            return await studies.objects(tx, **keys, after=self._after, limit=PAGE)

        try:
            return await self._resources.database.transaction("list objects", work, read_only=True)
        except Exception as error:  # noqa: BLE001 - handed to whoever asks
            return error
