"""Order messages into worklist commands: ORM^O01, OMG^O19, OMI^O23 (HL7 v2 ch. 4.4; IHE RAD-2,
RAD-3, RAD-4, RAD-13).

A message is a patient and orders: an order begins at its ORC, or at an OBR where no ORC comes
first. What stands before the first order belongs to each of them, what stands between an ORC and
its OBR (such as TQ1) to each OBR of that ORC. An OBR with several IPC is as many steps.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from santepacs.hl7.message import Message, Segment, Segments
from santepacs.hl7.records import RecordReader
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import Action, OrderCommand, WorklistRecord, order_control
from santepacs.worklist.mapping import FieldMapping

MAXIMUM_STEPS = 500  # of a message; all of them are decided upon in one turn of the reactor


def order_commands(message: Message, mapping: FieldMapping) -> list[OrderCommand]:
    """What an order message asks of the worklist, in its order.

    Raises Refusal with its place for an order that cannot be used. One bad order refuses the
    message, so that a message is taken or not.
    """
    if sum(segment.name == "PID" for segment in message) > 1:
        raise Refusal("100", "PID^2", "an order message has one patient")
    reader = RecordReader(message, mapping)
    found = [_command(reader, order) for order in bounded(orders_of(message))]
    if not found:
        raise Refusal("100", "ORC^1", "no ORC or OBR segment")
    return found


def bounded(steps: Iterator[Segments]) -> list[Segments]:
    """The steps of a message, or its patients. Raises Refusal when there are too many."""
    found = list(islice(steps, MAXIMUM_STEPS + 1))
    if len(found) > MAXIMUM_STEPS:
        raise Refusal("207", "", f"more than {MAXIMUM_STEPS} orders, services or patients")
    return found


@dataclass(slots=True)
class Group:
    """A segment that begins a group with what follows it, and the parts of the group."""

    head: list[Segment] = field(default_factory=list)
    parts: list[list[Segment]] = field(default_factory=list)


def grouped(message: Message, head: str, part: str) -> tuple[list[Segment], list[Group]]:
    """What stands before any group, and the groups: each begins at a `head`, and within it a part
    at each `part`. A part that is under no head is a group of its own.
    """
    before: list[Segment] = []
    groups: list[Group] = []
    for segment in message:
        under_head = bool(groups and groups[-1].head)
        if segment.name == head or (segment.name == part and not under_head):
            groups.append(Group())
        if segment.name == part:
            groups[-1].parts.append([segment])
        elif groups:
            (groups[-1].parts or [groups[-1].head])[-1].append(segment)
        else:
            before.append(segment)
    return before, groups


def orders_of(message: Message) -> Iterator[Segments]:
    """The steps that a message orders, each with the segments that it shares with others."""
    before, groups = grouped(message, "ORC", "OBR")
    patient = message.only(before)
    for group in groups:
        if len(group.parts) < 2:
            yield from _procedures(message, sum(group.parts, group.head), patient)
            continue
        control = message.only(group.head, patient)
        for request in group.parts:
            yield from _procedures(message, request, control)


def _procedures(message: Message, order: list[Segment], shared: Segments) -> Iterator[Segments]:
    procedures = [segment for segment in order if segment.name == "IPC"]
    if len(procedures) < 2:
        yield message.only(order, shared)
        return
    common = message.only([segment for segment in order if segment.name != "IPC"], shared)
    yield from (message.only([procedure], common) for procedure in procedures)


def _command(reader: RecordReader, order: Segments) -> OrderCommand:
    code = order.value("ORC", 1, 1).strip().upper()
    known = order_control(code, order.value("ORC", 5, 1).strip().upper())
    if known is None:
        raise Refusal("103", reader.place(order, "ORC^1^1"), "unknown order control code")
    action, status = known
    numbers = {
        "placer_order_number": reader.number(order, ("ORC", 2), ("OBR", 2)),
        "filler_order_number": reader.number(order, ("ORC", 3), ("OBR", 3)),
    }
    if action is Action.NOTHING:
        return OrderCommand(action, reader.sender(**numbers, step_status=status))
    record, cleared = reader.record(order, **numbers, step_status=status)
    _check(reader, order, record, action)
    return OrderCommand(action, record, cleared)


def _check(reader: RecordReader, order: Segments, record: WorklistRecord, action: Action) -> None:
    reader.require_patient(order, record)
    if not (record.placer_order_number or record.filler_order_number or record.accession_number):
        raise Refusal("101", reader.place(order, "ORC^1^2"), "no order number")
    if action is Action.MOVE:
        return
    if order.first("OBR") is None and order.first("IPC") is None:
        # Nothing says what is ordered: made-up defaults would reach the scanner as facts.
        raise Refusal("100", reader.place(order, "OBR^1"), "no OBR segment")
    if not record.patient_name:
        raise Refusal("101", "PID^1^5", "no patient name")
