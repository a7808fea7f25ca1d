"""Which records were chosen, and what is said after something was done with them."""

import re
from collections.abc import Mapping, Sequence

from santepacs.db import orders
from santepacs.db.database import Database, Transaction
from santepacs.db.orders import StoredRecord
from santepacs.web.refusals import not_found

MAXIMUM_CHOSEN = 90  # a form has at most 100 fields
_BOX = re.compile(r"r([0-9]{1,18})")
_NOTICES = {
    # name -> state, text for one, text for several
    "none": ("attention", "Nothing is selected. Mark one or more records in the list first.", ""),
    "one": ("attention", "This works with one record at a time. Mark only one.", ""),
    "created": ("ok", "The record was created.", ""),
    "saved": ("ok", "The record was saved.", ""),
    "unchanged": ("ok", "Nothing was changed.", ""),
    "deleted": ("ok", "1 record was deleted.", "{} records were deleted."),
    "status": ("ok", "The status was changed.", "The status of {} records was changed."),
    "queued": (
        "ok",
        "1 message is on its way: see HL7, Sent.",
        "{} are on their way: see HL7, Sent.",
    ),
    "known": ("ok", "These records were known; nothing was changed.", ""),
    "imported": ("ok", "1 record was imported.", "{} records were imported."),
}


def key_of(text: str) -> int:
    """A record's key in an address. Raises Refused (404) for what is none."""
    if not re.fullmatch("[0-9]{1,18}", text):
        raise not_found()
    return int(text)


def chosen(fields: Mapping[str, str]) -> list[int]:
    """The keys of the records whose boxes (``r12``) are marked."""
    found = [int(match[1]) for name in fields if (match := _BOX.fullmatch(name))]
    return found[:MAXIMUM_CHOSEN]


def keys_text(keys: Sequence[int]) -> str:
    """Keys as an address has them; `kept_records` reads it."""
    return ",".join(map(str, keys))


async def kept_records(database: Database, keys: str) -> list[StoredRecord]:
    """The records of ``12,15``, in that order. Raises Refused (404) when none is there any more."""
    wanted = [key_of(text) for text in keys.split(",", MAXIMUM_CHOSEN)[:MAXIMUM_CHOSEN]]

    async def work(tx: Transaction) -> list[StoredRecord]:
        found = [await orders.record(tx, key) for key in dict.fromkeys(wanted)]
        return [stored for stored in found if stored is not None]

    records = await database.transaction("chosen records", work, read_only=True)
    if not records:
        raise not_found()
    return records


def done(name: str, count: int = 1) -> dict[str, str]:
    """What the next page says: a notice as the fields of its address."""
    return {"done": name, "count": str(count)}


def notice(values: Mapping[str, str]) -> tuple[str, str] | None:
    """State and text of the notice in an address; texts are ours alone."""
    found = _NOTICES.get(values.get("done", ""))
    if found is None:
        return None
    state, one, several = found
    count = values.get("count", "")
    if several and count != "1" and re.fullmatch("[0-9]{1,4}", count):
        return state, several.format(count)
    return state, one
