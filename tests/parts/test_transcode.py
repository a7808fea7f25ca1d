"""Transfer syntaxes: what is rewritten, decoded or compressed says the same as before."""

import os
from pathlib import Path

import numpy
import pydicom
import pytest
import rle.utils
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from santepacs.archive.header import read_file_meta, scan
from santepacs.archive.syntaxes import DECODABLE, LOSSLESS, NATIVE, preferred
from santepacs.archive.transcode import to_file
from santepacs.errors import Malformed
from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES
from support.archive import ct, encoded
from support.images import storable_files

MPEG4 = "1.2.840.10008.1.2.4.102"
ENCODED = {"PhotometricInterpretation", "PlanarConfiguration", "PixelData"}
# In Implicit VR nothing tells these apart; pydicom knows VRs of private elements besides.
ANY_BYTES = {"UN", "OB", "OW", "US", "SS"}


@pytest.fixture
def transcoded(tmp_path):
    """Write a file (its path, or a dataset) in the first possible of `syntaxes` and read it."""

    def transcoded(source, *syntaxes):
        if isinstance(source, Dataset):
            (tmp_path / "source").write_bytes(encoded(source))
            source = tmp_path / "source"
        target = tmp_path / f"{len(os.listdir(tmp_path))}.dcm"
        try:
            syntax, offset = to_file(str(source), list(syntaxes), str(target))
        except Malformed:
            assert not target.exists()
            raise
        data = target.read_bytes()
        meta = read_file_meta(data)
        assert (meta.transfer_syntax_uid, meta.dataset_offset) == (syntax, offset)
        scan(data, STORAGE_TRANSFER_SYNTAXES[syntax], offset)  # complete, by our own rules
        return pydicom.dcmread(target)

    return transcoded


def sample(name):
    return get_testdata_file(name, download=False)


def image(shape=(32, 40), *, bits=16, stored=None, signed=False, syntax=None, **attributes):
    """An image of random pixels that need all bits stored, and its samples."""
    stored = stored or bits
    low, high = (-(1 << stored - 1), 1 << stored - 1) if signed else (0, 1 << stored)
    kind = f"{'i' if signed else 'u'}{bits // 8}"
    samples = numpy.random.default_rng(7).integers(low, high, shape).astype(kind)
    colour = len(shape) == 3 and shape[-1] == 3
    rows, columns = shape[-3:-1] if colour else shape[-2:]
    order = "<" if syntax is None or syntax.is_little_endian else ">"
    dataset = ct(
        transfer_syntax=syntax or ExplicitVRLittleEndian,
        Rows=rows,
        Columns=columns,
        BitsAllocated=bits,
        BitsStored=stored,
        HighBit=stored - 1,
        PixelRepresentation=int(signed),
        SamplesPerPixel=3 if colour else 1,
        PlanarConfiguration=0 if colour else None,
        PhotometricInterpretation="RGB" if colour else "MONOCHROME2",
        PixelData=padded(samples.astype(samples.dtype.newbyteorder(order)).tobytes()),
        **attributes,
    )
    dataset["PixelData"].VR = "OB" if bits == 8 else "OW"
    return dataset, samples


def padded(value):
    return value + bytes(len(value) % 2)


def contents(dataset):
    """Every element but those that an encoding decides, comparable."""
    found = {}
    for element in dataset:
        if element.keyword in ENCODED or not element.tag.element:
            continue
        if element.VR == "SQ":
            found[element.tag] = [contents(item) for item in element.value]
        elif element.VR in ANY_BYTES or element.tag.is_private:
            found[element.tag] = None
        else:
            found[element.tag] = element.value
    return found


# --- which syntax ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "accepted", "best"),
    [
        (RLELossless, [*NATIVE, RLELossless], RLELossless),
        (JPEGLossless, [ImplicitVRLittleEndian, JPEGLosslessSV1], JPEGLosslessSV1),
        (JPEGLossless, [ImplicitVRLittleEndian, JPEG2000Lossless], ImplicitVRLittleEndian),
        ("1.2.840.10008.1.2.4.201", [*NATIVE, JPEG2000Lossless], JPEG2000Lossless),
        (JPEGBaseline8Bit, NATIVE, ExplicitVRLittleEndian),
        (ExplicitVRBigEndian, [ImplicitVRLittleEndian, RLELossless], ImplicitVRLittleEndian),
        (ExplicitVRLittleEndian, [RLELossless, JPEGLSLossless], JPEGLSLossless),
        (ExplicitVRLittleEndian, [JPEGBaseline8Bit], None),
        (JPEG2000Lossless, ["1.2.840.10008.1.2.4.91", JPEGBaseline8Bit], None),
        (MPEG4, NATIVE, None),
    ],
)
def test_the_best_accepted_syntax_is_chosen_and_never_one_that_loses(own, accepted, best):
    assert next(iter(preferred(own, accepted)), None) == best


# --- the real things ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", storable_files(), ids=lambda path: path.name)
def test_every_bundled_object_says_the_same_in_every_uncompressed_syntax(path, transcoded):
    source = pydicom.dcmread(path)
    own = source.file_meta.TransferSyntaxUID
    unknown = any(source.get_item(tag).VR == "UN" for tag in list(source.keys()))
    for syntax in NATIVE:
        if own.is_encapsulated and own not in DECODABLE:
            continue
        try:
            result = transcoded(path, syntax)
        except Malformed:
            assert path.name == "JPEG2000-embedded-sequence-delimiter.dcm"
            continue
        assert result.SOPInstanceUID == source.SOPInstanceUID
        added = {"LossyImageCompression", "LossyImageCompressionMethod"}
        found = contents(result)
        for keyword in added.difference(dir(source)):
            found.pop(pydicom.datadict.tag_for_keyword(keyword), None)
        if syntax != ExplicitVRBigEndian or not unknown:  # those pydicom reads as Big Endian
            assert found == contents(source)
        if "Rows" in source and int(source.BitsAllocated) <= 16 and path.name != "badVR.dcm":
            assert same_pixels(source, result), syntax


def same_pixels(one, other):
    if one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.51" and one.BitsStored > 8:
        return True  # pydicom refuses to decode it
    return numpy.array_equal(one.pixel_array, other.pixel_array)


# The same object, stored compressed without loss and uncompressed by others.
PAIRS = [
    ("MR_small_RLE.dcm", "MR_small.dcm"),
    ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
    ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
    ("SC_rgb_rle_16bit_2frame.dcm", "SC_rgb_16bit_2frame.dcm"),
    ("SC_rgb_rle_32bit.dcm", "SC_rgb_32bit.dcm"),
    ("OBXXXX1A_rle_2frame.dcm", "OBXXXX1A_2frame.dcm"),
    ("emri_small_RLE.dcm", "emri_small.dcm"),
    ("emri_small_jpeg_2k_lossless.dcm", "emri_small.dcm"),
    ("emri_small_jpeg_ls_lossless.dcm", "emri_small.dcm"),
    ("RG3_J2KR.dcm", "RG3_UNCR.dcm"),
    ("US1_J2KR.dcm", "US1_UNCR.dcm"),
]


@pytest.mark.parametrize(("compressed", "plain"), PAIRS)
def test_decoding_gives_what_others_have_uncompressed(compressed, plain, transcoded):
    if not (sample(compressed) and sample(plain)):
        pytest.skip("pydicom-data is not installed")
    reference = pydicom.dcmread(sample(plain))
    result = transcoded(sample(compressed), ExplicitVRLittleEndian)
    assert result.PhotometricInterpretation == reference.PhotometricInterpretation
    assert result.PixelData == reference.PixelData


def test_12_bit_jpeg_is_decoded(transcoded):
    result = transcoded(sample("JPEG-lossy.dcm"), ExplicitVRLittleEndian)
    pixels = result.pixel_array
    # As dcmtk decodes it.
    assert (pixels.min(), pixels.max(), int(pixels.sum())) == (0, 264, 3767007)
    assert result.LossyImageCompression == "01"


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_dcmtk_+eb+cy+np.dcm", "SC_rgb_dcmtk_+eb+cy+s2.dcm", "SC_rgb_dcmtk_+eb+cr.dcm"],
)
def test_baseline_colour_becomes_rgb_and_stays_marked_as_lossy(name, transcoded):
    reference = {"np": "np", "s2": "s2", "cr": "cr"}[name[-6:-4]]
    plain = sample(f"SC_rgb_dcmtk_eb{'' if reference == 'cr' else 'cy'}{reference}_dcmd.dcm")
    result = transcoded(sample(name), ImplicitVRLittleEndian)
    assert result.PhotometricInterpretation == "RGB"
    assert result.PlanarConfiguration == 0
    assert result.LossyImageCompression == "01"
    assert result.LossyImageCompressionMethod == "ISO_10918_1"
    if plain:
        there = pydicom.dcmread(plain).pixel_array.astype(int)
        assert abs(there - result.pixel_array).max() <= 1  # decoders round differently


def test_what_was_compressed_without_loss_is_not_marked(transcoded):
    for name in ("MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm"):
        assert "LossyImageCompression" not in transcoded(sample(name), ExplicitVRLittleEndian)
    near = transcoded(sample("JPEGLSNearLossless_16.dcm"), ExplicitVRLittleEndian)
    assert near.LossyImageCompression == "01"
    irreversible = transcoded(sample("JPEG2000.dcm"), ExplicitVRLittleEndian)
    assert irreversible.LossyImageCompression == "01"


# --- compressing ----------------------------------------------------------------------------------

SHAPES = [
    {"shape": (32, 40)},
    {"shape": (33, 35), "stored": 12},
    {"shape": (33, 35), "stored": 12, "signed": True},
    {"shape": (33, 35), "signed": True},
    {"shape": (33, 35), "bits": 8},
    {"shape": (33, 35, 3), "bits": 8},
    {"shape": (3, 33, 35), "stored": 10, "NumberOfFrames": 3},
    {"shape": (34, 36), "stored": 12, "syntax": ExplicitVRBigEndian},
    {"shape": (34, 36), "stored": 12, "syntax": ImplicitVRLittleEndian},
]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize("form", SHAPES, ids=str)
def test_compressing_loses_nothing(form, syntax, transcoded, tmp_path):
    dataset, samples = image(**form)
    compressed = transcoded(dataset, syntax)
    assert compressed["PixelData"].is_undefined_length
    assert contents(compressed) == contents(dataset)
    assert numpy.array_equal(compressed.pixel_array, samples)
    compressed.save_as(tmp_path / "compressed")
    back = transcoded(tmp_path / "compressed", dataset.file_meta.TransferSyntaxUID)
    assert back.PixelData == dataset.PixelData
    assert contents(back) == contents(dataset)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_an_overlay_in_the_unused_bits_survives(syntax, transcoded):
    dataset, samples = image(stored=12)
    with_overlay = samples | (numpy.arange(40, dtype="u2") % 2 << 15)
    dataset.PixelData = with_overlay.tobytes()
    compressed = transcoded(dataset, syntax)
    compressed.BitsStored, compressed.HighBit = 16, 15
    assert numpy.array_equal(compressed.pixel_array, with_overlay)


def test_planes_become_pixels(transcoded):
    dataset, samples = image((32, 40, 3), bits=8)
    dataset.PlanarConfiguration = 1
    dataset.PixelData = samples.transpose(2, 0, 1).tobytes()
    compressed = transcoded(dataset, JPEGLosslessSV1)
    assert compressed.PlanarConfiguration == 0
    assert numpy.array_equal(compressed.pixel_array, samples)


def test_single_bits_are_decoded_and_packed(transcoded):
    plain = pydicom.dcmread(sample("liver_1frame.dcm"))
    packed = plain.PixelData
    frame = rle.utils.encode_pixel_data(
        packed, rows=512, columns=512, samples_per_pixel=1, bits_allocated=1
    )
    plain.PixelData = encapsulate([frame])
    plain["PixelData"].is_undefined_length = True
    plain.file_meta.TransferSyntaxUID = RLELossless
    assert transcoded(plain, ExplicitVRLittleEndian).PixelData == packed


# --- uncompressed encodings -----------------------------------------------------------------------


def rich():
    """An object with every kind of value that byte order or VR matters for."""
    dataset = ct(InstanceNumber=3)
    dataset.FrameIncrementPointer = 0x00181063
    dataset.add_new(0x00189087, "FD", [1.5, -2.25])
    dataset.add_new(0x00281052, "DS", "-1024")
    dataset.add_new(0x00720050, "CS", "X")
    dataset.add_new(0x00660016, "OF", b"\x01\x02\x03\x04\x05\x06\x07\x08")
    dataset.add_new(0x7FE00001, "OV", bytes(range(16)))
    dataset.add_new(0x00280120, "US", 7)
    block = dataset.private_block(0x0029, "DOE TEST", create=True)
    block.add_new(0x01, "UN", b"\1\2\3\4")
    item = Dataset()
    item.add_new(0x00280103, "US", 1)
    item.add_new(0x00280106, "SS", -5)
    nested = Dataset()
    nested.add_new(0x00189087, "FD", 0.5)
    item.add_new(0x00409096, "SQ", Sequence([nested, Dataset()]))
    dataset.add_new(0x00283000, "SQ", Sequence([item]))
    dataset.add_new(0x00081140, "SQ", Sequence([]))
    return dataset


@pytest.mark.parametrize("there", NATIVE)
@pytest.mark.parametrize("back", NATIVE)
def test_every_kind_of_value_survives_there_and_back(there, back, transcoded):
    source = rich()
    result = source
    for syntax in (there, back, ExplicitVRLittleEndian):
        result = transcoded(result if result is source else result.filename, syntax)
    assert contents(result) == contents(source)
    assert result.PixelData == source.PixelData
    assert result[0x00283000][0][0x00280106].value == -5
    private = result.private_block(0x0029, "DOE TEST")
    assert private[0x01].value == b"\1\2\3\4"


def test_a_value_too_long_for_its_vr_becomes_un(transcoded):
    long = "x" * 70_000
    explicit = transcoded(
        ct(PatientComments=long, transfer_syntax=ImplicitVRLittleEndian), ExplicitVRLittleEndian
    )
    assert explicit.get_item(0x00104000).VR == "UN"
    assert transcoded(explicit.filename, ImplicitVRLittleEndian).PatientComments == long


def test_a_private_sequence_of_undefined_length_is_told_by_its_items(transcoded):
    inner, source = Dataset(), ct(transfer_syntax=ImplicitVRLittleEndian)
    inner.InstanceNumber = 4
    block = source.private_block(0x0029, "DOE TEST", create=True)
    block.add_new(0x02, "SQ", Sequence([inner]))
    block[0x02].is_undefined_length = True
    for syntax in (ExplicitVRLittleEndian, ExplicitVRBigEndian):
        result = transcoded(source, syntax)
        element = result.private_block(0x0029, "DOE TEST")[0x02]
        assert (element.VR, element[0].InstanceNumber) == ("SQ", 4)


def test_an_unknown_value_of_undefined_length_becomes_a_sequence_in_implicit_vr(transcoded):
    """It is Implicit VR inside already (PS3.5 6.2.2)."""
    items = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + b"\x20\0\x13\0\2\0\0\x004 "
    items += b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    un = b"\x29\0\x02\x10UN\0\0\xff\xff\xff\xff" + items
    source = ct()
    source.private_block(0x0029, "DOE TEST", create=True).add_new(0x02, "UN", b"HERE")
    here = b"\x29\0\x02\x10UN\0\0\4\0\0\0HERE"
    path = Path(transcoded(source, ExplicitVRLittleEndian).filename)
    data = path.read_bytes()
    assert here in data
    path.write_bytes(data.replace(here, un))
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        result = transcoded(path, syntax)
        value = result.private_block(0x0029, "DOE TEST")[0x02].value
        assert value[0].InstanceNumber == 4


def test_values_that_break_the_rules_go_out_as_they_came(transcoded):
    source = ct()
    source._dict[pydicom.tag.Tag(0x00200013)] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag(0x00200013), "IS", 4, b"one ", 0, False, True
    )
    result = transcoded(source, ImplicitVRLittleEndian)
    assert result.get_item(0x00200013).value == b"one "


# --- what is broken or hostile --------------------------------------------------------------------


def jpeg(**attributes):
    dataset = pydicom.dcmread(sample("SC_rgb_jpeg_dcmtk.dcm"))
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    "attributes",
    [
        {"Rows": 0},
        {"Rows": 65535, "Columns": 65535},
        {"Columns": 50},
        {"Rows": 200},
        {"NumberOfFrames": 2},
        {"NumberOfFrames": 999_999_999},
        {"BitsAllocated": 3},
        {"BitsAllocated": 64, "BitsStored": 64},
        {"SamplesPerPixel": 4},
        {"PixelData": encapsulate([b"\xff\xd8\xff\xc0"])},
        {"PixelData": encapsulate([b"no image"])},
        {"PixelData": encapsulate([b"\xff\x4f\xff\x51\0\0"])},
    ],
    ids=str,
)
def test_impossible_pixels_are_refused_and_leave_no_file(attributes, transcoded):
    with pytest.raises(Malformed):
        transcoded(jpeg(**attributes), ExplicitVRLittleEndian)


@pytest.mark.parametrize(
    "name", ["SC_rgb_jpeg_dcmtk.dcm", "MR_small_jp2klossless.dcm", "MR_small_RLE.dcm"]
)
def test_pixels_that_are_cut_off_are_refused(name, transcoded):
    dataset = pydicom.dcmread(sample(name))
    (frame,) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1)
    dataset.PixelData = encapsulate([frame[: len(frame) // 2]])
    with pytest.raises(Malformed):
        transcoded(dataset, ExplicitVRLittleEndian)


def test_uncompressed_pixels_that_are_too_few_are_not_compressed(transcoded):
    dataset, _ = image()
    dataset.PixelData = dataset.PixelData[:-2]
    with pytest.raises(Malformed, match="shorter"):
        transcoded(dataset, JPEGLosslessSV1)


def test_video_is_not_decoded(transcoded):
    dataset = jpeg()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(MPEG4)
    with pytest.raises(Malformed, match="cannot be decoded"):
        transcoded(dataset, ExplicitVRLittleEndian)


def test_an_object_without_pixels_is_not_compressed(transcoded):
    report = ct(Rows=None, Columns=None, BitsAllocated=None, PixelData=None)
    with pytest.raises(Malformed):
        transcoded(report, JPEGLosslessSV1)
    assert transcoded(report, ImplicitVRLittleEndian).PatientName == "Doe^Jane"


def test_the_next_best_syntax_is_taken_when_the_pixels_do_not_fit_the_best(transcoded):
    dataset, samples = image((8, 8))  # too small for JPEG 2000
    result = transcoded(dataset, JPEG2000Lossless, RLELossless)
    assert result.file_meta.TransferSyntaxUID == RLELossless
    assert numpy.array_equal(result.pixel_array, samples)


@pytest.mark.parametrize("cut", [0, 100, 140, 400])
def test_a_file_that_is_cut_off_is_refused(cut, transcoded, tmp_path):
    (tmp_path / "cut").write_bytes(encoded(ct())[:cut])
    with pytest.raises((Malformed, ValueError) if cut == 0 else Malformed):
        transcoded(tmp_path / "cut", ImplicitVRLittleEndian)
