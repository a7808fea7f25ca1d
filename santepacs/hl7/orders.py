"""Order messages into worklist commands: ORM^O01 (HL7 v2 ch. 4.4, IHE RAD-2, RAD-3, RAD-4).

A message is a patient and orders: an order begins at its ORC, or at an OBR where no ORC comes
first. What stands before the first order belongs to each of them.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from santepacs.hl7.message import Message, Segment, Segments
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import Action, OrderCommand, WorklistRecord, order_control
from santepacs.worklist import mapping as mappings
from santepacs.worklist import values

_TYPES = {"ORM": ("O01", "")}
_NUMBER_LENGTH = 199


def commands(message: Message, mapping: mappings.FieldMapping) -> list[OrderCommand]:
    """What the message asks of the worklist, in its order.

    Raises Refusal: 200 and 201 for what is not an order message, 1xx with its place for an order
    that cannot be used. One bad order refuses the message, so that a message is taken or not.
    """
    check_type(message)
    patients = [segment for segment in message if segment.name == "PID"]
    if len(patients) > 1:
        raise Refusal("100", "PID^2", "an order message has one patient")
    found = [
        _command(message, order, number, mapping)
        for number, order in enumerate(_orders(message), 1)
    ]
    if not found:
        raise Refusal("100", "ORC^1", "no ORC or OBR segment")
    return found


def check_type(message: Message) -> None:
    """Raises Refusal unless the message is of a type that this port processes."""
    if not message.type:
        raise Refusal("101", "MSH^1^9", "no message type")
    events = _TYPES.get(message.type)
    if events is None:
        raise Refusal("200", "MSH^1^9^1^1", "messages of this type are not processed")
    if message.event not in events:
        raise Refusal("201", "MSH^1^9^1^2", "this event is not processed")


def _orders(message: Message) -> Iterator[Segments]:
    shared: list[Segment] = []
    orders: list[list[Segment]] = []
    order: list[Segment] = []
    for segment in message:
        names = {known.name for known in order} if segment.name in ("ORC", "OBR") else set()
        if segment.name == "ORC" or (segment.name == "OBR" and (not order or "OBR" in names)):
            # A further OBR under one ORC is a further step of the same order.
            common = [known for known in order if known.name == "ORC"]
            order = [*common, segment] if segment.name == "OBR" else [segment]
            orders.append(order)
        elif order:
            order.append(segment)
        else:
            shared.append(segment)
    before = message.only(shared)
    return (message.only(order, before) for order in orders)


def _command(
    message: Message, order: Segments, number: int, mapping: mappings.FieldMapping
) -> OrderCommand:
    code = order.value("ORC", 1, 1).strip().upper()
    known = order_control(code, order.value("ORC", 5, 1).strip().upper())
    if known is None:
        raise Refusal("103", f"ORC^{number}^1", "unknown order control code")
    action, status = known
    record = WorklistRecord(
        step_status=status,
        sending_application=values.text(message.value("MSH", 3, 1), "LO"),
        sending_facility=values.text(message.value("MSH", 4, 1), "LO"),
        placer_order_number=_number(order, 2),
        filler_order_number=_number(order, 3),
    )
    if action is Action.NOTHING:
        return OrderCommand(action, record)
    try:
        mapped = mappings.read(mapping, order)
    except mappings.UnusableValue as problem:
        raise Refusal("102", _numbered(problem.location, number), str(problem)) from None
    changes: dict[str, Any] = dict(mapped.values)
    record = replace(record, **changes)
    if not record.requested_procedure_id:
        # Mandatory in a record; in a message only the order's own number is.
        own = record.accession_number or record.placer_order_number or record.filler_order_number
        record = replace(record, requested_procedure_id=values.text(own, "SH"))
    _check(order, record, action, number)
    return OrderCommand(action, record, mapped.cleared)


def _number(order: Segments, position: int) -> str:
    """An order number, of ORC or else of OBR, where it has the same position."""
    number = order.value("ORC", position, 1) or order.value("OBR", position, 1)
    if number == mappings.NULL:
        return ""
    if len(number) > _NUMBER_LENGTH:
        raise Refusal("102", f"ORC^1^{position}", "the order number is too long")
    return " ".join(values.text(number, "LT").split())


def _numbered(location: str, number: int) -> str:
    """The location in the order with that number; the patient's segments are there once."""
    segment, _, field = location.split("^")
    return location if segment == "PID" else f"{segment}^{number}^{field}"


def _check(order: Segments, record: WorklistRecord, action: Action, number: int) -> None:
    if order.first("PID") is None:
        raise Refusal("100", "PID^1", "no PID segment")
    if not record.patient_id:
        raise Refusal("101", "PID^1^3", "no patient identifier")
    orders = (record.placer_order_number, record.filler_order_number, record.accession_number)
    if not any(orders):
        raise Refusal("101", f"ORC^{number}^2", "no order number")
    if action is not Action.MOVE and order.first("OBR") is None:
        # Nothing says what is ordered: made-up defaults would reach the scanner as facts.
        raise Refusal("100", f"OBR^{number}", "no OBR segment")
    if action is not Action.MOVE and not record.patient_name:
        raise Refusal("101", "PID^1^5", "no patient name")
