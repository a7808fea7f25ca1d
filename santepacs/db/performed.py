"""Performed procedure steps as modalities told them, and the worklist records they stand for."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from santepacs.db.database import Transaction
from santepacs.errors import Conflict, NotFound, Unavailable
from santepacs.model.performed import (
    PerformedState,
    PerformedStep,
    PerformedUpdate,
    ScheduledItem,
    SentDataSet,
)

MAXIMUM_DATA_SETS = 1000  # of one step; a modality tells of each series, perhaps
MAXIMUM_BYTES = 64 * 1024 * 1024  # in these

_NAMES = tuple(field.name for field in fields(PerformedStep) if field.name != "scheduled")
_COLUMNS = ", ".join(_NAMES)
_ITEM_NAMES = tuple(field.name for field in fields(ScheduledItem))


@dataclass(frozen=True, slots=True)
class Kept:
    """A step that may still be changed."""

    id: int
    state: PerformedState


@dataclass(frozen=True, slots=True)
class KeptItem:
    """An item of a step, and the keys of the worklist records that it stands for."""

    position: int
    item: ScheduledItem
    records: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PerformedRow:
    """A performed step as it is shown; `unmatched`: something it names is not in the worklist."""

    id: int
    step: PerformedStep
    records: tuple[int, ...]
    unmatched: bool
    created_at: datetime
    updated_at: datetime


# --- writing --------------------------------------------------------------------------------------


async def add(tx: Transaction, step: PerformedStep) -> int:
    """Keep a new step with its items; returns its key. Raises Conflict if it is there already."""
    places = ", ".join(["%s"] * len(_NAMES))
    row = await tx.fetch_one(
        f"INSERT INTO performed_step ({_COLUMNS}) VALUES ({places})"  # noqa: S608 - field names
        " ON CONFLICT (sop_instance_uid) DO NOTHING RETURNING id",
        *(_plain(getattr(step, name)) for name in _NAMES),
    )
    if row is None:
        raise Conflict("this performed procedure step exists already")
    key: int = row.id
    columns = [[getattr(item, name) for item in step.scheduled] for name in _ITEM_NAMES]
    await tx.execute(
        f"INSERT INTO performed_item (performed_step, position, {', '.join(_ITEM_NAMES)})"  # noqa: S608
        " SELECT %s, x.* FROM unnest(%s::integer[]"
        f"{', %s::text[]' * len(columns)}) AS x",
        key,
        list(range(len(step.scheduled))),
        *columns,
    )
    return key


async def keep_data_set(tx: Transaction, key: int, sent: SentDataSet) -> None:
    """Keep a data set of a step as it came. Raises Unavailable when there are too many."""
    row = await tx.fetch_one(
        "SELECT count(*) AS count, coalesce(sum(octet_length(content)), 0) AS size"
        " FROM performed_data_set WHERE performed_step = %s",
        key,
    )
    assert row is not None
    if row.count >= MAXIMUM_DATA_SETS or row.size + len(sent.content) > MAXIMUM_BYTES:
        raise Unavailable("the performed procedure step was changed too often")
    await tx.execute(
        "INSERT INTO performed_data_set (performed_step, position, transfer_syntax_uid, content)"
        " VALUES (%s, %s, %s, %s)",
        key,
        row.count,
        sent.transfer_syntax_uid,
        sent.content,
    )


async def locked(tx: Transaction, sop_instance_uid: str) -> Kept:
    """The step of this name, changed by nobody else until the end. Raises NotFound."""
    row = await tx.fetch_one(
        "SELECT id, state FROM performed_step WHERE sop_instance_uid = %s FOR UPDATE",
        sop_instance_uid,
    )
    if row is None:
        raise NotFound("there is no such performed procedure step")
    return Kept(row.id, PerformedState(row.state))


async def change(tx: Transaction, key: int, update: PerformedUpdate) -> None:
    """Bring a step up to date."""
    values = {name: value for name, value in update.changes.items() if name in _NAMES}
    if update.state is not None:
        values["state"] = str(update.state)
    changes = "".join(f"{name} = %s, " for name in values)
    await tx.execute(
        f"UPDATE performed_step SET {changes} updated_at = now() WHERE id = %s",  # noqa: S608
        *values.values(),
        key,
    )


async def link(
    tx: Transaction, key: int, found: Sequence[tuple[int, int]], *, unmatched: bool
) -> None:
    """Note which records items stand for, as pairs of position and record."""
    await tx.execute(
        "INSERT INTO performed_record (performed_step, position, record)"
        " SELECT %s, x.* FROM unnest(%s::integer[], %s::bigint[]) AS x ON CONFLICT DO NOTHING",
        key,
        [position for position, _ in found],
        [record for _, record in found],
    )
    await tx.execute("UPDATE performed_step SET unmatched = %s WHERE id = %s", unmatched, key)


async def delete_older(tx: Transaction, days: float, limit: int) -> int:
    """Forget at most `limit` steps that nobody has changed for `days`; returns how many."""
    return await tx.execute(
        "DELETE FROM performed_step WHERE id = ANY (ARRAY (SELECT id FROM performed_step"
        " WHERE updated_at < now() - make_interval(secs => %s) ORDER BY updated_at LIMIT %s))",
        days * 86400,
        limit,
    )


# --- reading --------------------------------------------------------------------------------------


async def character_set(tx: Transaction, sop_instance_uid: str) -> str:
    """The Specific Character Set of a step. Raises NotFound."""
    row = await tx.fetch_one(
        "SELECT character_set FROM performed_step WHERE sop_instance_uid = %s", sop_instance_uid
    )
    if row is None:
        raise NotFound("there is no such performed procedure step")
    found: str = row.character_set
    return found


async def step(tx: Transaction, key: int) -> PerformedStep:
    """A step that is there, with its items."""
    (found,) = await _rows(tx, "s.id = %s", [key], 1)
    return found.step


async def items(tx: Transaction, key: int) -> list[KeptItem]:
    """The items of a step, in their order."""
    return (await _items(tx, [key]))[key]


async def _items(tx: Transaction, keys: Sequence[int]) -> dict[int, list[KeptItem]]:
    names = ", ".join(f"i.{name}" for name in _ITEM_NAMES)
    rows = await tx.fetch_all(
        f"SELECT i.performed_step, i.position, {names},"  # noqa: S608 - field names
        " ARRAY (SELECT r.record FROM performed_record r WHERE r.performed_step = i.performed_step"
        " AND r.position = i.position ORDER BY 1) AS records"
        " FROM performed_item i WHERE i.performed_step = ANY (%s)"
        " ORDER BY i.performed_step, i.position",
        list(keys),
    )
    found: dict[int, list[KeptItem]] = {key: [] for key in keys}
    for row in rows:
        item = ScheduledItem(**{name: getattr(row, name) for name in _ITEM_NAMES})
        found[row.performed_step].append(KeptItem(row.position, item, tuple(row.records)))
    return found


async def goes_on_elsewhere(tx: Transaction, records: Iterable[int], key: int) -> set[int]:
    """Those of `records` that another step than `key` stands for which was not discontinued."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT r.record FROM performed_record r"
        " JOIN performed_step s ON s.id = r.performed_step"
        " WHERE r.record = ANY (%s) AND s.id <> %s AND s.state <> 'DISCONTINUED'",
        list(records),
        key,
    )
    return {row.record for row in rows}


async def spoken_of(tx: Transaction, records: Iterable[int]) -> set[int]:
    """Those of `records` that a modality has told of."""
    rows = await tx.fetch_all(
        "SELECT DISTINCT record FROM performed_record WHERE record = ANY (%s)", list(records)
    )
    return {row.record for row in rows}


async def page(
    tx: Transaction, *, unmatched: bool = False, before: int | None = None, limit: int = 100
) -> list[PerformedRow]:
    """Steps, newest first; `before`: the key of the last one of the page before."""
    condition = "(%s::bigint IS NULL OR s.id < %s)" + (" AND s.unmatched" if unmatched else "")
    return await _rows(tx, condition, [before, before], limit)


async def of_record(tx: Transaction, record: int, limit: int = 100) -> list[PerformedRow]:
    """The steps that stand for a worklist record, newest first."""
    condition = "s.id IN (SELECT performed_step FROM performed_record WHERE record = %s)"
    return await _rows(tx, condition, [record], limit)


async def data_sets(tx: Transaction, key: int) -> list[SentDataSet]:
    """The data sets of a step as they came: of its N-CREATE, then of its N-SETs."""
    rows = await tx.fetch_all(
        "SELECT transfer_syntax_uid, content FROM performed_data_set WHERE performed_step = %s"
        " ORDER BY position",
        key,
    )
    return [SentDataSet(row.transfer_syntax_uid, bytes(row.content)) for row in rows]


async def _rows(
    tx: Transaction, condition: str, parameters: Sequence[Any], limit: int
) -> list[PerformedRow]:
    found = await tx.fetch_all(
        "SELECT s.* FROM performed_step s"  # noqa: S608 - conditions of this module
        f" WHERE {condition} ORDER BY s.id DESC LIMIT %s",
        *parameters,
        limit,
    )
    all_items = await _items(tx, [row.id for row in found])
    shown = []
    for row in found:
        parts = all_items[row.id]
        values = {name: getattr(row, name) for name in _NAMES}
        values["state"] = PerformedState(row.state)
        whole = PerformedStep(**values, scheduled=tuple(part.item for part in parts))
        records = sorted({record for part in parts for record in part.records})
        shown.append(
            PerformedRow(
                row.id, whole, tuple(records), row.unmatched, row.created_at, row.updated_at
            )
        )
    return shown


def _plain(value: str | int) -> str | int:
    return str(value) if isinstance(value, str) else value
