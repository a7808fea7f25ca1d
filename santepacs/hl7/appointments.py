"""Scheduling messages into worklist commands: SIU^S12 to S17 and S26 (HL7 v2 ch. 10).

An appointment is an order whose numbers are those of the appointment (SCH-1, SCH-2), unless it
names the order that it is for (SCH-26, SCH-27). Each service (AIS) of it is a step; without AIS
each OBR, where a site sends it; else the appointment is one step. A step has the resources of its
own group (RGS).

The field mapping speaks as for orders. Around it stand rows for what only an appointment has: its
start goes first, the rest fills what the mapping leaves empty.
"""

from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

from santepacs.hl7.message import Message, Segments
from santepacs.hl7.orders import bounded, grouped
from santepacs.hl7.records import RecordReader
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import Action, OrderCommand, StepStatus
from santepacs.worklist import values
from santepacs.worklist.mapping import START, FieldMapping, Row

EVENTS: dict[str, tuple[Action, StepStatus]] = {
    "S12": (Action.PLACE, StepStatus.SCHEDULED),
    "S13": (Action.CHANGE, StepStatus.SCHEDULED),
    "S14": (Action.CHANGE, StepStatus.SCHEDULED),
    "S15": (Action.MOVE, StepStatus.CANCELED),
    "S16": (Action.MOVE, StepStatus.DISCONTINUED),
    "S17": (Action.MOVE, StepStatus.CANCELED),
    "S26": (Action.MOVE, StepStatus.CANCELED),
}
_START = (
    Row(START, "SCH", 11, 4),
    Row(START, "AIS", 4),
    Row(START, "TQ1", 7),
    Row(START, "AIG", 8),
    Row(START, "AIL", 6),
    Row(START, "AIP", 6),
)
_REST = (
    Row("requested_procedure_description", "AIS", 3, 2),
    Row("requested_procedure_description", "AIS", 3),
    Row("requested_procedure_description", "SCH", 7, 2),
    Row("requested_procedure_description", "SCH", 7),
    Row("requested_procedure_description", "SCH", 8, 2),
    Row("requested_procedure_description", "SCH", 8),
    Row("scheduled_procedure_step_id", "AIS", 3),
    Row("requested_procedure_id", "AIS", 3),
    Row("scheduled_procedure_step_location", "AIL", 3),
    Row("status", "SCH", 25),
)
_ACCESSION_LENGTH = 16


def appointment_commands(message: Message, mapping: FieldMapping) -> list[OrderCommand]:
    """What a message of one of the `EVENTS` asks of the worklist, a command for each step.

    Raises Refusal with its place.
    """
    if message.first("SCH") is None:
        raise Refusal("100", "SCH^1", "no SCH segment")
    if sum(segment.name == "PID" for segment in message) > 1:
        raise Refusal("100", "PID^2", "an appointment has one patient")
    action, status = EVENTS[message.event]
    reader = RecordReader(message, appointment_mapping(mapping))
    steps = [message] if action is Action.MOVE else bounded(appointments_of(message))
    return [_command(reader, step, action, status) for step in steps]


@lru_cache(maxsize=64)
def appointment_mapping(mapping: FieldMapping) -> FieldMapping:
    """The mapping as it is applied to appointments."""
    return FieldMapping(_START + mapping.rows + _REST)


def appointments_of(message: Message) -> Iterator[Segments]:
    """The steps of an appointment, each with the segments that it shares with others."""
    services = {segment.name for segment in message} & {"AIS", "OBR"}
    if not services:
        yield message
        return
    _, groups = grouped(message, "RGS", min(services))
    for group in groups:
        resources = message.only([*group.head, *chain(*group.parts)], message)
        yield from (message.only(service, resources) for service in group.parts)


def _command(
    reader: RecordReader, step: Segments, action: Action, status: StepStatus
) -> OrderCommand:
    placer = reader.number(step, ("SCH", 26), ("SCH", 1))
    filler = reader.number(step, ("SCH", 27), ("SCH", 2))
    number = placer or filler
    if not number:
        raise Refusal("101", "SCH^1^1", "no appointment number")
    record, cleared = reader.record(
        step,
        step_status=status,
        placer_order_number=placer,
        filler_order_number=filler,
        # A number that is cut is another one.
        accession_number=number if len(number) <= _ACCESSION_LENGTH else "",
        technician_name=_staff(step),
    )
    reader.require_patient(step, record)
    if action is not Action.MOVE and not record.patient_name:
        raise Refusal("101", "PID^1^5", "no patient name")
    return OrderCommand(action, record, cleared)


def _staff(step: Segments) -> str:
    """The name in AIP-3 (XCN: number, then as in an XPN) as a PN."""
    family, given, middle, suffix, prefix = (
        step.value("AIP", 3, component) for component in range(2, 7)
    )
    return values.person_name("^".join((family, given, middle, prefix, suffix)))
