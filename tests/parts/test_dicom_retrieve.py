"""C-MOVE and C-GET: what comes back is what went in, and what does not come is counted."""

import socket
import threading
import time
from collections import Counter

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
)
from pynetdicom import build_context, build_role, evt

from santepacs.archive.attributes import object_record
from santepacs.archive.header import read_file_meta, scan
from santepacs.db import peers, studies
from santepacs.dicom import contexts
from santepacs.model.peers import Peer
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
def bundled(site):
    """pydicom's own files, stored by C-STORE: dataset by UID, and their kinds by study."""
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
        pending, final = get(site, receiver, model=PATIENT_GET, level=level, **above)
        assert (final.Status, counts(final), len(receiver.datasets)) == (0, (count, 0, 0), count)
        assert [p.NumberOfRemainingSuboperations for p in pending] == list(range(count))[::-1]


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
        for pending, final in (
            get(site, receiver, level="STUDY", StudyInstanceUID=STUDY),
            move(site, "DEST", level="STUDY", StudyInstanceUID=STUDY),
        ):
            assert (final.Status, counts(final)) == (0xB000, (2, 1, 1))
            assert final.failed_uids == "1.2.3.1"
            assert len(pending) == 4
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
    part10 = encoded(ct(transfer_syntax=syntax))
    return part10[: read_file_meta(part10).dataset_offset] + data


def _pixels(image):
    order = "little" if image.file_meta.TransferSyntaxUID.is_little_endian else "big"
    data = image.PixelData
    return [int.from_bytes(data[n : n + 2], order) for n in range(0, len(data), 2)]


def test_a_compressed_object_that_is_not_accepted_is_a_failed_one(site):
    site.store(bundled_file("SC_rgb_jpeg_dcmtk.dcm"))
    image = pydicom.dcmread(get_testdata_file("SC_rgb_jpeg_dcmtk.dcm"))
    receiver = Receiver()
    _, final = get(
        site,
        receiver,
        proposed=[build_context(image.SOPClassUID, NATIVE)],
        level="STUDY",
        StudyInstanceUID=image.StudyInstanceUID,
    )
    assert (final.Status, counts(final), receiver.datasets) == (0xA702, (0, 1, 0), {})


def test_what_is_proposed_fits_in_one_association():
    classes = sorted(contexts.storage_classes())
    few = contexts.to_send([(CT, JPEGBaseline8Bit), (CT, ExplicitVRLittleEndian)])
    assert [(c.abstract_syntax, c.transfer_syntax) for c in few] == [
        (CT, [JPEGBaseline8Bit]),
        (CT, [ExplicitVRLittleEndian]),
        (CT, [ImplicitVRLittleEndian]),
    ]
    many = contexts.to_send([(uid, JPEGBaseline8Bit) for uid in classes[:60]])
    assert len(many) == 120
    assert len(contexts.to_send([(uid, JPEGBaseline8Bit) for uid in classes])) == 128


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
        assert [p.NumberOfRemainingSuboperations for p in waited] == [1, 0]


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
