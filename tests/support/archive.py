"""An archive on a real database and disk, and objects to put into it."""

import errno
import io
from contextlib import contextmanager

from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from santepacs.archive.archive import Archive
from santepacs.archive.files import ObjectFiles
from santepacs.db.database import Database
from santepacs.host.datadir import prepare
from santepacs.settings import Settings
from santepacs.threads import Threads

SECRET_KEY = bytes(range(64))
CT = "1.2.840.10008.5.1.4.1.1.2"


class Site:
    """Database, threads and archive of one test."""

    def __init__(self, reactor_thread, dsn, folder, settings=None):
        self.settings = settings or Settings()
        self.reactor_thread = reactor_thread
        self.directory = prepare(folder)
        self.database = Database(reactor_thread.reactor, dsn, connections=4)
        self.threads = Threads(reactor_thread.reactor, deadline=10)
        self.files = ObjectFiles(
            self.directory.objects, self.directory.incoming, self.directory.aside
        )
        self.archive = Archive(self.database, self.threads, self.files, SECRET_KEY, self.settings)

    def start(self):
        self.reactor_thread.run(self.threads.start)
        self.reactor_thread.run(self.database.start)

    def stop(self):
        self.reactor_thread.run(self.database.stop)
        self.threads.stop()

    def ask(self, function, *args, **kwargs):
        """A function of `santepacs.db` in a transaction of its own."""

        async def work(tx):
            return await function(tx, *args, **kwargs)

        return self.reactor_thread.run(self.database.transaction, "test", work)

    def store(self, data, **announced):
        """Store a Part 10 file given as bytes or as a pydicom dataset."""
        if isinstance(data, Dataset):
            data = encoded(data)
        path = self.files.receive([data])
        return self.archive.store(path, source="TEST", **announced)


@contextmanager
def running_site(reactor_thread, dsn, folder, settings=None):
    site = Site(reactor_thread, dsn, folder, settings)
    site.start()
    try:
        yield site
    finally:
        site.stop()


def ct(**attributes):
    """A small complete CT image with the attributes given; `transfer_syntax` may be among them."""
    syntax = attributes.pop("transfer_syntax", ExplicitVRLittleEndian)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    image = FileDataset(
        "",
        {},
        file_meta=meta,
        preamble=bytes(128),
        is_implicit_VR=syntax.is_implicit_VR,
        is_little_endian=syntax.is_little_endian,
    )
    defaults = {
        "SOPClassUID": CT,
        "SOPInstanceUID": "1.2.826.0.1.3680043.8.498.1.1.1",
        "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.1",
        "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.1.1",
        "PatientID": "P1",
        "PatientName": "Doe^Jane",
        "PatientBirthDate": "19700131",
        "PatientSex": "F",
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "StudyID": "S1",
        "StudyDescription": "Thorax",
        "AccessionNumber": "A1",
        "Modality": "CT",
        "SeriesNumber": 1,
        "SeriesDescription": "axial",
        "InstanceNumber": 1,
        "Rows": 8,
        "Columns": 8,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": bytes(range(128)),
    }
    for keyword, value in (defaults | attributes).items():
        if value is not None:
            setattr(image, keyword, value)
    if image.get("PixelData"):
        image["PixelData"].VR = "OW"
    meta.MediaStorageSOPClassUID = image.SOPClassUID
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def encoded(dataset):
    """The Part 10 file of a dataset."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def dataset_bytes(part10):
    """The encoded dataset of a Part 10 file: what must never change."""
    from santepacs.archive.header import read_file_meta

    return part10[read_file_meta(part10).dataset_offset :]


def bundled(name):
    """The bytes of a file that comes inside pydicom."""
    with open(get_testdata_file(name), "rb") as file:
        return file.read()


def no_space(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, "No space left on device")
