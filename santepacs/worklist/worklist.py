"""The worklist's use cases: what messages, people and files change in it.

All that one message asks, its place in the log and the history of the records that it changed are
committed together: an accepted message is done, a refused one has changed nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from twisted.logger import Logger

from santepacs.db import orders
from santepacs.db.database import Database, Transaction
from santepacs.errors import Conflict, Malformed, NotFound
from santepacs.model.order import (
    FIELDS,
    Action,
    Arrival,
    Command,
    OrderCommand,
    StepStatus,
    WorklistRecord,
)
from santepacs.settings import Settings
from santepacs.worklist.batch import Outcome, Request
from santepacs.worklist.board import Origin, changed_fields, labels
from santepacs.worklist.intake import Intake
from santepacs.worklist.study_uids import StudyUids, new_uid
from santepacs.worklist.validation import checked

__all__ = ("Outcome", "Worklist", "new_uid")

log = Logger()


def local_time() -> datetime:
    """Now, with the zone of this machine."""
    return datetime.now(UTC).astimezone()


class Worklist:
    """Places, changes and cancels scheduled procedure steps."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        randbelow: Callable[[int], int],
        clock: Callable[[], datetime] = local_time,
    ) -> None:
        """`randbelow(n)`: an unpredictable number from 0 to n - 1 (``secrets.randbelow``).

        `clock`: local time with its zone.
        """
        self._database = database
        self._clock = clock
        self._uids = StudyUids(settings, randbelow)
        self._intake = Intake(database, settings, self._uids)

    # --- messages

    async def accept(self, arrival: Arrival, commands: Sequence[Command]) -> Outcome:
        """Do what a message asks and log it.

        A message that repeats an accepted one byte for byte changes nothing and has the same
        outcome. One that was refused is looked at again: its reason may be gone. Raises Malformed
        for what cannot be done, Unavailable; then nothing was done.
        """
        origin = Origin(arrival.received, actor=arrival.actor)
        return await self._intake.take(Request(commands, origin, arrival))

    async def keep_refused(self, arrival: Arrival, verdict: str, remark: str) -> int | None:
        """Log a message that was answered with AE or AR; returns its key. Raises Unavailable."""
        origin = Origin(arrival.received, actor=arrival.actor)
        outcome = await self._intake.take(Request((), origin, arrival, verdict, remark))
        return outcome.message

    # --- people and files

    async def create(self, record: WorklistRecord, actor: str) -> int:
        """Keep a new record; returns its key.

        Raises Malformed naming the field that is missing or that DICOM does not allow as it is,
        Unavailable.
        """
        origin = Origin(self._clock(), actor=actor, placed="created")
        command = OrderCommand(Action.NEW, checked(record))
        outcome = await self._intake.take(Request((command,), origin))
        return outcome.added[0]

    async def import_records(
        self, records: Sequence[WorklistRecord], actor: str
    ) -> tuple[int, int]:
        """Keep records of another worklist or file, or bring the same steps up to date; returns
        how many were added and how many changed. All of them or none.

        Raises Malformed naming the record and field that cannot be taken, Unavailable.
        """
        origin = Origin(self._clock(), actor=actor, placed="imported", changed="imported")
        commands = [OrderCommand(Action.PLACE, record) for record in _all_checked(records)]
        outcome = await self._intake.take(Request(commands, origin))
        return len(outcome.added), len(outcome.changed)

    async def edit(
        self, key: int, record: WorklistRecord, actor: str, seen: datetime | None = None
    ) -> None:
        """Put the fields of `record` in the place of what is known; order numbers, sender and step
        status stay.

        `seen`: the record's `updated_at` when it was shown. Raises Conflict when it was changed
        since then, NotFound, Malformed as `create`, Unavailable.
        """
        wanted = checked(record)

        async def work(tx: Transaction) -> None:
            known = await orders.record(tx, key, lock=True)
            if known is None:
                raise NotFound("there is no such worklist record")
            if seen is not None and known.updated_at != seen:
                raise Conflict("the record was changed by somebody else in the meantime")
            changed = replace(known.record, **{name: getattr(wanted, name) for name in FIELDS})
            if not changed.study_instance_uid and self._uids.are_made_for(
                changed.scheduled_station_ae_title
            ):
                uid = known.record.study_instance_uid or self._uids.new()
                changed = replace(changed, study_instance_uid=uid)
            if changed == known.record:
                return
            await orders.change(tx, key, changed)
            remark = labels(changed_fields(known.record, changed))
            await orders.add_event(
                tx, key, "edited", changed.step_status, actor=actor, remark=remark
            )

        await self._database.transaction("edit worklist record", work)

    async def set_status(self, keys: Sequence[int], status: StepStatus, actor: str) -> int:
        """Say where steps stand, whatever it was before: a person may correct what messages may
        not. Returns how many were changed; unknown keys are passed over. Raises Unavailable.
        """

        async def work(tx: Transaction) -> int:
            return await orders.set_status(tx, keys, status, actor)

        return await self._database.transaction("set worklist status", work, single=True)

    async def delete(self, keys: Sequence[int], actor: str) -> int:
        """Delete records with their history; returns how many there were. Raises Unavailable."""

        async def work(tx: Transaction) -> int:
            return await orders.delete(tx, keys)

        count = await self._database.transaction("delete worklist records", work, single=True)
        if count:
            log.info("{actor} deleted {count} worklist records", actor=actor, count=count)
        return count


def _all_checked(records: Sequence[WorklistRecord]) -> list[WorklistRecord]:
    found = []
    for number, record in enumerate(records, 1):
        try:
            found.append(checked(record))
        except Malformed as problem:
            raise Malformed(f"record {number}: {problem}") from None
    return found
