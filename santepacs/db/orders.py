"""Worklist records and their history: the rows that messages, people and modalities change."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from santepacs.db.database import Transaction
from santepacs.model.names import fold_person_name
from santepacs.model.order import StepStatus, WorklistRecord

NAMES = tuple(field.name for field in fields(WorklistRecord))
_COLUMNS = ", ".join(NAMES)

STORED = f"id, created_at, updated_at, {_COLUMNS}"
"""The columns of a `StoredRecord`."""


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A worklist record and its key."""

    id: int
    record: WorklistRecord
    created_at: datetime
    updated_at: datetime

    @property
    def place(self) -> tuple[str, str, int]:
        """Its place in the order in which `find` gives records."""
        return self.record.start_date, self.record.start_time, self.id


@dataclass(frozen=True, slots=True)
class Event:
    """What happened to a record. `message`: the HL7 message that did it; `actor`: who else did."""

    id: int
    record: int
    happened_at: datetime
    action: str
    step_status: StepStatus
    message: int | None
    actor: str
    remark: str


async def record(tx: Transaction, key: int, *, lock: bool = False) -> StoredRecord | None:
    """The record with that key; `lock` keeps it from others until the transaction ends."""
    row = await tx.fetch_one(
        f"SELECT {STORED} FROM worklist_record WHERE id = %s"  # noqa: S608
        + (" FOR UPDATE" if lock else ""),
        key,
    )
    return row and stored(row)


async def events(tx: Transaction, key: int, limit: int = 1000) -> list[Event]:
    """What happened to the record, newest first."""
    rows = await tx.fetch_all(
        "SELECT id, record, happened_at, action, step_status, message, actor, remark"
        " FROM worklist_event WHERE record = %s ORDER BY id DESC LIMIT %s",
        key,
        limit,
    )
    return [Event(**row._asdict() | {"step_status": StepStatus(row.step_status)}) for row in rows]


async def add(tx: Transaction, record: WorklistRecord) -> int:
    """Keep a new record; returns its key."""
    columns = f"{_COLUMNS}, patient_name_folded, technician_name_folded"
    places = ", ".join(["%s"] * len(NAMES) + ["%s::text[]"] * 2)
    row = await tx.fetch_one(
        f"INSERT INTO worklist_record ({columns}) VALUES ({places}) RETURNING id",  # noqa: S608
        *_values(record),
    )
    assert row is not None
    key: int = row.id
    return key


async def change(tx: Transaction, key: int, record: WorklistRecord) -> None:
    """Put `record` in the place of the one with that key."""
    changes = ", ".join(f"{name} = %s" for name in NAMES)
    await tx.execute(
        f"UPDATE worklist_record SET {changes}, patient_name_folded = %s::text[],"  # noqa: S608
        " technician_name_folded = %s::text[], updated_at = now() WHERE id = %s",
        *_values(record),
        key,
    )


async def add_event(
    tx: Transaction,
    key: int,
    action: str,
    step_status: StepStatus,
    *,
    actor: str = "",
    remark: str = "",
) -> None:
    """Write down what happened to a record: `action` as in the table's own words."""
    await tx.execute(
        "INSERT INTO worklist_event (record, action, step_status, actor, remark)"
        " VALUES (%s, %s, %s, %s, %s)",
        key,
        action,
        step_status.value,
        actor,
        remark,
    )


async def set_status(tx: Transaction, keys: Sequence[int], status: StepStatus, actor: str) -> int:
    """Give records another step status; returns how many had another before."""
    return await tx.execute(
        "WITH changed AS (UPDATE worklist_record SET step_status = %s, updated_at = now()"
        " WHERE id = ANY(%s) AND step_status <> %s RETURNING id)"
        " INSERT INTO worklist_event (record, action, step_status, actor)"
        " SELECT id, 'status', %s, %s FROM changed",
        status.value,
        list(keys),
        status.value,
        status.value,
        actor,
    )


async def delete(tx: Transaction, keys: Sequence[int]) -> int:
    """Delete records with their history; returns how many there were."""
    return await tx.execute("DELETE FROM worklist_record WHERE id = ANY(%s)", list(keys))


# What a modality or its user cannot do without.
_STATION = "scheduled_station_ae_title"
_NEEDED = {
    "patient_name": "no patient name",
    "patient_id": "no Patient ID",
    _STATION: "no station AE title",
    "modality": "no modality",
    "start_date": "no start date",
}
_PROCEDURE = ("requested_procedure_description", "scheduled_procedure_step_description")

# Of a Patient ID that stands for many, such as that of unknown patients, the newest are looked at.
_CONFLICTS = """
SELECT k.id, c.reason
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[])
    AS k (id, patient_id, issuer, birth_date, accession_number)
JOIN worklist_record w ON w.id = k.id
CROSS JOIN LATERAL (
    SELECT 1 AS place, 'another worklist record has this Patient ID with another name'
        AS reason
    WHERE EXISTS (SELECT FROM (
        SELECT * FROM worklist_record WHERE patient_id = k.patient_id ORDER BY id DESC LIMIT 200
    ) r WHERE r.id <> k.id AND (k.issuer = '' OR r.patient_issuer IN ('', k.issuer))
        AND r.patient_name_folded <> '{}' AND w.patient_name_folded <> '{}'
        AND NOT r.patient_name_folded && w.patient_name_folded)
    UNION ALL
    SELECT 2, 'another worklist record has this Patient ID with another birth date'
    WHERE EXISTS (SELECT FROM (
        SELECT * FROM worklist_record WHERE patient_id = k.patient_id ORDER BY id DESC LIMIT 200
    ) r WHERE r.id <> k.id AND (k.issuer = '' OR r.patient_issuer IN ('', k.issuer))
        AND r.patient_birth_date NOT IN ('', k.birth_date) AND k.birth_date <> '')
    UNION ALL
    SELECT 3, 'an archived patient has this Patient ID with another name'
    WHERE EXISTS (SELECT FROM patient p
        WHERE p.patient_id = k.patient_id AND p.lone_study_uid = ''
        AND (k.issuer = '' OR p.issuer IN ('', k.issuer))
        AND p.alphabetic || p.ideographic || p.phonetic <> '' AND w.patient_name_folded <> '{}'
        AND NOT w.patient_name_folded
            && array_remove(ARRAY[p.alphabetic, p.ideographic, p.phonetic], ''))
    UNION ALL
    SELECT 4, 'an archived patient has this Patient ID with another birth date'
    WHERE EXISTS (SELECT FROM patient p
        WHERE p.patient_id = k.patient_id AND p.lone_study_uid = ''
        AND (k.issuer = '' OR p.issuer IN ('', k.issuer))
        AND p.birth_date NOT IN ('', k.birth_date) AND k.birth_date <> '')
    UNION ALL
    SELECT 5, 'another patient has this accession number'
    WHERE EXISTS (SELECT FROM (
        SELECT * FROM worklist_record WHERE accession_number = k.accession_number
            AND accession_number <> '' LIMIT 200
    ) r WHERE r.patient_id <> k.patient_id)
) AS c
ORDER BY k.id, c.place
"""


async def doubtful(
    tx: Transaction, records: Sequence[StoredRecord], *, needs_station: bool = True
) -> dict[int, list[str]]:
    """What is missing in records or speaks against them, in words, by their keys; records that
    are in order are left out. Made for the records of a page. `needs_station`: whether a step of
    no station is missed by scanners that ask for theirs.
    """
    reasons = {one.id: _missing(one.record, needs_station) for one in records}
    rows = await tx.fetch_all(
        _CONFLICTS,
        [one.id for one in records],
        *(
            [getattr(one.record, name) for one in records]
            for name in (
                "patient_id",
                "patient_issuer",
                "patient_birth_date",
                "accession_number",
            )
        ),
    )
    for row in rows:
        reasons[row.id].append(row.reason)
    return {key: found for key, found in reasons.items() if found}


def _missing(record: WorklistRecord, needs_station: bool) -> list[str]:
    missing = [
        reason
        for name, reason in _NEEDED.items()
        if not getattr(record, name) and (needs_station or name != _STATION)
    ]
    if not any(getattr(record, name) for name in _PROCEDURE):
        missing.append("no procedure")
    return missing


def _values(record: WorklistRecord) -> list[Any]:
    values = [str(getattr(record, name)) for name in NAMES]
    return [*values, folded(record.patient_name), folded(record.technician_name)]


def folded(name: str) -> list[str]:
    """The component groups of a name as they are matched."""
    return [group for group in fold_person_name(name) if group]


def stored(row: Any) -> StoredRecord:
    """A row of the columns `STORED`."""
    values = row._asdict()
    key, created, updated = (values.pop(name) for name in ("id", "created_at", "updated_at"))
    values["step_status"] = StepStatus(values["step_status"])
    return StoredRecord(key, WorklistRecord(**values), created, updated)
