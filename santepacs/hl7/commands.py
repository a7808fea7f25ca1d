"""What a message asks of the worklist, whatever its type."""

from collections.abc import Callable, Collection, Iterable, Iterator

from santepacs.hl7 import appointments, patients
from santepacs.hl7.appointments import appointment_commands, appointment_mapping, appointments_of
from santepacs.hl7.message import Message, Segments
from santepacs.hl7.orders import order_commands, orders_of
from santepacs.hl7.patients import patient_commands
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import Command
from santepacs.worklist.mapping import FieldMapping

_Reader = Callable[[Message, FieldMapping], Iterable[Command]]
# An ORM has one event only, so that what stands there is of no consequence: O01, 001, nothing.
_READERS: dict[str, tuple[_Reader, Collection[str]]] = {
    "ORM": (order_commands, ("O01", "001", "")),
    "OMG": (order_commands, ("O19", "")),
    "OMI": (order_commands, ("O23", "")),
    "ADT": (patient_commands, patients.EVENTS),
    "SIU": (appointment_commands, appointments.EVENTS),
}


def commands(message: Message, mapping: FieldMapping) -> list[Command]:
    """What the message asks of the worklist, in its order.

    Raises Refusal: 200 and 201 for a type or event that is not processed here, 1xx with its place
    for content that cannot be used. A message is taken whole or not at all.
    """
    if not message.type:
        raise Refusal("101", "MSH^1^9", "no message type")
    read, events = _READERS.get(message.type, (None, ()))
    if read is None:
        raise Refusal("200", "MSH^1^9^1^1", "messages of this type are not processed")
    if message.event not in events:
        raise Refusal("201", "MSH^1^9^1^2", "this event is not processed")
    return [*read(message, mapping)]


def mapped_parts(
    message: Message, mapping: FieldMapping
) -> Iterator[tuple[Segments, FieldMapping]]:
    """What the mapping reads values from, one after the other, and the rows as they apply there.

    For looking at a message; nothing is refused.
    """
    match message.type:
        case "ADT":
            yield message, patients.patient_rows(mapping)
        case "SIU":
            rows = appointment_mapping(mapping)
            yield from ((step, rows) for step in appointments_of(message))
        case _:
            yield from ((order, mapping) for order in orders_of(message))
