"""kill -9 in the middle of storing: what was answered 0x0000 is there, and nothing is half."""

import os
import threading

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
)

from support.archive import ct
from support.postgres import reachable_folder
from support.server import Server, end_leftover_postgres, running_server

IMAGES = 200
STUDY = "1.2.826.0.1.3680043.8.498.77"


def images():
    for number in range(IMAGES):
        yield ct(
            StudyInstanceUID=STUDY,
            SeriesInstanceUID=f"{STUDY}.{number % 3}",
            SOPInstanceUID=generate_uid(entropy_srcs=["kill", str(number)]),
            InstanceNumber=number,
            Rows=256,
            Columns=256,
            PixelData=number.to_bytes(2, "little") * 65536,
        )


def store_until_killed(server, kill_after):
    """Store images; kill the server when so many are answered. Returns what was answered 0x0000."""
    entity = AE("KILLER")
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
    assert association.is_established
    answered = {}
    for number, image in enumerate(images()):
        if number == kill_after:
            threading.Timer(0.003, server.kill).start()
        try:
            status = association.send_c_store(image)
        except (RuntimeError, ValueError):
            break
        if "Status" not in status:
            break
        assert status.Status == 0x0000
        answered[image.SOPInstanceUID] = bytes(image.PixelData)
    association.abort()
    return answered


def fetched(server):
    """Every image of the study by C-GET: SOP Instance UID -> pixels."""
    got = {}

    def keep(event):
        image = event.dataset
        got[image.SOPInstanceUID] = bytes(image.PixelData)
        return 0x0000

    entity = AE("FETCHER")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    entity.add_requested_context(CTImageStorage)
    association = entity.associate(
        "127.0.0.1",
        server.dicom_port,
        ae_title="SANTEPACS",
        ext_neg=[build_role(CTImageStorage, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, keep)],
    )
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = STUDY
    final = None
    for status, _ in association.send_c_get(query, StudyRootQueryRetrieveInformationModelGet):
        final = status.Status
    association.release()
    assert final == 0x0000
    return got


def counted(server):
    """What C-FIND says of the study's size."""
    entity = AE("COUNTER")
    entity.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    query.StudyInstanceUID = STUDY
    query.NumberOfStudyRelatedInstances = None
    answers = [
        identifier.NumberOfStudyRelatedInstances
        for status, identifier in association.send_c_find(
            query, StudyRootQueryRetrieveInformationModelFind
        )
        if identifier is not None
    ]
    association.release()
    return int(answers[0]) if answers else 0


@pytest.mark.parametrize("kill_after", [17, 88])
def test_everything_that_was_answered_survives_kill_9(kill_after):
    originals = {image.SOPInstanceUID: bytes(image.PixelData) for image in images()}
    with reachable_folder() as folder:
        data = folder / "data"
        server = Server(data).start()
        try:
            answered = store_until_killed(server, kill_after)
            assert kill_after <= len(answered) < IMAGES
            with running_server(data) as again:
                kept = fetched(again)
                assert answered.items() <= kept.items()
                assert kept.items() <= originals.items(), "something half is served"
                assert counted(again) == len(kept)
                assert os.listdir(data / "incoming") == []
                assert len(store_again(again)) == IMAGES
                assert counted(again) == IMAGES
        finally:
            end_leftover_postgres(data)


def store_again(server):
    entity = AE("AGAIN")
    entity.add_requested_context(CTImageStorage)
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
    answered = []
    for image in images():
        assert association.send_c_store(image).Status == 0x0000
        answered.append(image.SOPInstanceUID)
    association.release()
    return answered
