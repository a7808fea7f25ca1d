"""The search line understands what comes to mind; the form says what it could not read."""

from datetime import date

import pytest

from santepacs.db.browse import Criteria, Word
from santepacs.web.query import read

TODAY = date(2026, 11, 20)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", Criteria()),
        ("mull", Criteria((Word("mull"),))),
        ("mull 2026-11", Criteria((Word("mull"), Word("2026-11", "20261101", "20261131")))),
        ("today ct", Criteria(date_from="20261120", date_to="20261120", modality="CT")),
        ("Yesterday", Criteria(date_from="20261119", date_to="20261119")),
        ("week mr", Criteria(date_from="20261114", date_to="20261120", modality="MR")),
        ("2026-11-05", Criteria((Word("2026-11-05", "20261105", "20261105"),))),
        ("20261105", Criteria((Word("20261105", "20261105", "20261105"),))),
        ("5.11.2026", Criteria((Word("5.11.2026", "20261105", "20261105"),))),
        ("2026", Criteria((Word("2026", "20260101", "20261231"),))),
        ("20261399", Criteria((Word("20261399"),))),
        ("A1000", Criteria((Word("A1000"),))),
        ("ct mr", Criteria((Word("mr"),), modality="CT")),
    ],
)
def test_the_line_is_read(line, expected):
    assert read({"q": line}, TODAY).criteria == expected


def test_every_field_of_the_form_is_read():
    fields = {
        "name": "doe jane", "patient_id": "P1", "sex": "F", "birth_date": "1961-03-04",
        "date_from": "2026-01-01", "date_to": "2026-12-31", "accession_number": "A1",
        "institution": "General", "referring_physician": "House", "modality": "CT",
    }  # fmt: skip
    asked = read(fields, TODAY)
    assert asked.uses_form
    assert asked.criteria == Criteria(
        (), "doe jane", "P1", "F", "19610304", "20260101", "20261231", "A1", "General", "House",
        "CT",
    )  # fmt: skip
    assert ("study date", "2026-01-01 to 2026-12-31") in asked.meaning
    assert ("sex", "female") in asked.meaning


@pytest.mark.parametrize(
    ("field", "value"),
    [("birth_date", "04/03/1961"), ("date_from", "2026-02-30"), ("date_to", "soon")],
)
def test_a_date_that_is_none_is_named_and_left_out(field, value):
    asked = read({field: value}, TODAY)
    assert field in asked.problems
    assert asked.criteria.is_empty()
    assert asked.fields[field] == value


def test_dates_in_the_wrong_order_are_named():
    assert "date_to" in read({"date_from": "2026-02-02", "date_to": "2026-01-01"}, TODAY).problems


def test_the_meaning_is_told_in_words():
    asked = read({"q": "mull today ct"}, TODAY)
    assert asked.meaning == (
        ("name, ID or accession number", "mull"),
        ("study date", "2026-11-20"),
        ("modality", "CT"),
    )


def test_an_endless_line_is_cut():
    assert len(read({"q": "a " * 10_000}, TODAY).criteria.words) == 8
