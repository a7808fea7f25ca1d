"""The search line and the search form, turned into criteria. Pure.

The line takes what comes to mind: ``mull 2026-11``, ``today ct``, an ID, an accession number.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from santepacs.db.browse import Criteria, Word
from santepacs.web.shown import MODALITIES, SEXES, day, dicom_date

MAXIMUM_LENGTH = 200
MAXIMUM_WORDS = 8
FIELDS = (
    "name", "patient_id", "sex", "birth_date", "date_from", "date_to", "accession_number",
    "institution", "referring_physician", "modality",
)  # fmt: skip
_DATES = ("birth_date", "date_from", "date_to")
_LABELS = {
    "name": "name", "patient_id": "patient ID", "sex": "sex", "birth_date": "born",
    "accession_number": "accession number", "institution": "institution",
    "referring_physician": "referring physician", "modality": "modality",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A search: what was typed, what it means, and what could not be read."""

    line: str
    fields: dict[str, str]
    criteria: Criteria
    meaning: tuple[tuple[str, str], ...]
    """What is looked for, as label and value."""
    problems: dict[str, str]
    """Field -> why its value was left out."""

    @property
    def uses_form(self) -> bool:
        """Whether a field of the full form is filled in."""
        return any(self.fields.values())


def read(values: Mapping[str, str], today: date) -> Asked:
    """The search in the fields of a request."""
    line = values.get("q", "").strip()[:MAXIMUM_LENGTH]
    fields = {name: values.get(name, "").strip()[:MAXIMUM_LENGTH] for name in FIELDS}
    problems: dict[str, str] = {}
    found = dict(fields)
    for name in _DATES:
        found[name] = form_date(fields[name])
        if fields[name] and not found[name]:
            problems[name] = "Not a date; write it like 2026-11-20."
    if fields["sex"] not in SEXES:
        found["sex"] = ""
    low, high = found["date_from"], found["date_to"]
    if low and high and low > high:
        problems["date_to"] = "This is before the other date."

    words: list[Word] = []
    meaning: list[tuple[str, str]] = []
    for text in line.split()[:MAXIMUM_WORDS]:
        span = _named_span(text, today)
        if span is not None:
            found["date_from"] = max(span[0], found["date_from"])
            found["date_to"] = min(span[1], found["date_to"] or span[1])
            meaning.append(("study date", span_text(*span)))
        elif text.upper() in MODALITIES and not found["modality"]:
            found["modality"] = text.upper()
        else:
            low, high = _written_span(text) or ("", "")
            words.append(Word(text, low, high))
            label = "date, ID or accession number" if low else "name, ID or accession number"
            meaning.append((label, text))
    if fields["date_from"] or fields["date_to"]:
        meaning.append(("study date", span_text(form_date(fields["date_from"]),
                                                 form_date(fields["date_to"]))))  # fmt: skip
    for name, label in _LABELS.items():
        if found[name]:
            shown = {**SEXES, **MODALITIES}.get(found[name], "") if name == "sex" else ""
            value = day(found[name]) if name == "birth_date" else shown or found[name]
            meaning.append((label, value))
    return Asked(line, fields, Criteria(tuple(words), **found), tuple(meaning), problems)


def form_date(text: str) -> str:
    """``YYYYMMDD`` of a form's date, also of one typed like 2026-11-20; empty for anything else."""
    digits = text.replace("-", "") if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else text
    return digits if dicom_date(digits) else ""


def _named_span(text: str, today: date) -> tuple[str, str] | None:
    """``today``, ``yesterday``, ``week`` and ``month`` as first and last day."""
    days = {"today": (0, 0), "yesterday": (1, 1), "week": (6, 0), "month": (30, 0)}
    if text.lower() not in days:
        return None
    first, last = days[text.lower()]
    return (
        f"{today - timedelta(days=first):%Y%m%d}",
        f"{today - timedelta(days=last):%Y%m%d}",
    )


def _written_span(text: str) -> tuple[str, str] | None:
    """A written day, month or year as first and last day."""
    if match := re.fullmatch(r"([0-9]{1,2})\.([0-9]{1,2})\.([0-9]{4})", text):
        text = f"{match[3]}{int(match[2]):02d}{int(match[1]):02d}"
    if match := re.fullmatch(r"((?:19|20)[0-9]{2})-?(0[1-9]|1[0-2])-?([0-9]{2})", text):
        found = "".join(match.groups())
        return (found, found) if dicom_date(found) else None
    if match := re.fullmatch(r"((?:19|20)[0-9]{2})-(0[1-9]|1[0-2])", text):
        return f"{match[1]}{match[2]}01", f"{match[1]}{match[2]}31"
    if re.fullmatch(r"(19|20)[0-9]{2}", text):
        return f"{text}0101", f"{text}1231"
    return None


def span_text(low: str, high: str) -> str:
    """A first and a last day in words; either may be open."""
    if low == high:
        return day(low)
    if not low or not high:
        return f"from {day(low)}" if low else f"to {day(high)}"
    return f"{day(low)} to {day(high)}"
