"""What hostile or broken senders of HL7 can do: the rows H-1 to H-10 of the threat list.

H-5 (what we send), H-8 (mapping files), H-11 (folder) and H-12 (strangers) are tested where they
are; the same over a network and a database, in `tests/whole/test_attacks.py`.
"""

import re
import time

import pytest

from santepacs.hl7.message import parse
from santepacs.wire.framing import FrameSplitter, FramingError, Kind, mllp_block
from support.receiving import HEADER, ORDER, FakeWorklist, answer, now, receiver

PID = b"\rPID|1||ID7||Doe^Jane\r"


def codes(reply):
    """MSA-1 of each framed answer."""
    return [parse(block[1:]).value("MSA", 1) for block in reply.split(b"\x1c\r")[:-1]]


def handled(data, limit=1_000_000):
    """The answers to bytes of a connection that then ends; None where it is closed."""
    worklist = FakeWorklist()
    one = receiver(worklist)
    splitter = FrameSplitter(limit)
    replies = b""
    try:
        splitter.feed(data)
        while (frame := splitter.next_frame() or splitter.finish()) is not None:
            handle = one.refuse_broken if frame.kind is Kind.BROKEN else one.receive
            replies += now(handle(frame.payload, "192.0.2.1")) or b""
    except FramingError:
        return None, worklist
    return replies, worklist


def test_h1_a_valid_order_is_acknowledged_with_its_own_number():
    replies, worklist = handled(mllp_block(ORDER))
    assert replies.startswith(b"\x0bMSH|^~\\&|") and replies.endswith(b"\rMSA|AA|77\r\x1c\r")
    assert len(worklist.accepted) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"\x0b",
        b"\x0b" + ORDER[:-9],
        b"\x0b" + ORDER + b"\x1c\x1c\x1c",
        b"\x0b\x0b\x0b\x1c\r",
        b"\x1c\r" * 1000,
        ORDER[:-9],
        b"\x0b" + b"x" * 2_000_000,
        b"\x0b" + ORDER[:-1] + b"\x0b" + b"MSH|^~\\&|A\x1c\r",
    ],
)
def test_h2_what_is_cut_or_endless_is_not_processed_twice(data):
    _, worklist = handled(data)
    assert len(worklist.accepted) <= 1


def test_h2_a_message_that_the_next_one_cuts_off_is_refused_and_kept():
    replies, worklist = handled(b"\x0b" + ORDER[:-9] + mllp_block(ORDER))
    assert codes(replies) == ["AR", "AA"]
    assert [arrival.raw for arrival, _, _ in worklist.refused] == [ORDER[:-9]]
    assert len(worklist.accepted) == 1


@pytest.mark.parametrize(
    "message",
    [
        b"MSH",
        b"MSH|",
        b"MSH|^~\\",
        b"MSH\r^~\\&\r",
        b"MSH||A",
        b"MSH|^^^^|A",
        b"MSH||||||||",
        b"MSH|^~\\&#$%!?+|A",
        b"MSHA^~\\&A",
        b"MSH\0^~\\&\0",
        b"MSH\x1c^~\\&\x1c",
        b"PID|1\r" + ORDER[4:],
        b"",
        HEADER + b"\rPID|1\r" * 50_000,
        *(HEADER + b"\rPID|" + byte * 1_000_000 for byte in (b"|", b"~", b"^", b"&", b"\\")),
        HEADER + b"\r" * 1_000_000,
        HEADER + PID + b"ORC|NW|1\r" * 9_000,
    ],
)
def test_h3_what_is_no_order_is_refused_soon(message):
    worklist = FakeWorklist()
    began = time.process_time()
    reply = answer(worklist, message)
    assert time.process_time() - began < 5
    assert codes(reply) in (["AE"], ["AR"])
    assert worklist.accepted == []
    assert len(worklist.refused) == 1


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r \r", b"\n\r"])
@pytest.mark.parametrize("change", [bytes, lambda raw: raw.replace(b"PID|", b"pid|")])
def test_h3_other_line_ends_and_small_letters_are_read(end, change):
    assert codes(answer(FakeWorklist(), change(ORDER).replace(b"\r", end))) == ["AA"]


@pytest.mark.parametrize(
    "text",
    [
        b"1\\X0D\\MSA\\F\\AR",
        b"A\\X0D\\OBR\\F\\1\\F\\evil",
        b"\\X",
        b"\\XZZ\\",
        b"\\Zxx\\\\.br\\\\E\\",
        b"\\X" + b"0D" * 500_000,
        b"\\X" + b"0D" * 500_000 + b"\\",
        b"\\C2D46\\" * 20_000,
        b"\\M2442\\" * 20_000,
    ],
)
def test_h4_escapes_are_data_everywhere(text):
    worklist = FakeWorklist()
    for field in (b"|77|", b"Doe^Jane", b"|HIS|", b"2.5.1"):
        began = time.process_time()
        reply = answer(worklist, ORDER.replace(field, field.replace(field.strip(b"|"), text)))
        assert time.process_time() - began < 2
        assert re.findall(rb"\r([A-Z]{3})", reply) in ([b"MSA"], [b"MSA", b"ERR"])
    for _, commands in worklist.accepted:
        assert len(commands) == 1
        assert not set(commands[0].record.patient_name) & set("\r\n\0")


CHARSETS = ("", "ASCII", "UNICODE UTF-8", "UNICODE UTF-16", "8859/7", "~ISO IR87", "KLINGON")


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize(
    "name", [b"\xff\xfe\xc0\xa7", b"M\xfcller", b"\xc0\x80", b"A\0B", b"\x1b$B\xff", b"\x1b$B;"]
)
def test_h6_any_bytes_under_any_character_set_are_answered(charset, name):
    header = HEADER + b"||||||" + charset.encode()
    worklist = FakeWorklist()
    reply = answer(worklist, ORDER.replace(HEADER, header).replace(b"Doe^Jane", name + b"^Jane"))
    assert codes(reply) == ["AA"]
    ((arrival, (command,)),) = worklist.accepted
    assert "\0" not in command.record.patient_name
    assert "read as" in arrival.charset


def test_h6_text_of_two_bytes_a_character_is_read():
    text = ORDER.decode().replace("Doe^Jane", "Παπαδοπουλου^Μαρια")
    for codec in ("utf-16", "utf-16-be", "utf-32"):
        worklist = FakeWorklist()
        assert codes(answer(worklist, text.encode(codec))) == ["AA"]
        assert worklist.accepted[0][1][0].record.patient_name == "Παπαδοπουλου^Μαρια"


@pytest.mark.parametrize(
    "uid, code",
    [
        (b"1.2.3", "AA"),
        (b"1." + b"2" * 62, "AA"),
        (b"1." + b"2" * 63, "AE"),
        (b"../../x", "AE"),
        (b"..", "AE"),
        (b"1.2.x", "AE"),
        (b"1.02", "AE"),
    ],
)
def test_h7_a_study_uid_is_one_or_the_order_is_refused(uid, code):
    assert codes(answer(FakeWorklist(), ORDER + b"ZDS|" + uid + b"\r")) == [code]


def test_h9_the_same_number_twice_is_for_the_worklist_to_decide():
    worklist = FakeWorklist()
    assert codes(answer(worklist, ORDER + ORDER)) == ["AA", "AA"]
    assert [arrival.raw for arrival, _ in worklist.accepted] == [ORDER, ORDER]


def test_h10_no_acknowledgement_begins_a_storm():
    reply, _ = handled(mllp_block(ORDER))
    for _ in range(3):
        again, worklist = handled(reply)
        assert again == b""
        assert worklist.accepted == []
    refusal, _ = handled(mllp_block(b"hello"))
    assert handled(refusal)[0] == b""
