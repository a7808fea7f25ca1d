"""Which stored objects are to be sent, and reading them from the index page by page."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

from santepacs.db import search, studies
from santepacs.db.database import Transaction
from santepacs.db.search import Contents
from santepacs.db.studies import ObjectFile
from santepacs.dicom.pages import Pages
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


def objects(resources: Resources, selection: Selection) -> Iterator[ObjectFile]:
    """The objects of a selection by `id`, for a thread. Raises what the database raises."""
    keys = asdict(selection)

    async def read(tx: Transaction, after: int) -> list[ObjectFile]:
        return await studies.objects(tx, **keys, after=after, limit=PAGE)

    def place_after(page: list[ObjectFile]) -> int | None:
        return page[-1].id if len(page) == PAGE else None

    pages = Pages(resources, "list objects", read, place_after, 0)
    return chain.from_iterable(pages)
