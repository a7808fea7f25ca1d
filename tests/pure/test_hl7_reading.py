"""Messages taken apart for people: names, places, bounds; templates; text that can be edited."""

from datetime import UTC, datetime

import pytest

from santepacs.hl7 import names, reading
from santepacs.hl7.message import parse
from santepacs.hl7.samples import SAMPLES
from santepacs.web.hl7_compose import addressed
from santepacs.web.hl7_text import ago, editable, in_form, visible

ORM = (
    b"MSH|^~\\&|A|B|||1||ORM^O01|7|P|2.3\rPID|1||X^^^H~Y||Doe^Jane\rOBX|1||||a\\T\\b\r\nZZZ|local\n"
)


def fields_of(read):
    return {field.place: field for segment in read.segments for field in segment.fields}


@pytest.mark.parametrize(
    ("segment", "field", "name"),
    [
        ("MSH", 1, "Field separator"),
        ("MSH", 18, "Character set"),
        ("PID", 5, "Patient name"),
        ("PV1", 8, "Referring doctor"),
        ("PV1", 44, "Admit date/time"),
        ("ORC", 15, "Order effective date/time"),
        ("OBR", 24, "Diagnostic service section ID"),
        ("OBR", 34, "Technician"),
        ("OBR", 44, "Procedure code"),
        ("IPC", 9, "Scheduled station AE title"),
        ("TQ1", 7, "Start date/time"),
        ("SCH", 11, "Appointment timing"),
        ("AIS", 4, "Start date/time"),
        ("ZDS", 1, "Study Instance UID"),
        ("ZZZ", 1, ""),
        ("PID", 0, ""),
        ("PID", 99, ""),
    ],
)
def test_fields_have_their_names(segment, field, name):
    assert names.field_name(segment, field) == name


def test_components_have_the_names_of_their_data_type():
    assert names.component_name("PID", 5, 5) == "Prefix"
    assert names.component_name("PID", 3, 4) == "Assigning authority"
    assert names.component_name("PID", 8, 1) == ""
    assert names.component_name("PID", 5, 99) == ""
    assert names.segment_title("ORC") == "Common order"
    assert names.segment_title("ZZZ") == ""


def test_a_message_is_taken_apart_as_a_mapping_finds_it():
    read = reading.read(ORM)
    fields = fields_of(read)
    assert [segment.name for segment in read.segments] == ["MSH", "PID", "OBX", "ZZZ"]
    assert (fields["MSH-1"].value, fields["MSH-2"].value) == ("|", "^~\\&")
    assert [part.place for part in fields["PID-3"].parts] == ["PID-3.1", "PID-3.4", "PID-3(2).1"]
    assert fields["OBX-5"].wire == "a\\T\\b"
    assert fields["OBX-5"].value == "a&b"
    assert [line.end for line in read.lines] == ["CR", "CR", "CR LF", "LF"]
    message = parse(ORM)
    for field in fields.values():
        for part in field.parts:
            number = int(field.number)
            name = field.place.split("-")[0]
            assert message.value(name, number, part.component, part.repetition) == part.value


def test_what_cannot_be_read_has_lines_and_a_reason():
    read = reading.read(b"not\rHL7")
    assert "MSH" in read.problem
    assert [line.text for line in read.lines] == ["not", "HL7"]
    assert reading.read(b"").lines == ()


def test_a_view_is_bounded_and_says_how_large_the_whole_is():
    large = (
        ORM + b"OBX|2|||" + b"x" * 1_000_000 + b"|" + b"a^" * 100_000 + b"\r" + b"NTE|1\r" * 9_000
    )
    read = reading.read(large)
    assert len(read.segments) == reading.SHOWN_SEGMENTS
    assert read.segment_count == 9_005
    assert len(read.lines) == reading.SHOWN_LINES
    assert read.line_count == 9_005
    shown = fields_of(read)
    assert shown["OBX-4"].length == 1_000_000
    assert shown["OBX-4"].is_shortened
    assert len(shown["OBX-4"].value) == reading.SHOWN_CHARACTERS
    assert len(shown["OBX-5"].parts) <= reading.SHOWN_PARTS
    assert reading.read(large, first=9_000).segments[-1].index == 9_005
    assert len(reading.whole_field(large, "", 5, 4)) == 1_000_000


@pytest.mark.parametrize(("index", "field"), [(0, 1), (5, 1), (1, 99), (-1, 1), (2, -1)])
def test_a_field_that_is_not_there_is_none(index, field):
    assert reading.whole_field(ORM, "", index, field) is None


def test_templates_are_messages_with_every_line_a_segment():
    for name, text in SAMPLES.items():
        filled = text.format(application="A", facility="B", now="20261120101112", control_id="1")
        message = parse(filled.replace("\n", "\r").encode())
        assert message.continued == 0, name
        assert message.type == name[:3], name
        assert "{" not in filled


def test_unseen_characters_are_names():
    assert str(visible("a\x0b\u202eb<")) == (
        'a<span class="control">VT</span><span class="control">U+202E</span>b&lt;'
    )


def test_text_for_a_form_keeps_its_lines_and_nothing_unseen():
    assert editable("\x0bMSH|a\x1b\rPID|\u202eb\r\n\x1c\r") == "MSH|a\\X1B\\\nPID|\\XE280AE\\b"
    assert str(in_form("a\r\n<b>\x07")) == "\na\n&lt;b&gt; "


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("MSH|^~\\&|A|B|C|D|1", "MSH|^~\\&|A|B|NEW|D|1"),
        ("MSH|^~\\&|A", "MSH|^~\\&|A||NEW|"),
        ("MSH#^~\\&#A#B#C#D", "MSH#^~\\&#A#B#NEW#D"),
        ("nothing", "nothing"),
    ],
)
def test_a_message_is_addressed_anew(header, expected):
    assert addressed(f"{header}\nPID|1", "NEW", "") == f"{expected}\nPID|1"
    assert addressed(f"{header}\nPID|1", "", "") == f"{header}\nPID|1"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "less than a minute"),
        (59, "less than a minute"),
        (300, "5 min"),
        (7200, "2 h"),
        (200_000, "2 d"),
    ],
)
def test_how_long_ago(seconds, said):
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert ago(now, now.timestamp() + seconds) == said
