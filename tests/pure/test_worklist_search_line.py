"""The worklist's search line, its addresses, and where its pages begin."""

from datetime import date

import pytest

from santepacs.model.order import StepStatus
from santepacs.web.worklist_query import OPEN, again, place_text, read

TODAY = date(2026, 11, 21)


def asked(**values):
    return read(values, TODAY)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ({}, "", ""), ({"when": "today"}, "20261121", "20261121"),
        ({"when": "tomorrow"}, "20261122", "20261122"),
        ({"when": "yesterday"}, "20261120", "20261120"),
        ({"when": "week"}, "20261115", "20261121"), ({"when": "never"}, "", ""),
        ({"q": "Today"}, "20261121", "20261121"), ({"q": "week doe"}, "20261115", "20261121"),
        ({"date_from": "2026-11-01"}, "20261101", ""),
        ({"date_to": "20261130"}, "", "20261130"),
        ({"when": "today", "date_from": "2026-11-01"}, "20261101", ""),
        ({"q": "today", "date_from": "2026-11-01"}, "20261121", "20261121"),
        ({"date_from": "2026-13-01"}, "", ""),
    ],
)  # fmt: skip
def test_days(values, low, high):
    query = read(values, TODAY).query
    assert (query.date_from, query.date_to) == (low, high)


def test_words_that_are_no_day_and_no_modality_are_searched_for():
    query = asked(q="doe ct today A100").query
    assert (query.text, query.modality) == ("doe A100", "CT")


@pytest.mark.parametrize(
    ("status", "expected"),
    [("", ()), ("open", OPEN), ("ARRIVED", (StepStatus.ARRIVED,)), ("nonsense", ())],
)
def test_statuses(status, expected):
    assert asked(status=status).query.statuses == expected


def test_a_search_comes_back_from_its_address():
    first = asked(q="müller & co", when="today", modality="ct", status="open", order="oldest")
    assert again(first.as_text, TODAY) == first
    assert first.address("/worklist/5").startswith("/worklist/5?q=m%C3%BCller+%26+co&when=today")
    assert asked().address() == "/worklist"


@pytest.mark.parametrize("text", ["%", "a=b&" * 50, "=", "x" * 100_000, "q=a&q=b"])
def test_what_is_no_search_is_the_search_for_all_or_some(text):
    assert again(text, TODAY).address().startswith("/worklist")


@pytest.mark.parametrize(
    ("values", "place", "backwards"),
    [
        ({"after": "20261121-101500-12"}, ("20261121", "101500", 12), False),
        ({"before": "20261121-101500-12"}, ("20261121", "101500", 12), True),
        ({"after": "--7"}, ("", "", 7), False), ({"after": "x"}, None, False),
        ({"before": "x"}, None, False), ({"after": "20261121-101500-" + "9" * 19}, None, False),
    ],
)  # fmt: skip
def test_places(values, place, backwards):
    found = read(values, TODAY)
    assert (found.after, found.backwards) == (place, backwards)
    if place:
        assert place_text(place) in values.values()


def test_a_broken_date_is_said_and_left_out():
    found = asked(date_from="31.12.2026", patient_birth_date="x")
    assert set(found.problems) == {"date_from", "patient_birth_date"}
    assert found.fields["date_from"] == "31.12.2026"
    assert "before" in asked(date_from="2026-12-02", date_to="2026-12-01").problems["date_to"]


def test_what_is_looked_for_is_said_in_words():
    meaning = asked(q="doe", when="today", status="open", patient_birth_date="1961-03-04").meaning
    assert dict(meaning) == {
        "name, ID or accession number": "doe", "start": "2026-11-21", "born": "1961-03-04",
        "status": "not finished",
    }  # fmt: skip
