"""Worklist records: what is scheduled, for modalities and for the messages that change it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from santepacs.db.database import Transaction
from santepacs.model.names import fold, fold_person_name
from santepacs.model.order import StepQuery, StepStatus, WorklistQuery, WorklistRecord

_NAMES = tuple(field.name for field in fields(WorklistRecord))
_COLUMNS = ", ".join(_NAMES)
_WILDCARDS = re.compile(r"([*?])")
# What modalities see unless they ask for a status; written out, so that PostgreSQL uses the
# indexes of open steps.
_VISIBLE = "step_status IN ('SCHEDULED', 'ARRIVED', 'READY')"

_MAXIMUM_STEPS = 1_000


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A worklist record and its key."""

    id: int
    record: WorklistRecord

    @property
    def place(self) -> tuple[str, str, int]:
        """Its place in the order in which `find` gives records."""
        return self.record.start_date, self.record.start_time, self.id


async def lock_patient(tx: Transaction, patient_id: str) -> None:
    """Let the messages of one patient change the worklist one after the other."""
    await tx.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 2))", patient_id)


async def steps_of_order(tx: Transaction, record: WorklistRecord) -> list[StoredRecord]:
    """The steps of the same order: same patient and sender, and the same order number.

    The placer's number decides where both have one, else the filler's, else the accession number.
    """
    rows = await tx.fetch_all(
        f"SELECT id, {_COLUMNS} FROM worklist_record"  # noqa: S608 - column names of the dataclass
        " WHERE patient_id = %s AND sending_application = %s AND sending_facility = %s"
        " AND CASE WHEN %s <> '' AND placer_order_number <> '' THEN placer_order_number = %s"
        " WHEN %s <> '' AND filler_order_number <> '' THEN filler_order_number = %s"
        " ELSE accession_number <> '' AND accession_number = %s END"
        " ORDER BY id LIMIT %s FOR UPDATE",
        record.patient_id,
        record.sending_application,
        record.sending_facility,
        record.placer_order_number,
        record.placer_order_number,
        record.filler_order_number,
        record.filler_order_number,
        record.accession_number,
        _MAXIMUM_STEPS,
    )
    return [_stored(row) for row in rows]


async def add(tx: Transaction, record: WorklistRecord) -> int:
    """Keep a new record; returns its key."""
    columns = f"{_COLUMNS}, patient_name_folded, technician_name_folded"
    places = ", ".join(["%s"] * len(_NAMES) + ["%s::text[]"] * 2)
    row = await tx.fetch_one(
        f"INSERT INTO worklist_record ({columns}) VALUES ({places}) RETURNING id",  # noqa: S608
        *_values(record),
    )
    assert row is not None
    key: int = row.id
    return key


async def change(tx: Transaction, key: int, record: WorklistRecord) -> None:
    """Put `record` in the place of the one with that key."""
    changes = ", ".join(f"{name} = %s" for name in _NAMES)
    await tx.execute(
        f"UPDATE worklist_record SET {changes}, patient_name_folded = %s::text[],"  # noqa: S608
        " technician_name_folded = %s::text[], updated_at = now() WHERE id = %s",
        *_values(record),
        key,
    )


async def find(
    tx: Transaction,
    query: WorklistQuery,
    limit: int,
    after: tuple[str, str, int] | None = None,
) -> list[StoredRecord]:
    """At most `limit` matching records by start date, start time and key.

    `after`: the `place` of the last record of the page before. Steps that are held, begun or over
    are found only by a query that asks for their status.
    """
    conditions = _Conditions()
    if query.patient_name:
        conditions.name("patient_name_folded", query.patient_name)
    for column in ("patient_id", "accession_number", "requested_procedure_id", "patient_sex"):
        conditions.text(column, getattr(query, column))
    conditions.between(
        "patient_birth_date", query.patient_birth_date_from, query.patient_birth_date_to
    )
    if query.study_instance_uids:
        conditions.add("study_instance_uid = ANY(%s)", list(query.study_instance_uids))
    conditions.any_of(_step(step) for step in query.steps)
    if after is not None:
        conditions.add("(start_date, start_time, id) > (%s, %s, %s)", *after)
    rows = await tx.fetch_all(
        f"SELECT id, {_COLUMNS} FROM worklist_record WHERE {conditions.sql()}"  # noqa: S608
        " ORDER BY start_date, start_time, id LIMIT %s",
        *conditions.parameters,
        limit,
    )
    return [_stored(row) for row in rows]


class _Conditions:
    """Conditions that must all hold; every value a parameter."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.parameters: list[Any] = []

    def sql(self) -> str:
        return " AND ".join(self._texts) or "true"

    def add(self, text: str, *parameters: Any) -> None:
        self._texts.append(text)
        self.parameters.extend(parameters)

    def any_of(self, alternatives: "Iterable[_Conditions]") -> None:
        alternatives = list(alternatives)
        if alternatives:
            joined = " OR ".join(f"({conditions.sql()})" for conditions in alternatives)
            self.add(f"({joined})", *(p for c in alternatives for p in c.parameters))

    def text(self, column: str, wanted: str) -> None:
        if not wanted.strip("*"):
            return
        if _WILDCARDS.search(wanted):
            self.add(f"({column} <> '' AND {column} LIKE %s)", _pattern(wanted))
        else:
            self.add(f"{column} = %s", wanted)

    def name(self, column: str, wanted: str) -> None:
        patterns = [_name_pattern(group) for group in wanted.split("=") if group.strip("*^ ")]
        if patterns:
            # A component that is absent is an empty one: DOE^* finds DOE.
            self.add(
                f"EXISTS (SELECT FROM unnest({column}) AS part"
                " WHERE part LIKE ANY(%s) OR part || '^' LIKE ANY(%s))",
                patterns,
                patterns,
            )

    def between(self, column: str, low: str, high: str) -> None:
        if low or high:
            self.add(f"{column} <> ''")
        if low:
            self.add(f"{column} >= %s", low)
        if high:
            self.add(f"{column} <= %s", high)


def _text(column: str, wanted: str) -> _Conditions:
    conditions = _Conditions()
    conditions.text(column, wanted)
    return conditions


def _step(step: StepQuery) -> _Conditions:
    conditions = _Conditions()
    if step.statuses:
        conditions.add("step_status = ANY(%s)", [status.value for status in step.statuses])
    else:
        conditions.add(_VISIBLE)
    conditions.any_of(_text("scheduled_station_ae_title", ae) for ae in step.station_ae_titles)
    conditions.text("scheduled_procedure_step_id", step.step_id)
    conditions.text("scheduled_station_name", step.station_name)
    if step.modalities:
        conditions.add("modality = ANY(%s)", list(step.modalities))
    if step.technician_name:
        conditions.name("technician_name_folded", step.technician_name)
    if step.combined:
        if step.start_date_from:
            low = (step.start_date_from, step.start_time_from)
            conditions.add("(start_date, start_time) >= (%s, %s)", *low)
        if step.start_date_to:
            high = (step.start_date_to, step.start_time_to or "235959")
            conditions.add("start_date <> '' AND (start_date, start_time) <= (%s, %s)", *high)
    else:
        conditions.between("start_date", step.start_date_from, step.start_date_to)
        conditions.between("start_time", step.start_time_from, step.start_time_to)
    return conditions


def _pattern(wanted: str) -> str:
    return "".join(
        {"*": "%", "?": "_"}.get(part) or _escaped(part) for part in _WILDCARDS.split(wanted)
    )


def _name_pattern(group: str) -> str:
    """A pattern for folded names: literal parts are folded, wildcards before that are none."""
    parts = _WILDCARDS.split(group)
    folded = (
        {"*": "%", "?": "_"}.get(part)
        or _escaped("^".join(fold(component) for component in part.split("^")))
        for part in parts
    )
    pattern = "".join(folded)
    return pattern if len(parts) > 1 else pattern.rstrip("^")


def _escaped(text: str) -> str:
    return re.sub(r"([\\%_])", r"\\\1", text)


def _values(record: WorklistRecord) -> list[Any]:
    values = [str(getattr(record, name)) for name in _NAMES]
    return [*values, _folded(record.patient_name), _folded(record.technician_name)]


def _folded(name: str) -> Sequence[str]:
    return [group for group in fold_person_name(name) if group]


def _stored(row: Any) -> StoredRecord:
    values = row._asdict()
    key = values.pop("id")
    values["step_status"] = StepStatus(values["step_status"])
    return StoredRecord(key, WorklistRecord(**values))
