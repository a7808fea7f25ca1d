"""How values read on a page."""

from datetime import date

import pytest

from santepacs.access.grants import last_day
from santepacs.web import shown
from santepacs.web.guard import local_path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("Doe^Jane", "Doe, Jane"), ("Doe^Jane^M^Dr^PhD", "Doe, Jane M (Dr PhD)"), ("Doe", "Doe"),
        ("^Jane", "Jane"), ("", ""), ("^^^^", ""), ("^^^Dr", "Dr"), ("DOE^JANE^^^", "DOE, JANE"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou · 山田, 太郎"), ("=山田^太郎", "山田, 太郎"),
        ("a^b^c^d^e^f^g", "a, b c (d e)"), ("Doe  ^ Jane", "Doe, Jane"),
    ],
)  # fmt: skip
def test_person_names_are_readable(value, text):
    assert shown.person_name(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("20261120", "2026-11-20"), ("", ""), ("20261399", "20261399"),
        (date(2026, 1, 2), "2026-01-02"),
    ],
)  # fmt: skip
def test_days_are_iso(value, text):
    assert shown.day(value) == text


def test_a_day_has_its_weekday():
    assert shown.weekday("20261120") == "Friday"
    assert shown.weekday("nonsense") == ""
    assert shown.long_day("20261120") == "Friday, 20 November 2026"


@pytest.mark.parametrize(
    ("value", "text"), [("143015.123", "14:30"), ("14", "14:00"), ("", ""), ("xx", "")]
)
def test_times_are_hours_and_minutes(value, text):
    assert shown.clock_time(value) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1500, "1.5 kB"), (526_000, "526 kB"),
     (12_345_678, "12 MB"), (5 * 10**9, "5.0 GB"), (7 * 10**15, "7000 TB")],
)  # fmt: skip
def test_sizes_have_their_unit(count, text):
    assert shown.size(count) == text


@pytest.mark.parametrize(
    ("born", "at", "text"),
    [("19610304", "20261120", "65\u00a0y"), ("20260601", "20261120", "5\u00a0mo"),
     ("19610304", "20260303", "64\u00a0y"), ("", "20261120", ""), ("20270101", "20261120", "")],
)  # fmt: skip
def test_age_is_that_of_the_day_of_the_images(born, at, text):
    assert shown.age(born, at) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [("a\x1b[31mb", "a [31mb"), ("a\u202eb", "ab"), ("a\u2028b", "ab"), ("a\0b", "a b"),
     ("日本", "日本"), ("<b>", "<b>")],
)  # fmt: skip
def test_v1_characters_that_control_anything_are_gone(value, text):
    assert shown.clean(value) == text


def test_long_values_lose_their_middle():
    assert shown.shortened("1.2.840.113619.2.1.20261120", 5) == "1.2.8…61120"
    assert shown.shortened("short", 5) == "short"


@pytest.mark.parametrize(
    ("text", "shown_text"),
    [
        ("PID^1^3 no patient identifier", "PID-3 no patient identifier"),
        ("OBR^2 no OBR segment", "OBR[2] no OBR segment"),
        ("MSH^1^9^1^2", "MSH-9.2"),
        ("the order is not known", "the order is not known"),
        ("PID^1^3^x", "PID^1^3^x"),
        ("", ""),
    ],
)
def test_a_place_in_a_message_is_shown_as_people_write_it(text, shown_text):
    assert shown.hl7_place(text) == shown_text


@pytest.mark.parametrize(
    ("study_date", "received", "days", "last"),
    [
        ("20261101", date(2026, 11, 20), 0, None),
        ("20261101", date(2026, 11, 20), 30, date(2026, 12, 1)),
        ("", date(2026, 11, 20), 30, date(2026, 12, 20)),
        ("20991231", date(2026, 11, 20), 30, date(2026, 12, 20)),
        ("nonsense", date(2026, 11, 20), 1, date(2026, 11, 21)),
    ],
)
def test_t4_a_link_ends_so_many_days_after_the_study_date(study_date, received, days, last):
    assert last_day(study_date, received, days) == last


@pytest.mark.parametrize("text", ["/search", "/studies/1.2?x=y", "/patients/5#link"])
def test_a_path_of_this_site_is_kept(text):
    assert local_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["//evil", "/\\evil", "http://evil", "javascript:alert(1)", "", "evil", "/a b", "/\r\nX: y",
     "/" + "a" * 3000, "/é", "\\\\evil"],
)  # fmt: skip
def test_w14_nothing_else_is_a_path_to_go_on_to(text):
    assert local_path(text) == "/search"
