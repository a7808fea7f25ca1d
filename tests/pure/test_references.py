"""Storage commitment's data sets: requests of anybody are read or refused, reports are right."""

import io
import struct
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.sequence import Sequence

from santepacs.dicom.elements import Encoding
from santepacs.dicom.references import Asked, Failed, TooMany, read, report
from santepacs.errors import Malformed

CT = "1.2.840.10008.5.1.4.1.1.2"
ENCODINGS = [Encoding(True, False), Encoding(False, False), Encoding(False, True)]
IMPLICIT, EXPLICIT, BIG = ENCODINGS


def encoded(data_set, encoding):
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = encoding.implicit, not encoding.big_endian
    write_dataset(buffer, data_set)
    return buffer.getvalue()


def reference(uid, sop_class=CT):
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class
    item.ReferencedSOPInstanceUID = uid
    return item


def request(*items, transaction="1.2.3"):
    asked = Dataset()
    if transaction:
        asked.TransactionUID = transaction
    asked.ReferencedSOPSequence = Sequence(items)
    return asked


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [True, False])
def test_a_request_is_read_in_every_encoding(encoding, undefined):
    items = [reference("1.2.3.4"), reference("1.2.3.45", "1.2.840.10008.5.1.4.1.1.4")]
    asked = request(*items)
    for item in items:
        item.is_undefined_length_sequence_item = undefined
    asked["ReferencedSOPSequence"].is_undefined_length = undefined
    assert read(encoded(asked, encoding), encoding) == Asked(
        "1.2.3", [(CT, "1.2.3.4"), ("1.2.840.10008.5.1.4.1.1.4", "1.2.3.45")]
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [True, False])
def test_what_else_is_in_a_request_is_passed_over(encoding, undefined):
    """Retrieve AE Title, the performed procedure step, things of the vendor."""
    item = reference("1.2.3.4")
    item.RetrieveAETitle = "CT1"
    item.PurposeOfReferenceCodeSequence = Sequence([reference("9.9"), Dataset()])
    item["PurposeOfReferenceCodeSequence"].is_undefined_length = undefined
    asked = request(item)
    asked.SpecificCharacterSet = "ISO_IR 100"
    asked.ReferencedPerformedProcedureStepSequence = Sequence([reference("8.8")])
    asked["ReferencedPerformedProcedureStepSequence"].is_undefined_length = undefined
    asked.add_new(0x00990010, "LO", "VENDOR")
    asked.add_new(0x00991001, "OB", bytes(300))
    assert read(encoded(asked, encoding), encoding) == Asked("1.2.3", [(CT, "1.2.3.4")])


@pytest.mark.parametrize(
    "asked",
    [
        Dataset(),
        request(),
        request(reference("1.2.3.4"), transaction=""),
        request(reference("")),
        request(reference("1.2", sop_class="")),
        request(Dataset()),
        request(reference("1.2.3.4"), transaction="1" * 65),
        request(reference("Doe^Jane")),
    ],
    ids=range(8),
)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_request_without_what_it_needs_is_refused(asked, encoding):
    with pytest.raises(Malformed) as refused:
        read(encoded(asked, encoding), encoding)
    assert "Doe" not in str(refused.value)


def test_two_sequences_of_references_are_refused():
    data = encoded(request(reference("1.2")), IMPLICIT)
    with pytest.raises(Malformed):
        read(data + data, IMPLICIT)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("undefined", [True, False])
def test_a_request_that_is_cut_off_anywhere_is_refused(encoding, undefined):
    items = [reference("1.2.3.4"), reference("1.2.3.5")]
    asked = request(*items)
    for item in items:
        item.is_undefined_length_sequence_item = undefined
    asked["ReferencedSOPSequence"].is_undefined_length = undefined
    data = encoded(asked, encoding)
    for end in range(len(data)):
        with pytest.raises(Malformed):
            read(data[:end], encoding)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 120), st.sampled_from(ENCODINGS))
def test_noise_is_read_or_refused(noise, place, encoding):
    data = bytearray(encoded(request(reference("1.2.3.4"), reference("1.2.3.5")), encoding))
    data[place : place + len(noise)] = noise
    with suppress(Malformed):
        read(bytes(data), encoding)


@pytest.mark.parametrize("encoding", [IMPLICIT, EXPLICIT])
def test_nesting_does_not_exhaust_the_stack(encoding):
    """100,000 sequences one in the other, where a reference should be and elsewhere."""
    for tag in ((0x0008, 0x1199), (0x0008, 0x1111)):
        if encoding.implicit:
            opening = struct.pack("<HHL", *tag, 0xFFFFFFFF)
        else:
            opening = struct.pack("<HH2s2xL", *tag, b"SQ", 0xFFFFFFFF)
        opening += struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
        with pytest.raises(Malformed):
            read(opening * 100_000, encoding)


def many(count, encoding=IMPLICIT):
    """A request with so many references, made quickly."""
    references = [(CT, f"1.2.826.0.1.3680043.8.498.{n}") for n in range(count)]
    return references, report("1.2.3", "SANTEPACS", references, [], encoding)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_100_000_references_are_read(encoding):
    references, data = many(100_000, encoding)
    began = time.monotonic()
    assert read(data, encoding).references == references
    assert time.monotonic() - began < 20


def test_more_are_too_many():
    _, data = many(100_001)
    with pytest.raises(TooMany):
        read(data, IMPLICIT)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_report_says_what_is_committed_and_what_is_not(encoding):
    data = report(
        "1.2.3", "SANTEPACS", [(CT, "1.2.3.4")], [Failed((CT, "1.2.3.45"), 0x0112)], encoding
    )
    told = read_dataset(io.BytesIO(data), encoding.implicit, not encoding.big_endian)
    expected = request(reference("1.2.3.4"))
    expected.RetrieveAETitle = "SANTEPACS"
    failed = reference("1.2.3.45")
    failed.FailureReason = 0x0112
    expected.FailedSOPSequence = Sequence([failed])
    assert told == expected
    assert list(told.keys()) == sorted(told.keys())


def test_a_report_holds_no_empty_sequence():
    told = read_dataset(
        io.BytesIO(report("1.2", "A", [], [Failed((CT, "1"), 1)], EXPLICIT)), False, True
    )
    assert "ReferencedSOPSequence" not in told and "RetrieveAETitle" not in told
    told = read_dataset(io.BytesIO(report("1.2", "A", [(CT, "1")], [], EXPLICIT)), False, True)
    assert "FailedSOPSequence" not in told
