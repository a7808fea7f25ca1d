"""Changing the worklist in two round trips: look at what there is, write what was decided upon it.

Nothing is locked in between. What anybody else has changed meanwhile makes the write do nothing;
then the caller looks again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg2 import Binary

from santepacs.db.database import Transaction
from santepacs.db.messages import search_words
from santepacs.db.orders import NAMES, folded
from santepacs.model.order import (
    Action,
    Command,
    OrderCommand,
    PatientAction,
    PatientCommand,
    StepStatus,
    WorklistRecord,
)
from santepacs.model.steps import (
    MAXIMUM_STEPS,
    Changes,
    Entry,
    Happening,
    Log,
    Repeated,
    Seen,
    Step,
    Written,
)

_MOST_WORDS = 1_000  # by which one message is found


async def look(
    tx: Transaction, since: Mapping[bytes, datetime], commands: Iterable[Command]
) -> Seen:
    """The steps that `commands` may speak of, and which messages (by SHA-256) were accepted since
    the time given for each. More than `MAXIMUM_STEPS` steps are not returned.
    """
    digests = list(since)
    keys = _Keys(commands)
    row = await tx.fetch_one(
        "SELECT * FROM look_at_worklist(%s::bytea[], %s::timestamptz[], %s::text[], %s::text[],"
        " %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s)",
        [Binary(digest) for digest in digests],
        [since[digest] for digest in digests],
        *keys.columns,
        keys.patients,
        keys.merged,
        MAXIMUM_STEPS + 1,
    )
    assert row is not None
    repeated = {
        digests[known["position"] - 1]: Repeated(known["id"], known["remark"])
        for known in row.repeated or ()
    }
    return Seen([_step(found) for found in row.steps or ()], repeated, row.last_record)


class _Keys:
    """By what the steps are found that commands may speak of."""

    def __init__(self, commands: Iterable[Command]) -> None:
        orders: set[tuple[str, ...]] = set()
        patients: set[str] = set()
        merged: set[str] = set()
        for command in commands:
            if isinstance(command, PatientCommand):
                if command.action in (PatientAction.MERGE, PatientAction.RENUMBER):
                    merged.add(command.prior_patient_id)
                elif command.action is not PatientAction.NOTHING:
                    patients.add(command.record.patient_id)
            elif command.action is not Action.NOTHING:
                orders.add(_numbers(command))
        self.columns = [[order[place] for order in sorted(orders)] for place in range(5)]
        self.patients = sorted(patients - {""})
        self.merged = sorted(merged - {""})


def _numbers(command: OrderCommand) -> tuple[str, ...]:
    record = command.record
    return (
        record.patient_id,
        record.placer_order_number,
        record.filler_order_number,
        record.accession_number,
        record.study_instance_uid,
    )


def _step(found: dict[str, Any]) -> Step:
    row = found["record"]
    values = {name: row[name] for name in NAMES}
    values["step_status"] = StepStatus(values["step_status"])
    return Step(row["id"], found["version"], WorklistRecord(**values))


async def write(tx: Transaction, seen: Seen, changes: Changes, log: Log) -> Written | None:
    """Write all of it, in one statement; None: what was seen has changed, nothing was written."""
    row = await tx.fetch_one(
        "SELECT * FROM change_worklist(%s::bigint[], %s::text[], %s, %s::jsonb, %s::bytea[],"
        " %s::jsonb, %s::jsonb, %s::jsonb, %s::jsonb)",
        [step.key for step in seen.steps],
        [step.version for step in seen.steps],
        seen.last_record,
        json.dumps([_message(entry, n) for n, entry in enumerate(log.entries, 1)]),
        [Binary(entry.arrival.raw) for entry in log.entries],
        json.dumps(
            [{"id": r.id, "times": r.times, "at": r.at.isoformat()} for r in log.repetitions]
        ),
        json.dumps([_row(step) for step in changes.added]),
        json.dumps([_row(step) for step in changes.changed]),
        json.dumps([_event(one, n) for n, one in enumerate(changes.happenings)]),
    )
    assert row is not None
    if row.message_keys is None:
        return None
    return Written(row.message_keys, row.record_keys or [])


def _row(step: Step) -> dict[str, Any]:
    record = step.record
    row: dict[str, Any] = {name: getattr(record, name) for name in NAMES}
    row["id"] = step.key
    row["patient_name_folded"] = folded(record.patient_name)
    row["technician_name_folded"] = folded(record.technician_name)
    return row


def _event(happening: Happening, position: int) -> dict[str, Any]:
    return {
        "position": position,
        "record": happening.step,
        "action": happening.action,
        "step_status": happening.step_status,
        "message": happening.message,
        "actor": happening.actor,
        "remark": happening.remark,
    }


def _message(entry: Entry, position: int) -> dict[str, Any]:
    arrival = entry.arrival
    texts = {
        "source": arrival.source,
        "sending_application": arrival.sending_application,
        "sending_facility": arrival.sending_facility,
        "message_type": arrival.message_type,
        "control_id": arrival.control_id,
        "charset": arrival.charset,
        "patient_id": arrival.patient_id or _patient_id(entry.commands),
        "remark": entry.remark,
        "actor": arrival.actor,
    }
    return {
        # Text with NUL is refused by PostgreSQL; the raw message keeps it.
        **{name: text.replace("\0", "") for name, text in texts.items()},
        "position": position,
        "received_at": arrival.received.isoformat(),
        "digest": entry.digest.hex(),
        "verdict": entry.verdict,
        "origin": arrival.origin,
        "repeats": entry.repeats,
        "repeated_at": entry.repeated_at and entry.repeated_at.isoformat(),
        "found_by": _found_by(entry),
    }


def _patient_id(commands: Sequence[Command]) -> str:
    return commands[0].record.patient_id if commands else ""


def _found_by(entry: Entry) -> list[str]:
    """What people know of a message when they look for it."""
    texts = {entry.arrival.control_id, entry.arrival.patient_id}
    for command in entry.commands:
        record = command.record
        texts.update(
            (
                record.patient_id,
                record.patient_name,
                record.accession_number,
                record.placer_order_number,
                record.filler_order_number,
                getattr(command, "prior_patient_id", ""),
            )
        )
    return search_words(*texts)[:_MOST_WORDS]
