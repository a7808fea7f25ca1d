"""Forwarding: everything arrives once it can, and only what is missing is sent again."""

import threading
import uuid

import pytest
from pynetdicom import build_context

from santepacs.db import jobs, peers, studies
from santepacs.dicom import forwarding
from santepacs.dicom.forwarding import KIND, Forwarding
from santepacs.dicom.selection import Selection
from santepacs.errors import Malformed, NotFound
from santepacs.job import Retries
from santepacs.jobs import Queue
from santepacs.model.peers import Peer
from support.archive import ct
from support.dicom import CT, NATIVE, DicomSite, closing_port, eventually, settings, storage_scp

STUDY = str(ct().StudyInstanceUID)
CHOSEN = Selection(study_instance_uids=(STUDY,))


class ForwardingSite(DicomSite):
    """A site whose queue forwards, quick to try again."""

    def start(self):
        super().start()
        self.begin()

    def begin(self):
        """A queue, as of a new run of the server."""
        self.queue = Queue(
            self.reactor_thread.reactor, self.database, lambda: 0.5, uuid.uuid4().hex, poll=0.3
        )
        self.reactor_thread.run(
            self.queue.handle,
            KIND,
            Forwarding(self.resources, self.server.client).handle,
            at_once=2,
            retries=Retries(delays=(0.05,), maximum_attempts=10**6),
        )
        self.reactor_thread.run(self.queue.start)

    def stop(self):
        self.reactor_thread.run(self.queue.stop, 5)
        super().stop()

    def forward(self, title="DEST", chosen=CHOSEN):
        job = self.ask(forwarding.enqueue, title, chosen)
        self.reactor_thread.run(self.queue.wake)
        return job

    def until(self, state, job):
        eventually(lambda: self.ask(jobs.find, job).state == state)
        return self.ask(jobs.find, job)

    def peer(self, port, **arguments):
        self.ask(peers.add, Peer("DEST", "127.0.0.1", port, **arguments))


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    running = ForwardingSite(
        reactor_thread, database_dsn.runtime, tmp_path, settings(service_timeout=2.0)
    )
    running.start()
    yield running
    running.stop()


class Receiver:
    """Takes objects and answers by UID; counts how often each one came."""

    def __init__(self, answer=lambda uid: 0x0000):
        self.came = []
        self.answer = answer

    def __call__(self, event):
        uid = str(event.request.AffectedSOPInstanceUID)
        self.came.append(uid)
        return self.answer(uid)


def store(site, count):
    uids = [f"1.2.3.{number}" for number in range(1, count + 1)]
    for uid in uids:
        site.store(ct(SOPInstanceUID=uid))
    return uids


def listening(receiver):
    return storage_scp(receiver, [build_context(CT, NATIVE)])


def test_a_study_is_forwarded(site):
    uids = store(site, 3)
    receiver = Receiver()
    with listening(receiver) as port:
        site.peer(port)
        job = site.until("done", site.forward())
    assert receiver.came == uids
    assert (job.done, job.total, job.error) == (3, 3, "")


def test_only_what_is_chosen_is_forwarded(site):
    store(site, 3)
    receiver = Receiver()
    with listening(receiver) as port:
        site.peer(port)
        site.until("done", site.forward(chosen=Selection(sop_instance_uids=("1.2.3.2", "9.9"))))
        site.until("done", site.forward(chosen=Selection()))
    assert receiver.came == ["1.2.3.2"]


def test_a_peer_that_is_away_gets_everything_later(site):
    uids = store(site, 2)
    receiver = Receiver()
    with closing_port() as port:
        pass
    site.peer(port)
    job = site.forward()
    eventually(lambda: "does not answer" in site.ask(jobs.find, job).error)
    with listening(receiver) as port:
        site.ask(peers.change, "DEST", Peer("DEST", "127.0.0.1", port))
        site.until("done", job)
    assert receiver.came == uids


def test_only_what_is_missing_is_sent_again(site):
    uids = store(site, 4)
    full = {"1.2.3.2", "1.2.3.3"}
    receiver = Receiver(lambda uid: 0xA700 if uid in full else 0x0000)
    with listening(receiver) as port:
        site.peer(port)
        job = site.forward()
        eventually(lambda: "2 of 4 objects were not sent" in site.ask(jobs.find, job).error)
        full.clear()
        site.until("done", job)
    assert set(receiver.came) == set(uids)
    assert [receiver.came.count(uid) for uid in ("1.2.3.1", "1.2.3.4")] == [1, 1]


def test_a_restart_sends_only_what_is_missing(site):
    uids = store(site, 6)
    reached, going_on = threading.Event(), threading.Event()

    def answer(uid):
        if uid == "1.2.3.4":
            reached.set()
            going_on.wait(10)
        return 0x0000

    receiver = Receiver(answer)
    with listening(receiver) as port:
        site.peer(port)
        job = site.forward()
        assert reached.wait(10)
        stopped = threading.Thread(target=site.reactor_thread.run, args=(site.queue.stop, 5))
        stopped.start()
        eventually(lambda: site.queue._stopping)
        going_on.set()
        stopped.join(10)
        assert receiver.came == uids[:4]
        site.begin()
        site.until("done", job)
    assert receiver.came == uids


def test_a_refused_object_fails_the_job_when_all_others_are_there(site):
    uids = store(site, 3)
    receiver = Receiver(lambda uid: 0xA900 if uid == "1.2.3.1" else 0x0000)
    with listening(receiver) as port:
        site.peer(port)
        job = site.until("failed", site.forward())
    assert receiver.came == uids
    assert job.error == "1 of 3 objects were not sent: the receiver answers 0xA900"


def test_a_missing_file_fails_its_object_alone(site):
    uids = store(site, 3)
    receiver = Receiver()
    first = site.ask(studies.objects, sop_instance_uids=[uids[0]])[0]
    site.files.path(first.study_instance_uid, first.digest).unlink()
    with listening(receiver) as port:
        site.peer(port)
        job = site.until("failed", site.forward())
    assert receiver.came == uids[1:]
    assert "missing or damaged" in job.error


def test_a_cancelled_job_sends_no_more(site):
    uids = store(site, 5)
    reached, going_on = threading.Event(), threading.Event()

    def answer(uid):
        reached.set()
        going_on.wait(10)
        return 0x0000

    receiver = Receiver(answer)
    with listening(receiver) as port:
        site.peer(port)
        job = site.forward()
        assert reached.wait(10)
        assert site.reactor_thread.run(site.queue.cancel, job)
        going_on.set()
        site.until("cancelled", job)
    assert receiver.came == uids[:1]


def test_an_unknown_peer_is_refused_at_once_and_a_deleted_one_fails_the_job(site):
    store(site, 1)
    with pytest.raises(NotFound):
        site.forward("NOBODY")
    site.peer(9, enabled=False)
    job = site.forward()
    eventually(lambda: "switched off" in site.ask(jobs.find, job).error)
    site.ask(peers.delete, "DEST")
    assert "not in the peer list" in site.until("failed", job).error


def test_the_same_asked_twice_is_one_job(site):
    store(site, 1)
    site.peer(9, enabled=False)
    assert site.forward() == site.forward()
    assert site.forward() != site.forward(chosen=Selection(sop_instance_uids=("1.2.3.1",)))


def test_too_many_keys_are_refused(site):
    site.peer(9)
    with pytest.raises(Malformed):
        site.forward(chosen=Selection(sop_instance_uids=tuple(f"1.2.{n}" * 9 for n in range(9999))))
