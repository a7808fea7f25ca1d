"""The mapping page's form: a mapping being worked on, and what each button does to it. Pure.

The whole mapping travels in one hidden field, so nothing is kept on the server before *Save*, and
several administrators do not disturb each other.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from santepacs.errors import Malformed
from santepacs.model.order import FIELDS
from santepacs.worklist import mapping_json
from santepacs.worklist.mapping import DEFAULT, PRESETS, START, FieldMapping, Mappings, Row

Sender = tuple[str, str]

EVERYBODY: Sender = ("", "")
MAXIMUM_SENDER_NAME = 200
LABELS = {
    **{name: field.label for name, field in FIELDS.items()},
    START: "START DATE - TIME",
}
_PLACE = re.compile(
    r"([A-Z][A-Z0-9]{2})-([0-9]{1,3})(?:\(([0-9]{1,2})\))?(?:\.([0-9]{1,2}))?(?:\.([0-9]{1,2}))?"
)
_NARROW = ("CS", "DA", "TM", "UI")
_NUMBERS = {"position": 999, "component": 99, "repetition": 99, "subcomponent": 99}


def ordered_fields() -> list[str]:
    """Every field that can be mapped, in the order of the table; the start before its parts."""
    names = list(FIELDS)
    names.insert(names.index("start_date"), START)
    return names


def is_narrow(name: str) -> bool:
    """Whether few values fit the field: one that fits is probably meant for it."""
    return name == START or FIELDS[name].vr in _NARROW


@dataclass(frozen=True, slots=True)
class Work:
    """What is on the page: the mappings, whose tab is open, the row that is being edited, and the
    place in the message that was clicked."""

    mappings: Mappings
    sender: Sender = EVERYBODY
    selected: int | None = None
    picked: str = ""
    problem: str = ""

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the open tab."""
        return self.mapping.rows

    @property
    def mapping(self) -> FieldMapping:
        """The mapping of the open tab."""
        return self.mappings.by_sender.get(self.sender, self.mappings.default)

    @property
    def senders(self) -> list[Sender]:
        """The tabs besides everybody's."""
        return sorted(self.mappings.by_sender)

    def with_mapping(self, mapping: FieldMapping) -> "Work":
        """The open tab with another mapping."""
        if self.sender == EVERYBODY:
            return replace(self, mappings=replace(self.mappings, default=mapping))
        by_sender = {**self.mappings.by_sender, self.sender: mapping}
        return replace(self, mappings=replace(self.mappings, by_sender=by_sender))

    def with_rows(self, rows: Iterable[Row], selected: int | None = None) -> "Work":
        """The open tab with other rows."""
        return replace(self.with_mapping(FieldMapping(tuple(rows))), selected=selected)


def read(fields: Mapping[str, str]) -> Work:
    """The work in a form. Raises Malformed for what our page does not send."""
    mappings = mapping_json.parsed(fields.get("mapping", ""), "the form")
    selected = _number(fields.get("selected", ""))
    work = Work(mappings, sender_of(fields.get("sender", "")), None, fields.get("picked", "")[:40])
    if work.sender != EVERYBODY and work.sender not in mappings.by_sender:
        work = replace(work, sender=EVERYBODY)
    if selected is not None and selected < len(work.rows):
        work = replace(work, selected=selected)
    return work


def act(work: Work, fields: Mapping[str, str]) -> Work:
    """The work after the button ``do``; what is in the row's editor is taken over first.

    A value that cannot be taken stays in the form: `problem` says why.
    """
    what, _, value = fields.get("do", "").partition(":")
    try:
        if what != "remove" and work.selected is not None and "segment" in fields:
            work = work.with_rows(
                _replaced(work.rows, work.selected, row_in(fields)), work.selected
            )
        return _done(work, what, value, fields)
    except Malformed as problem:
        return replace(work, problem=str(problem))


def _done(work: Work, what: str, value: str, fields: Mapping[str, str]) -> Work:
    number = _number(value)
    match what:
        case "select":
            return replace(work, selected=number)
        case "close":
            return replace(work, selected=None, picked="")
        case "pick":
            return _picked(work, value)
        case "feed" if value in LABELS:
            return _added(work, replace(place(work.picked), field=value))
        case "add" if fields.get("new_field") in LABELS:
            return _added(work, Row(fields["new_field"], "PID", 1))
        case "remove" if number is not None:
            return work.with_rows(row for n, row in enumerate(work.rows) if n != number)
        case "up" | "down" if number is not None and number < len(work.rows):
            return _moved(work, number, -1 if what == "up" else 1)
        case "preset" if fields.get("preset") in PRESETS:
            mapping = PRESETS[fields["preset"]]
            return replace(work.with_mapping(mapping), selected=None, picked="")
        case "default":
            return replace(work.with_mapping(DEFAULT), selected=None, picked="")
        case "tab":
            return replace(work, sender=sender_of(value), selected=None)
        case "add-sender":
            return _with_sender(work, fields)
        case "remove-sender" if work.sender != EVERYBODY:
            rest = {s: m for s, m in work.mappings.by_sender.items() if s != work.sender}
            mappings = replace(work.mappings, by_sender=rest)
            return Work(mappings)
    return work


def place(text: str) -> Row:
    """The place that ``PID-3(2).1`` names, as a row without a field. Raises Malformed."""
    match = _PLACE.fullmatch(text)
    if match is None:
        raise Malformed("that is no place in a message")
    segment, position, repetition, component, subcomponent = match.groups()
    return Row(
        "", segment, int(position), int(component or 0), int(repetition or 1),
        int(subcomponent or 0),
    )  # fmt: skip


def row_in(fields: Mapping[str, str]) -> Row:
    """The row in the editor. Raises Malformed naming what is wrong."""
    if fields.get("field") not in LABELS:
        raise Malformed("choose a field of the worklist")
    segment = fields.get("segment", "").strip().upper()
    if not re.fullmatch(r"[A-Z][A-Z0-9]{2}", segment):
        raise Malformed("a segment has a name of three letters, such as PID")
    numbers = {}
    for name, highest in _NUMBERS.items():
        lowest = 1 if name in ("position", "repetition") else 0
        usual = "1" if name in ("component", "repetition") else "0"
        number = _number(fields.get(name, "").strip() or usual)
        if number is None or not lowest <= number <= highest:
            raise Malformed(f"{name} is a number from {lowest} to {highest}")
        numbers[name] = number
    return Row(fields["field"], segment, **numbers)


def sender_of(text: str) -> Sender:
    """A sender as a form names it: application and facility, with a line feed between."""
    application, _, facility = text.replace("\r", "").partition("\n")
    return application[:MAXIMUM_SENDER_NAME], facility[:MAXIMUM_SENDER_NAME]


def _picked(work: Work, value: str) -> Work:
    """A value of the message was clicked: it goes into the row that is open, and is offered."""
    found = place(value)
    work = replace(work, picked=value)
    if work.selected is None:
        return work
    row = replace(found, field=work.rows[work.selected].field)
    return work.with_rows(_replaced(work.rows, work.selected, row), work.selected)


def _added(work: Work, row: Row) -> Work:
    """One more row, after those of its field; it is the one being edited."""
    if row in work.rows:
        return replace(work, selected=work.rows.index(row), picked="")
    same = [n for n, known in enumerate(work.rows) if known.field == row.field]
    at = same[-1] + 1 if same else len(work.rows)
    return replace(
        work.with_rows((*work.rows[:at], row, *work.rows[at:]), at), picked="", problem=""
    )


def _moved(work: Work, number: int, step: int) -> Work:
    """A row before or after the next one of its field."""
    rows = list(work.rows)
    same = [n for n, row in enumerate(rows) if row.field == rows[number].field]
    other = same.index(number) + step
    if not 0 <= other < len(same):
        return work
    rows[number], rows[same[other]] = rows[same[other]], rows[number]
    selected = same[other] if work.selected == number else work.selected
    return work.with_rows(rows, selected)


def _with_sender(work: Work, fields: Mapping[str, str]) -> Work:
    sender = tuple(
        " ".join(fields.get(name, "").split())[:MAXIMUM_SENDER_NAME]
        for name in ("new_application", "new_facility")
    )
    if not any(sender):
        raise Malformed("name the sending application (MSH-3) or facility (MSH-4)")
    known = work.mapping
    work = replace(work, sender=(sender[0], sender[1]), selected=None)
    return work if work.sender in work.mappings.by_sender else work.with_mapping(known)


def _replaced(rows: tuple[Row, ...], number: int, row: Row) -> list[Row]:
    return [row if n == number else known for n, known in enumerate(rows)]


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,4}", text) else None
