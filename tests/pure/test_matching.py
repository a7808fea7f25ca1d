"""Matching of queries, without a database: PS3.4 C.2.2.2."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from santepacs.errors import Malformed
from santepacs.model.matching import (
    MAXIMUM_LIST,
    MAXIMUM_VALUE,
    Between,
    BetweenMoments,
    Equals,
    Fuzzy,
    Key,
    Like,
    OneOf,
    criteria,
    matches,
)
from santepacs.model.patterns import glob
from support.matching import CASES, EVERY, STUDIES


@pytest.mark.parametrize(("keys", "agreed", "expected"), CASES)
def test_keys_match_these_studies_and_no_others(keys, agreed, expected):
    asked = criteria(keys, **agreed)
    found = {
        number
        for number, attributes in enumerate(STUDIES, 1)
        if all(matches(criterion, attributes) for criterion in asked)
    }
    assert found == expected


@pytest.mark.parametrize(
    ("key", "criterion"),
    [
        (Key("PatientID", "LO", "P1 "), Equals("PatientID", "P1")),
        (Key("PatientID", "LO", "P*1"), Like("PatientID", "P*1")),
        (Key("PatientID", "LO", "P***1"), Like("PatientID", "P*1")),
        (Key("PatientName", "PN", "Doe^Jane"), Like("PatientName", "Doe^Jane")),
        (Key("StudyInstanceUID", "UI", "1.2\0"), Equals("StudyInstanceUID", "1.2")),
        (Key("StudyInstanceUID", "UI", "1.2\\1.3\\1.2"), OneOf("StudyInstanceUID", ("1.2", "1.3"))),
        (Key("SeriesNumber", "IS", " +007"), Equals("SeriesNumber", "7")),
        (Key("StudyDate", "DA", "20260101"), Equals("StudyDate", "20260101")),
        (Key("StudyDate", "DA", "20260101 - 20260102"),
         Between("StudyDate", "20260101", "20260102")),
        (Key("StudyTime", "TM", "10"), Between("StudyTime", "10", "105959.999999")),
        (Key("StudyTime", "TM", "101112.1"), Between("StudyTime", "101112.1", "101112.199999")),
        (Key("AcquisitionDateTime", "DT", "20260101"),
         Between("AcquisitionDateTime", "20260101", "20260101235959.999999")),
    ],
)  # fmt: skip
def test_each_kind_of_matching_has_its_criterion(key, criterion):
    assert criteria([key]) == [criterion]


def test_two_ranges_of_a_date_and_its_time_are_one_interval_when_that_was_agreed():
    keys = [Key("StudyDate", "DA", "20260101-20260103"), Key("StudyTime", "TM", "10-11")]
    low, high = "2026010110", "20260103115959.999999"
    assert criteria(keys, combined=True) == [BetweenMoments("StudyDate", "StudyTime", low, high)]
    assert len(criteria(keys)) == 2


def test_names_are_fuzzy_when_that_was_agreed():
    keys = [Key("PatientName", "PN", "doe"), Key("PatientID", "LO", "P*")]
    assert criteria(keys, fuzzy=True) == [Fuzzy("PatientName", "doe"), Like("PatientID", "P*")]
    infix = [Key("PatientName", "PN", "*oe*")]
    assert criteria(infix, fuzzy=True) == criteria(infix)


@pytest.mark.parametrize(
    ("attribute", "vr", "text"),
    [
        ("StudyDate", "DA", "yesterday"),
        ("StudyDate", "DA", "20261345"),
        ("StudyDate", "DA", "202601"),
        ("StudyDate", "DA", "202601*"),
        ("StudyDate", "DA", "20260101-20260102-20260103"),
        ("StudyDate", "DA", "20260101\\20260102"),
        ("StudyTime", "TM", "25"),
        ("StudyTime", "TM", "1260"),
        ("StudyTime", "TM", "123"),
        ("StudyTime", "TM", "12.5"),
        ("StudyTime", "TM", "120000."),
        ("StudyTime", "TM", "20260101120000"),
        ("AcquisitionDateTime", "DT", "soon"),
        ("SeriesNumber", "IS", "one"),
        ("SeriesNumber", "IS", "1e400"),
        ("SeriesNumber", "IS", "1\\x"),
        ("PatientID", "LO", "x" * (MAXIMUM_VALUE + 1)),
        ("PatientName", "PN", "x" * 10_000),
        ("PatientID", "LO", "a\0b"),
        ("PatientID", "LO", "a\udc80"),
        ("StudyInstanceUID", "UI", "\\".join(f"1.{n}" for n in range(MAXIMUM_LIST + 1))),
    ],
)
def test_an_impossible_key_is_refused_and_named(attribute, vr, text):
    with pytest.raises(Malformed, match=attribute):
        criteria([Key(attribute, vr, text)])


def test_a_refusal_does_not_repeat_what_was_asked():
    with pytest.raises(Malformed) as refusal:
        criteria([Key("StudyDate", "DA", "Doe^Jane")])
    assert "Jane" not in str(refusal.value)


def test_a_list_of_uids_may_be_long():
    text = "\\".join(f"1.{n}" for n in range(MAXIMUM_LIST))
    (criterion,) = criteria([Key("StudyInstanceUID", "UI", text)])
    assert len(criterion.values) == MAXIMUM_LIST


@given(st.text("ab*?", max_size=12), st.text("ab", max_size=12))
def test_glob_says_what_its_definition_says(pattern, text):
    def meant(p, t):
        if not p:
            return not t
        if p[0] == "*":
            return any(meant(p[1:], t[n:]) for n in range(len(t) + 1))
        return bool(t) and p[0] in ("?", t[0]) and meant(p[1:], t[1:])

    assert glob(pattern, text) == meant(pattern.replace("**", "*").replace("**", "*"), text)


def test_a_hostile_pattern_takes_no_time():
    started = time.perf_counter()
    assert not glob("*a" * 500 + "b", "a" * 1000)
    assert time.perf_counter() - started < 2


def test_unknown_values_match_nothing_but_a_universal_key():
    asked = criteria([Key("PatientID", "LO", "?*")])
    assert not matches(asked[0], {})
    assert not matches(asked[0], {"PatientID": ""})
    assert criteria([Key("PatientID", "LO", "")]) == []
    assert EVERY
