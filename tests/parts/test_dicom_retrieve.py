"""C-MOVE and C-GET: what comes back is what went in, and what does not come is counted."""

import io
import os
import signal
import socket
import threading
import time
from collections import Counter
from contextlib import suppress

import numpy
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AllStoragePresentationContexts, _config, build_context, build_role, evt

from santepacs.archive.attributes import object_record
from santepacs.archive.header import read_file_meta, scan
from santepacs.db import peers, studies
from santepacs.dicom import contexts
from santepacs.dicom.client import Client, Urgency
from santepacs.dicom.elements import part_10_header
from santepacs.errors import Unavailable
from santepacs.model.peers import Address, Peer
from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES
from support.archive import bundled as bundled_file
from support.archive import ct, dataset_bytes, encoded
from support.dicom import (
    CT,
    NATIVE,
    PATIENT_GET,
    PATIENT_MOVE,
    STUDY_GET,
    STUDY_MOVE,
    closing_port,
    dcmtk_storescp,
    eventually,
    identifier_of,
    running_dicom,
    settings,
    storage_scp,
)
from support.images import storable_files
from support.programs import run

STUDY = str(ct().StudyInstanceUID)


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_dicom(reactor_thread, database_dsn, tmp_path) as running:
        yield running


class Receiver:
    """Takes C-STOREs and keeps the encoded datasets by SOP Instance UID."""

    def __init__(self, status=0x0000):
        self.datasets = {}
        self.syntaxes = {}
        self.originators = set()
        self.status = status

    def __call__(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        self.datasets[uid] = event.request.DataSet.getvalue()
        self.syntaxes[uid] = str(event.context.transfer_syntax)
        self.originators.add(event.request.MoveOriginatorApplicationEntityTitle)
        return self.status(uid) if callable(self.status) else self.status


def get(site, receiver, *, model=STUDY_GET, proposed=None, cancel_after=None, **keys):
    """Everything answered to a C-GET: the pending statuses and the final one."""
    proposed = proposed or [build_context(CT, NATIVE)]
    roles = [build_role(uid, scp_role=True) for uid in {c.abstract_syntax for c in proposed}]
    with site.association(
        model, *proposed, ext_neg=roles, evt_handlers=[(evt.EVT_C_STORE, receiver)]
    ) as association:
        assert association.is_established
        return retrieved(association.send_c_get, association, model, cancel_after, **keys)


def move(site, destination, *, model=STUDY_MOVE, cancel_after=None, **keys):
    with site.association(model) as association:
        assert association.is_established

        def send(identifier, query_model, msg_id):
            return association.send_c_move(identifier, destination, query_model, msg_id)

        return retrieved(send, association, model, cancel_after, **keys)


def retrieved(send, association, model, cancel_after, **keys):
    pending = []
    for status, identifier in send(identifier_of(**keys), model, msg_id=5):
        if not status or status.Status != 0xFF00:
            status.failed_uids = identifier and identifier.get("FailedSOPInstanceUIDList")
            return pending, status
        pending.append(status)
        if len(pending) == cancel_after:
            association.send_c_cancel(5, None, model)
    raise AssertionError("no final answer")


def counts(status):
    """Completed, failed and warning sub-operations."""
    return (
        status.NumberOfCompletedSuboperations,
        status.NumberOfFailedSuboperations,
        status.NumberOfWarningSuboperations,
    )


def add_peer(site, port, title="DEST", **arguments):
    site.ask(peers.add, Peer(title, "127.0.0.1", port, **arguments))


def add_images(site, count):
    images = [ct(SOPInstanceUID=f"1.2.3.{n}", InstanceNumber=n) for n in range(1, count + 1)]
    for image in images:
        site.store(image)
    return {str(image.SOPInstanceUID): dataset_bytes(encoded(image)) for image in images}


# --- byte for byte --------------------------------------------------------------------------------


@pytest.fixture
def bundled(site, monkeypatch):
    """pydicom's own files, stored by C-STORE: dataset by UID, and their kinds by study."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # as they are
    datasets, by_study = {}, {}
    for path in storable_files():
        data = path.read_bytes()
        meta = read_file_meta(data)
        syntax = STORAGE_TRANSFER_SYNTAXES[meta.transfer_syntax_uid]
        record = object_record(scan(data, syntax, meta.dataset_offset))
        if record.sop_class_uid not in contexts.storage_classes():
            continue
        with site.association(
            build_context(record.sop_class_uid, [meta.transfer_syntax_uid])
        ) as association:
            assert association.send_c_store(path).Status == 0x0000, path.name
        datasets[record.sop_instance_uid] = data[meta.dataset_offset :]
        kinds = by_study.setdefault(record.study_instance_uid, set())
        kinds.add((record.sop_class_uid, meta.transfer_syntax_uid))
    assert len({syntax for kinds in by_study.values() for _, syntax in kinds}) > 6
    return datasets, by_study


def test_every_transfer_syntax_comes_back_byte_for_byte(site, bundled):
    datasets, by_study = bundled
    got, moved = Receiver(), Receiver()
    kinds = sorted({kind for kinds in by_study.values() for kind in kinds})
    supported = [
        build_context(sop_class, [s for c, s in kinds if c == sop_class] + NATIVE)
        for sop_class in sorted({sop_class for sop_class, _ in kinds})
    ]
    with storage_scp(moved, supported) as port:
        add_peer(site, port)
        for study, of_study in by_study.items():
            proposed = [build_context(*kind) for kind in sorted(of_study)]
            _, final = get(site, got, proposed=proposed, level="STUDY", StudyInstanceUID=study)
            assert final.Status == 0x0000
            _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=study)
            assert final.Status == 0x0000
    assert got.datasets == datasets
    assert moved.datasets == datasets
    assert Counter(got.syntaxes.values()) == Counter(moved.syntaxes.values())


def test_dcmtk_moves_and_gets(site, tmp_path):
    images = add_images(site, 3)
    target = tmp_path / "target"
    target.mkdir()
    with dcmtk_storescp(target) as port:
        add_peer(site, port, "STORESCP")
        run(
            *("movescu", "-S", "-aec", "SANTEPACS", "-aem", "STORESCP", "127.0.0.1", site.port),
            *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"),
        )
    assert len(list(target.iterdir())) == 3
    fetched = tmp_path / "fetched"
    fetched.mkdir()
    run(
        *("getscu", "-S", "-aec", "SANTEPACS", "-od", fetched, "127.0.0.1", site.port),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={STUDY}"),
    )
    for folder in (target, fetched):
        files = [pydicom.dcmread(path) for path in folder.iterdir()]
        assert {str(one.SOPInstanceUID) for one in files} == set(images)
        assert all(one.PixelData == ct().PixelData for one in files)


# --- what is retrieved ----------------------------------------------------------------------------


def test_each_level_retrieves_its_entity_and_no_more(site):
    one = ct()
    for image in (
        one,
        ct(SOPInstanceUID="1.1.2"),
        ct(SOPInstanceUID="1.1.3", SeriesInstanceUID="1.1"),
        ct(SOPInstanceUID="1.1.4", SeriesInstanceUID="1.2", StudyInstanceUID="1.3"),
        ct(SOPInstanceUID="1.1.5", SeriesInstanceUID="1.4", StudyInstanceUID="1.5", PatientID="P2"),
    ):
        site.store(image)
    keys = {
        "PatientID": "P1",
        "StudyInstanceUID": STUDY,
        "SeriesInstanceUID": str(one.SeriesInstanceUID),
        "SOPInstanceUID": str(one.SOPInstanceUID),
    }
    expected = {"PATIENT": 4, "STUDY": 3, "SERIES": 2, "IMAGE": 1}
    for number, (level, count) in enumerate(expected.items(), 1):
        receiver = Receiver()
        above = dict(list(keys.items())[:number])
        _, final = get(site, receiver, model=PATIENT_GET, level=level, **above)
        assert (final.Status, counts(final), len(receiver.datasets)) == (0, (count, 0, 0), count)


def test_a_list_of_objects_is_retrieved(site):
    images = add_images(site, 5)
    receiver = Receiver()
    series = str(ct().SeriesInstanceUID)
    _, final = get(
        site, receiver, level="IMAGE", StudyInstanceUID=STUDY, SeriesInstanceUID=series,
        SOPInstanceUID=["1.2.3.1", "1.2.3.4", "9.9"],
    )  # fmt: skip
    assert counts(final) == (2, 0, 0)
    assert receiver.datasets == {uid: images[uid] for uid in ("1.2.3.1", "1.2.3.4")}


def test_nothing_to_retrieve_is_a_success_of_nothing(site):
    with storage_scp(Receiver(), [build_context(CT, NATIVE)]) as port:
        add_peer(site, port)
        for _, final in (
            get(site, Receiver(), level="STUDY", StudyInstanceUID="9.9"),
            move(site, "DEST", level="STUDY", StudyInstanceUID="9.9"),
        ):
            assert (final.Status, counts(final)) == (0x0000, (0, 0, 0))


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (STUDY_GET, {"level": "STUDY"}),
        (STUDY_GET, {"level": "STUDY", "StudyInstanceUID": ""}),
        (STUDY_GET, {"level": "STUDY", "StudyInstanceUID": "*"}),
        (STUDY_GET, {"StudyInstanceUID": STUDY}),
        (STUDY_GET, {"level": "PATIENT", "PatientID": "P1"}),
        (STUDY_GET, {"level": "SERIES", "StudyInstanceUID": STUDY}),
        (STUDY_GET, {"level": "IMAGE", "SOPInstanceUID": "1.2.3.1"}),
        (PATIENT_GET, {"level": "PATIENT"}),
        (PATIENT_GET, {"level": "STUDY", "StudyInstanceUID": STUDY}),
    ],
)
def test_a_retrieval_without_the_keys_of_its_level_is_refused(site, model, keys):
    add_images(site, 1)
    receiver = Receiver()
    _, final = get(site, receiver, model=model, **keys)
    assert (final.Status, receiver.datasets) == (0xA900, {})
    _, final = move(site, "ANY", model=PATIENT_MOVE if model == PATIENT_GET else STUDY_MOVE, **keys)
    assert final.Status == 0xA900


# --- what does not go -----------------------------------------------------------------------------


def test_an_unknown_or_disabled_destination_is_refused_without_a_connection(site):
    add_images(site, 1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        add_peer(site, listener.getsockname()[1], "OFF", enabled=False)
        for title in ("NOBODY", "OFF", "dest"):
            _, final = move(site, title, level="STUDY", StudyInstanceUID=STUDY)
            assert final.Status == 0xA801
        listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_destination_that_is_not_there_fails_everything(site):
    images = add_images(site, 3)
    with closing_port() as port:
        pass
    add_peer(site, port)
    _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, counts(final)) == (0xA702, (0, 3, 0))
    assert set(final.failed_uids) == set(images)


def test_a_destination_that_never_answers_is_given_up(reactor_thread, database_dsn, tmp_path):
    with (
        running_dicom(reactor_thread, database_dsn, tmp_path, service_timeout=1.0) as site,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        add_images(site, 2)
        add_peer(site, silent.getsockname()[1])
        started = time.monotonic()
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
        assert (final.Status, counts(final)) == (0xA702, (0, 2, 0))
        assert time.monotonic() - started < 10


def test_a_destination_that_goes_silent_in_the_middle_is_given_up(
    reactor_thread, database_dsn, tmp_path
):
    going_on = threading.Event()

    def answer(uid):
        if len(receiver.datasets) > 1:
            going_on.wait(20)
        return 0x0000

    receiver = Receiver(answer)
    with (
        running_dicom(reactor_thread, database_dsn, tmp_path, service_timeout=1.0) as site,
        storage_scp(receiver, [build_context(CT, NATIVE)]) as port,
    ):
        add_images(site, 3)
        add_peer(site, port)
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
        going_on.set()
        assert (final.Status, counts(final)) == (0xB000, (1, 2, 0))


def test_failures_and_warnings_of_the_receiver_are_counted(site):
    def answer(uid):
        return {"1.2.3.1": 0xA700, "1.2.3.2": 0xB000}.get(uid, 0x0000)

    add_images(site, 4)
    receiver = Receiver(answer)
    with storage_scp(receiver, [build_context(CT, NATIVE)]) as port:
        add_peer(site, port)
        for _, final in (
            get(site, receiver, level="STUDY", StudyInstanceUID=STUDY),
            move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY),
        ):
            assert (final.Status, counts(final)) == (0xB000, (2, 1, 1))
            assert final.failed_uids == "1.2.3.1"
            assert final.ErrorComment == "the receiver answers 0xA700"
    assert receiver.originators == {None, "TESTER"}


def test_a_missing_or_damaged_file_is_a_failed_object(site):
    images = add_images(site, 3)
    found = site.ask(studies.objects, patient_ids=["P1"])
    paths = [site.files.path(one.study_instance_uid, one.digest) for one in found]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    receiver = Receiver()
    _, final = get(site, receiver, level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, counts(final)) == (0xB000, (1, 2, 0))
    assert set(final.failed_uids) == {"1.2.3.1", "1.2.3.2"}
    assert receiver.datasets == {"1.2.3.3": images["1.2.3.3"]}


# --- transfer syntaxes ----------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [*NATIVE, ExplicitVRBigEndian])
@pytest.mark.parametrize("wanted", [*NATIVE, ExplicitVRBigEndian])
def test_an_uncompressed_object_is_rewritten_for_who_does_not_take_its_syntax(site, kept, wanted):
    image = ct(transfer_syntax=kept)
    site.store(image)
    receiver = Receiver()
    _, final = get(
        site, receiver, proposed=[build_context(CT, [wanted])], level="STUDY",
        StudyInstanceUID=STUDY,
    )  # fmt: skip
    assert final.Status == 0x0000
    (data,) = receiver.datasets.values()
    if kept == wanted:
        assert data == dataset_bytes(encoded(image))
    came = pydicom.dcmread(pydicom.filebase.DicomBytesIO(_part_10(data, wanted)))
    assert (came.PatientName, came.Rows) == ("Doe^Jane", 8)
    assert _pixels(came) == _pixels(image)


def _part_10(data, syntax):
    return part_10_header(CT, "1.2.3", syntax) + data


def _pixels(image):
    order = "little" if image.file_meta.TransferSyntaxUID.is_little_endian else "big"
    data = image.PixelData
    return [int.from_bytes(data[n : n + 2], order) for n in range(0, len(data), 2)]


COMPRESSED = [
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_RLE.dcm",
]


def test_compressed_objects_go_uncompressed_to_who_knows_implicit_vr_alone(site):
    images = [pydicom.dcmread(get_testdata_file(name)) for name in COMPRESSED]
    for number, image in enumerate(images):
        image.StudyInstanceUID, image.SOPInstanceUID = STUDY, f"1.2.9.{number}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        site.store(image)
    classes = {str(image.SOPClassUID) for image in images}
    plain = [build_context(uid, [ImplicitVRLittleEndian]) for uid in sorted(classes)]
    got, moved = Receiver(), Receiver()
    _, final = get(site, got, proposed=plain, level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, counts(final)) == (0x0000, (5, 0, 0))
    with storage_scp(moved, plain) as port:
        add_peer(site, port)
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, counts(final)) == (0x0000, (5, 0, 0))
    assert got.datasets == moved.datasets
    for image in images:
        came = pydicom.dcmread(
            io.BytesIO(_part_10(got.datasets[image.SOPInstanceUID], ImplicitVRLittleEndian))
        )
        assert numpy.array_equal(came.pixel_array, image.pixel_array)
    assert site.received() == []


@pytest.mark.parametrize("accepted", [JPEGLosslessSV1, JPEGLSLossless, RLELossless])
def test_an_uncompressed_object_is_compressed_for_who_takes_nothing_else(site, accepted):
    image = ct(PixelData=bytes(range(16)) * 8)
    site.store(image)
    receiver = Receiver()
    _, final = get(
        site, receiver, proposed=[build_context(CT, [accepted])], level="STUDY",
        StudyInstanceUID=STUDY,
    )  # fmt: skip
    assert final.Status == 0x0000
    (data,) = receiver.datasets.values()
    came = pydicom.dcmread(io.BytesIO(_part_10(data, accepted)))
    assert numpy.array_equal(came.pixel_array, image.pixel_array)


def test_lossless_objects_never_go_to_who_takes_lossy_ones_alone(site):
    site.store(ct())
    receiver = Receiver()
    _, final = get(
        site, receiver, proposed=[build_context(CT, [JPEGBaseline8Bit])], level="STUDY",
        StudyInstanceUID=STUDY,
    )  # fmt: skip
    assert (final.Status, counts(final), receiver.datasets) == (0xA702, (0, 1, 0), {})
    assert final.ErrorComment == "the receiver does not accept the object's transfer syntax"


def test_broken_pixels_that_must_be_decoded_fail_their_object_alone(site):
    images = add_images(site, 2)
    broken = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    broken.SOPClassUID, broken.StudyInstanceUID = CT, STUDY
    broken.file_meta.MediaStorageSOPClassUID = CT
    broken.PixelData = encapsulate([b"no run lengths"])
    site.store(broken)
    receiver = Receiver()
    _, final = get(site, receiver, level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, counts(final)) == (0xB000, (2, 1, 0))
    assert final.failed_uids == broken.SOPInstanceUID
    assert receiver.datasets == images
    assert site.received() == []


def test_a_worker_that_is_killed_fails_its_object_alone(site):
    images = add_images(site, 3)
    processes = site.resources.processes
    pid = processes.run("os:getpid")

    def kill(uid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return 0x0000

    receiver = Receiver(kill)
    kill("")
    proposed = [build_context(CT, [RLELossless])]
    _, final = get(site, receiver, proposed=proposed, level="STUDY", StudyInstanceUID=STUDY)
    completed, failed, _ = counts(final)
    assert (completed + failed, failed) == (3, 1)
    assert final.failed_uids in images
    assert site.received() == []


@pytest.mark.parametrize(
    ("option", "syntax"),
    [
        ("+xi", ImplicitVRLittleEndian),
        ("+xb", ExplicitVRBigEndian),
        ("+xe", ExplicitVRLittleEndian),
    ],
)
def test_dcmtk_with_few_syntaxes_gets_what_it_can_read(site, tmp_path, option, syntax):
    for name in COMPRESSED:
        site.store(bundled_file(name))
    images = [pydicom.dcmread(get_testdata_file(name)) for name in COMPRESSED]
    target = tmp_path / "target"
    target.mkdir()
    with dcmtk_storescp(target, option) as port:
        add_peer(site, port, "STORESCP")
        for study in sorted({str(image.StudyInstanceUID) for image in images}):
            _, final = move(site, "STORESCP", level="STUDY", StudyInstanceUID=study)
            assert (final.Status, final.NumberOfFailedSuboperations) == (0x0000, 0)
    received = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, target.iterdir())}
    for image in images:
        came = received[image.SOPInstanceUID]
        offered = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
        assert came.file_meta.TransferSyntaxUID in (image.file_meta.TransferSyntaxUID, *offered)
        assert numpy.array_equal(came.pixel_array, image.pixel_array)


def test_dcmtk_gets_the_syntaxes_that_it_prefers(site, tmp_path):
    site.store(bundled_file("MR_small_jp2klossless.dcm"))
    image = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    for option, syntax in (("+xv", JPEG2000Lossless), ("+xe", ExplicitVRLittleEndian)):
        folder = tmp_path / syntax
        folder.mkdir()
        run(
            *("getscu", "-S", option, "-aec", "SANTEPACS", "-od", folder),
            *("127.0.0.1", site.port, "-k", "QueryRetrieveLevel=STUDY"),
            *("-k", f"StudyInstanceUID={image.StudyInstanceUID}"),
        )
        (came,) = map(pydicom.dcmread, folder.iterdir())
        assert came.file_meta.TransferSyntaxUID == syntax
        assert numpy.array_equal(came.pixel_array, image.pixel_array)


def test_each_syntax_is_proposed_in_a_context_of_its_own():
    (few,) = contexts.to_send([(CT, JPEGBaseline8Bit), (CT, ExplicitVRLittleEndian)])
    assert [(c.abstract_syntax, c.transfer_syntax) for c in few[CT]] == [
        (CT, [JPEGBaseline8Bit]),
        (CT, [ExplicitVRLittleEndian]),
        (CT, [ImplicitVRLittleEndian]),
    ]
    assert contexts.to_send([]) == []


def test_what_is_too_much_for_one_association_goes_over_several():
    classes = sorted(contexts.storage_classes())
    associations = contexts.to_send([(uid, JPEGBaseline8Bit) for uid in classes])
    assert len(associations) == -(-len(classes) // 42)
    assert sorted(uid for one in associations for uid in one) == classes
    assert max(sum(map(len, one.values())) for one in associations) <= 128


def test_many_kinds_of_objects_are_moved_over_several_associations(site):
    classes = [context.abstract_syntax for context in AllStoragePresentationContexts[:70]]
    for number, uid in enumerate(classes):
        site.store(ct(SOPClassUID=uid, SOPInstanceUID=f"1.2.7.{number}"))
    receiver = Receiver()
    with storage_scp(receiver, [build_context(uid, NATIVE) for uid in classes]) as port:
        add_peer(site, port)
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
    assert (final.get("ErrorComment"), counts(final)) == (None, (70, 0, 0))


# --- cancel, waiting, ends ------------------------------------------------------------------------


def test_a_cancel_is_honoured(site):
    add_images(site, 30)
    receiver = Receiver(lambda uid: time.sleep(0.02) or 0x0000)
    _, final = get(site, receiver, level="STUDY", StudyInstanceUID=STUDY, cancel_after=2)
    assert final.Status == 0xFE00
    assert final.NumberOfRemainingSuboperations == 30 - len(receiver.datasets) > 0
    with storage_scp(receiver, [build_context(CT, NATIVE)]) as port:
        add_peer(site, port)
        receiver.datasets.clear()
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY, cancel_after=2)
        assert final.Status == 0xFE00
        assert final.NumberOfRemainingSuboperations == 30 - len(receiver.datasets) > 0


def test_a_move_waits_for_a_free_connection_and_says_so(reactor_thread, database_dsn, tmp_path):
    busy, free = threading.Event(), threading.Event()

    def answer(uid):
        busy.set()
        free.wait(20)
        return 0x0000

    with (
        running_dicom(reactor_thread, database_dsn, tmp_path, maximum_connections=1) as site,
        storage_scp(Receiver(answer), [build_context(CT, NATIVE)]) as port,
    ):
        add_images(site, 1)
        add_peer(site, port)
        answers = []
        keys = {"level": "STUDY", "StudyInstanceUID": STUDY}
        first = threading.Thread(target=lambda: answers.append(move(site, "DEST", **keys)))
        first.start()
        assert busy.wait(10)
        second = threading.Thread(target=lambda: answers.append(move(site, "DEST", **keys)))
        second.start()
        time.sleep(2.5)
        free.set()
        first.join(10)
        second.join(10)
        assert [final.Status for _, final in answers] == [0x0000, 0x0000]
        waited, _ = answers[1]
        assert waited[0].NumberOfRemainingSuboperations == 1


class Later:
    """A C-MOVE in a thread, to be cancelled at any time."""

    def __init__(self, site, destination="DEST", message_id=9):
        self._site, self._destination, self._message_id = site, destination, message_id
        self._ready = threading.Event()
        self.final = None
        self._thread = threading.Thread(target=self._move)
        self._thread.start()
        assert self._ready.wait(10)

    def _move(self):
        with self._site.association(STUDY_MOVE) as self.association:
            self._ready.set()
            identifier = identifier_of(level="STUDY", StudyInstanceUID=STUDY)
            for status, _ in self.association.send_c_move(
                identifier, self._destination, STUDY_MOVE, self._message_id
            ):
                self.final = status

    def cancel(self):
        """Cancel it; the seconds until it had ended."""
        started = time.monotonic()
        self.association.send_c_cancel(self._message_id, None, STUDY_MOVE)
        self._thread.join(20)
        return time.monotonic() - started

    def join(self):
        self._thread.join(20)


def test_a_cancel_is_honoured_while_the_destination_does_not_answer(site):
    """It accepts the connection and says nothing."""
    add_images(site, 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        add_peer(site, silent.getsockname()[1])
        later = Later(site)
        connection, _ = silent.accept()
        assert connection.recv(1)
        assert later.cancel() < 1.5
        assert later.final.Status == 0xFE00
        assert later.final.NumberOfRemainingSuboperations == 2
        connection.close()


def test_a_cancel_is_honoured_while_the_destination_keeps_an_object(site):
    came, going_on = threading.Event(), threading.Event()

    def answer(uid):
        came.set()
        going_on.wait(20)
        return 0x0000

    add_images(site, 3)
    with storage_scp(Receiver(answer), [build_context(CT, NATIVE)]) as port:
        add_peer(site, port)
        later = Later(site)
        assert came.wait(10)
        assert later.cancel() < 1.5
        going_on.set()
    assert later.final.Status == 0xFE00
    assert later.final.NumberOfRemainingSuboperations == 3


def test_a_cancel_is_honoured_while_waiting_for_a_free_connection(
    reactor_thread, database_dsn, tmp_path
):
    with (
        running_dicom(reactor_thread, database_dsn, tmp_path, maximum_connections=1) as site,
        site.server.client.turn(lambda: None),
    ):
        add_images(site, 2)
        add_peer(site, 9)
        later = Later(site)
        eventually(lambda: site.server.client._waiting)
        assert later.cancel() < 1.5
        assert later.final.Status == 0xFE00


def test_the_more_urgent_move_goes_first():
    client = Client(settings(maximum_connections=1))
    order, threads = [], []

    def wait_for_turn(urgency):
        with client.turn(lambda: None, urgency, interval=0.05):
            order.append(urgency)

    with client.turn(lambda: None):
        for urgency in (Urgency.BACKGROUND, Urgency.LOW, Urgency.HIGH, Urgency.MEDIUM):
            thread = threading.Thread(target=wait_for_turn, args=(urgency,))
            thread.start()
            threads.append(thread)
            eventually(lambda: len(client._waiting) == len(threads))
    for thread in threads:
        thread.join(10)
    assert order == sorted(Urgency)


def test_a_turn_that_nobody_waits_for_any_more_is_left():
    client = Client(settings(maximum_connections=1))

    def gone():
        raise Unavailable("gone")

    with (
        client.turn(lambda: None),
        pytest.raises(Unavailable),
        client.turn(gone, interval=0.01),
    ):
        raise AssertionError
    with client.turn(gone, interval=0.01):
        assert client._waiting == []


def test_a_destination_that_dies_in_the_middle_fails_the_rest(site):
    images = add_images(site, 4)

    def answer(event):
        uid = str(event.request.AffectedSOPInstanceUID)
        if uid == "1.2.3.3":
            event.assoc.abort()
        return 0x0000

    with storage_scp(answer, [build_context(CT, NATIVE)]) as port:
        add_peer(site, port)
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, counts(final)) == (0xB000, (2, 2, 0))
    assert set(final.failed_uids) == {"1.2.3.3", "1.2.3.4"} < set(images)


def test_a_destination_that_refuses_the_association_fails_everything(site):
    add_images(site, 2)
    with storage_scp(Receiver(), [build_context(CT, NATIVE)], "OTHER", strict=True) as port:
        add_peer(site, port)
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, counts(final)) == (0xA702, (0, 2, 0))
    assert "refused the association" in final.ErrorComment


def test_the_second_address_is_tried_when_nobody_is_at_the_first(site):
    add_images(site, 1)
    receiver = Receiver()
    with closing_port() as dead:
        pass
    with storage_scp(receiver, [build_context(CT, NATIVE)]) as port:
        add_peer(site, dead, other_addresses=(Address("127.0.0.1", port),))
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
    assert (final.Status, len(receiver.datasets)) == (0x0000, 1)


def test_a_peer_moves_to_itself_alone_unless_it_may_move_to_others(
    reactor_thread, database_dsn, tmp_path
):
    receiver = Receiver()
    with (
        running_dicom(reactor_thread, database_dsn, tmp_path, trust_loopback=False) as site,
        storage_scp(receiver, [build_context(CT, NATIVE)]) as port,
    ):
        add_images(site, 1)
        add_peer(site, port)
        add_peer(site, port, "TESTER")
        keys = {"level": "STUDY", "StudyInstanceUID": STUDY}
        _, final = move(site, "DEST", **keys)
        assert (final.Status, receiver.datasets) == (0xA801, {})
        assert final.ErrorComment == "this peer may move to itself alone, not to DEST"
        _, final = move(site, "TESTER", **keys)
        assert final.Status == 0x0000
        changed = Peer("TESTER", "127.0.0.1", port, may_move_to_others=True)
        site.ask(peers.change, "TESTER", changed)
        _, final = move(site, "DEST", **keys)
        assert final.Status == 0x0000


def test_a_destination_that_cannot_be_is_named(site):
    keys = {"level": "STUDY", "StudyInstanceUID": STUDY}
    _, final = move(site, "NOWHERE", **keys)
    assert (final.Status, final.ErrorComment) == (
        0xA801,
        "the Move Destination NOWHERE is not in the peer list",
    )
    site.ask(peers.add, Peer("OFF", "127.0.0.1", 104, enabled=False))
    _, final = move(site, "OFF", **keys)
    assert final.ErrorComment == "the Move Destination OFF is switched off"


def test_a_destination_without_a_context_for_it_is_said_to_have_none(site):
    add_images(site, 1)
    with storage_scp(Receiver(), [build_context("1.2.840.10008.1.1", NATIVE)]) as port:
        add_peer(site, port)
        _, final = move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY)
    assert final.ErrorComment == "DEST accepts none of the proposed presentation contexts"


def test_progress_is_told_now_and_then_not_for_each_object(site):
    add_images(site, 60)
    receiver = Receiver(lambda uid: time.sleep(0.01) or 0x0000)
    pending, final = get(site, receiver, level="STUDY", StudyInstanceUID=STUDY)
    assert counts(final) == (60, 0, 0)
    assert 1 <= len(pending) < 30
    remaining = [status.NumberOfRemainingSuboperations for status in pending]
    assert remaining == sorted(set(remaining), reverse=True)


def test_a_move_ends_with_the_association_that_asked(site):
    add_images(site, 20)
    receiver = Receiver(lambda uid: time.sleep(0.1) or 0x0000)
    with storage_scp(receiver, [build_context(CT, NATIVE)]) as port:
        add_peer(site, port)
        with site.association(STUDY_MOVE) as association:
            identifier = identifier_of(level="STUDY", StudyInstanceUID=STUDY)
            answers = association.send_c_move(identifier, "DEST", STUDY_MOVE)
            next(answers)
            association.abort()
        eventually(lambda: site.server.counts() == (0, 0))
        assert len(receiver.datasets) < 20
