"""The table of the HL7 field mapping: its rows, its sets of rows, and which sender has which.

A row says where one value is looked for: segment, position, component (0: the whole value, with
its ``^``), and where needed repetition and subcomponent. Of several rows for one field, the first
that gives a value usable for the field wins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from santepacs.model.order import FIELDS

START = "start"
"""One time stamp that fills both date and time, as HL7 has it."""

MAPPED_FIELDS = frozenset(FIELDS) | {START}
MAXIMUM_ROWS = 500
MAXIMUM_SENDERS = 200


@dataclass(frozen=True, slots=True)
class Row:
    """Where one value is looked for. Positions count from 1."""

    field: str
    segment: str
    position: int
    component: int = 1
    repetition: int = 1
    subcomponent: int = 0

    @property
    def location(self) -> str:
        """As in ERR-2: segment, its number, field."""
        return f"{self.segment}^1^{self.position}"

    @property
    def place(self) -> str:
        """As people write it: ``PID-3.1``, ``PID-3(2).1``, ``OBR-34.1.2``; ``PID-5`` is all."""
        again = f"({self.repetition})" if self.repetition > 1 else ""
        parts = [number for number in (self.component, self.subcomponent) if number]
        return f"{self.segment}-{self.position}{again}" + "".join(f".{part}" for part in parts)


@dataclass(frozen=True)
class FieldMapping:
    """The rows, in order of preference."""

    rows: tuple[Row, ...]

    @cached_property
    def by_field(self) -> dict[str, tuple[Row, ...]]:
        """The rows of each field: what reading an order goes through."""
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.field, []).append(row)
        return {name: tuple(rows) for name, rows in found.items()}

    @cached_property
    def shared_modality_rows(self) -> frozenset[Row]:
        """Rows for the modality at a place where a station is looked for, too.

        There it is a modality only if it is one of DICOM's codes.
        """
        stations = {
            (row.segment, row.position)
            for row in self.rows
            if row.field in ("scheduled_station_name", "scheduled_station_ae_title")
        }
        return frozenset(
            row
            for row in self.by_field.get("modality", ())
            if (row.segment, row.position) in stations
        )


@dataclass(frozen=True)
class Mappings:
    """The mapping in force: one for everybody, and others for certain senders.

    `by_sender`: by sending application and facility (MSH-3.1, MSH-4.1); an empty one stands for
    any.
    """

    default: FieldMapping
    by_sender: Mapping[tuple[str, str], FieldMapping] = field(default_factory=dict)

    def of(self, application: str, facility: str) -> FieldMapping:
        """The mapping for messages of this sender: its own, its application's, its facility's."""
        sender = self.sender_of(application, facility)
        return self.by_sender[sender] if any(sender) else self.default

    def sender_of(self, application: str, facility: str) -> tuple[str, str]:
        """Under which sender that mapping stands; two empty names: it is everybody's."""
        for sender in ((application, facility), (application, ""), ("", facility)):
            if any(sender) and sender in self.by_sender:
                return sender
        return "", ""
