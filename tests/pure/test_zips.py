"""Zips of stored objects: laid out beforehand, readable by everybody, named harmlessly."""

import io
import re
import shutil
import subprocess
import zipfile
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from santepacs.archive import zips
from santepacs.archive.zipnames import MAXIMUM_LENGTH, Names, safe
from santepacs.archive.zips import Entry
from santepacs.db.studies import ObjectFile, StudyRow

HOSTILE = [
    "../../evil", "/abs", "C:\\x", "..\\x", "a\0b", "x" * 10_000, "..", ".", "", "CON", "nul.txt",
    "com1", "Παπαδοπουλου^Μαρια", "Müller^Jörg", "a/b", "-rf", "a\r\nb", "\u202egpj.exe", "💀",
    "'; DROP TABLE study; --", "a" * 47 + "..b", "_", "...", "~", "%2e%2e%2f",
]  # fmt: skip


def study(**changes):
    values = {
        "id": 1, "patient": 1, "patient_id": "P1", "issuer": "", "patient_name": "Doe^Jane",
        "patient_birth_date": "", "patient_sex": "", "identity_conflict": False,
        "study_instance_uid": "1.2.3", "study_date": "20261120", "study_time": "",
        "accession_number": "", "study_id": "", "study_description": "Thorax",
        "referring_physician": "", "institution_name": "", "modalities": ("CT",),
        "series_count": 1, "instance_count": 1, "bytes": 1,
        "received_at": datetime(2026, 11, 20, tzinfo=UTC), "token_version": 1,
    }  # fmt: skip
    return StudyRow(**values | changes)


def item(number=1, **changes):
    values = {
        "id": number, "study_instance_uid": "1.2.3", "series_instance_uid": "1.2.3.1",
        "sop_instance_uid": f"1.2.3.1.{number}", "sop_class_uid": "1.2", "digest": f"{number:064x}",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1", "bytes": 10, "crc32": 0, "modality": "CT",
        "series_number": 3, "series_description": "axial", "instance_number": number,
    }  # fmt: skip
    return ObjectFile(**values | changes)


def written(contents, names=None):
    """The bytes of a zip of `contents`, as a sender would send them."""
    names = names or [f"a/{number}.dcm" for number in range(len(contents))]
    files = [
        Entry(name.encode(), len(content), zlib.crc32(content), "1.2", str(number))
        for number, (name, content) in enumerate(zip(names, contents, strict=True))
    ]
    parts = [
        piece if isinstance(piece, bytes) else contents[int(piece.digest)]
        for piece in zips.items(files)
    ]
    return b"".join(parts), zips.length(files)


@pytest.mark.parametrize(
    "contents", [[], [b""], [b"a"], [b"a" * 100_000, b"", b"DICM" * 1000]], ids=len
)
def test_the_length_is_exact_and_python_reads_it(contents):
    data, length = written(contents)
    assert len(data) == length
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert [archive.read(name) for name in archive.namelist()] == contents


@given(st.lists(st.binary(max_size=200), max_size=20))
def test_any_contents_come_back(contents):
    data, length = written(contents)
    assert len(data) == length
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert [archive.read(name) for name in archive.namelist()] == contents


def test_unzip_accepts_it(tmp_path):
    if shutil.which("unzip") is None:
        pytest.skip("unzip is not installed")
    path = tmp_path / "a.zip"
    path.write_bytes(written([b"x" * 5000, b"y"])[0])
    done = subprocess.run(["unzip", "-t", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "No errors detected" in done.stdout


@pytest.mark.parametrize("count", [65_534, 65_535, 65_536])
def test_more_than_65_535_entries_need_zip64(count):
    contents = [b""] * count
    data, length = written(contents)
    assert len(data) == length
    assert (b"PK\6\6" in data) == (count >= 65_535)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert len(archive.namelist()) == count


class Sparse(io.RawIOBase):
    """A huge zip of which only the headers exist: file contents read as zeros."""

    def __init__(self, files):
        self.parts, self.size, self.at = [], 0, 0
        for piece in zips.items(files):
            if isinstance(piece, bytes):
                self.parts.append((self.size, piece))
            self.size += len(piece) if isinstance(piece, bytes) else piece.bytes

    def seekable(self):
        return True

    def readable(self):
        return True

    def tell(self):
        return self.at

    def seek(self, offset, whence=0):
        self.at = offset + {0: 0, 1: self.at, 2: self.size}[whence]
        return self.at

    def read(self, size=-1):
        end = self.size if size < 0 else min(self.size, self.at + size)
        data = bytearray(end - self.at)
        for start, piece in self.parts:
            low, high = max(start, self.at), min(start + len(piece), end)
            if low < high:
                data[low - self.at : high - self.at] = piece[low - start : high - start]
        self.at = end
        return bytes(data)


GB = 1 << 30


@pytest.mark.parametrize(
    "sizes",
    [
        [0xFFFFFFFE], [0xFFFFFFFF], [0x100000000], [5 * GB, 10], [3 * GB, 3 * GB, 7],
        [GB, GB, GB, GB - 200, 100, 100, 100],
    ],
    ids=str,
)  # fmt: skip
def test_sizes_and_offsets_beyond_4_gib(sizes):
    files = [Entry(b"f%d.dcm" % n, size, 1, "1.2", "") for n, size in enumerate(sizes)]
    sparse = Sparse(files)
    assert sparse.size == zips.length(files)
    with zipfile.ZipFile(sparse) as archive:
        assert [info.file_size for info in archive.infolist()] == sizes
        for info in archive.infolist():
            sparse.seek(info.header_offset)
            assert sparse.read(4) == b"PK\3\4"
            archive.open(info).close()  # local and central header agree


@pytest.mark.parametrize("text", HOSTILE)
def test_f8_a_hostile_text_gives_a_harmless_name(text):
    name = safe(text, "other")
    assert re.fullmatch(r"[A-Za-z0-9._-]+", name)
    assert ".." not in name
    assert not name.startswith((".", "-"))
    assert len(name) <= MAXIMUM_LENGTH + 1
    assert not re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", name, re.IGNORECASE)


@pytest.mark.parametrize("text", HOSTILE)
def test_f8_hostile_attributes_give_harmless_paths(text):
    row = study(patient_name=text, patient_id=text, study_description=text, study_date="")
    entry = zips.entries([item(series_description=text, modality=text)], {"1.2.3": row})[0]
    name = entry.name.decode("ascii")
    assert re.fullmatch(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+){2}/[0-9]+\.dcm", name)
    assert ".." not in name
    assert len(name) < 200


def test_names_tell_patient_study_series_and_number():
    entry = zips.entries([item(12)], {"1.2.3": study()})[0]
    assert entry.name == b"Doe_Jane_P1/20261120_CT_Thorax/003_CT_axial/000012.dcm"


def test_names_are_unique_even_without_case():
    rows = {"1.2.3": study(), "1.2.4": study(study_instance_uid="1.2.4")}
    objects = [
        item(1), item(2, instance_number=1), item(3, instance_number=None),
        item(4, series_instance_uid="1.2.3.2", series_description="AXIAL"),
        item(5, study_instance_uid="1.2.4"),
    ]  # fmt: skip
    names = [entry.name.lower() for entry in zips.entries(objects, rows)]
    assert len(set(names)) == len(objects)


def test_one_series_stays_in_one_folder():
    names = Names()
    paths = [names.of(item(number), study()) for number in range(1, 50)]
    assert len({path.rpartition("/")[0] for path in paths}) == 1
