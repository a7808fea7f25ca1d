"""Worklist records that a procedure moves: found by what modalities and images name, and moved."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from santepacs.db.database import Transaction
from santepacs.db.orders import STORED, StoredRecord, stored
from santepacs.model.order import StepStatus
from santepacs.model.performed import ArrivingStudy, PerformedStep

_SELECT = f"SELECT {STORED} FROM worklist_record"  # noqa: S608 - column names
_MAXIMUM = 5_000  # records that are looked at for one transaction


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a record, for its history; `action` and `actor` as in the table."""

    id: int
    status: StepStatus
    action: str
    actor: str
    remark: str


async def named_by(
    tx: Transaction, study_instance_uids: Iterable[str], accession_numbers: Iterable[str]
) -> list[StoredRecord]:
    """The records of these studies and of these accession numbers."""
    studies = sorted(set(study_instance_uids) - {""})
    accessions = sorted(set(accession_numbers) - {""})
    # Two looks, each by an index; together they could be made by neither.
    rows = await tx.fetch_all(
        f"{_SELECT} WHERE study_instance_uid <> '' AND study_instance_uid = ANY (%s)"
        f" UNION {_SELECT} WHERE accession_number <> '' AND accession_number = ANY (%s)"
        " ORDER BY id LIMIT %s",
        studies,
        accessions,
        _MAXIMUM,
    )
    return [stored(row) for row in rows]


async def of_patient_and_day(tx: Transaction, step: PerformedStep) -> list[StoredRecord]:
    """The records of the patient, the modality and the day of a performed step."""
    rows = await tx.fetch_all(
        f"{_SELECT} WHERE patient_id <> '' AND patient_id = %s AND modality = %s"
        " AND start_date = %s ORDER BY id LIMIT %s",
        step.patient_id,
        step.modality,
        step.start_date,
        _MAXIMUM,
    )
    return [stored(row) for row in rows]


async def lock(tx: Transaction, keys: Iterable[int]) -> list[StoredRecord]:
    """Records as they are now, changed by nobody else until the end of the transaction."""
    # Always in one order, so that two of us wait for each other at most once.
    rows = await tx.fetch_all(
        f"{_SELECT} WHERE id = ANY (%s) ORDER BY id FOR NO KEY UPDATE", sorted(set(keys))
    )
    return [stored(row) for row in rows]


async def move(tx: Transaction, moves: Sequence[Moved]) -> None:
    """Give records their status, and write it into their history."""
    keys, statuses = [one.id for one in moves], [str(one.status) for one in moves]
    await tx.execute(
        "UPDATE worklist_record r SET step_status = x.status, updated_at = now()"
        " FROM unnest(%s::bigint[], %s::text[]) AS x (id, status)"
        " WHERE r.id = x.id AND r.step_status <> x.status",
        keys,
        statuses,
    )
    await tx.execute(
        "INSERT INTO worklist_event (record, step_status, action, actor, remark)"
        " SELECT * FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])",
        keys,
        statuses,
        *([getattr(one, name) for one in moves] for name in ("action", "actor", "remark")),
    )


# --- studies that are arriving --------------------------------------------------------------------


async def note_arriving(tx: Transaction, records: Sequence[tuple[int, str]]) -> None:
    """Remember that the studies of these records are arriving; pairs of record and Study UID."""
    await tx.execute(
        "INSERT INTO worklist_arriving (record, study_instance_uid)"
        " SELECT * FROM unnest(%s::bigint[], %s::text[]) ON CONFLICT (record) DO NOTHING",
        [record for record, _ in records],
        [study for _, study in records],
    )


async def arriving_of(tx: Transaction, studies: Sequence[ArrivingStudy]) -> list[int]:
    """The keys of the records that were noted for these studies."""
    rows = await tx.fetch_all(
        "SELECT record FROM worklist_arriving WHERE study_instance_uid = ANY (%s)",
        [study.study_instance_uid for study in studies],
    )
    return [row.record for row in rows]


async def forget_arriving(tx: Transaction, records: Sequence[int]) -> None:
    """These records' studies are not arriving any more."""
    await tx.execute("DELETE FROM worklist_arriving WHERE record = ANY (%s)", list(records))


async def all_arriving(tx: Transaction, limit: int) -> list[ArrivingStudy]:
    """The studies that were arriving when the server ended, at most `limit`."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT study_instance_uid FROM worklist_arriving LIMIT %s", limit
    )
    return [ArrivingStudy(row.study_instance_uid) for row in rows]
