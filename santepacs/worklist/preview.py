"""What another field mapping would make of orders that were received: looked at before it is put
in force. Pure; nothing is changed by it."""

from collections.abc import Iterable
from dataclasses import dataclass

from santepacs.worklist.mapping import FieldMapping, Source, UnusableValue, read

DELETED = "(deleted)"
REFUSED = "(refused)"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that has another value. `order` counts from 1. An order that is refused has one for
    the field `REFUSED`, with the reason."""

    order: int
    field: str
    before: str
    after: str


def differences(
    orders: Iterable[Source], before: FieldMapping, after: FieldMapping
) -> list[Difference]:
    """Every field of every order that the two mappings read differently."""
    return [
        Difference(number, field, old.get(field, ""), new.get(field, ""))
        for number, order in enumerate(orders, 1)
        for old, new in [(_fields(before, order), _fields(after, order))]
        for field in dict.fromkeys((*old, *new))
        if old.get(field, "") != new.get(field, "")
    ]


def _fields(mapping: FieldMapping, order: Source) -> dict[str, str]:
    try:
        mapped = read(mapping, order)
    except UnusableValue as problem:
        return {REFUSED: f"{problem.location} {problem}"}
    return mapped.values | dict.fromkeys(mapped.cleared, DELETED)
