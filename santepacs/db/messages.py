"""The log of received HL7 messages: raw, with what was answered and what it changed."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from santepacs.db.database import Transaction
from santepacs.model.names import fold

_SUMMARY = (
    "id, received_at, source, sending_application, sending_facility, message_type, control_id,"
    " patient_id, charset, verdict, remark, milliseconds, origin, actor, repeats, repeated_at,"
    " octet_length(raw) AS bytes"
)
# Messages are numbered in the order of their verdicts, nearly that in which they came.
_NEWER_THAN = (
    "received_at >= %s AND id > coalesce((SELECT id FROM hl7_message WHERE received_at <"
    " %s - interval '10 minutes' ORDER BY received_at DESC LIMIT 1), 0)"
)
_OLDER_THAN = (
    "received_at < %s AND id < coalesce((SELECT id FROM hl7_message WHERE received_at >"
    " %s + interval '10 minutes' ORDER BY received_at LIMIT 1), 9223372036854775807)"
)
# With OFFSET, the words' index is asked first: few messages have them.
_FOUND_BY = "(SELECT * FROM hl7_message WHERE found_by @> %s::text[] OFFSET 0)"

Raw = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFilter:
    """Which messages: all that is given must hold. `text`: whole words of patients' names,
    Patient IDs, order and accession numbers, or the control ID, in any order.
    """

    received_from: datetime | None = None
    received_to: datetime | None = None
    sending_application: str = ""
    sending_facility: str = ""
    message_type: str = ""
    """``ORM`` finds ``ORM^O01``, too."""
    verdict: str = ""
    patient_id: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """A message of the log. `raw` is empty in lists.

    `repeats`: how often the very same message came again, at last at `repeated_at`. `origin`: the
    message that this one was corrected or run again from, by `actor`. `bytes`: how large it is.
    `records`: the worklist records that it changed, at most 100.
    """

    id: int
    received_at: datetime
    source: str
    sending_application: str
    sending_facility: str
    message_type: str
    control_id: str
    patient_id: str
    charset: str
    verdict: str
    remark: str
    milliseconds: int
    origin: int | None
    actor: str
    repeats: int
    repeated_at: datetime | None
    bytes: int
    raw: Raw = b""
    records: list[int] = field(default_factory=list)


async def page(
    tx: Transaction, wanted: MessageFilter, before: int | None, limit: int
) -> list[MessageRow]:
    """At most `limit` messages, newest first, numbered below `before` (the key of the last one
    of the page before)."""
    conditions, parameters = _conditions(wanted)
    if before is not None:
        conditions.append("id < %s")
        parameters.append(before)
    words = search_words(wanted.text)
    rows = await tx.fetch_all(
        f"SELECT {_SUMMARY} FROM {_FOUND_BY if words else 'hl7_message'} AS m"  # noqa: S608
        f" WHERE {' AND '.join(conditions) or 'true'} ORDER BY id DESC LIMIT %s",
        *([words] if words else []),
        *parameters,
        limit,
    )
    changed = await _records(tx, [row.id for row in rows])
    return [MessageRow(**row._asdict(), records=changed.get(row.id, [])) for row in rows]


def _conditions(wanted: MessageFilter) -> tuple[list[str], list[Any]]:
    conditions: list[str] = []
    parameters: list[Any] = []

    def add(text: str, *values: Any) -> None:
        conditions.append(text)
        parameters.extend(values)

    for column in ("sending_application", "sending_facility", "verdict", "patient_id"):
        value = getattr(wanted, column)
        if value:
            add(f"{column} = %s AND {column} <> ''", value)
    if wanted.message_type:
        # As a range, which an index on the column answers.
        kind = wanted.message_type
        add("(message_type = %s OR message_type BETWEEN %s AND %s)", kind, f"{kind}^", f"{kind}_")
    if wanted.received_from is not None:
        add(_NEWER_THAN, wanted.received_from, wanted.received_from)
    if wanted.received_to is not None:
        add(_OLDER_THAN, wanted.received_to, wanted.received_to)
    return conditions, parameters


def search_words(*texts: str) -> list[str]:
    """The folded words by which a message is found: letters and digits of names and numbers."""
    folded = (fold(text.replace("\0", " ").replace("^", " ").replace("=", " ")) for text in texts)
    return sorted({word[:64] for text in folded for word in text.split()})


async def message(tx: Transaction, key: int) -> MessageRow | None:
    """The message with that key, raw and all."""
    row = await tx.fetch_one(f"SELECT {_SUMMARY}, raw FROM hl7_message WHERE id = %s", key)  # noqa: S608
    if row is None:
        return None
    changed = await _records(tx, [key])
    values = row._asdict() | {"raw": bytes(row.raw)}
    return MessageRow(**values, records=changed.get(key, []))


async def _records(tx: Transaction, keys: list[int]) -> dict[int, list[int]]:
    """The worklist records that messages changed; as many of each as a page can show."""
    if not keys:
        return {}
    rows = await tx.fetch_all(
        "SELECT k.message, array(SELECT DISTINCT record FROM worklist_event e"
        " WHERE e.message = k.message ORDER BY record LIMIT 100) AS records"
        " FROM unnest(%s::bigint[]) AS k (message)",
        keys,
    )
    return {row.message: list(row.records) for row in rows}


async def delete_older(tx: Transaction, days: int, limit: int) -> int:
    """Delete at most `limit` messages that came more than so many days ago, oldest first;
    returns how many. What they changed stays, with its history."""
    return await tx.execute(
        "DELETE FROM hl7_message WHERE id IN (SELECT id FROM hl7_message"
        " WHERE received_at < now() - make_interval(days => %s) ORDER BY received_at LIMIT %s)",
        days,
        limit,
    )
