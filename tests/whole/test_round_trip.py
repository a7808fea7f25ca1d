"""What comes back is what went in: every transfer syntax of the test data, by every way out."""

import io
import zipfile

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from santepacs.archive.header import read_file_meta
from support.archive import dataset_bytes
from support.clients import Browser
from support.images import storable_files
from support.postgres import reachable_folder
from support.server import ADMIN_PASSWORD, free_ports, running_server


class Objects:
    """The files that were stored, by SOP Instance UID."""

    def __init__(self, paths):
        self.data = {}
        self.meta = {}
        for path in paths:
            data = path.read_bytes()
            meta = read_file_meta(data)
            self.data[meta.sop_instance_uid] = dataset_bytes(data)
            self.meta[meta.sop_instance_uid] = meta
        self.contexts = sorted(
            {(meta.sop_class_uid, meta.transfer_syntax_uid) for meta in self.meta.values()}
        )
        assert len(self.contexts) < 120


@pytest.fixture(scope="module")
def stored():
    """A server that holds all of it, imported by the command, and the originals."""
    paths = storable_files()
    with reachable_folder() as folder, running_server(folder / "data") as server:
        imported = server.command("import", *map(str, paths))
        assert imported.returncode == 0, imported.stdout + imported.stderr
        yield server, Objects(paths)


def studies(server):
    entity = AE("FINDER")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = ""
    found = [
        str(identifier.StudyInstanceUID)
        for status, identifier in association.send_c_find(
            query, StudyRootQueryRetrieveInformationModelFind
        )
        if identifier is not None
    ]
    association.release()
    return found


def retrieval(study):
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = study
    return query


def received_in(event, got):
    """Keep the bytes of a C-STORE as they came."""
    uid = str(event.request.AffectedSOPInstanceUID)
    got[uid] = (event.context.transfer_syntax, event.request.DataSet.getvalue())
    return 0x0000


def check(got, objects):
    assert got.keys() == objects.data.keys()
    for uid, (syntax, data) in got.items():
        assert syntax == objects.meta[uid].transfer_syntax_uid
        assert data == objects.data[uid]


def test_by_c_get(stored):
    server, objects = stored
    got = {}
    entity = AE("GETTER")
    classes = {sop_class for sop_class, _ in objects.contexts}
    # One presentation context for each class and syntax, so that nothing has to be converted.
    entity.requested_contexts = [
        build_context(StudyRootQueryRetrieveInformationModelGet),
        *(build_context(sop_class, [syntax]) for sop_class, syntax in objects.contexts),
    ]
    association = entity.associate(
        "127.0.0.1",
        server.dicom_port,
        ae_title="SANTEPACS",
        ext_neg=[build_role(sop_class, scp_role=True) for sop_class in classes],
        evt_handlers=[(evt.EVT_C_STORE, received_in, [got])],
    )
    assert association.is_established
    for study in studies(server):
        answers = association.send_c_get(
            retrieval(study), StudyRootQueryRetrieveInformationModelGet
        )
        assert [status.Status for status, _ in answers][-1] == 0x0000
    association.release()
    check(got, objects)


def test_by_c_move(stored):
    server, objects = stored
    got = {}
    (port,) = free_ports(1)
    destination = AE("DESTINATION")
    for sop_class, _ in objects.contexts:
        syntaxes = [syntax for known, syntax in objects.contexts if known == sop_class]
        destination.add_supported_context(sop_class, syntaxes)
    listening = destination.start_server(
        ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, received_in, [got])]
    )
    try:
        added = server.command("peer", "add", "DESTINATION", "127.0.0.1", str(port))
        assert added.returncode == 0, added.stderr
        mover = AE("MOVER")
        mover.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
        association = mover.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
        for study in studies(server):
            answers = association.send_c_move(
                retrieval(study), "DESTINATION", StudyRootQueryRetrieveInformationModelMove
            )
            assert [status.Status for status, _ in answers][-1] == 0x0000
        association.release()
    finally:
        listening.shutdown()
    check(got, objects)


def test_by_zip(stored):
    server, objects = stored
    browser = Browser(server.web_port)
    assert browser.log_in("admin", ADMIN_PASSWORD).status == 303
    got = {}
    for study in studies(server):
        answer = browser.get(f"/download/study/{study}.zip")
        assert answer.status == 200
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
            assert archive.testzip() is None
            names = archive.namelist()
            assert len({name.lower() for name in names}) == len(names)
            for name in names:
                data = archive.read(name)
                meta = read_file_meta(data)
                got[meta.sop_instance_uid] = (meta.transfer_syntax_uid, dataset_bytes(data))
    check(got, objects)
