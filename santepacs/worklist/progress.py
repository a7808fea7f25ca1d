"""The use case of work that is done: scheduled steps begin, are completed or discontinued.

A modality says so (Modality Performed Procedure Step, PS3.4 annex F); where it does not, the
images that arrive say it for it. Either way a record moves forward only, and what was told, what
it moved and what is told to others are one transaction: success means that all of it is committed.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from santepacs.db import performed, progress
from santepacs.db.database import Database, Transaction
from santepacs.db.orders import StoredRecord
from santepacs.db.performed import KeptItem
from santepacs.db.progress import Moved
from santepacs.errors import Conflict
from santepacs.model.order import FINISHED, StepStatus, WorklistRecord, moved
from santepacs.model.performed import (
    STEP_STATUS,
    ArrivingStudy,
    PerformedState,
    PerformedStep,
    PerformedUpdate,
    SentDataSet,
)
from santepacs.settings import Settings
from santepacs.worklist import steps
from santepacs.worklist.study_uids import StudyUids

Announce = Callable[[Transaction, WorklistRecord], Awaitable[None]]
"""Tells others, in the same transaction, that a record has reached the status that it has now."""

BY_MODALITY, BY_IMAGES = "procedure step", "images"
_OVER = "Performed Procedure Step Object may no longer be updated"


class Progress:
    """Moves worklist records as work goes on. To be used on the reactor."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        randbelow: Callable[[int], int],
        announce: Announce | None = None,
        announced: Callable[[], None] | None = None,
    ) -> None:
        """`randbelow(n)`: an unpredictable number from 0 to n - 1 (``secrets.randbelow``).

        `announce` is called within the transaction for each record that has moved, `announced`
        after the commit of one that had any.
        """
        self._database = database
        self._uids = StudyUids(settings, randbelow)
        self._announce = announce
        self._announced = announced

    # --- what modalities say

    async def begin(self, step: PerformedStep, sent: SentDataSet) -> str:
        """Take a new performed step; returns its SOP Instance UID, made here if it has none.

        A record may have several: that a second one begins is how work is appended. Raises
        Conflict when there is a step of this UID, Unavailable.
        """
        uid = step.sop_instance_uid or self._uids.new()
        named = replace(step, sop_instance_uid=uid)

        async def work(tx: Transaction) -> int:
            key = await performed.add(tx, named)
            await performed.keep_data_set(tx, key, sent)
            items = [KeptItem(at, item, ()) for at, item in enumerate(named.scheduled)]
            return await self._move(tx, key, named, items, named.ae_title)

        await self._do("begin performed step", work)
        return uid

    async def update(self, update: PerformedUpdate, sent: SentDataSet) -> None:
        """Bring a performed step up to date. What it names is looked for again if it was not found.

        Raises NotFound, Conflict when the step is over, Unavailable.
        """

        async def work(tx: Transaction) -> int:
            kept = await performed.locked(tx, update.sop_instance_uid)
            if kept.state is not PerformedState.IN_PROGRESS:
                raise Conflict(_OVER)
            await performed.keep_data_set(tx, kept.id, sent)
            await performed.change(tx, kept.id, update)
            step = await performed.step(tx, kept.id)
            items = await performed.items(tx, kept.id)
            return await self._move(tx, kept.id, step, items, update.ae_title)

        await self._do("update performed step", work)

    async def _move(
        self,
        tx: Transaction,
        key: int,
        step: PerformedStep,
        items: Sequence[KeptItem],
        actor: str,
    ) -> int:
        """Find the records of items that have none yet, and move them and, at the end, all."""
        missing = [each for each in items if not each.records]
        found = await self._found(tx, step, missing) if missing else []
        known = {record for each in items for record in each.records}
        # Locked before they are linked: a link keeps others from locking them.
        records = await progress.lock(tx, known.union(record for _, record in found))
        there = {one.id for one in records}
        found = [(at, record) for at, record in found if record in there]
        if missing:
            unmatched = len({at for at, _ in found}) < len(missing)
            await performed.link(tx, key, found, unmatched=unmatched)
        begun = {record for _, record in found}
        wanted = {one.id: STEP_STATUS[step.state] for one in records}
        if step.state is PerformedState.IN_PROGRESS:
            records = [one for one in records if one.id in begun]
        elif step.state is PerformedState.DISCONTINUED:
            # What was begun again, or is done by another modality besides, is not given up.
            elsewhere = await performed.goes_on_elsewhere(tx, there, key)
            wanted |= {one.id: one.record.step_status for one in records if one.id in elsewhere}
        moves = [(one, wanted[one.id]) for one in records]
        return await self._write(tx, moves, BY_MODALITY, actor, step.state.value.lower())

    async def _found(
        self, tx: Transaction, step: PerformedStep, items: Sequence[KeptItem]
    ) -> list[tuple[int, int]]:
        """Position of an item and key of a record that it stands for."""
        named = await progress.named_by(
            tx,
            [each.item.study_instance_uid for each in items],
            [each.item.accession_number for each in items],
        )
        found = {each.position: steps.of_item(each.item, step, named) for each in items}
        if not all(found.values()):
            day = await progress.of_patient_and_day(tx, step)
            for each in items:
                found[each.position] = found[each.position] or steps.of_day(each.item, step, day)
        return [(at, one.id) for at, records in found.items() for one in records]

    # --- what images say

    async def images_arrived(self, studies: Sequence[ArrivingStudy]) -> None:
        """The first images of studies are here: their records have begun. Raises Unavailable."""

        async def work(tx: Transaction) -> int:
            named = await self._named(tx, studies)
            records = await self._silent(tx, named.keys())
            await progress.note_arriving(tx, [(one.id, named[one.id]) for one in records])
            begun = StepStatus.STARTED
            moves = [(one, begun) for one in records if one.record.step_status is not begun]
            return await self._write(tx, moves, BY_IMAGES, "", "images arrive")

        await self._do("images arrived", work)

    async def images_are_quiet(self, studies: Sequence[ArrivingStudy]) -> None:
        """No more images have come of these studies: their records are completed.

        An order that came later than the images is found here. Raises Unavailable.
        """

        async def work(tx: Transaction) -> int:
            noted = await progress.arriving_of(tx, studies)
            records = await self._silent(tx, [*noted, *await self._named(tx, studies)])
            await progress.forget_arriving(tx, noted)
            moves = [(one, StepStatus.COMPLETED) for one in records]
            return await self._write(tx, moves, BY_IMAGES, "", "no more images arrive")

        await self._do("images are quiet", work)

    async def still_arriving(self, limit: int) -> list[ArrivingStudy]:
        """The studies that were arriving when the server ended. Raises Unavailable."""

        async def work(tx: Transaction) -> list[ArrivingStudy]:
            return await progress.all_arriving(tx, limit)

        return await self._database.transaction("arriving studies", work, read_only=True)

    async def _named(self, tx: Transaction, studies: Sequence[ArrivingStudy]) -> dict[int, str]:
        """The keys of the open records of these studies, each with the study's UID."""
        named = await progress.named_by(
            tx,
            [study.study_instance_uid for study in studies],
            [study.accession_number for study in studies],
        )
        return {
            one.id: study.study_instance_uid
            for study in studies
            for one in steps.of_study(study, named)
            if one.record.step_status not in FINISHED
        }

    async def _silent(self, tx: Transaction, keys: Iterable[int]) -> list[StoredRecord]:
        """Those records, still open, of which no modality has told; they stay as they are."""
        keys = set(keys)
        if not keys:
            return []
        records = await progress.lock(tx, keys)
        told = await performed.spoken_of(tx, keys)
        return [
            one for one in records if one.id not in told and one.record.step_status not in FINISHED
        ]

    # --- both

    async def _write(
        self,
        tx: Transaction,
        moves: Sequence[tuple[StoredRecord, StepStatus]],
        action: str,
        actor: str,
        remark: str,
    ) -> int:
        """Move records as far as they may be; returns how many have moved and are announced."""
        if not moves:
            return 0
        reached = [(one, moved(one.record.step_status, wanted)) for one, wanted in moves]
        await progress.move(
            tx, [Moved(one.id, status, action, actor, remark) for one, status in reached]
        )
        news = [(one, status) for one, status in reached if status is not one.record.step_status]
        for one, status in news:
            if self._announce is not None:
                await self._announce(tx, replace(one.record, step_status=status))
        return len(news)

    async def _do(self, name: str, work: Callable[[Transaction], Awaitable[int]]) -> None:
        if await self._database.transaction(name, work) and self._announced is not None:
            self._announced()
