"""C-STORE: what is said to be stored is stored, and what is not acceptable is refused."""

import errno
from dataclasses import replace

import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
)
from pynetdicom import build_context

from santepacs.db import studies
from santepacs.dicom.contexts import storage_classes
from support.archive import ct, dataset_bytes, encoded, no_space
from support.dicom import (
    CT,
    NATIVE,
    VERIFICATION,
    Raw,
    eventually,
    p_data,
    running_dicom,
    store_command,
)
from support.programs import run

MR = "1.2.840.10008.5.1.4.1.1.4"
UID = str(ct().SOPInstanceUID)


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_dicom(reactor_thread, database_dsn, tmp_path) as running:
        yield running


def stored(site):
    """The encoded datasets of what is stored, by SOP Instance UID."""
    found = site.ask(studies.objects, patient_ids=["P1"])
    return {
        one.sop_instance_uid: dataset_bytes(
            site.files.path(one.study_instance_uid, one.digest).read_bytes()
        )
        for one in found
    }


def implicit_dataset(**attributes):
    return dataset_bytes(encoded(ct(transfer_syntax=ImplicitVRLittleEndian, **attributes)))


def status_of(body):
    """The Status of a DIMSE response in a P-DATA-TF."""
    place = body.index(b"\0\0\0\x09\2\0\0\0") + 8
    return int.from_bytes(body[place : place + 2], "little")


def send_bytes(site, dataset, *, sop_class=CT, sop_instance=None, context=CT, pieces=1):
    """Send a dataset as bytes under a command of the test's choice; None: the server ended it."""
    peer = Raw(site.port)
    peer.associate(contexts=[(context, ImplicitVRLittleEndian)])
    uid = UID.encode() if sop_instance is None else sop_instance
    peer.send(p_data(3, store_command(sop_class, uid)))
    size = max(1, -(-len(dataset) // pieces))
    for start in range(0, len(dataset), size):
        last = start + size >= len(dataset)
        peer.send(p_data(2 if last else 0, dataset[start : start + size]))
    if not dataset:
        peer.send(p_data(2, b""))
    kind, body = peer.receive()
    peer.close()
    return status_of(body) if kind == 4 else None


def test_an_object_is_stored_as_it_came(site):
    dataset = implicit_dataset()
    assert send_bytes(site, dataset, pieces=7) == 0x0000
    assert stored(site) == {UID: dataset}
    assert site.received() == []


@pytest.mark.parametrize("syntax", [*NATIVE, ExplicitVRBigEndian])
def test_every_uncompressed_syntax_is_taken(site, syntax):
    image = ct(transfer_syntax=syntax)
    assert site.send(image) == [0x0000]
    assert stored(site) == {UID: dataset_bytes(encoded(image))}


@pytest.mark.parametrize("first", [ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1])
def test_of_several_transfer_syntaxes_the_caller_s_first_is_taken(site, first):
    """It knows how its objects are encoded: another choice would have it convert them."""
    contexts = [
        build_context(CT, [ExplicitVRLittleEndian]),
        build_context(CT, [first, *NATIVE]),
        build_context(CT, ["1.2.3.4.5", first]),
    ]
    with site.association(*contexts) as association:
        accepted = [context.transfer_syntax for context in association.accepted_contexts]
    assert accepted == [[ExplicitVRLittleEndian], [first], [first]]


def test_every_standard_storage_class_is_taken(site):
    classes = sorted(storage_classes())
    for start in range(0, len(classes), 128):
        with site.association(*classes[start : start + 128]) as association:
            assert association.rejected_contexts == []


def test_the_same_object_again_is_a_success_and_kept_once(site):
    assert site.send(ct(), ct()) == [0x0000, 0x0000]
    assert len(stored(site)) == 1


def test_another_object_under_the_same_uid_is_kept_aside(site):
    assert site.send(ct(), ct(PatientName="Roe^Jane")) == [0x0000, 0xB000]
    assert stored(site)[UID] == dataset_bytes(encoded(ct()))
    assert len(list(site.directory.aside.iterdir())) == 1


def test_another_object_under_the_same_uid_can_be_refused(reactor_thread, database_dsn, tmp_path):
    with running_dicom(reactor_thread, database_dsn, tmp_path, conflict="refuse") as site:
        assert site.send(ct(), ct(PatientName="Roe^Jane")) == [0x0000, 0xC001]
        assert list(site.directory.aside.iterdir()) == []
        assert site.received() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"\0\1",
        lambda data: b"\xff" * 1000,
        lambda data: data[:-132] + b"\xfe\xff\xff\xff" + data[-128:],
    ],
)
def test_a_truncated_or_garbled_object_is_refused(site, damage):
    assert send_bytes(site, damage(implicit_dataset())) == 0xC000
    assert stored(site) == {}
    assert site.received() == []


@pytest.mark.parametrize(
    "uid",
    [b"..", b"...", b"1..2", b"1.2.", b"01.2", b"1.2.x", b"../../x", b"C:\\x", b"1.2.3/4",
     b"1.2\n3", b"1" * 65, b"", b"1.2.3 4", b"\xff\xfe", b"1.2.3;--"],
)  # fmt: skip
def test_an_object_under_an_impossible_uid_is_refused(site, uid):
    answer = send_bytes(site, implicit_dataset(), sop_instance=uid)
    assert answer is None or answer & 0xF000 == 0xC000
    eventually(lambda: site.received() == [])
    assert stored(site) == {}
    assert send_bytes(site, implicit_dataset()) == 0x0000


def test_an_object_that_is_not_the_announced_one_is_refused(site):
    assert send_bytes(site, implicit_dataset(), sop_instance=b"1.2.3.4") == 0xA900
    assert send_bytes(site, implicit_dataset(SOPClassUID=MR)) == 0xA900
    assert send_bytes(site, implicit_dataset(), sop_class=MR) == 0xA900
    assert stored(site) == {}
    assert site.received() == []


def test_a_study_without_uid_is_refused(site):
    assert send_bytes(site, implicit_dataset(StudyInstanceUID=None)) == 0xC000


def test_nothing_is_stored_over_a_context_for_something_else(site):
    assert send_bytes(site, implicit_dataset(), context=VERIFICATION) is None
    assert (
        send_bytes(site, implicit_dataset(), sop_class=VERIFICATION, context=VERIFICATION) is None
    )
    assert site.received() == []


def test_deflated_is_not_offered(site):
    with site.association(build_context(CT, ["1.2.840.10008.1.2.1.99"])) as association:
        assert association.is_aborted or not association.accepted_contexts


def test_while_the_database_is_away_nothing_is_said_to_be_stored(site):
    with site.association(CT) as association:
        assert association.send_c_store(ct()).Status == 0x0000
        site.reactor_thread.run(site.database.stop)
        answer = association.send_c_store(ct(SOPInstanceUID="1.2.3.5"))
        assert answer.Status == 0xA700
    assert site.received() == []


@pytest.mark.parametrize("in_memory", [0, 1_000_000])
def test_a_full_disk_is_said(site, monkeypatch, in_memory):
    monkeypatch.setattr("santepacs.dicom.spool.IN_MEMORY", in_memory)
    monkeypatch.setattr("santepacs.dicom.spool.open", no_space, raising=False)
    monkeypatch.setattr("santepacs.archive.files.os.writev", no_space)
    assert site.send(ct()) == [0xA700]
    monkeypatch.undo()
    assert site.send(ct()) == [0x0000]
    assert site.received() == []


def test_a_disk_that_fills_while_an_object_comes_in_is_said(site, monkeypatch):
    class Full:
        def __init__(self, path, *arguments, **named):
            self.file = path.open("xb", buffering=0)

        def write(self, data):
            if self.file.tell():
                no_space()
            return self.file.write(data[:100])  # a short write is no failure

        def close(self):
            self.file.close()

    monkeypatch.setattr("santepacs.dicom.spool.IN_MEMORY", 0)
    monkeypatch.setattr("santepacs.dicom.spool.open", Full, raising=False)
    assert site.send(ct()) == [0xA700]
    assert site.received() == []


def test_an_unexpected_failure_is_answered_and_leaves_nothing(site, monkeypatch):
    def fail(*arguments, **named):
        raise RuntimeError("Doe^Jane")

    monkeypatch.setattr(site.archive, "store", fail)
    with site.association(CT) as association:
        answer = association.send_c_store(ct())
    assert answer.Status == 0x0110
    assert "ErrorComment" not in answer
    assert site.received() == []


def test_dcmtk_stores(site, tmp_path):
    path = tmp_path / "ct.dcm"
    path.write_bytes(encoded(ct()))
    run("storescu", "-aec", "SANTEPACS", "127.0.0.1", site.port, path)
    assert stored(site) == {UID: dataset_bytes(encoded(ct()))}


def test_many_peers_store_at_once(site, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    def send(number):
        images = [ct(SOPInstanceUID=f"1.2.3.{number}.{n}") for n in range(10)]
        return site.send(*images, title=f"CT{number}")

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(send, range(6)))
    assert answers == [[0x0000] * 10] * 6
    assert len(stored(site)) == 60


def test_a_disk_without_its_reserve_is_not_written_to(site, monkeypatch):
    monkeypatch.setattr("santepacs.dicom.spool.IN_MEMORY", 0)
    site.settings.server = replace(site.settings.server, disk_reserve=9_000_000)  # 9 TB
    watched = []
    monkeypatch.setattr(
        "santepacs.dicom.spool.open", lambda *path, **named: watched.append(path), raising=False
    )
    assert site.send(ct()) == [0xA700]
    assert watched == []
    assert site.received() == []


def test_a_folder_that_nothing_can_be_removed_from_ends_no_association(site, monkeypatch):
    monkeypatch.setattr("santepacs.dicom.spool.IN_MEMORY", 0)

    def read_only(*path, **named):
        raise OSError(errno.EROFS, "read-only file system")

    monkeypatch.setattr("pathlib.Path.unlink", read_only)
    assert site.send(ct(SOPInstanceUID="")) == [0xC000]
    monkeypatch.undo()
    assert site.send(ct()) == [0x0000]
    eventually(lambda: site.server.counts() == (0, 0))


@pytest.mark.parametrize("damage", [lambda data: data[:-100], lambda data: data[:-1] + b"?"])
def test_an_object_sent_again_mends_its_damaged_file(site, damage):
    assert site.send(ct()) == [0x0000]
    (path,) = site.directory.objects.rglob("*.dcm")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert site.send(ct()) == [0x0000]
    assert path.read_bytes() == whole
