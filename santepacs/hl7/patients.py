"""Patient messages into worklist commands: ADT (HL7 v2 ch. 3; IHE RAD-1, RAD-12).

A patient's data are brought up to date in what is scheduled; registering or admitting a patient
schedules nothing. A cancelled event was none: its message changes nothing, because the data in it
may be older than ours.
"""

from collections.abc import Iterator
from functools import lru_cache

from santepacs.hl7.message import Message, Segment, Segments
from santepacs.hl7.orders import bounded
from santepacs.hl7.records import RecordReader, authority, identity
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import PatientAction, PatientCommand, WorklistRecord
from santepacs.worklist import values
from santepacs.worklist.mapping import NULL, FieldMapping

_UPDATES = ("A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A28", "A31")
_MERGES = ("A18", "A34", "A36", "A40")
_CANCELS = ("A11", "A12", "A13", "A25", "A26", "A27", "A32", "A33", "A38", "A52", "A53", "A55")
# Beds, visits and doctors: who sends ADT sends these too, and would stand still at an AR.
_ELSEWHERE = ("A09", "A14", "A15", "A16", "A17", "A20", "A21", "A22", "A54")
EVENTS: dict[str, PatientAction] = {
    **dict.fromkeys(_UPDATES, PatientAction.UPDATE),
    **dict.fromkeys(_MERGES, PatientAction.MERGE),
    "A47": PatientAction.RENUMBER,
    "A10": PatientAction.ARRIVE,
    **dict.fromkeys((*_CANCELS, *_ELSEWHERE), PatientAction.NOTHING),
}
_JOINING = (PatientAction.MERGE, PatientAction.RENUMBER)
_ID_LENGTH = 64
_FIELDS = (
    *("patient_id", "patient_name", "patient_birth_date", "patient_sex"),
    *("medical_alerts", "allergies"),
)


def patient_commands(message: Message, mapping: FieldMapping) -> list[PatientCommand]:
    """What a message of one of the `EVENTS` asks, in its order; a merge may name several patients.

    Raises Refusal with its place.
    """
    action = EVENTS[message.event]
    reader = RecordReader(message, patient_rows(mapping))
    if action is PatientAction.NOTHING:
        patient_id, issuer = identity(message, mapping)
        return [PatientCommand(action, reader.sender(patient_id=patient_id, patient_issuer=issuer))]
    persons = bounded(_persons(message))
    if not persons:
        raise Refusal("100", "PID^1", "no PID segment")
    if len(persons) > 1 and action not in _JOINING:
        raise Refusal("100", "PID^2", "this message has one patient")
    return [_command(reader, person, action) for person in persons]


@lru_cache(maxsize=64)
def patient_rows(mapping: FieldMapping) -> FieldMapping:
    """The part of the mapping that is about the patient."""
    return FieldMapping(tuple(row for row in mapping.rows if row.field in _FIELDS))


def _persons(message: Message) -> Iterator[Segments]:
    """Each PID with what follows it, such as its MRG."""
    persons: list[list[Segment]] = []
    for segment in message:
        if segment.name == "PID":
            persons.append([])
        if persons:
            persons[-1].append(segment)
    return (message.only(person) for person in persons)


def _command(reader: RecordReader, person: Segments, action: PatientAction) -> PatientCommand:
    record, cleared = reader.record(person)
    reader.require_patient(person, record)
    if action not in _JOINING:
        return PatientCommand(action, record, cleared)
    prior_id, prior_issuer = _prior(reader, person, record)
    return PatientCommand(action, record, cleared, prior_id, prior_issuer)


def _prior(reader: RecordReader, person: Segments, record: WorklistRecord) -> tuple[str, str]:
    """The identifier that was: of MRG-1 the one with the same issuer, else the first.

    Raises Refusal when there is none, or when it is the very identifier that is to stay.
    """
    merged = person.first("MRG")
    if merged is None:
        raise Refusal("100", reader.place(person, "MRG^1"), "no MRG segment")
    repetitions = merged.field(1).count(person.delimiters.repetition) + 1
    found = []
    for repetition in range(1, min(repetitions, 20) + 1):
        prior_id = person.value("MRG", 1, 1, repetition).strip()
        if prior_id and prior_id != NULL:
            found.append((prior_id, authority(person, "MRG", 1, repetition)))
    if not found:
        raise Refusal("101", reader.place(person, "MRG^1^1"), "no prior patient identifier")
    same_issuer = (one for one in found if one[1] == record.patient_issuer)
    sent, prior_issuer = next(same_issuer, found[0])
    if len(sent) > _ID_LENGTH:  # cut, it could be another patient's
        place = reader.place(person, "MRG^1^1")
        raise Refusal("102", place, f"the Patient ID has more than {_ID_LENGTH} characters")
    prior_id = values.text(sent, "LO")
    issuers = {prior_issuer, record.patient_issuer} - {""}
    if prior_id == record.patient_id and len(issuers) < 2:
        place = reader.place(person, "MRG^1^1")
        raise Refusal("205", place, "the prior patient identifier is the new one")
    return prior_id, prior_issuer
