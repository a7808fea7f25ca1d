"""Acknowledgements: what they repeat, their error forms, and that nothing can be injected."""

from datetime import UTC, datetime

import pytest

from santepacs.hl7.acknowledgement import Sender, acknowledge, refuse_unreadable
from santepacs.hl7.message import parse
from santepacs.hl7.refusal import Refusal

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OWN = Sender("SANTEPACS", "SITE|1")


def ack(header, refusal=None, warning="", encoding="utf-8"):
    message = parse((header + "\rPID" + header[3] + "1\r").encode(encoding))
    answer = acknowledge(
        message, now=NOW, control_id="A1", sender=OWN, refusal=refusal, warning=warning
    )
    return answer.decode(encoding)


def test_an_accepted_message():
    assert ack("MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ORM^O01|77|P|2.3.1") == (
        "MSH|^~\\&|PACS|RAD|HIS|WARD|20260102030405||ACK^O01^ACK|A1|P|2.3.1\rMSA|AA|77\r"
    )


def test_own_name_where_none_was_sent():
    assert ack("MSH|^~\\&|||||||ORM^O01|77|P|2.3").startswith("MSH|^~\\&|SANTEPACS|SITE\\F\\1|")


@pytest.mark.parametrize(
    "version, event, expected",
    [
        ("2.1", "^O01", "ACK"),
        ("2.2", "^O01", "ACK"),
        ("2.3", "^O01", "ACK^O01^ACK"),
        ("2.5.1", "^O01^ORM_O01", "ACK^O01^ACK"),
        ("2.5.1", "", "ACK"),
    ],
)
def test_the_message_type_of_each_version(version, event, expected):
    answer = ack(f"MSH|^~\\&|||||||ORM{event}|77|P|{version}")
    assert answer.split("|")[8] == expected


def test_an_empty_control_id_is_answered():
    assert ack("MSH|^~\\&|||||||ORM^O01||P|2.3").endswith("\rMSA|AA\r")


def test_the_errors_of_2_5_and_later():
    refusal = Refusal("101", "PID^1^3", "no patient identifier")
    answer = ack("MSH|^~\\&|A|B|C|D|||ORM^O01|77|P|2.5.1", refusal)
    assert answer.split("\r")[1:] == [
        "MSA|AE|77|no patient identifier",
        "ERR||PID^1^3|101^Required field missing^HL70357|E||||no patient identifier",
        "",
    ]


def test_the_errors_before_2_5():
    refusal = Refusal("200", "MSH^1^9^1^1", "messages of this type are not processed")
    answer = ack("MSH|^~\\&|A|B|C|D|||XYZ^Z01|77|P|2.3.1", refusal)
    assert answer.split("\r")[1:] == [
        "MSA|AR|77|messages of this type are not processed",
        "ERR|MSH^1^9^200&Unsupported message type&HL70357",
        "",
    ]


def test_the_delimiters_and_set_of_the_message_are_kept():
    answer = ack("MSH*@%!$*A*Müller*C*D***ORM@O01*77*P*2.3******8859/1", encoding="latin-1")
    assert answer.startswith("MSH*@%!$*C*D*A*Müller*")
    assert answer.split("\r")[0].endswith("*ACK@O01@ACK*A1*P*2.3******8859/1")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_wide_text_is_answered_wide(encoding):
    message = parse("MSH|^~\\&|Ω|B|C|D|||ORM^O01|7|P|2.5\r".encode(encoding))
    answer = acknowledge(message, now=NOW, control_id="A1", sender=OWN)
    assert parse(answer).value("MSH", 5) == "Ω"


def test_accept_acknowledgements_are_not_asked_for():
    answer = ack("MSH|^~\\&|A|B|C|D|||ORM^O01|77|P|2.5|||AL|AL||UNICODE UTF-8")
    assert answer.split("\r")[0].split("|")[14:] == ["", "", "", "UNICODE UTF-8"]


@pytest.mark.parametrize(
    "control_id",
    ["1\\X0D\\MSA\\F\\AR", "1\x0bMSH|x", "1\x1c\x1d2", "\\.br\\MSA", "^&~\\"],
)
def test_a_control_id_makes_no_segment(control_id):
    answer = ack(f"MSH|^~\\&|A|B|C|D|||ORM^O01|{control_id}|P|2.5")
    segments = answer.split("\r")
    assert [segment[:3] for segment in segments] == ["MSH", "MSA", ""]
    assert segments[1].startswith("MSA|AA|")
    assert not set(answer) & set("\n\x0b\x1c\x1d")


def test_a_control_id_is_repeated_exactly():
    assert "MSA|AA|a\\F\\b^c&d~e\r" in ack("MSH|^~\\&|A|B|C|D|||ORM^O01|a\\F\\b^c&d~e|P|2.5")


def test_texts_are_escaped_and_short():
    refusal = Refusal("102", "", "a|b\rMSA|AA" + "x" * 100)
    segments = ack("MSH|^~\\&|A|B|C|D|||ORM^O01|7|P|2.5", refusal).split("\r")
    assert segments[1].startswith("MSA|AE|7|a\\F\\b MSA\\F\\AAxxx")
    assert len(segments) == 4


def test_a_warning_goes_with_an_acceptance():
    answer = ack("MSH|^~\\&|A|B|C|D|||ORM^O01|7|P|2.5", warning="order not known")
    assert "\rMSA|AA|7|order not known\r" in answer


@pytest.mark.parametrize("raw", [b"MSH|^~\\&|||||||ACK|7", b"MSH|^~\\&|||||||ORR^O02|7\rMSA|AA|1"])
def test_an_acknowledgement_is_not_acknowledged(raw):
    assert acknowledge(parse(raw), now=NOW, control_id="A1", sender=OWN) is None


def test_the_answer_to_what_cannot_be_read():
    refusal = Refusal("100", "MSH^1", "the message does not begin with MSH")
    answer = refuse_unreadable(refusal, now=NOW, control_id="A1", sender=OWN)
    assert parse(answer).value("MSA", 1) == "AE"
    assert parse(answer).value("ERR", 1, 4) == "100&Segment sequence error&HL70357"
