"""Token requests and answers as bytes; no description can forge a study."""

import pytest

from santepacs.tokens.dialogue import NOTHING, StudyToken, identifier, patient_reply, study_reply

TOKEN = "T" * 64
ONE = StudyToken("1.2.812", "20190603", "THORAX", TOKEN)
TWO = StudyToken("1.2.813", "20190604", "Κοιλιά", "U" * 64)


def test_the_answer_to_a_study():
    assert study_reply(TOKEN) == b"\x10" + TOKEN.encode() + b"\r"


def test_the_full_answer_to_a_patient():
    assert patient_reply([TWO, ONE], "full", "utf-8") == (
        b"\x101.2.812\r20190603\rTHORAX\r"
        + b"T" * 64
        + b"\r1.2.813\r20190604\r"
        + "Κοιλιά".encode()
        + b"\r"
        + b"U" * 64
        + b"\r\r"
    )


def test_the_pairs_answer_to_a_patient():
    assert patient_reply([ONE, TWO], "pairs", "utf-8") == (
        b"\x101.2.812\r" + b"T" * 64 + b"\r1.2.813\r" + b"U" * 64 + b"\r\r"
    )


def test_studies_are_ordered_by_date_then_uid():
    studies = [
        StudyToken(uid, date, "x", TOKEN)
        for uid, date in [("1.3", "20200101"), ("1.2", "20200101"), ("1.9", "20190101")]
    ]
    lines = patient_reply(studies, "pairs", "utf-8")[1:].split(b"\r")
    assert lines[0:6:2] == [b"1.9", b"1.2", b"1.3"]


def test_what_is_absent_is_one_space():
    reply = patient_reply([StudyToken("1.2", "", "  ", TOKEN)], "full", "utf-8")
    assert reply == b"\x101.2\r \r \r" + TOKEN.encode() + b"\r\r"


def test_without_studies_there_is_nothing():
    assert patient_reply([], "full", "utf-8") == NOTHING == b"\x10\r"


@pytest.mark.parametrize(
    "description",
    [
        "X\r" + "F" * 64 + "\r1.2.3\r20260101\rY",
        "X\n\x10\x0b\x1c\x00Y",
        "\r\r\r",
        "\u0085\u2028\u2029",
        "\u0d0d\u0d10",
    ],
)
@pytest.mark.parametrize("codec", ["utf-8", "iso8859-7", "utf-16-le", "iso2022_jp_ext", "big5"])
def test_a_description_cannot_split_the_answer(description, codec):
    forged = StudyToken("1.2.812", "20190603", description, TOKEN)
    reply = patient_reply([forged, TWO], "full", codec)
    assert reply.count(b"\r") == 4 * 2 + 1
    assert reply.count(b"\x10") == 1
    assert reply.endswith(b"\r\r") and b"\r\r" not in reply[:-2]


def test_text_is_in_the_default_set():
    assert "Κοιλιά".encode("iso8859-7") in patient_reply([TWO], "full", "iso8859-7")
    assert b"\r???\xe9??\r" not in patient_reply([TWO], "full", "latin-1")
    assert b"\r??????\r" in patient_reply([TWO], "full", "latin-1")


@pytest.mark.parametrize(
    "payload, expected",
    [
        (b"ID200631zw609", "ID200631zw609"),
        (b"1.2.3", "1.2.3"),
        (b" 1.2.3", " 1.2.3"),
        ("Ω7".encode(), "Ω7"),
        ("Ω7".encode("iso8859-7"), "Ω7"),
        (b"", ""),
        (b"%", "%"),
        (b"' OR 1=1--", "' OR 1=1--"),
        (b"a\x00b", ""),
        (b"a\x01", ""),
        (b"I\0D\0", ""),
        (b"\x7f", ""),
        (b"\xff\xfe\xff", ""),
    ],
)
def test_the_id_is_taken_exactly_or_not_at_all(payload, expected):
    assert identifier(payload, "iso8859-7" if payload[:1] != b"\xff" else "utf-8") == expected
