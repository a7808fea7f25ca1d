"""The tolerant reader: numbering, line ends, escapes, delimiters, bounds; hostile messages."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from santepacs.hl7.message import MAXIMUM_SEGMENTS, parse, split_messages
from santepacs.hl7.orders import orders_of
from santepacs.hl7.refusal import Refusal

MSH = "MSH|^~\\&|HIS|WARD|PACS|RAD|20260102030405||ORM^O01^ORM_O01|77|P|2.5.1"
CORPUS = Path(__file__).parents[3] / "shared" / "data" / "hl7"


def read(*segments, end="\r", header=MSH):
    return parse(end.join((header, *segments, "")).encode())


def test_msh_is_numbered_from_its_separator():
    message = read()
    assert message.value("MSH", 1) == "|"
    assert message.value("MSH", 2) == "^~\\&"
    assert message.value("MSH", 3) == "HIS"
    assert message.value("MSH", 9, 2) == "O01"
    assert (message.type, message.event, message.control_id) == ("ORM", "O01", "77")


def test_values_by_component_repetition_and_subcomponent():
    message = read("PID|1||ID1^^^A&B&C~ID2^^^D||Doe^Jane~Roe^Jane")
    assert message.value("PID", 3) == "ID1^^^A&B&C"
    assert message.value("PID", 3, 1) == "ID1"
    assert message.value("PID", 3, 4, 1, 2) == "B"
    assert message.value("PID", 3, 1, repetition=2) == "ID2"
    assert message.value("PID", 3, repetition=0) == "ID1^^^A&B&C~ID2^^^D"
    assert message.value("PID", 5, 2, 2) == "Jane"


@pytest.mark.parametrize(
    "way",
    [("ZZZ", 1), ("PID", 99), ("PID", 3, 9), ("PID", 3, 1, 9), ("PID", 3, 1, 1, 9), ("PID", 0)],
)
def test_what_is_absent_is_empty(way):
    assert read("PID|1||ID1").value(*way) == ""


def test_component_one_of_a_plain_value_is_the_value():
    message = read("PID|1||ID1")
    assert message.value("PID", 3, 1, 1, 1) == "ID1"
    assert message.value("PID", 3, 2) == ""


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n", "\r\r", "\r \r", "\n\r"])
def test_all_line_ends_are_segment_ends(end):
    message = read("PID|1||ID1", "ORC|NW|5", end=end)
    assert [segment.name for segment in message] == ["MSH", "PID", "ORC"]
    assert message.value("ORC", 2) == "5"


def test_a_line_that_begins_no_segment_continues_the_one_before():
    message = read("PID|1||ID1||Doe^Ja", "ne||19700101", "ORC|NW|5")
    assert message.value("PID", 5) == "Doe^Jane"
    assert message.value("PID", 7) == "19700101"
    assert message.continued == 1


def test_lower_case_and_indented_segments_are_read():
    message = read("pid|1||ID1", "  ORC|NW|5")
    assert message.value("PID", 3) == "ID1"
    assert message.value("ORC", 2) == "5"


def test_the_wire_text_is_kept():
    assert read("PID|1||a\\F\\b").first("PID").text == "PID|1||a\\F\\b"


@pytest.mark.parametrize(
    "wire, text",
    [
        ("a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f", "a|b^c&d~e\\f"),
        ("a\\E\\F\\E\\b", "a\\F\\b"),
        ("C:\\temp", "C:\\temp"),
        ("C:\\temp\\new\\F\\", "C:\\temp\\new|"),
        ("\\XCEA9\\", "Ω"),
        ("\\X0D0A\\x", "\nx"),
        ("\\XZZ\\", "\\XZZ\\"),
        ("a\\X00\\b", "ab"),
        ("\\XEDA080\\", "\ufffd\ufffd\ufffd"),
        ("\\X41", "\\X41"),
        ("\\XFF\\", "\ufffd"),
        ("a\\.br\\b", "a\nb"),
        ("a\\.sp2\\b", "a\nb"),
        ("\\H\\loud\\N\\", "loud"),
        ("\\Z123\\", "\\Z123\\"),
        ("\\P\\", "\\P\\"),
        ("\\C2D46\\\\XD0C1\\\\C2842\\x", "ΠΑx"),
        ("\\M2442\\;3ED\\C2842\\", "山田"),
        ("\\M242844\\0!\\C2842\\", "丂"),
        ("\\M242943\\\\XC8AB\\", "홍"),
        ("\\M242941\\\\XCDF5\\", "王"),
        ("\\C2949\\\\XD4CF\\", "ﾔﾏ"),
        ("\\C2D4C\\\\XB0\\\\C2842\\x", "Аx"),
        ("\\CFFFF\\Ж", "\\CFFFF\\Ж"),
        ("\\", "\\"),
        ("\\\\", "\\\\"),
    ],
)
def test_escapes_are_decoded_as_data(wire, text):
    assert read(f"NTE|1||{wire}").value("NTE", 3) == text


def test_escapes_make_no_segment_or_field():
    message = read("PID|1||ID1||A\\X0D\\OBR\\F\\1\\F\\evil")
    assert [segment.name for segment in message] == ["MSH", "PID"]
    assert message.value("PID", 5) == "A\nOBR|1|evil"
    assert message.value("PID", 6) == ""


def test_escaped_bytes_are_of_the_message_s_own_set():
    header = MSH + "||||||8859/7"
    assert read("NTE|1||\\XD9\\", header=header).value("NTE", 3) == "Ω"


def test_delimiters_inside_kanji_are_no_delimiters():
    raw = (MSH + "||||||~ISO IR87\rPID|1||7||山田^太郎^ポ|next\r").encode("iso2022_jp")
    message = parse(raw)
    assert message.value("PID", 5) == "山田^太郎^ポ"
    assert message.value("PID", 6) == "next"


@pytest.mark.parametrize(
    "declared, subcomponent, escape",
    [
        ("^~\\&", "&", "\\"),
        ("^~&", "&", "\\"),
        ("^~", "&", "\\"),
        ("^", "&", "\\"),
        ("", "&", "\\"),
        ("^~\\&#", "&", "\\"),
        ("^~\\\\&", "&", "\\"),
        ("^~_&", "&", "_"),
        ("@*!$", "$", "!"),
    ],
)
def test_odd_encoding_characters_are_accepted(declared, subcomponent, escape):
    delimiters = read(header=f"MSH|{declared}|HIS").delimiters
    assert (delimiters.subcomponent, delimiters.escape) == (subcomponent, escape)


def test_another_field_separator():
    assert read("PID*1**ID1", header="MSH*^~\\&*HIS").value("PID", 3) == "ID1"


def test_the_truncation_character_is_unescaped_where_it_is_declared():
    message = read("NTE|1||a\\P\\b", header="MSH|^~\\&#|HIS")
    assert message.value("NTE", 3) == "a#b"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"MSH",
        b"MSH\r",
        b"MSHA^~\\&A",
        b"MSH\0^~\\&\0",
        b"MSH\x1c^~\\&",
        b"MSH 1",
        b"MSH|^^^^|",
        b"MSH|ABCD|",
        b"MSH|^~\\&#$%!?+|",
        b"PID|1\rMSH|^~\\&|",
        b"hello",
        b"\xff\xfe\xff",
    ],
)
def test_what_has_no_usable_header_is_refused(raw):
    with pytest.raises(Refusal):
        parse(raw)


@pytest.mark.parametrize("raw", [b"MSH|", b"MSH||||", b"MSH|^~\\&", b"MSH|^~\\&|\r\r\r"])
def test_short_headers_are_read(raw):
    assert parse(raw).control_id == ""


def test_marks_left_over_from_framing_are_dropped():
    message = parse(b"\xef\xbb\xbf\x0b" + MSH.encode() + b"\rPID|1||ID1\r\x1c\r")
    assert message.value("PID", 3) == "ID1"


def test_too_many_segments_or_fields_are_refused():
    read(*["NTE|1"] * (MAXIMUM_SEGMENTS - 1))
    with pytest.raises(Refusal):
        read(*["NTE|1"] * MAXIMUM_SEGMENTS)
    with pytest.raises(Refusal):
        read("PID" + "|" * 1_000_000)


@pytest.mark.parametrize("filler", ["~", "^", "&", "\\", "\\X", "\\F\\", "x", "\\X" + "41" * 50])
def test_time_is_linear(filler):
    def seconds(size):
        text = filler * (size // len(filler))
        began = time.process_time()
        message = read(f"PID|1||7||{text}")
        message.value("PID", 5)
        message.value("PID", 5, 2, 3, 4)
        return time.process_time() - began

    seconds(1_000)
    # Quadratic time would be 64 times as much.
    assert seconds(800_000) < 30 * seconds(100_000) + 0.2


def test_several_messages_in_a_frame_are_split():
    one, two = MSH.encode() + b"\rPID|1||A\r", MSH.encode() + b"\rPID|1||B\r"
    batch = b"FHS|^~\\&|x\rBHS|^~\\&|x\r" + one + two + b"BTS|2\rFTS|1\r"
    messages = [parse(raw) for raw in split_messages(batch)]
    assert [message.value("PID", 3) for message in messages] == ["A", "B"]
    assert [segment.name for segment in messages[1]] == ["MSH", "PID"]


def test_a_frame_without_header_is_one_message():
    assert split_messages(b"PID|1") == [b"PID|1"]


def test_too_many_messages_in_a_frame_are_refused():
    with pytest.raises(Refusal):
        split_messages(b"MSH|^~\\&\r" * 1001)


def test_thousands_of_orders_are_read_in_linear_time():
    """Each order looked through all segments: 70 kB kept the whole server waiting for seconds."""
    shared, ordered = "NTE|1\r" * 3000, "ORC|NW|A\rOBR|1\r" * 3000
    message = parse(f"{MSH}\rPID|1||ID7||Doe^Jane\r{shared}{ordered}".encode())
    given = []
    only = message.only
    message.only = lambda segments, before=None: (
        given.append(len(segments)) or only(segments, before)
    )
    assert len(list(orders_of(message))) == 3000
    assert sum(given) == len(list(message))  # each segment is handled once


def test_too_many_lines_are_refused():
    with pytest.raises(Refusal):
        parse(f"{MSH}\rNTE|1||".encode() + b"x\n" * 300_001)


def test_only_the_beginning_of_a_huge_value_is_decoded():
    message = parse(f"{MSH}\rPID|1||".encode() + rb"\F" * 100_000 + b"\\\r")
    assert len(message.value("PID", 3)) <= 64 * 1024


def test_two_wide_messages_do_not_merge():
    text = f"{MSH}\rPID|1||A\r{MSH}\rPID|1||B\r"
    with pytest.raises(Refusal):
        parse(split_messages(text.encode("utf-16"))[0])


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(noise):
    for raw in (noise, MSH.encode() + b"\r" + noise):
        try:
            for part in split_messages(raw):
                message = parse(part)
                for segment in message:
                    message.value(segment.name, 3, 1)
        except Refusal:
            pass


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the HL7 corpus is not beside the checkout")
def test_the_corpus_is_read_without_loss():
    """Every line of every message is in a segment, and every value can be read."""
    for file in sorted(CORPUS.iterdir()):
        if file.suffix not in (".hl7", ".er7", ".txt") or b"MSH" not in file.read_bytes():
            continue
        for raw in split_messages(file.read_bytes()):
            try:
                message = parse(raw)
            except Refusal:
                continue
            kept = "".join(segment.text for segment in message)
            envelope = ("FHS", "BHS", "BTS", "FTS")
            lines = message.charset.text.strip("\ufeff\x0b\x1c \t\r\n").splitlines()
            sent = "".join(line for line in lines if not line.lstrip().startswith(envelope))
            assert "".join(kept.split()) == "".join(sent.split()), file.name
            for segment in message:
                for field in range(1, segment.text.count("|") + 1):
                    message.value(segment.name, field, 1, 1, 1)
