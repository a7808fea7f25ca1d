"""Decoding a header into the index's record."""

import io
import struct
import warnings
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filewriter import dcmwrite

from santepacs.archive import charset
from santepacs.archive.attributes import (
    clean_text,
    normal_date,
    normal_integer,
    normal_time,
    object_record,
)
from santepacs.archive.header import TAGS, Header, read_file_meta, scan
from santepacs.errors import Malformed
from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES

EXPLICIT = STORAGE_TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"]
IMPLICIT = STORAGE_TRANSFER_SYNTAXES["1.2.840.10008.1.2"]
BIG = STORAGE_TRANSFER_SYNTAXES["1.2.840.10008.1.2.2"]

UIDS = {
    "SOPClassUID": b"1.2.840.10008.5.1.4.1.1.7\0",
    "SOPInstanceUID": b"1.2.3.4",
    "StudyInstanceUID": b"1.2.3",
    "SeriesInstanceUID": b"1.2.3.1\0",
}


def record(syntax=EXPLICIT, **values):
    """The record of a header with these raw values; None leaves an attribute out."""
    raw = {TAGS[k]: v for k, v in {**UIDS, **values}.items() if v is not None}
    return object_record(Header(syntax, raw, None, 0))


def scanned(dataset, syntax=EXPLICIT):
    """The record of a data set as pydicom encodes it."""
    for keyword, uid in UIDS.items():
        setattr(dataset, keyword, uid.rstrip(b"\0").decode())
    buffer = io.BytesIO()
    dcmwrite(buffer, dataset, implicit_vr=syntax.implicit, little_endian=not syntax.big_endian)
    return object_record(scan(buffer.getvalue(), syntax))


# Real files

TEXTS = {
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer_of_patient_id",
    "PatientName": "patient_name",
    "PatientBirthDate": "patient_birth_date",
    "PatientSex": "patient_sex",
    "StudyInstanceUID": "study_instance_uid",
    "StudyDate": "study_date",
    "AccessionNumber": "accession_number",
    "StudyID": "study_id",
    "StudyDescription": "study_description",
    "ReferringPhysicianName": "referring_physician_name",
    "InstitutionName": "institution_name",
    "SeriesInstanceUID": "series_instance_uid",
    "Modality": "modality",
    "SeriesDescription": "series_description",
    "SeriesDate": "series_date",
    "BodyPartExamined": "body_part_examined",
    "ProtocolName": "protocol_name",
    "StationName": "station_name",
    "SOPInstanceUID": "sop_instance_uid",
    "SOPClassUID": "sop_class_uid",
    "ContentDate": "content_date",
}
TIMES = {"StudyTime": "study_time", "SeriesTime": "series_time", "ContentTime": "content_time"}
NUMBERS = {
    "SeriesNumber": "series_number",
    "InstanceNumber": "instance_number",
    "Rows": "rows",
    "Columns": "columns",
    "NumberOfFrames": "number_of_frames",
}
OTHERWISE = {"1997.04.24": "19970424"}  # the old form of a date


def complete_files():
    """Every bundled file that is an acceptable object."""
    root = Path(pydicom.__file__).parent / "data"
    for path in sorted([*(root / "test_files").rglob("*"), *(root / "charset_files").rglob("*")]):
        try:
            data = path.read_bytes() if path.is_file() else b""
            meta = read_file_meta(data)
            syntax = STORAGE_TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
            header = scan(data, syntax, meta.dataset_offset)
        except (Malformed, KeyError):
            continue
        if header.value("StudyInstanceUID"):
            yield pytest.param(path, header, id=path.name)


def test_there_are_real_files():
    assert len(list(complete_files())) > 80


@pytest.mark.parametrize(("path", "header"), list(complete_files()))
def test_a_real_file_decodes_as_pydicom_decodes_it(path, header):
    found = object_record(header)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pydicom.dcmread(path)
        for keyword, field in TEXTS.items():
            value = str(theirs.get(keyword) or "").strip()
            assert getattr(found, field) == OTHERWISE.get(value, value), keyword
        for keyword, field in TIMES.items():
            whole, _, fraction = str(theirs.get(keyword) or "").strip().partition(".")
            expected = whole.replace(":", "") + (f".{fraction:0<6}" if fraction else "")
            assert getattr(found, field) == expected, keyword
        for keyword, field in NUMBERS.items():
            number = theirs.get(keyword)
            assert getattr(found, field) == (None if number == "1A" else number), keyword
        assert found.transfer_syntax_uid == theirs.file_meta.TransferSyntaxUID


# Character sets

NAMES = {
    "Latin-1": (["ISO_IR 100"], "Müller^Jörg"),
    "Latin-2": (["ISO_IR 101"], "Łukasz^Żółć"),
    "Latin-5": (["ISO_IR 148"], "Çelik^Gülşen"),
    "Greek": (["ISO_IR 126"], "Παπαδοπουλου^Μαρια"),
    "Cyrillic": (["ISO_IR 144"], "Иванова^Мария"),
    "Arabic": (["ISO_IR 127"], "قباني^لنزار"),
    "Hebrew": (["ISO_IR 138"], "שרון^דבורה"),
    "Thai": (["ISO_IR 166"], "ใจดี^สมชาย"),
    "Katakana": (["ISO_IR 13"], "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "Kanji": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Katakana and Kanji": (
        ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    "supplementary Kanji": (["", "ISO 2022 IR 87", "ISO 2022 IR 159"], "Ichi^Ni=丂^二"),
    "Korean": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Greek extended": (["", "ISO 2022 IR 126"], "Papadopoulou^Maria=Παπαδοπουλου^Μαρια"),
    "GB18030": (["GB18030"], "Wang^XiaoDong=王^小东=𠀀"),
    "GBK": (["GBK"], "Wang^XiaoDong=王^小东"),
    "UTF-8": (["ISO_IR 192"], "Wang^XiaoDong=王^小東=Παπα^😀"),
}


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG], ids=lambda syntax: syntax.uid)
@pytest.mark.parametrize(("charsets", "name"), NAMES.values(), ids=NAMES)
def test_a_name_of_any_script_is_decoded(charsets, name, syntax):
    dataset = Dataset()
    dataset.SpecificCharacterSet = charsets
    dataset.PatientName = name
    dataset.StudyDescription = family_name = name.split("=")[-1].split("^")[0]
    found = scanned(dataset, syntax)
    assert found.patient_name == name
    assert found.study_description == family_name


@pytest.mark.parametrize(
    ("declared", "raw", "text"),
    [
        # PS3.5 annexes H, I, J and K
        (
            b"\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            b"ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
        ),
        (
            b"\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7",
            "Hong^Gildong=洪^吉洞",
        ),
        (
            b"\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东",
        ),
        (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东"),
        # '=' is a byte of kanji, too
        (b"\\ISO 2022 IR 87", b"Haru=\x1b$B=U\x1b(B", "Haru=春"),
        (b"\\ISO 2022 IR 203", b"\x1b-b\xa4=\xa4", "€=¤"),
        # what is written otherwise than defined
        (b"ISO IR 126", b"\xc1\xc2", "ΑΒ"),
        (b"iso-ir 126 ", b"\xc1\xc2", "ΑΒ"),
        (b"UTF-8", "Αβ".encode(), "Αβ"),
        (b"ISO_IR 192\\ISO 2022 IR 87", "Αβ".encode(), "Αβ"),
        (b"ISO_IR 203", b"\xa4", "€"),
        # nothing declared, or nothing known
        (b"", b"M\xfcller", "Müller"),
        (b"no such set", b"M\xfcller", "Müller"),
        (b"zlib_codec", b"M\xfcller", "Müller"),
        (b"unicode_escape", b"\\ud800", "\\ud800"),
        (b"\\" * 1000, b"M\xfcller", "Müller"),
        (b"\\\\\\ISO_IR 192", b"M\xfcller", "Müller"),
        # broken
        (b"ISO_IR 192", b"M\xfcller", "M\ufffdller"),
        (b"ISO_IR 192", b"\xc0\x27", "\ufffd'"),
        (b"ISO_IR 192", b"\xed\xa0\x80x", "\ufffd\ufffd\ufffdx"),
        (b"\\ISO 2022 IR 87", b"A\x1b$B\xff\xff", "A\ufffd\ufffd"),
        (b"\\ISO 2022 IR 87", b"A\x1b$)C\xfb\xf3", "A $)Cûó"),
        (b"\\ISO 2022 IR 87", b"\x1b\x1b\x1b", ""),
        (b"\\ISO 2022 IR 149", b"\x1b$)C", ""),
    ],
)
def test_declared_character_sets_decide(declared, raw, text):
    assert record(SpecificCharacterSet=declared, PatientName=raw).patient_name == text


def test_a_code_extension_ends_at_a_line_end_but_a_name_is_no_text():
    declared = b"\\ISO 2022 IR 126"
    raw = b"\x1b-F\xe1=\xe1\r\n\xe1"
    found = record(SpecificCharacterSet=declared, StudyDescription=raw, PatientName=raw)
    assert found.study_description == "α=α  á"
    assert found.patient_name == "α=á  á"


@settings(deadline=None)
@given(st.binary(max_size=100), st.binary(max_size=100))
def test_no_bytes_can_make_decoding_fail_or_warn(declared, raw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = charset.decode(raw, charset.encodings(declared))
    assert isinstance(text, str)
    clean_text(text).encode()


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([*charset.python_encoding, "ISO_IR 203"]), max_size=4),
    st.lists(st.sampled_from([*charset.CODES_TO_ENCODINGS, b"\x1b-b"]) | st.binary(max_size=9)),
)
def test_no_escape_sequence_can_make_decoding_fail(declared, parts):
    found = charset.encodings("\\".join(declared).encode())
    for is_name in (False, True):
        clean_text(charset.decode(b"".join(parts), found, is_name=is_name)).encode()


# Text


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"", ""),
        (b"chest ", "chest"),
        (b" chest\0", "chest"),
        (b"chest\0\0 \0", "chest"),
        (b"a\r\nb\tc\x1bd\0e", "a  b c d e"),
        (b"a\x85b\x9fc", "a b c"),
        (b"one\\two", "one\\two"),
        (b"\r\n", ""),
        (b"x" * 300, "x" * 256),
        (b"'; DROP TABLE study; --", "'; DROP TABLE study; --"),
    ],
)
def test_text_is_cleaned_and_cut(raw, text):
    assert record(StudyDescription=raw).study_description == text


def test_separators_and_surrogates_are_no_text():
    assert clean_text("a\u2028b\u2029c\ud800d") == "a b c d"


def test_a_name_is_kept_up_to_its_limit():
    assert record(PatientName=b"x" * 400).patient_name == "x" * 324


@pytest.mark.parametrize(
    ("raw", "sex"),
    [(b"f ", "F"), (b"M", "M"), (b"", ""), (b"female", "female"), (b"x" * 20, "x" * 16)],
)
def test_sex_is_one_capital_letter_or_what_was_sent(raw, sex):
    assert record(PatientSex=raw).patient_sex == sex


def test_modality_is_in_capitals():
    assert record(Modality=b"ct").modality == "CT"


def test_different_patient_ids_never_become_equal():
    """P-13: neither by cutting nor by bytes that cannot be decoded."""
    long = [record(PatientID=b"1" * 10_000 + end).patient_id for end in (b"2", b"3")]
    assert long[0] != long[1]
    assert max(map(len, long)) == 256
    broken = [
        record(SpecificCharacterSet=b"ISO_IR 192", PatientID=raw).patient_id
        for raw in (b"\xc41", b"\xd61")
    ]
    assert broken[0] != broken[1]
    issuers = [
        record(IssuerOfPatientID=b"1" * 300 + end).issuer_of_patient_id for end in (b"2", b"3")
    ]
    assert issuers[0] != issuers[1]


def test_padding_does_not_change_a_patient_id():
    assert record(PatientID=b" 17 ").patient_id == record(PatientID=b"17\0").patient_id == "17"
    long = b"1" * 301
    assert record(PatientID=long).patient_id == record(PatientID=long + b" ").patient_id


def test_an_empty_object_gives_an_empty_record():
    found = record()
    assert found.patient_id == found.patient_name == found.study_date == found.modality == ""
    assert found.rows is found.instance_number is None
    assert found.sop_class_uid == "1.2.840.10008.5.1.4.1.1.7"


# Dates, times, numbers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("20260228", "20260228"), ("2026.02.28", "20260228"), ("20240229", "20240229")),
        *(("", ""), ("20261345", ""), ("20260229", ""), ("00000101", ""), ("20260001", "")),
        *(("2026-02-28", ""), ("202602", ""), ("2026.0228", ""), ("20260228x", "")),
        *(("20260228\n", ""), ("٢٠٢٦٠٢٢٨", ""), ("20260101-20260228", "")),
    ],
)
def test_dates(text, expected):
    assert normal_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("123456", "123456"), ("1234", "123400"), ("12", "120000"), ("12:34:56", "123456")),
        *(("123456.7", "123456.700000"), ("12:34:56.123456", "123456.123456"), ("12:34", "123400")),
        *(("235960", "235960"), ("000000", "000000")),
        *(("", ""), ("240000", ""), ("126000", ""), ("123461", ""), ("1", ""), ("123", "")),
        *(("123456.", ""), ("123456.1234567", ""), ("12:3456", ""), ("1234.5", ""), ("noon", "")),
        *(("123456\n", ""), ("-12345", "")),
    ],
)
def test_times(text, expected):
    assert normal_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *(("1", 1), ("+7", 7), ("-5", -5), ("007", 7), ("-0", 0), ("3.0", 3), ("3.", 3)),
        *(("2147483647", 2**31 - 1), ("-2147483648", -(2**31)), ("2147483648", None)),
        *(("", None), ("1e400", None), ("NaN", None), ("1.5", None), ("1" * 17, None)),
        *(("0x10", None), ("1 2", None), ("٣", None), ("1\n", None), ("9" * 5000, None)),
    ],
)
def test_integers(text, expected):
    assert normal_integer(text) == expected


def test_of_several_dates_times_and_numbers_the_first_counts():
    found = record(StudyDate=b"20260228\\20260301", StudyTime=b" 12 \\13", SeriesNumber=b"4\\5")
    assert (found.study_date, found.study_time, found.series_number) == ("20260228", "120000", 4)


@pytest.mark.parametrize(
    ("syntax", "raw", "rows"),
    [
        (EXPLICIT, b"\x00\x02", 512),
        (BIG, b"\x02\x00", 512),
        (EXPLICIT, struct.pack("<L", 70_000), 70_000),
        (BIG, struct.pack(">L", 70_000), 70_000),
        (EXPLICIT, b"\xff\xff", 65_535),
        (EXPLICIT, b"\xff\xff\xff\xff", None),
        (EXPLICIT, b"\x01", None),
        (EXPLICIT, b"512", None),
        (EXPLICIT, b"", None),
    ],
)
def test_rows(syntax, raw, rows):
    assert record(syntax, Rows=raw).rows == rows


# UIDs (D-9)


@pytest.mark.parametrize("keyword", UIDS)
@pytest.mark.parametrize("raw", [None, b"", b"\0", b"  "])
def test_an_object_without_a_uid_is_refused(keyword, raw):
    with pytest.raises(Malformed, match=f"{keyword} is missing"):
        record(**{keyword: raw})


@pytest.mark.parametrize("keyword", UIDS)
@pytest.mark.parametrize(
    "raw",
    [
        *(b"..", b".", b"...", b"1..2", b"1.2.", b"01.2", b"1." + b"2" * 63, b"1.2\n", b"1.2\0x"),
        *(b"A.B", b"../../x", b"..\\..\\x", b"C:\\x", b"1.2.3/4", b" 1.2", b"1.\xb2", b"1.2\\1.3"),
    ],
)
def test_an_object_with_an_invalid_uid_is_refused(keyword, raw):
    with pytest.raises(Malformed, match=f"{keyword} is not a valid UID"):
        record(**{keyword: raw})


@pytest.mark.parametrize("padding", [b"\0", b" ", b"\0 ", b"\0\0"])
def test_padding_behind_a_uid_is_no_part_of_it(padding):
    assert record(StudyInstanceUID=b"1.2.3" + padding).study_instance_uid == "1.2.3"


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.sampled_from([k for k in TAGS if k not in UIDS]), st.binary(max_size=99)))
def test_no_value_but_a_uid_can_refuse_an_object(values):
    found = record(**values)
    for field in found.__slots__:
        value = getattr(found, field)
        assert value is None or isinstance(value, int) or "\0" not in value
        if isinstance(value, str):
            value.encode()
