"""Identifiers of queries: read with their own character set, or refused, whatever is in them."""

import struct
from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from santepacs.db.search import Level
from santepacs.dicom import identifier
from santepacs.errors import Malformed

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def context(syntax=ImplicitVRLittleEndian):
    return SimpleNamespace(transfer_syntax=[syntax])


def encoded(syntax=ImplicitVRLittleEndian, **keys):
    query = Dataset()
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return encode(query, syntax.is_implicit_VR, syntax.is_little_endian)


def read(data, syntax=ImplicitVRLittleEndian):
    return identifier.read(BytesIO(data), context(syntax))


def implicit(tag, value=b""):
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_query_is_read_in_every_encoding(syntax):
    item = Dataset()
    item.ScheduledProcedureStepID = "1"
    query = read(
        encoded(
            syntax,
            QueryRetrieveLevel="STUDY",
            PatientName="Doe^J*",
            StudyInstanceUID=["1.2", "1.3"],
            Rows=8,
            RequestAttributesSequence=[item],
        ),
        syntax,
    )
    assert query.query_level() is Level.STUDY
    assert query.text("PatientName") == "Doe^J*"
    assert query.values("StudyInstanceUID") == ("1.2", "1.3")
    assert query.text("Rows") == "8"
    assert query.asked == {
        0x00100010: "PN", 0x0020000D: "UI", 0x00280010: "US", 0x00400275: "SQ",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        (b"", b"M\xfcller"),
        (b"ISO_IR 100", b"M\xfcller"),
        (b"ISO_IR 192", "Müller".encode()),
        (b"ISO-IR 100", b"M\xfcller"),
        (b"ISO 2022 IR 6\\ISO 2022 IR 100", b"\x1b-AM\xfcller"),
    ],
)
def test_text_is_read_in_the_character_set_of_the_query(charset, name):
    query = read(implicit(0x00080005, charset) + implicit(0x00100010, name))
    assert query.text("PatientName") == "Müller"


def test_names_of_other_scripts_are_read():
    for charset, raw, name in (
        (b"ISO_IR 126", "Παπαδοπούλου".encode("iso8859_7"), "Παπαδοπούλου"),
        (b"ISO_IR 127", "قباني".encode("iso8859_6"), "قباني"),
        (b"ISO_IR 138", "שרון".encode("iso8859_8"), "שרון"),
        (b"ISO_IR 144", "Иванова".encode("iso8859_5"), "Иванова"),
        (b"ISO_IR 148", "Çavuşoğlu".encode("iso8859_9"), "Çavuşoğlu"),
        (b"ISO_IR 166", "สมชาย".encode("tis_620"), "สมชาย"),
        (b"ISO_IR 203", "Œuvré".encode("iso8859_15"), "Œuvré"),
        (b"GB18030", "王^小东".encode("gb18030"), "王^小东"),
        (b"\\ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
        (b"\\ISO 2022 IR 149", b"\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7", "洪^吉洞"),
        (b"\\ISO 2022 IR 58", b"\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "张^小东"),
    ):
        query = read(implicit(0x00080005, charset) + implicit(0x00100010, raw))
        assert query.text("PatientName") == name


def test_only_what_a_data_set_may_hold_is_answered():
    below, lengths = (0x00000002, 0x00020002, 0x00080001), (0x00080000, 0x00100000)
    said_otherwise = (0x00080005, 0x00080052)
    answered = (0x00100010, 0x00110010, 0x00111001)
    tags = sorted((*below, *lengths, *said_otherwise, *answered))
    data = b"".join(implicit(tag, b"x ") for tag in tags)
    assert read(data).asked == {0x00100010: "PN", 0x00110010: "UN", 0x00111001: "UN"}


def test_what_a_peer_takes_for_the_vr_of_a_known_attribute_does_not_count():
    query = read(b"\x10\0\x10\0UN\0\0\4\0\0\0Doe ", ExplicitVRLittleEndian)
    assert query.text("PatientName") == "Doe"
    assert query.asked == {0x00100010: "PN"}
    assert read(b"\x11\0\x10\0ZZ\0\0\0\0\0\0", ExplicitVRLittleEndian).asked == {0x00110010: "UN"}


def sequence(depth):
    data = b""
    for _ in range(depth):
        data = implicit(0x00400275, implicit(0xFFFEE000, data))
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"".join(implicit(0x00110010 + n) for n in range(10_000)),
        implicit(0x00400275, b"".join(implicit(0xFFFEE000) for _ in range(10_000))),
        sequence(400),
        b"\x10\0\x10",
        implicit(0x00100010, b"Doe")[:-1],
        struct.pack("<HHL", 0x0010, 0x0010, 0xFFFFFFFF),
        struct.pack("<HHL", 0x0040, 0x0275, 0xFFFFFFFF) + b"nonsense",
    ],
)
def test_what_is_too_much_or_broken_is_refused(data):
    for function in (identifier.read, identifier.decode):
        with pytest.raises(Malformed):
            function(BytesIO(data), context())


def test_without_a_data_set_there_is_nothing_to_read():
    with pytest.raises(Malformed):
        identifier.read(None, context())


def test_a_level_is_one_of_four():
    for level in (b"", b"FOO ", b"study ", b"\xff\xfe"):
        with pytest.raises(Malformed):
            read(implicit(0x00080052, level)).query_level()
    assert read(implicit(0x00080052, b"IMAGE ")).query_level() is Level.IMAGE


@settings(max_examples=300)
@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_whatever_comes_is_read_or_refused(data, syntax):
    try:
        query = read(data, syntax)
    except Malformed:
        return
    assert all(isinstance(key.text, str) for key in query.keys.values())
