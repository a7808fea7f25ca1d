"""Walking encoded data sets: what is complete is measured, what is not is refused.

Byte recipes are Explicit VR Little Endian unless they say otherwise. `P-n` are the rows of the
parser's threat table.
"""

import mmap
import struct
import warnings
from contextlib import suppress
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from santepacs.archive import header, walk
from santepacs.archive.header import TAGS, Header, read_file_meta, scan
from santepacs.errors import Malformed
from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES

IMPLICIT = STORAGE_TRANSFER_SYNTAXES["1.2.840.10008.1.2"]
EXPLICIT = STORAGE_TRANSFER_SYNTAXES["1.2.840.10008.1.2.1"]
BIG = STORAGE_TRANSFER_SYNTAXES["1.2.840.10008.1.2.2"]
JPEG = STORAGE_TRANSFER_SYNTAXES["1.2.840.10008.1.2.4.50"]

LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
UNDEFINED = 0xFFFFFFFF
SEQUENCE = 0x00081140  # Referenced Image Sequence
PRIVATE = 0x00091001
PIXELS = 0x7FE00010


def halves(tag):
    return tag >> 16, tag & 0xFFFF


def element(tag, vr, value=b"", length=None, order="<"):
    length = len(value) if length is None else length
    if vr in LONG:
        return struct.pack(order + "HH2sHL", *halves(tag), vr, 0, length) + value
    return struct.pack(order + "HH2sH", *halves(tag), vr, length) + value


def implicit(tag, value=b"", length=None, order="<"):
    length = len(value) if length is None else length
    return struct.pack(order + "HHL", *halves(tag), length) + value


def item(content=b"", length=None, order="<"):
    return implicit(0xFFFEE000, content, length, order)


def item_end(length=0, order="<"):
    return implicit(0xFFFEE00D, b"", length, order)


def sequence_end(length=0, order="<"):
    return implicit(0xFFFEE0DD, b"", length, order)


FIRST = element(0x00080016, b"UI", b"1.2.840.10008.5.1.4.1.1.7\0")
LAST = element(0x00100020, b"LO", b"X1")
IMPLICIT_FIRST = implicit(0x00080016, b"1.2.840.10008.5.1.4.1.1.7\0")
IMPLICIT_LAST = implicit(0x00100020, b"X1")
IMAGE = [
    FIRST,
    element(0x00100020, b"LO", b"X1"),
    element(0x00280010, b"US", b"\x02\0"),
    element(0x00280011, b"US", b"\x02\0"),
    element(0x00280100, b"US", b"\x08\0"),
]
NATIVE = element(PIXELS, b"OB", b"\1\2\3\4")
FRAGMENTS = item() + item(b"\xff\xd8\xff\xd9") + sequence_end()
COMPRESSED = element(PIXELS, b"OB", FRAGMENTS, UNDEFINED)


def refusal(data, syntax=EXPLICIT, offset=0):
    with pytest.raises(Malformed) as caught:
        scan(data, syntax, offset)
    return str(caught.value)


# Real files


def bundled_files():
    root = Path(pydicom.__file__).parent / "data"
    for folder in ("test_files", "charset_files", "palettes"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and path.read_bytes()[128:132] == b"DICM":
                yield pytest.param(path, id=path.name)


REFUSED = {
    "MR_truncated.dcm": "value is cut off",
    "rtplan_truncated.dcm": "value is cut off",
    "DICOMDIR-nooffset": "item is cut off",  # its last item says 16 bytes more than there are
    "winter.dcm": "(0008,0018) is there twice",
    "nested_priv_SQ.dcm": "(0001,0001) does not belong here",  # an illegal group
    "SC_rgb_jpeg.dcm": "Implicit VR data in an Explicit VR transfer syntax",
    "chrJapMulti.dcm": "image without pixel data",
    "chrJapMultiExplicitIR6.dcm": "image without pixel data",
    "chrKoreanMulti.dcm": "image without pixel data",
    "meta_missing_tsyntax.dcm": "no transfer syntax UID",
    "image_dfl.dcm": "not stored",  # deflated
}


def read_file(data):
    meta = read_file_meta(data)
    if meta.transfer_syntax_uid not in STORAGE_TRANSFER_SYNTAXES:
        raise Malformed("transfer syntax is not stored")
    syntax = STORAGE_TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
    return meta, scan(data, syntax, meta.dataset_offset)


@pytest.mark.parametrize("path", list(bundled_files()))
def test_a_real_file_reads_as_pydicom_reads_it(path):
    data = path.read_bytes()
    if path.name in REFUSED:
        with pytest.raises(Malformed) as caught:
            read_file(data)
        assert REFUSED[path.name] in str(caught.value)
        return
    meta, header = read_file(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = pydicom.dcmread(path)
        assert meta.sop_class_uid == theirs.file_meta.get("MediaStorageSOPClassUID")
        assert meta.sop_instance_uid == theirs.file_meta.get("MediaStorageSOPInstanceUID")
        for keyword, tag in TAGS.items():
            raw = theirs.get_item(tag)
            value = raw.value if raw is not None else None
            if isinstance(value, str | pydicom.multival.MultiValue):  # decoded while reading
                value = "\\".join([value] if isinstance(value, str) else value).encode()
                assert header.value(keyword).rstrip(b" \0") == value
            else:
                assert header.value(keyword) == (value or b"")
    pixels = theirs.get_item(PIXELS)
    if pixels is None:
        assert header.pixel_data is None
    else:
        assert header.pixel_data.tag == PIXELS
        assert header.pixel_data.offset == pixels.value_tell
        assert header.pixel_data.encapsulated == (pixels.length == UNDEFINED)
        if pixels.length != UNDEFINED:
            assert header.pixel_data.length == pixels.length
    assert header.size == len(data) - meta.dataset_offset


# File meta information (P-7)


def meta_group(*elements, group_length=None):
    body = b"".join(elements)
    length = len(body) if group_length is None else group_length
    start = element(0x00020000, b"UL", struct.pack("<L", length))
    return bytes(128) + b"DICM" + start + body


SYNTAX = element(0x00020010, b"UI", b"1.2.840.10008.1.2.1\0")
MEDIA = element(0x00020003, b"UI", b"1.2.3\0")


def test_file_meta_tells_the_transfer_syntax_and_where_the_data_set_begins():
    head = meta_group(MEDIA, SYNTAX)
    meta = read_file_meta(head + FIRST)
    assert meta.sop_class_uid is None
    assert meta.sop_instance_uid == "1.2.3"
    assert meta.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert meta.dataset_offset == len(head)


def test_a_preamble_may_hold_anything():
    head = meta_group(SYNTAX)
    assert read_file_meta(b"MZ" + head[2:]).dataset_offset == len(head)


@pytest.mark.parametrize("length", [0, 1, 8, 60])
def test_a_wrong_group_length_is_forgiven(length):
    head = meta_group(MEDIA, SYNTAX, group_length=length)
    assert read_file_meta(head + FIRST).dataset_offset == len(head)


def test_the_group_length_may_be_missing():
    head = bytes(128) + b"DICM" + SYNTAX
    assert read_file_meta(head + FIRST).dataset_offset == len(head)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no DICM prefix"),
        (FIRST + LAST, "no DICM prefix"),
        (bytes(128), "no DICM prefix"),
        (bytes(128) + b"DICN" + SYNTAX, "no DICM prefix"),
        (bytes(128) + b"DICM", "no transfer syntax"),
        (bytes(128) + b"DICM" + FIRST, "no transfer syntax"),
        (meta_group(MEDIA) + FIRST, "no transfer syntax"),
        (meta_group(element(0x00020010, b"UI", b"\0")), "no transfer syntax"),
        (meta_group(element(0x00020010, b"UI", b"../../x\0")), "not a valid UID"),
        (meta_group(SYNTAX, SYNTAX), "(0002,0010) is there twice"),
        (meta_group(SYNTAX) + meta_group(SYNTAX)[132:], "(0002,0000) is there twice"),
        (meta_group(SYNTAX, group_length=UNDEFINED), "beyond the file"),
        (meta_group(SYNTAX, group_length=5000), "beyond the file"),
        (meta_group(SYNTAX)[:-1], "cut off"),
        (meta_group(element(0x00020001, b"OB", b"", UNDEFINED), SYNTAX), "cut off"),
        (meta_group(implicit(0x00020010, b"1.2.840.10008.1.2.1\0")), "not Explicit VR"),
    ],
)
def test_a_broken_file_meta_is_refused_by_name(data, reason):
    with pytest.raises(Malformed) as caught:
        read_file_meta(data)
    assert reason in str(caught.value)


# The plain walk


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_the_input_may_be_any_buffer(kind):
    header = scan(kind(b"junk" + b"".join(IMAGE) + NATIVE), EXPLICIT, 4)
    assert header.value("PatientID") == b"X1"
    assert header.value("PatientName") == b""
    assert header.size == sum(map(len, IMAGE)) + len(NATIVE)
    assert header.pixel_data == (PIXELS, 4 + header.size - 4, 4, False)


def test_the_input_may_be_mapped_memory():
    data = b"".join(IMAGE) + NATIVE
    with mmap.mmap(-1, len(data)) as mapped:
        mapped.write(data)
        assert scan(mapped, EXPLICIT) == scan(data, EXPLICIT)


def test_compressed_pixel_data_is_measured_with_its_fragments():
    data = b"".join(IMAGE) + COMPRESSED
    header = scan(data, JPEG)
    assert header.pixel_data == (PIXELS, len(data) - len(FRAGMENTS), len(FRAGMENTS), True)


def test_fragments_of_implicit_data_are_measured():
    header = scan(IMPLICIT_FIRST + implicit(PIXELS, FRAGMENTS, UNDEFINED), IMPLICIT)
    assert header.pixel_data == (PIXELS, len(IMPLICIT_FIRST) + 8, len(FRAGMENTS), True)


def test_implicit_data_is_walked():
    inner = item(implicit(0x00081155, b"1.2\0"))
    nested = implicit(SEQUENCE, inner) + implicit(0x00082112, inner + sequence_end(), UNDEFINED)
    header = scan(IMPLICIT_FIRST + nested + IMPLICIT_LAST, IMPLICIT)
    assert header.value("PatientID") == b"X1"


def test_big_endian_data_is_walked():
    inner = item(element(0x00081155, b"UI", b"1.2\0", order=">"), order=">")
    data = (
        element(0x00080016, b"UI", b"1.2\0", order=">")
        + element(SEQUENCE, b"SQ", inner + sequence_end(order=">"), UNDEFINED, order=">")
        + element(0x00280010, b"US", b"\x02\x01", order=">")
    )
    assert scan(data, BIG).value("Rows") == b"\x02\x01"


def test_a_value_too_long_for_the_index_is_walked_over():
    long = element(0x00081030, b"UT", b"x" * 10_000_000)
    header = scan(FIRST + long + LAST, EXPLICIT)
    assert header.value("StudyDescription") == b""
    assert header.value("PatientID") == b"X1"


def test_data_set_trailing_padding_is_taken():
    padding = element(0xFFFCFFFC, b"OB", bytes(100))
    assert scan(b"".join(IMAGE) + NATIVE + padding, EXPLICIT).pixel_data.length == 4


@pytest.mark.parametrize(
    "odd",
    [
        element(0x00081030, b"LO", b"odd"),
        element(PRIVATE, b"ZZ", b"a VR of two letters"),
        element(PRIVATE, b"ZZ") + struct.pack("<L", 70_000) + bytes(70_000),
        element(PRIVATE, b"\0\0"),
        implicit(0x00081030, b"implicit"),
        implicit(SEQUENCE, item(implicit(0x00081155, b"1.2\0")) + sequence_end(), UNDEFINED),
        element(SEQUENCE, b"SQ", item(implicit(0x00081155, b"1.2\0"))),
        element(SEQUENCE, b"SQ", item(element(0x00081155, b"UI", b"1.2\0")) + sequence_end()),
        element(SEQUENCE, b"SQ", item(item_end())),
        element(SEQUENCE, b"SQ", item(item_end(), UNDEFINED) + sequence_end(), UNDEFINED),
        element(SEQUENCE, b"UN", item(implicit(0x00081155, b"1.2\0"))),
        element(SEQUENCE, b"UN", item(implicit(0x00081155, b"1.2\0")) + sequence_end(), UNDEFINED),
        element(PRIVATE, b"UN", item(element(PRIVATE, b"LO", b"x")) + sequence_end(), UNDEFINED),
        element(PRIVATE, b"UN", item(b"looks like an item, is none")),
        element(PRIVATE, b"OB", item(b"fragment") + sequence_end(), UNDEFINED),
    ],
)
def test_the_oddities_of_the_field_are_taken(odd):
    assert scan(FIRST + odd + LAST, EXPLICIT).value("PatientID") == b"X1"


def test_unknown_elements_of_big_endian_data_hold_little_endian_items():
    inner = item(implicit(0x00081155, b"1.2\0")) + sequence_end()
    data = (
        element(0x00080016, b"UI", b"1.2\0", order=">")
        + element(PRIVATE, b"UN", length=UNDEFINED, order=">")
        + inner
        + element(0x00100020, b"LO", b"X1", order=">")
    )
    assert scan(data, BIG).value("PatientID") == b"X1"


# P-1, P-2: depth and number


def nested(depth, delimited, vr=b"SQ"):
    data = b""
    for _ in range(depth):
        if delimited:
            data = item(data + item_end(), UNDEFINED) + sequence_end()
            data = element(SEQUENCE, vr, data, UNDEFINED)
        else:
            data = element(SEQUENCE, vr, item(data))
    return data


@pytest.mark.parametrize("delimited", [True, False])
def test_nesting_is_taken_up_to_64(delimited):
    assert scan(FIRST + nested(64, delimited) + LAST, EXPLICIT).value("PatientID") == b"X1"
    assert "nested" in refusal(FIRST + nested(65, delimited) + LAST)


@pytest.mark.parametrize("vr", [b"SQ", b"UN"])
def test_very_deep_nesting_is_refused_closed_or_not(vr):
    assert "nested" in refusal(FIRST + nested(300, False, vr))
    opening = (element(SEQUENCE, vr, b"", UNDEFINED) + item(length=UNDEFINED)) * 20_000
    assert "nested" in refusal(FIRST + opening)


def test_deep_nesting_is_found_in_implicit_private_values_too():
    data = b""
    for _ in range(65):
        data = implicit(PRIVATE, item(data))
    assert "nested" in refusal(IMPLICIT_FIRST + data, IMPLICIT)


@pytest.fixture
def smaller_bound(monkeypatch):
    """The same bound, ten times lower, so that its tests are ten times quicker."""
    monkeypatch.setattr(walk, "MAXIMUM_ELEMENTS", 200_000)
    monkeypatch.setattr(header, "MAXIMUM_ELEMENTS", 200_000)


@pytest.mark.parametrize(
    "crowd",
    [
        element(SEQUENCE, b"SQ", item() * 1_000_000),
        element(SEQUENCE, b"SQ", item(element(PRIVATE, b"LO") * 500_000)),
        element(SEQUENCE, b"SQ", item(implicit(PRIVATE) * 500_000)),
        element(PRIVATE, b"UN", item() * 1_000_000),
        element(PIXELS, b"OB", item() * 1_000_000 + sequence_end(), UNDEFINED),
        b"".join(element(0x00090000 + n, b"LO") for n in range(1, 0xFFFF)) * 4,
        b"".join(
            element(group << 16 | n, b"LO")
            for group in range(9, 25, 2)
            for n in range(1, 0xFFFF, 2)
        ),
    ],
    ids=["items", "elements", "implicit", "unknown", "fragments", "private", "top level"],
)
@pytest.mark.usefixtures("smaller_bound")
def test_crowds_are_refused(crowd):
    assert refusal(FIRST + crowd)


@pytest.mark.usefixtures("smaller_bound")
def test_the_bound_counts_top_level_and_nested_together():
    inner = element(SEQUENCE, b"SQ", item() * 150_000)
    outer = b"".join(element(0x00090000 + n, b"LO") for n in range(0xFFFF))
    assert scan(FIRST + inner, EXPLICIT)
    assert scan(FIRST + outer, EXPLICIT)
    assert "more than 200000 elements" in refusal(FIRST + inner + outer)


# P-3: undefined lengths, delimiters, wrong encodings


@pytest.mark.parametrize("vr", [b"UT", b"UC", b"UR", b"OD", b"OF"])
def test_undefined_length_without_a_sequence_is_refused(vr):
    bad = element(PRIVATE, vr, item() + sequence_end(), UNDEFINED)
    assert "undefined length" in refusal(FIRST + bad + LAST)


def test_undefined_length_of_a_text_is_refused():
    inner = item() + sequence_end()
    unknown = element(0x00100010, b"UN", inner, UNDEFINED)
    assert "undefined length" in refusal(FIRST + unknown)
    bad = implicit(0x00100010, inner, UNDEFINED)
    assert "undefined length" in refusal(IMPLICIT_FIRST + bad, IMPLICIT)


INNER = element(0x00081155, b"UI", b"1.2\0")


@pytest.mark.parametrize(
    "bad",
    [
        element(SEQUENCE, b"SQ", item(INNER), UNDEFINED),
        element(SEQUENCE, b"SQ", item(INNER + item_end(), UNDEFINED), UNDEFINED),
        element(SEQUENCE, b"SQ", item(INNER, UNDEFINED) + sequence_end(), UNDEFINED),
        element(SEQUENCE, b"SQ", item(INNER) + sequence_end(4) + b"1234", UNDEFINED),
        element(SEQUENCE, b"SQ", item(INNER + item_end(4), UNDEFINED) + sequence_end(), UNDEFINED),
        element(SEQUENCE, b"SQ", item(INNER, 5000)),
        element(SEQUENCE, b"SQ", item(INNER, len(INNER) + 8)),
        element(SEQUENCE, b"SQ", item(INNER, len(INNER) - 2)),
        element(SEQUENCE, b"SQ", item(INNER + item_end() + INNER)),
        element(SEQUENCE, b"SQ", sequence_end() + item(INNER)),
        element(SEQUENCE, b"SQ", item(INNER) + b"1234"),
        element(SEQUENCE, b"SQ", INNER),
        element(SEQUENCE, b"SQ", item(element(0x00081155, b"UI", b"1.2\0", 200))),
        element(SEQUENCE, b"SQ", item(item(INNER))),
        element(SEQUENCE, b"SQ", item(INNER, order=">")),
        element(PRIVATE, b"UN", item(INNER), UNDEFINED),
        element(PRIVATE, b"UN", element(PRIVATE, b"UN", b"", UNDEFINED) * 3, UNDEFINED),
        element(PIXELS, b"OB", item() + item(b"12"), UNDEFINED),
        element(PIXELS, b"OB", item() + item(b"12", 5000) + sequence_end(), UNDEFINED),
        element(PIXELS, b"OB", item(b"12", UNDEFINED) + sequence_end(), UNDEFINED),
        element(PIXELS, b"OB", item() + sequence_end(2) + b"12", UNDEFINED),
        element(PIXELS, b"OB", b"pixels without a fragment" + sequence_end(), UNDEFINED),
    ],
)
def test_a_lie_inside_a_sequence_is_found(bad):
    assert "byte" in refusal(FIRST + bad + LAST)


def test_a_lie_inside_an_implicit_sequence_is_found():
    bad = implicit(SEQUENCE, item(implicit(0x00081155, b"1.2\0", 200)))
    assert "cut off" in refusal(IMPLICIT_FIRST + bad + IMPLICIT_LAST, IMPLICIT)


@pytest.mark.parametrize(
    ("data", "syntax", "reason"),
    [
        (IMPLICIT_FIRST + IMPLICIT_LAST, EXPLICIT, "Implicit VR data"),
        (FIRST + LAST, IMPLICIT, "Explicit VR data"),
        (FIRST + LAST, BIG, "byte"),
        (element(0x00080016, b"UI", b"1.2\0", order=">"), EXPLICIT, "byte"),
        (IMPLICIT_FIRST, BIG, "Implicit VR data"),
    ],
)
def test_another_encoding_than_announced_is_refused(data, syntax, reason):
    assert reason in refusal(data, syntax)


# P-4: truncation


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x08",
        FIRST[:7],
        FIRST[:-1],
        FIRST + element(0x00081030, b"UT", b"1234", 0xFFFFFFFE),
        FIRST + element(0x00100010, b"PN", b"1234", 65534),
        FIRST + LAST[:5],
        FIRST + element(0x00181000, b"UT")[:9],
        FIRST + LAST + b"\0",
        FIRST + LAST + b"\n",
        FIRST + LAST + bytes(100),
        FIRST + LAST + b"\xff" * 1000,
        FIRST + LAST + b"trailing garbage of some length",
    ],
)
def test_what_is_cut_off_or_followed_by_garbage_is_refused(data):
    assert "byte" in refusal(data)


@pytest.mark.parametrize("pixels", [NATIVE, COMPRESSED])
def test_no_beginning_of_an_image_is_taken_for_the_image(pixels):
    """Only cuts before the image is described can pass: they look like an object without one."""
    data = b"".join(IMAGE) + pixels
    boundaries = [sum(map(len, IMAGE[:n])) for n in range(1, len(IMAGE))]
    accepted = []
    for cut in range(len(data)):
        try:
            assert scan(data[:cut], EXPLICIT).pixel_data is None
            accepted.append(cut)
        except Malformed:
            pass
    assert accepted == boundaries
    assert scan(data, EXPLICIT).pixel_data


def test_an_image_without_pixels_is_refused_unless_they_are_elsewhere():
    assert "image without pixel data" in refusal(b"".join(IMAGE))
    url = element(0x00287FE0, b"UR", b"https://example.org/pixels")
    assert scan(b"".join(IMAGE) + url, EXPLICIT).pixel_data is None


@pytest.mark.parametrize(("tag", "vr"), [(0x7FE00008, b"OF"), (0x7FE00009, b"OD")])
def test_float_pixels_are_pixels(tag, vr):
    assert scan(b"".join(IMAGE) + element(tag, vr, bytes(32)), EXPLICIT).pixel_data.tag == tag


@pytest.mark.parametrize("length", [0, 1, 2, 3, 5, 4000])
def test_pixel_data_of_a_strange_length_is_stored(length):
    data = b"".join(IMAGE) + element(PIXELS, b"OW", bytes(length))
    assert scan(data, EXPLICIT).pixel_data.length == length


# P-8: order and duplicates


def test_elements_out_of_order_are_taken():
    private = element(0x00091010, b"LO", b"later")
    header = scan(IMAGE[0] + LAST + private + b"".join(IMAGE[2:]) + NATIVE, EXPLICIT)
    assert header.value("PatientID") == b"X1"
    assert scan(FIRST + NATIVE + LAST, EXPLICIT).value("PatientID") == b"X1"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (FIRST + LAST + LAST, "(0010,0020) is there twice"),
        (FIRST + LAST + element(0x00200010, b"SH") + LAST, "is there twice"),
        (FIRST + NATIVE + NATIVE, "is there twice"),
        (element(0x00000002, b"UI", b"1.2\0") + FIRST, "(0000,0002) does not belong"),
        (element(0x00020010, b"UI", b"1.2\0") + FIRST, "(0002,0010) does not belong"),
        (FIRST + element(0x00020010, b"UI", b"1.2\0"), "(0002,0010) does not belong"),
        (FIRST + item(), "(FFFE,E000) does not belong"),
        (FIRST + item_end() + LAST, "(FFFE,E00D) does not belong"),
        (FIRST + sequence_end(), "(FFFE,E0DD) does not belong"),
        (FIRST + element(0xFFFEE000, b"UL", b"1234"), "(FFFE,E000) does not belong"),
        (FIRST + element(0xFFFF0001, b"LO"), "(FFFF,0001) does not belong"),
        (FIRST + LAST + element(0x00080002, b"LO", b"?"), "unknown element out of order"),
    ],
)
def test_duplicates_and_foreign_groups_are_refused(data, reason):
    assert reason in refusal(data)


def test_a_refusal_repeats_no_value():
    data = FIRST + element(0x00100010, b"PN", b"Doe^Jane", 500)
    assert "Doe" not in refusal(data)


# Anything else


SAMPLE = b"".join(
    [
        FIRST,
        element(0x00080060, b"CS", b"OT"),
        nested(3, True),
        element(0x00082112, b"SQ", item(INNER) * 2),
        element(PRIVATE, b"UN", item(implicit(0x00081155, b"1.2\0"))),
        element(0x00091002, b"UN", item(INNER) + sequence_end(), UNDEFINED),
        *IMAGE[1:],
        COMPRESSED,
    ]
)
IMPLICIT_SAMPLE = b"".join(
    [
        IMPLICIT_FIRST,
        implicit(SEQUENCE, item(implicit(0x00081155, b"1.2\0")) + sequence_end(), UNDEFINED),
        implicit(0x00082112, item(implicit(0x00081155, b"1.2\0"))),
        implicit(PRIVATE, item(implicit(PRIVATE, b"x"))),
        implicit(0x00280010, b"\x02\0"),
        implicit(PIXELS, b"1234"),
    ]
)


@st.composite
def damaged(draw, sample):
    data = bytearray(sample)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(["change", "insert", "remove", "cut"]))
        if kind == "change":
            junk = draw(st.binary(min_size=1, max_size=4))
            data[place : place + len(junk)] = junk
        elif kind == "insert":
            data[place:place] = draw(st.binary(max_size=16))
        elif kind == "remove":
            del data[place : place + draw(st.integers(1, 16))]
        else:
            del data[place:]
    return bytes(data)


def header_or_malformed(data, syntax):
    try:
        header = scan(data, syntax)
    except Malformed:
        return
    assert isinstance(header, Header)
    assert header.size == len(data)


def test_the_samples_are_whole():
    assert scan(SAMPLE, JPEG).pixel_data
    assert scan(IMPLICIT_SAMPLE, IMPLICIT).pixel_data


@settings(deadline=None, max_examples=300)
@given(damaged(SAMPLE), st.sampled_from([EXPLICIT, JPEG, BIG, IMPLICIT]))
def test_any_damage_gives_a_header_or_a_clear_refusal(data, syntax):
    header_or_malformed(data, syntax)


@settings(deadline=None, max_examples=200)
@given(damaged(IMPLICIT_SAMPLE))
def test_any_damage_of_implicit_data_gives_a_header_or_a_clear_refusal(data):
    header_or_malformed(data, IMPLICIT)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, BIG, IMPLICIT]))
def test_noise_gives_a_header_or_a_clear_refusal(data, syntax):
    header_or_malformed(data, syntax)


@settings(deadline=None, max_examples=200)
@given(damaged(meta_group(MEDIA, SYNTAX) + FIRST))
def test_any_damage_of_a_file_meta_gives_one_or_a_clear_refusal(data):
    with suppress(Malformed):
        assert read_file_meta(data).dataset_offset <= len(data)
