"""Storage commitment: what is promised was read, and the peer hears of it in the end."""

import io
import os
import threading
import uuid
from contextlib import contextmanager

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, evt
from pynetdicom.dimse_primitives import N_ACTION

from santepacs.archive import proof
from santepacs.db import commitments, jobs, peers, studies
from santepacs.dicom import references
from santepacs.dicom.commitment import KIND, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from santepacs.dicom.committing import AT_ONCE, Committing
from santepacs.dicom.elements import Encoding
from santepacs.dicom.reporting import MAXIMUM_LOST
from santepacs.dicom.resources import Resources
from santepacs.errors import Conflict, Malformed, NotFound, Unavailable
from santepacs.host.listening import listening_socket
from santepacs.jobs import Queue, Retries
from santepacs.model.peers import Peer
from support.archive import Site, ct, encoded
from support.dicom import CT, DicomSite, closing_port, eventually, settings

MR = "1.2.840.10008.5.1.4.1.1.4"
UID = str(ct().SOPInstanceUID)
ABSENT = "1.2.826.0.1.3680043.8.498.9.9.9"
# Sequences without end, one in the other.
DEEP = b"\x08\0\x99\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 9999
MISSING, CONFLICT, DAMAGED = 0x0112, 0x0119, 0x0110


class CommitmentSite(DicomSite):
    """A site whose queue reports storage commitments, quick to try again."""

    delays = (0.05,)

    def start(self):
        Site.start(self)
        self.queue = Queue(
            self.reactor_thread.reactor, self.database, lambda: 0.5, uuid.uuid4().hex, poll=0.5
        )
        resources = Resources(
            self.settings,
            self.threads,
            self.archive,
            self.database,
            self.directory.incoming,
            jobs=self.queue,
        )
        self.server = self.dicom_server(resources)
        committing = Committing(resources, self.server.client)
        self.reactor_thread.run(
            self.queue.handle,
            KIND,
            committing.handle,
            at_once=AT_ONCE,
            retries=Retries(delays=self.delays, maximum_attempts=10**6),
        )
        self.reactor_thread.run(self.queue.start)
        listener = listening_socket("", 0, "DICOM")
        self.port = listener.getsockname()[1]
        self.server.start(listener)

    def stop(self):
        self.server.stop(0)
        self.reactor_thread.run(self.queue.stop, 5)
        Site.stop(self)

    def peer(self, port, title="TESTER", **arguments):
        self.ask(peers.add, Peer(title, "127.0.0.1", port, **arguments))

    def ask_commitment(
        self,
        *pairs,
        transaction="1.2.3",
        action=1,
        instance=STORAGE_COMMITMENT_INSTANCE,
        information=None,
        syntax=ImplicitVRLittleEndian,
        **arguments,
    ):
        """Ask for (SOP class, SOP instance) to be committed; the status of the N-ACTION."""
        if information is None:
            information = asked(*pairs, transaction=transaction)
        context = build_context(STORAGE_COMMITMENT, syntax)
        with self.association(context, **arguments) as association:
            assert association.is_established
            status, _ = association.send_n_action(information, action, STORAGE_COMMITMENT, instance)
            return status.get("Status")

    def waiting(self, title="TESTER"):
        return self.ask(commitments.waiting, title)

    def jobs(self, state=""):
        return self.ask(jobs.page, state)

    def path(self, uid=UID):
        (stored,) = self.ask(studies.objects, sop_instance_uids=[uid])
        return self.files.path(stored.study_instance_uid, stored.digest)


def asked(*pairs, transaction="1.2.3"):
    information = Dataset()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = Sequence()
    for sop_class, uid in pairs:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
        information.ReferencedSOPSequence.append(item)
    return information


class Listener:
    """A peer that takes reports, on a port it can leave and come back to."""

    def __init__(self, port=0, *, roles=True, answer=0x0000, title="TESTER"):
        self.reports = []
        self.answer = answer
        self.associations = 0
        self._ae = AE(title)
        role = {"scu_role": False, "scp_role": True} if roles else {}
        self._ae.add_supported_context(STORAGE_COMMITMENT, **role)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take), (evt.EVT_ESTABLISHED, self._count)]
        self._server = self._ae.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=handlers
        )
        self.port = self._server.server_address[1]

    def _count(self, event):
        self.associations += 1

    def _take(self, event):
        told = event.event_information
        answer = self.answer(told) if callable(self.answer) else self.answer
        if answer is None:
            event.assoc.abort()
            return 0x0110, None
        self.reports.append(
            (
                event.request.EventTypeID,
                str(told.TransactionUID),
                told.get("RetrieveAETitle"),
                [
                    str(item.ReferencedSOPInstanceUID)
                    for item in told.get("ReferencedSOPSequence", [])
                ],
                [
                    (str(item.ReferencedSOPInstanceUID), item.FailureReason)
                    for item in told.get("FailedSOPSequence", [])
                ],
            )
        )
        return answer, None

    def one(self):
        eventually(lambda: self.reports)
        return self.reports.pop(0)

    def close(self):
        self._server.shutdown()


@contextmanager
def listening(*arguments, **named):
    listener = Listener(*arguments, **named)
    try:
        yield listener
    finally:
        listener.close()


@contextmanager
def running(reactor_thread, dsn, folder, **dicom):
    site = CommitmentSite(reactor_thread, dsn.runtime, folder, settings(**dicom))
    site.start()
    try:
        yield site
    finally:
        site.stop()


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running(reactor_thread, database_dsn, tmp_path) as running_site:
        yield running_site


@pytest.fixture
def listener():
    with listening() as one:
        yield one


@pytest.fixture
def known(site, listener):
    """The site, when it knows the listener and has an object."""
    site.peer(listener.port)
    site.store(ct())
    return site


# --- the truth


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_what_is_stored_is_committed(known, listener, syntax):
    assert known.ask_commitment((CT, UID), syntax=syntax) == 0x0000
    assert listener.one() == (1, "1.2.3", "SANTEPACS", [UID], [])
    eventually(lambda: known.waiting() == [])


def test_what_is_not_is_told_with_its_reason(known, listener):
    known.store(ct(SOPInstanceUID="1.2.826.0.1.3680043.8.498.1.1.2"))
    known.store(ct(SOPInstanceUID="1.2.826.0.1.3680043.8.498.1.1.3"))
    damaged = "1.2.826.0.1.3680043.8.498.1.1.2"
    gone = "1.2.826.0.1.3680043.8.498.1.1.3"
    flip_last_bit(known.path(damaged))
    known.path(gone).unlink()
    status = known.ask_commitment((CT, UID), (CT, ABSENT), (MR, UID), (CT, damaged), (CT, gone))
    assert status == 0x0000
    assert listener.one() == (
        2,
        "1.2.3",
        "SANTEPACS",
        [UID],
        [(ABSENT, MISSING), (UID, CONFLICT), (damaged, DAMAGED), (gone, MISSING)],
    )


def flip_last_bit(path):
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_report_of_failures_alone(known, listener):
    known.ask_commitment((CT, ABSENT))
    assert listener.one() == (2, "1.2.3", None, [], [(ABSENT, MISSING)])


def test_an_object_that_is_kept_aside_does_not_count_for_the_first(known, listener):
    """The stored object is vouched for, not the newcomer; its sender was warned with 0xB000."""
    known.store(ct(PatientName="Roe^Jane"))
    known.ask_commitment((CT, UID))
    assert listener.one()[3] == [UID]


def test_more_references_than_one_page(known, listener):
    pairs = [(CT, UID)] * 700 + [(CT, ABSENT)] * 800
    assert known.ask_commitment(*pairs) == 0x0000
    _, _, _, committed, failed = listener.one()
    assert (len(committed), len(failed)) == (700, 800)


# --- the way to the peer


def test_a_peer_that_ignores_the_negotiation_of_roles_gets_its_report(site):
    with listening(roles=False) as listener:
        site.peer(listener.port)
        site.store(ct())
        site.ask_commitment((CT, UID))
        assert listener.one()[0] == 1


def test_a_peer_that_was_down_gets_its_report_when_it_is_up(site):
    with closing_port() as port:
        pass
    site.peer(port)
    site.store(ct())
    assert site.ask_commitment((CT, UID)) == 0x0000
    eventually(lambda: [job.attempts > 2 for job in site.jobs("waiting")] == [True])
    assert "TESTER" in site.jobs()[0].error or "no connection" in site.jobs()[0].error
    with listening(port) as listener:
        assert listener.one()[0] == 1
    eventually(lambda: site.jobs("done"))


def test_a_report_survives_a_restart(reactor_thread, database_dsn, tmp_path):
    with closing_port() as port:
        pass
    with running(reactor_thread, database_dsn, tmp_path) as site:
        site.peer(port)
        site.store(ct())
        assert site.ask_commitment((CT, UID)) == 0x0000
        eventually(lambda: any(job.error for job in site.jobs()))
    with listening(port) as listener, running(reactor_thread, database_dsn, tmp_path):
        assert listener.one() == (1, "1.2.3", "SANTEPACS", [UID], [])


@pytest.mark.parametrize("answer", [0x0110, 0x0112])
def test_a_report_that_is_not_taken_is_sent_again(known, listener, answer):
    answers = [answer, answer, 0x0000]
    listener.answer = lambda _told: answers.pop(0)
    known.ask_commitment((CT, UID))
    eventually(lambda: known.jobs("done"))
    assert len(listener.reports) == 3
    assert known.waiting() == []


def test_a_report_that_is_never_taken_does_not_hold_up_the_others(known, listener):
    listener.answer = lambda told: 0x0110 if told.TransactionUID == "1.2.1" else 0x0000
    known.ask_commitment((CT, UID), transaction="1.2.1")
    known.ask_commitment((CT, UID), transaction="1.2.2")
    eventually(lambda: [one.transaction_uid for one in known.waiting()] == ["1.2.1"])


def test_reports_that_cost_the_association_do_not_hold_up_the_others(site):
    """Not even as many as end an attempt: the next one begins with the others."""
    poison = {f"1.2.{n}" for n in range(MAXIMUM_LOST + 1)}
    with closing_port() as port:
        pass
    site.peer(port)
    for transaction in [*sorted(poison), "1.3.1", "1.3.2"]:
        assert site.ask_commitment((CT, UID), transaction=transaction) == 0x0000
    with listening(port) as listener:
        listener.answer = lambda told: None if told.TransactionUID in poison else 0x0000
        eventually(lambda: {one.transaction_uid for one in site.waiting()} == poison)
        listener.answer = 0x0000
        eventually(lambda: site.waiting() == [], timeout=20)


def test_a_report_without_an_answer_does_not_hold_up_the_others(
    reactor_thread, database_dsn, tmp_path
):
    over = threading.Event()

    def answer(told):
        if told.TransactionUID == "1.2.1":
            over.wait(20)
        return 0x0000

    with running(reactor_thread, database_dsn, tmp_path, service_timeout=1.0) as site:
        with closing_port() as port:
            pass
        site.peer(port)
        for transaction in ("1.2.1", "1.2.2"):
            assert site.ask_commitment((CT, UID), transaction=transaction) == 0x0000
        with listening(port, answer=answer):
            eventually(lambda: [one.transaction_uid for one in site.waiting()] == ["1.2.1"])
            over.set()
            eventually(lambda: site.waiting() == [])


def test_the_truth_is_that_of_the_last_attempt(known, listener):
    """An object that was proven, and is gone when the peer is there at last, is not promised."""
    path, answers = known.path(), [0x0110, 0x0000]

    def answer(_told):
        path.unlink(missing_ok=True)
        return answers.pop(0)

    listener.answer = answer
    known.ask_commitment((CT, UID))
    assert listener.one()[3:] == ([UID], [])
    assert listener.one()[3:] == ([], [(UID, MISSING)])


def test_what_was_proven_once_is_not_read_again(known, listener, monkeypatch):
    read = []
    original = proof.prove
    monkeypatch.setattr(proof, "prove", lambda *args: read.append(1) or original(*args))
    answers = [0x0110, 0x0110, 0x0000]
    listener.answer = lambda _told: answers.pop(0)
    known.ask_commitment((CT, UID))
    eventually(lambda: known.jobs("done"))
    assert len(read) == 1


def test_many_transactions_need_few_associations(site):
    with closing_port() as port:
        pass
    site.peer(port)
    site.store(ct())
    for n in range(25):
        assert site.ask_commitment((CT, UID), transaction=f"1.2.{n}") == 0x0000
    with listening(port) as listener:
        eventually(lambda: len(listener.reports) == 25)
        assert listener.associations <= 4
    assert sorted(report[1] for report in listener.reports) == sorted(f"1.2.{n}" for n in range(25))


def test_what_cannot_be_reported_for_a_week_is_given_up(site, reactor_thread):
    with closing_port() as port:
        pass
    site.peer(port)
    site.ask_commitment((CT, UID))
    eventually(lambda: any(job.error for job in site.jobs()))

    async def older(tx):
        await tx.execute("UPDATE commitment SET received_at = now() - interval '8 days'")

    reactor_thread.run(site.database.transaction, "test", older)
    eventually(lambda: site.jobs("done"))
    assert site.waiting() == []


def test_a_peer_that_was_deleted_is_told_nothing(site):
    with closing_port() as port:
        pass
    site.peer(port)
    site.ask_commitment((CT, UID))
    site.ask(peers.delete, "TESTER")
    eventually(lambda: site.jobs("failed"))
    assert site.waiting() == []


def test_stopping_ends_a_long_proof(reactor_thread, database_dsn, tmp_path, monkeypatch):
    begun, told = threading.Event(), threading.Event()

    def endless(path, digest, size, check):
        begun.set()
        try:
            while not told.wait(0.01):
                check()
        finally:
            told.set()

    monkeypatch.setattr(proof, "prove", endless)
    with listening() as listener:
        with running(reactor_thread, database_dsn, tmp_path) as site:
            site.peer(listener.port)
            site.store(ct())
            site.ask_commitment((CT, UID))
            assert begun.wait(10)
        assert told.is_set()
        monkeypatch.undo()
        with running(reactor_thread, database_dsn, tmp_path):
            assert listener.one()[0] == 1


# --- the same again


def test_the_same_transaction_asked_again_is_one_and_reported_again(known, listener):
    for _ in range(2):
        assert known.ask_commitment((CT, UID)) == 0x0000
        assert listener.one() == (1, "1.2.3", "SANTEPACS", [UID], [])
    eventually(lambda: known.waiting() == [])


def test_the_same_transaction_asked_again_while_it_waits_is_one(site):
    with closing_port() as port:
        pass
    site.peer(port)
    for _ in range(3):
        assert site.ask_commitment((CT, UID)) == 0x0000
    assert [(one.transaction_uid, one.asked) for one in site.waiting()] == [("1.2.3", 3)]
    assert len(site.jobs()) == 1


def test_other_references_under_a_transaction_that_waits_are_refused(site):
    with closing_port() as port:
        pass
    site.peer(port)
    assert site.ask_commitment((CT, UID)) == 0x0000
    assert site.ask_commitment((CT, ABSENT)) == 0x0131
    assert [one.size for one in site.waiting()] == [1]


def test_no_peer_can_take_the_transaction_uid_of_another(site):
    with closing_port() as port:
        pass
    for title in ("ONE", "TWO"):
        site.peer(port, title)
        assert site.ask_commitment((CT, UID), title=title) == 0x0000
        assert len(site.waiting(title)) == 1


def test_a_peer_cannot_fill_the_database(site, monkeypatch):
    monkeypatch.setattr(commitments, "MAXIMUM_OPEN", 2)
    with closing_port() as port:
        pass
    site.peer(port)
    statuses = [site.ask_commitment((CT, UID), transaction=f"1.2.{n}") for n in range(4)]
    assert statuses == [0x0000, 0x0000, 0x0110, 0x0110]
    assert len(site.waiting()) == 2


# --- refusing


def test_a_caller_whom_nobody_could_report_to_is_refused(site):
    """It is trusted, calling from this machine, but it is in no list."""
    assert site.ask_commitment((CT, UID)) == 0x0124
    assert site.jobs() == []


def test_a_peer_that_is_switched_off_is_refused(site, listener):
    site.peer(listener.port, enabled=False)
    assert site.ask_commitment((CT, UID)) == 0x0124


def test_a_peer_that_may_not_store_gets_no_context(reactor_thread, database_dsn, tmp_path):
    with running(reactor_thread, database_dsn, tmp_path, trust_loopback=False) as site:
        site.peer(11112, may_store=False)
        with site.association(STORAGE_COMMITMENT, "1.2.840.10008.1.1") as association:
            accepted = [context.abstract_syntax for context in association.accepted_contexts]
        assert accepted == ["1.2.840.10008.1.1"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"instance": "1.2.3.4"}, 0x0112),
        ({"information": asked()}, 0x0115),
        ({"information": asked((CT, UID), transaction="")}, 0x0115),
        ({"information": asked((CT, ""))}, 0x0115),
        ({"information": asked((CT, "Doe^Jane"))}, 0x0115),
    ],
    ids=range(6),
)
def test_what_is_no_request_is_refused(known, arguments, status):
    assert known.ask_commitment(**arguments) == status
    assert known.waiting() == []


def raw_action(site, data, **changes):
    """An N-ACTION with these bytes for its data set; the status, None if it was aborted."""
    request = N_ACTION()
    request.MessageID = 1
    request.RequestedSOPClassUID = STORAGE_COMMITMENT
    request.RequestedSOPInstanceUID = STORAGE_COMMITMENT_INSTANCE
    request.ActionTypeID = 1
    request.ActionInformation = io.BytesIO(data)
    for name, value in changes.items():
        setattr(request, name, value)
    context = build_context(STORAGE_COMMITMENT, ImplicitVRLittleEndian)
    with site.association(context) as association:
        association._reactor_checkpoint.clear()
        association.dimse.send_msg(request, 1)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        return answer and answer.Status


def test_a_request_for_another_class_is_refused(known):
    data = references.report("1.2.3", "", [(CT, UID)], [], Encoding(True, False))
    assert raw_action(known, data, RequestedSOPClassUID=CT) == 0x0118


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"\xff" * 1000,
        bytes(100_000),
        b"\x08\0\x99\x11\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff" * 9999,
    ],
    ids=["cut off", "ones", "zeros", "deep"],
)
def test_noise_is_refused_and_the_server_lives(known, listener, data):
    assert raw_action(known, data) == 0x0115
    assert known.ask_commitment((CT, UID)) == 0x0000
    assert listener.one()[0] == 1


def test_a_great_many_references_are_served(known, listener):
    """As many as fit into the largest message that is taken now."""
    pairs = [(CT, f"1.2.826.0.1.3680043.8.498.5.{n}") for n in range(40_000)]
    data = references.report("1.2.3", "", [*pairs, (CT, UID)], [], Encoding(True, False))
    assert raw_action(known, data) == 0x0000
    eventually(lambda: listener.reports, timeout=60)
    _, _, _, committed, failed = listener.one()
    assert (committed, len(failed)) == ([UID], 40_000)


def test_a_request_is_refused_while_the_database_is_away(known, monkeypatch):
    async def away(*_args):
        raise Unavailable("the database is not available")

    monkeypatch.setattr(commitments, "record", away)
    assert known.ask_commitment((CT, UID)) == 0x0110


# --- the proof


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (1500, 1000)])
def test_a_file_proves_itself(known, rows, columns):
    uid = "1.2.826.0.1.3680043.8.498.1.1.7"
    pixels = bytes(2 * rows * columns)
    known.store(ct(SOPInstanceUID=uid, Rows=rows, Columns=columns, PixelData=pixels))
    (stored,) = known.ask(studies.objects, sop_instance_uids=[uid])
    path = known.path(uid)
    proof.prove(path, stored.digest, stored.bytes, lambda: None)
    with pytest.raises(Conflict):
        proof.prove(path, stored.digest, stored.bytes + 1, lambda: None)
    flip_last_bit(path)
    with pytest.raises(Conflict, match="damaged"):
        proof.prove(path, stored.digest, stored.bytes, lambda: None)
    os.truncate(path, 100)
    with pytest.raises(Malformed):
        proof.prove(path, stored.digest, 100, lambda: None)
    path.unlink()
    with pytest.raises(NotFound):
        proof.prove(path, stored.digest, stored.bytes, lambda: None)


def test_file_meta_is_no_part_of_the_proof(tmp_path):
    image = ct()
    path = tmp_path / "a.dcm"
    path.write_bytes(encoded(image))
    with pytest.raises(Conflict, match="damaged"):
        proof.prove(path, "0" * 64, path.stat().st_size, lambda: None)
