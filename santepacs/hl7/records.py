"""From the segments of a message to the fields of a worklist record.

What order, patient and appointment messages have in common: the field mapping applied, the sender,
the issuer of the Patient ID, the allergies of every AL1, and errors that name their place.
"""

from typing import Any

from santepacs.hl7.message import Message, Segments
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import WorklistRecord
from santepacs.worklist import mapping as mappings
from santepacs.worklist import values
from santepacs.worklist.mapping import NULL, FieldMapping

_NUMBER_LENGTH = 199
_ALLERGIES_LENGTH = 64
_NUMBERS = ("accession_number", "placer_order_number", "filler_order_number")


class RecordReader:
    """Reads the records of one message."""

    def __init__(self, message: Message, mapping: FieldMapping) -> None:
        self.message = message
        self._mapping = mapping
        self._allergies = _allergies(message)
        application, facility = message.sender
        self._sender: dict[str, Any] = {
            "sending_application": values.text(application, "LO"),
            "sending_facility": values.text(facility, "LO"),
        }

    def sender(self, **known: Any) -> WorklistRecord:
        """A record that says who sent it, and what is `known`."""
        return WorklistRecord(**self._sender, **known)

    def record(self, source: Segments, **known: Any) -> tuple[WorklistRecord, frozenset[str]]:
        """What `source` says by the mapping, else what is `known`; and what the sender deletes.

        Raises Refusal for a value that must be neither guessed at nor dropped.
        """
        try:
            found = mappings.read(self._mapping, source)
        except mappings.UnusableValue as problem:
            raise Refusal("102", self.place(source, problem.location), str(problem)) from None
        changes: dict[str, Any] = {**self._sender, **known, **found.values}
        cleared = found.cleared
        if self._allergies == NULL:
            cleared |= {"allergies"}
        elif self._allergies:
            changes.setdefault("allergies", self._allergies)
        _, changes["patient_issuer"] = identity(source, self._mapping)
        if not changes.get("requested_procedure_id"):
            # Mandatory in a record; in a message only the order's own number is.
            own = (changes.get(name) for name in _NUMBERS)
            changes["requested_procedure_id"] = values.text(next(filter(None, own), ""), "SH")
        return WorklistRecord(**changes), cleared - set(changes)

    def number(self, source: Segments, *places: tuple[str, int]) -> str:
        """The order number at the first of these places that has one; else empty.

        Raises Refusal for one that is too long to be told from others.
        """
        for segment, field in places:
            number = source.value(segment, field, 1).strip()
            if not number or number == NULL:
                continue
            if len(number) > _NUMBER_LENGTH:
                location = self.place(source, f"{segment}^1^{field}")
                raise Refusal("102", location, "the order number is too long")
            return " ".join(values.text(number, "LT").split())
        return ""

    def require_patient(self, source: Segments, record: WorklistRecord) -> None:
        """Raises Refusal when nothing says whose record it is."""
        if source.first("PID") is None:
            raise Refusal("100", "PID^1", "no PID segment")
        if not record.patient_id:
            raise Refusal("101", self.place(source, "PID^1^3"), "no patient identifier")

    def place(self, source: Segments, location: str) -> str:
        """`location` with the number that its segment has in the whole message.

        An absent segment has the number of what it should stand with.
        """
        name, _, rest = location.partition("^")
        segment = source.first(name) or source.segments[0]
        same = [found for found in self.message if found.name == segment.name]
        return "^".join((name, str(same.index(segment) + 1), *rest.split("^")[1:]))


def identity(source: Segments, mapping: FieldMapping) -> tuple[str, str]:
    """The Patient ID and its issuer (the assigning authority, CX.4); empty where absent.

    The issuer is sought beside the first value that the mapping finds for the Patient ID.
    """
    for row in mapping.rows:
        if row.field != "patient_id":
            continue
        raw = source.value(
            row.segment, row.position, row.component, row.repetition, row.subcomponent
        ).strip()
        patient_id = values.text(raw, "LO") if raw != NULL else ""
        if patient_id:
            return patient_id, authority(source, row.segment, row.position, row.repetition)
    return "", ""


def authority(source: Segments, segment: str, field: int, repetition: int = 1) -> str:
    """The assigning authority of an identifier: its name, else its universal ID."""
    for subcomponent in (1, 2):
        name = source.value(segment, field, 4, repetition, subcomponent).strip()
        if name and name != NULL:
            return values.text(name, "LO")
    return ""


def _allergies(message: Message) -> str:
    """Every AL1-3, as text or else as code, as many as a record holds; NULL where deleted."""
    found: list[str] = []
    length = 0
    for segment in message:
        if segment.name != "AL1" or length > _ALLERGIES_LENGTH:
            continue
        text = message.value_in(segment, 3, 2) or message.value_in(segment, 3, 1)
        text = values.text(text, "LO")
        if text and text not in found:
            found.append(text)
            length += len(text)
    named = [text for text in found if text != NULL]
    if found and not named:
        return NULL
    return values.text(", ".join(named), "LO")
