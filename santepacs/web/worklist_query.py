"""The worklist's search line and form, turned into a `ListQuery`, and the place in its pages. Pure.

The line takes words of the name, an ID or an accession number, and also ``today``, ``tomorrow``,
``yesterday``, ``week`` and modality codes.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from urllib.parse import parse_qsl, urlencode

from santepacs.model.order import FINISHED, ListQuery, StepStatus
from santepacs.web.query import form_date, span_text
from santepacs.web.shown import MODALITIES, day

Place = tuple[str, str, int]

MAXIMUM_LENGTH = 200
FIELDS = (
    "patient_name", "patient_id", "accession_number", "patient_birth_date", "modality",
    "station_ae_title", "status", "date_from", "date_to",
)  # fmt: skip
# Shortcuts: first and last day, counted from today.
DAYS = {"today": (0, 0), "tomorrow": (1, 1), "yesterday": (-1, -1), "week": (-6, 0)}
DAY_WORDS = {
    "": "All", "today": "Today", "tomorrow": "Tomorrow", "yesterday": "Yesterday",
    "week": "Last 7 days",
}  # fmt: skip
STATUS_WORDS = {
    StepStatus.SCHEDULED: "Scheduled", StepStatus.HELD: "On hold", StepStatus.ARRIVED: "Arrived",
    StepStatus.READY: "Ready", StepStatus.STARTED: "In progress",
    StepStatus.COMPLETED: "Completed", StepStatus.DISCONTINUED: "Discontinued",
    StepStatus.CANCELED: "Cancelled", StepStatus.DEPARTED: "Departed",
}  # fmt: skip
OPEN = tuple(status for status in StepStatus if status not in FINISHED)
_LABELS = {
    "patient_name": "name", "patient_id": "patient ID", "accession_number": "accession number",
    "patient_birth_date": "born", "modality": "modality", "station_ae_title": "station",
}  # fmt: skip
_DATES = ("patient_birth_date", "date_from", "date_to")
_PLACE = re.compile(r"([0-9]{0,8})-([0-9]{0,6})-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: what was typed, what it means, and what could not be read."""

    line: str
    when: str
    """The shortcut that is in force, a key of `DAY_WORDS`."""
    fields: dict[str, str]
    query: ListQuery
    meaning: tuple[tuple[str, str], ...]
    """What is looked for, as label and value."""
    problems: dict[str, str]
    """Field -> why its value was left out."""
    after: Place | None = None
    """Where the page begins: behind this record."""
    backwards: bool = False
    """The page ends before `after` instead."""

    @property
    def uses_form(self) -> bool:
        """Whether a field of the full form is filled in."""
        return any(self.fields.values())

    def address(self, path: str = "/worklist", **changes: str) -> str:
        """`path` with this search; the place in its pages is not kept."""
        kept = {"q": self.line, "when": self.when, **self.fields}
        if not self.query.newest_first:
            kept["order"] = "oldest"
        query = urlencode({name: text for name, text in {**kept, **changes}.items() if text})
        return f"{path}?{query}" if query else path

    @property
    def as_text(self) -> str:
        """This search as one form field; `again` reads it."""
        return self.address("").removeprefix("?")


def read(values: Mapping[str, str], today: date) -> Asked:
    """The search in the fields of a request."""
    line = values.get("q", "").strip()[:MAXIMUM_LENGTH]
    fields = {name: values.get(name, "").strip()[:MAXIMUM_LENGTH] for name in FIELDS}
    fields["modality"] = fields["modality"].upper()
    when = values.get("when", "")
    if when not in DAYS or fields["date_from"] or fields["date_to"]:
        when = ""
    problems: dict[str, str] = {}
    found = dict(fields)
    for name in _DATES:
        found[name] = form_date(fields[name])
        if fields[name] and not found[name]:
            problems[name] = "Not a date; write it like 2026-11-20."
    if found["date_from"] and found["date_to"] and found["date_from"] > found["date_to"]:
        problems["date_to"] = "This is before the other date."

    words: list[str] = []
    spans = [DAYS[when]] if when else []
    for word in line.split():
        if word.lower() in DAYS:
            spans.append(DAYS[word.lower()])
        elif word.upper() in MODALITIES and not found["modality"]:
            found["modality"] = word.upper()
        else:
            words.append(word)
    for first, last in spans:
        low, high = (f"{today + timedelta(days=days):%Y%m%d}" for days in (first, last))
        found["date_from"] = max(low, found["date_from"])
        found["date_to"] = min(high, found["date_to"] or high)
    status = found.pop("status")
    query = ListQuery(
        text=" ".join(words),
        statuses=_statuses(status),
        newest_first=values.get("order") != "oldest",
        **found,
    )
    backwards = bool(values.get("before"))
    place = _place(values.get("before") or values.get("after", ""))
    return Asked(
        line, when, fields, query, tuple(_meaning(query, status)), problems, place,
        backwards and place is not None,
    )  # fmt: skip


def again(text: str, today: date) -> Asked:
    """The search that `Asked.as_text` wrote; whatever else it is, it is the search for all."""
    try:
        return read(dict(parse_qsl(text[:4000], max_num_fields=20)), today)
    except ValueError:
        return read({}, today)


def place_text(place: Place) -> str:
    """A place as a page's address has it."""
    return "{}-{}-{}".format(*place)


def _place(text: str) -> Place | None:
    match = _PLACE.fullmatch(text)
    return (match[1], match[2], int(match[3])) if match else None


def _statuses(status: str) -> tuple[StepStatus, ...]:
    if status == "open":
        return OPEN
    return (StepStatus(status),) if status in StepStatus.__members__ else ()


def _meaning(query: ListQuery, status: str) -> list[tuple[str, str]]:
    meaning = [("name, ID or accession number", query.text)] if query.text else []
    if query.date_from or query.date_to:
        meaning.append(("start", span_text(query.date_from, query.date_to)))
    for name, label in _LABELS.items():
        if value := getattr(query, name):
            meaning.append((label, day(value) if name in _DATES else value))
    if query.statuses:
        words = "not finished" if status == "open" else STATUS_WORDS[query.statuses[0]]
        meaning.append(("status", words))
    return meaning
