"""The one table from errors and outcomes to DIMSE statuses."""

import pytest

from santepacs.dicom import status
from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, Unavailable
from santepacs.logs import fault
from santepacs.model.study import Outcome


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Malformed("x"), 0xC000),
        (Conflict("x"), 0xA900),
        (Unavailable("x"), 0xA700),
        (Forbidden("x"), 0x0124),
        (RuntimeError("x"), 0x0110),
    ],
)
def test_a_store_that_fails_says_why(error, expected):
    assert status.of_store(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Malformed("x"), 0xA900),
        (NotFound("x"), 0xA801),
        (Unavailable("x"), 0xA700),
        (Forbidden("x"), 0x0124),
        (RuntimeError("x"), 0x0110),
    ],
)
def test_a_query_or_retrieval_that_fails_says_why(error, expected):
    assert status.of_query(error) == expected


def test_every_outcome_of_storing_has_its_status():
    assert {outcome: int(status.STORED[outcome]) for outcome in Outcome} == {
        Outcome.STORED: 0x0000,
        Outcome.SAME: 0x0000,
        Outcome.ASIDE: 0xB000,
        Outcome.REFUSED: 0xC001,
    }


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(0x0000, False), (0x0001, True), (0xB000, True), (0xB007, True), (0xA700, False),
     (0xC000, False), (0x0110, False)],
)  # fmt: skip
def test_warnings_of_a_receiver_are_told_from_failures(answer, expected):
    assert status.is_warning(answer) is expected


def test_only_our_own_errors_are_quoted_and_they_fit():
    assert status.comment(Malformed("no UID")) == "no UID"
    assert status.comment(Malformed("ü" * 100)) == "?" * 64
    assert status.comment(RuntimeError("Doe^Jane")) == ""


def test_an_unexpected_error_is_described_by_its_place_and_never_by_its_message():
    try:
        raise RuntimeError("Doe^Jane")
    except RuntimeError as error:
        described = fault(error)
    assert described.startswith("RuntimeError at test_status.py:")
    assert "Jane" not in described
