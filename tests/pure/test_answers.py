"""Answers to queries: pydicom reads what was meant, in every encoding and character set."""

import warnings
from io import BytesIO

import pytest
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.filereader import read_dataset

from santepacs.dicom import charsets
from santepacs.dicom.answers import Answers
from santepacs.dicom.elements import Encoding

ENCODINGS = [Encoding(True, False), Encoding(False, False), Encoding(False, True)]
IMPLICIT = ENCODINGS[0]

LEVEL, PATIENT_NAME, PATIENT_ID, STUDY_UID = 0x00080052, 0x00100010, 0x00100020, 0x0020000D
DESCRIPTION, MODALITIES, ROWS, COMMENTS = 0x00081030, 0x00080061, 0x00280010, 0x00104000
REQUESTED, PRIVATE = 0x00400275, 0x00110010
ASKED = {LEVEL: "CS", PATIENT_NAME: "PN", PATIENT_ID: "LO", STUDY_UID: "UI", DESCRIPTION: "LO",
         MODALITIES: "CS", ROWS: "US", COMMENTS: "LT", REQUESTED: "SQ", PRIVATE: "UN"}  # fmt: skip
WANTED = {MODALITIES: "CT\\MR", DESCRIPTION: "Thorax", PATIENT_NAME: "Doe^Jane",
          PATIENT_ID: "P1", STUDY_UID: "1.2.3", ROWS: "512"}  # fmt: skip


def answer(values, encoding=IMPLICIT, charset=b"", behind=()):
    """An answer with these values, as bytes."""
    tags = sorted(values)
    answers = Answers(ASKED, {LEVEL: "STUDY"}, tags, encoding, charsets.asked(charset))
    return answers.encoded("\x1f".join([*(values[tag] for tag in tags), *behind]))


def read(data, encoding=IMPLICIT):
    return read_dataset(BytesIO(data), encoding.implicit, not encoding.big_endian)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("behind", [(), ("20260101", "101112", "77")])
def test_an_answer_is_what_was_asked_for_and_nothing_else(encoding, behind):
    found = read(answer(WANTED, encoding, behind=behind), encoding)
    assert set(found.keys()) == set(ASKED)
    assert list(found.keys()) == sorted(found.keys())
    assert found.QueryRetrieveLevel == "STUDY"
    assert found.ModalitiesInStudy == ["CT", "MR"]
    assert found.PatientName == "Doe^Jane"
    assert found.StudyInstanceUID == "1.2.3"
    assert found.Rows == 512
    assert not found.PatientComments
    assert not found.RequestAttributesSequence


def test_every_value_has_an_even_length():
    data = answer({PATIENT_ID: "P", STUDY_UID: "1.2.3"})
    assert b"\x02\0\0\0P " in data
    assert b"\x06\0\0\x001.2.3\0" in data


def test_what_does_not_fit_is_left_out():
    values = {ROWS: "70000", MODALITIES: "\\".join(["CT"] * 30_000)}
    assert read(answer(values)).Rows is None
    found = read(answer(values, ENCODINGS[1]), ENCODINGS[1])
    assert found.Rows is None
    assert not found.ModalitiesInStudy


def test_a_match_without_all_of_its_values_is_no_answer():
    tags = [PATIENT_NAME, PATIENT_ID]
    answers = Answers(ASKED, {}, tags, IMPLICIT, None)
    with pytest.raises(ValueError, match="without all"):
        answers.encoded("Doe^Jane")


# --- character sets -------------------------------------------------------------------------------

WRITTEN = [
    # asked in, name, answered in
    ("", "Doe^Jane", None),
    ("ISO_IR 192", "Doe^Jane", None),
    ("", "Müller^Jörg", "ISO_IR 100"),
    ("", "Παπαδοπούλου^Μαρία", "ISO_IR 192"),
    ("NO_SUCH", "Müller^Jörg", "ISO_IR 100"),
    ("ISO_IR 6", "Müller^Jörg", "ISO_IR 100"),
    ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
    ("ISO_IR 192", "Müller^Jörg", "ISO_IR 192"),
    ("ISO_IR 101", "Dvořák^Łukasz", "ISO_IR 101"),
    ("ISO_IR 109", "Ċensu", "ISO_IR 109"),
    ("ISO_IR 110", "Ķēniņš", "ISO_IR 110"),
    ("ISO_IR 126", "Παπαδοπούλου^Μαρία", "ISO_IR 126"),
    ("ISO_IR 126", "Müller^Jörg", "ISO_IR 192"),
    ("ISO_IR 127", "قباني^لنزار", "ISO_IR 127"),
    ("ISO_IR 138", "שרון^דבורה", "ISO_IR 138"),
    ("ISO_IR 144", "Иванова^Анна", "ISO_IR 144"),
    ("ISO_IR 148", "Çavuşoğlu^Işık", "ISO_IR 148"),
    ("ISO_IR 166", "สมชาย", "ISO_IR 166"),
    ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13"),
    ("ISO_IR 13", "山田^太郎", "ISO_IR 192"),
    ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
    ("GBK", "Wang^XiaoDong=王^小东", "GBK"),
    ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "\\ISO 2022 IR 87"),
    ("ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
     "ISO 2022 IR 13\\ISO 2022 IR 87"),
    ("ISO 2022 IR 6\\ISO 2022 IR 87\\ISO 2022 IR 159", "丂^太郎",
     "ISO 2022 IR 6\\ISO 2022 IR 87\\ISO 2022 IR 159"),
    ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "\\ISO 2022 IR 149"),
    ("ISO 2022 IR 100\\ISO 2022 IR 144", "Jörg^Анна", "ISO 2022 IR 100\\ISO 2022 IR 144"),
    ("\\ISO 2022 IR 87", "홍^길동", "ISO_IR 192"),
    ("\\ISO_IR 192", "홍^길동", "ISO_IR 192"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "name", "said"), WRITTEN)
def test_an_answer_is_in_the_character_set_of_its_query_where_it_fits(asked, name, said):
    found = read(answer({PATIENT_NAME: name, PATIENT_ID: "P1"}, charset=asked.encode()))
    element = found.get_item(0x00080005)
    assert (None if element is None else element.value.decode().rstrip()) == said
    raw = found.get_item(PATIENT_NAME).value
    codecs = convert_encodings((said or "").split("\\"))
    assert decode_bytes(raw, codecs, {0x5C, 0x5E, 0x3D}).rstrip(" ") == name


def test_the_standards_own_examples_are_written_as_it_writes_them():
    """PS3.5 annexes H, I and K."""
    for charset, name, written in (
        (b"\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎",
         b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B"),
        (b"\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞",
         b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7"),
        (b"\\ISO 2022 IR 58", "Zhang^XiaoDong=张^小东",
         b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"),
    ):  # fmt: skip
        assert written in answer({PATIENT_NAME: name}, charset=charset)


def test_what_is_ascii_by_its_kind_stays_ascii():
    found = read(answer({MODALITIES: "Ω", PATIENT_NAME: "Ω"}, charset=b"ISO_IR 192"))
    assert found.ModalitiesInStudy == "?"
    assert found.PatientName == "Ω"


@pytest.mark.parametrize(
    "charset",
    [b"\\" * 300, b"ISO_IR 100\\" * 1000, b"\xff\xfe", b"\0", b"ISO 2022 IR 87\\nonsense"],
)
def test_a_hostile_character_set_is_none(charset):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert charsets.asked(charset) is None
