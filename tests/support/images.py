"""The images that tests send: those that come with pydicom, and a real series if there is one."""

import tarfile
from pathlib import Path

import pydicom
import pytest

from santepacs.archive.attributes import object_record
from santepacs.archive.header import read_file_meta, scan
from santepacs.errors import Malformed
from santepacs.model.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, STORAGE_TRANSFER_SYNTAXES

SERIES = Path(__file__).resolve().parents[3] / "shared/data/dicom/mr-head-384.tar.xz"


def storable_files():
    """pydicom's own files that are complete objects in a transfer syntax of storage, one a UID.

    Of several encodings of one object the rarer is taken.
    """
    found = {}
    common = {}
    for path in sorted((Path(pydicom.__file__).parent / "data").rglob("*")):
        if not path.is_file() or path.suffix == ".py" or path.stat().st_size > 5_000_000:
            continue
        data = path.read_bytes()
        try:
            meta = read_file_meta(data)
            syntax = STORAGE_TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
            record = object_record(scan(data, syntax, meta.dataset_offset))
        except (Malformed, KeyError):
            continue
        if meta.sop_instance_uid == record.sop_instance_uid:
            plain = meta.transfer_syntax_uid == EXPLICIT_LITTLE_ENDIAN
            (common if plain else found).setdefault(record.sop_instance_uid, path)
    return sorted((common | found).values())


def mr_series_files(folder):
    """The files of a real MR series of 384 images; skips where it is not at hand."""
    if not SERIES.exists():
        pytest.skip(f"no {SERIES.name} beside the checkout")
    with tarfile.open(SERIES) as archive:
        archive.extractall(folder, filter="data")
    return sorted(folder.rglob("*.dcm"))
