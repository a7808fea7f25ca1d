"""The one sender: what goes out for which object, and what becomes of it."""

import time
from contextlib import closing, suppress
from types import SimpleNamespace

import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context

from santepacs.archive.files import ObjectFiles
from santepacs.archive.header import read_file_meta
from santepacs.db.studies import ObjectFile
from santepacs.dicom import outgoing, sending
from santepacs.dicom.sending import Sender
from santepacs.errors import Malformed, Unavailable
from santepacs.processes import Processes
from support.archive import ct, dataset_bytes, encoded
from support.dicom import CT


class Association:
    """Takes what is sent; `answers` are statuses or what is raised."""

    def __init__(self, *contexts, answers=()):
        self.accepted = {}
        for number, (syntax, as_scu) in enumerate(contexts):
            context = build_context(CT, syntax)
            context._as_scu = as_scu
            self.accepted[2 * number + 1] = context
        self.sent = []
        self.answers = list(answers)

    def take(self, context, sop_class, uid, data, offset, **named):
        content = data if isinstance(data, bytes) else data.read_bytes()
        self.sent.append(
            SimpleNamespace(
                syntax=context.transfer_syntax[0], uid=uid, data=content[offset:], source=data,
                **named,
            )
        )  # fmt: skip
        answer = self.answers.pop(0) if self.answers else 0x0000
        if isinstance(answer, Exception):
            raise answer
        return answer


class Store:
    """Objects on disk, and what a sender needs."""

    def __init__(self, folder):
        for name in ("objects", "incoming", "aside"):
            (folder / name).mkdir()
        self.files = ObjectFiles(folder / "objects", folder / "incoming", folder / "aside")
        self.incoming = folder / "incoming"
        self.archive = SimpleNamespace(files=self.files)
        self.processes = Processes()

    def put(self, number, dataset):
        """Store an object; returns it as the index would."""
        data = encoded(dataset)
        digest = f"{number:064x}"
        path = self.files.path("1.2", digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        syntax = dataset.file_meta.TransferSyntaxUID
        return ObjectFile(
            number, "1.2", "1.3", f"1.4.{number}", CT, syntax, digest, len(data), 0, "", 1, "", 1
        )

    def path(self, stored):
        return self.files.path("1.2", stored.digest)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(
        outgoing,
        "send_object",
        lambda association, *args, **named: association.take(*args, **named),
    )
    running = Store(tmp_path)
    yield running
    running.processes.stop()
    assert list(running.incoming.iterdir()) == []


def sender(store, association, waiting=lambda: None, **named):
    return Sender(store, association, waiting, **named)


BOTH = ((ExplicitVRLittleEndian, True), (ImplicitVRLittleEndian, True))


def test_the_data_set_goes_out_as_it_lies_in_the_file(store):
    association = Association(*BOTH)
    outcomes = list(
        sender(store, association, originator="ASKER", originator_id=7).send_all(
            [store.put(1, ct()), store.put(2, ct(transfer_syntax=ImplicitVRLittleEndian))]
        )
    )
    assert [outcome.status for outcome in outcomes] == [0, 0]
    first, second = association.sent
    assert (first.data, first.syntax) == (dataset_bytes(encoded(ct())), ExplicitVRLittleEndian)
    assert (second.syntax, second.message_id) == (ImplicitVRLittleEndian, 2)
    assert (first.message_id, first.originator, first.originator_id) == (1, "ASKER", 7)


def test_a_large_file_is_not_held_in_memory(store, monkeypatch):
    monkeypatch.setattr(sending, "IN_MEMORY", 100)
    association = Association(*BOTH)
    stored = store.put(1, ct())
    list(sender(store, association).send_all([stored]))
    (sent,) = association.sent
    assert sent.source == store.path(stored)
    assert sent.data == dataset_bytes(encoded(ct()))


def test_message_ids_begin_again_after_the_highest(store, monkeypatch):
    monkeypatch.setattr(sending, "MAXIMUM_MESSAGE_ID", 2)
    association = Association(*BOTH)
    list(sender(store, association).send_all([store.put(1, ct())] * 3))
    assert [sent.message_id for sent in association.sent] == [1, 2, 1]


def test_objects_in_other_syntaxes_are_transcoded_and_keep_their_order(store):
    association = Association((ImplicitVRLittleEndian, True))
    stored = [
        store.put(
            n,
            ct(
                InstanceNumber=n,
                transfer_syntax=(ExplicitVRLittleEndian, ImplicitVRLittleEndian)[n % 2],
            ),
        )
        for n in range(12)
    ]
    outcomes = list(sender(store, association).send_all(iter(stored)))
    assert [outcome.stored for outcome in outcomes] == stored
    assert [sent.uid for sent in association.sent] == [f"1.4.{n}" for n in range(12)]
    for sent in association.sent:
        assert sent.data == dataset_bytes(
            encoded(ct(InstanceNumber=int(sent.uid[4:]), transfer_syntax=ImplicitVRLittleEndian))
        )


def test_a_context_in_which_we_are_not_the_sender_is_none(store):
    association = Association((ExplicitVRLittleEndian, False), (ImplicitVRLittleEndian, True))
    list(sender(store, association).send_all([store.put(1, ct())]))
    assert association.sent[0].syntax == ImplicitVRLittleEndian
    (outcome,) = sender(store, Association((ExplicitVRLittleEndian, False))).send_all(
        [store.put(1, ct())]
    )
    assert (outcome.status, outcome.passing) == (None, False)
    assert "SOP class" in outcome.reason


def test_what_is_wrong_with_one_object_is_said_of_it_alone(store):
    association = Association((ExplicitVRLittleEndian, True))
    missing, short, long, no_file, big = (store.put(n, ct()) for n in range(5))
    good = store.put(5, ct())
    store.path(missing).unlink()
    store.path(short).write_bytes(store.path(short).read_bytes()[:-2])
    store.path(long).write_bytes(store.path(long).read_bytes() + b"\0\0")
    store.path(no_file).write_bytes(bytes(no_file.bytes))
    other = ct(transfer_syntax=ExplicitVRBigEndian)
    big = store.put(4, other)
    store.path(big).write_bytes(bytes(140) + store.path(big).read_bytes()[140:])
    objects = [missing, short, long, no_file, big, good]
    outcomes = list(sender(store, association).send_all(objects))
    assert [outcome.status for outcome in outcomes] == [None] * 5 + [0]
    assert not any(outcome.passing for outcome in outcomes)
    assert [sent.uid for sent in association.sent] == ["1.4.5"]


def test_a_file_that_cannot_be_read_fails_its_object_alone(store, monkeypatch):
    bad, good = store.put(1, ct()), store.put(2, ct())

    class Broken:
        def __init__(self, file):
            self._file = file

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self._file.close()

        def fileno(self):
            return self._file.fileno()

        def read(self, _size):
            raise OSError(5, "Input/output error")

    def opened(path, mode):
        file = open(path, mode)  # noqa: SIM115
        return Broken(file) if path == store.path(bad) else file

    monkeypatch.setattr(sending, "open", opened, raising=False)
    association = Association(*BOTH)
    outcomes = list(sender(store, association).send_all([bad, good]))
    assert [outcome.status for outcome in outcomes] == [None, 0]


def test_a_broken_association_is_said_of_all_objects_that_were_taken(store):
    gone = Unavailable("the receiver ended the association")
    association = Association((ImplicitVRLittleEndian, True), answers=[0x0000, gone])
    stored = [store.put(n, ct()) for n in range(20)]
    outcomes = []
    objects = iter(stored)
    with pytest.raises(Unavailable):
        for outcome in sender(store, association).send_all(objects):
            outcomes.append(outcome)
    left = list(objects)
    assert [outcome.stored for outcome in outcomes] + left == stored
    assert [outcome.status for outcome in outcomes] == [0] + [None] * (len(outcomes) - 1)
    assert all(outcome.passing for outcome in outcomes[1:])


def test_what_was_transcoded_ahead_is_forgotten_when_nobody_wants_it(store):
    association = Association((ImplicitVRLittleEndian, True))
    stored = [store.put(n, ct()) for n in range(20)]
    with closing(sender(store, association).send_all(stored)) as outcomes:
        next(outcomes)
    assert len(association.sent) == 1


def test_whoever_waits_for_a_transcoded_object_can_give_up(store, monkeypatch):
    monkeypatch.setattr(sending, "TRANSCODE", "time:sleep")
    monkeypatch.setattr(sending, "preferred", lambda own, accepted: [ImplicitVRLittleEndian])
    original = store.processes.run
    store.processes.run = lambda function, *args, waiting: original(function, 60, waiting=waiting)

    def give_up():
        raise Malformed("enough")

    association = Association((ImplicitVRLittleEndian, True))
    started = time.monotonic()
    outcomes = []
    with suppress(Malformed):
        outcomes += sender(store, association, give_up).send_all([store.put(1, ct())])
    assert time.monotonic() - started < 2
    assert association.sent == []


def test_the_transcoding_function_exists():
    module, _, name = sending.TRANSCODE.partition(":")
    assert callable(getattr(__import__(module, fromlist=[name]), name))


def test_a_transcoded_object_is_readable(store):
    association = Association((ExplicitVRBigEndian, True))
    list(sender(store, association).send_all([store.put(1, ct())]))
    data = encoded(ct(transfer_syntax=ExplicitVRBigEndian))
    head = data[: read_file_meta(data).dataset_offset]
    came = pydicom.dcmread(pydicom.filebase.DicomBytesIO(head + association.sent[0].data))
    assert came.PatientName == "Doe^Jane"
