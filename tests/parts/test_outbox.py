"""The queue of outgoing messages: in order, until they are taken, and everything can be seen."""

import threading
import uuid
from dataclasses import replace

import pytest

from santepacs.db import jobs, nodes, outgoing
from santepacs.db.nodes import Node
from santepacs.errors import Malformed, NotFound, Unavailable
from santepacs.hl7 import outbox
from santepacs.hl7.outbox import Outbox
from santepacs.job import Retries
from santepacs.jobs import Queue
from support.archive import Site
from support.dicom import eventually
from support.hl7 import acknowledgement, hl7_receiver

QUICK = Retries(delays=(0.05,), maximum_attempts=10**9)


def order(number):
    header = f"MSH|^~\\&|SANTEPACS|RAD|RIS|WARD|20260102||ORM^O01|{number}|P|2.3.1\r"
    return header.encode() + b"PID|1||ID7\r"


class OutboxSite(Site):
    """A site whose queue sends, quick to try again."""

    def start(self):
        super().start()
        self.settings.hl7 = replace(self.settings.hl7, send_timeout=0.5)
        self.begin()

    def begin(self):
        """A queue, as of a new run of the server."""
        reactor = self.reactor_thread.reactor
        self.queue = Queue(reactor, self.database, lambda: 0.5, uuid.uuid4().hex, poll=0.1)
        box = Outbox(reactor, self.database, self.settings)
        self.reactor_thread.run(box.start, self.queue, QUICK)
        self.reactor_thread.run(self.queue.start)

    def end(self):
        self.reactor_thread.run(self.queue.stop, 5)

    def stop(self):
        self.end()
        super().stop()

    def node(self, port, name="RIS", **arguments):
        self.ask(nodes.add, Node(name, "127.0.0.1", port, **arguments))

    def send(self, *numbers, node="RIS"):
        keys = [self.ask(outgoing.enqueue, node, order(number), "a test") for number in numbers]
        self.reactor_thread.run(self.queue.wake)
        return keys

    def row(self, key):
        return self.ask(outgoing.message, key).row

    def until(self, state, key):
        eventually(lambda: self.row(key).state == state)
        return self.ask(outgoing.message, key)


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    running = OutboxSite(reactor_thread, database_dsn.runtime, tmp_path)
    running.start()
    yield running
    running.stop()


def test_a_message_is_sent_and_its_answer_kept(site):
    with hl7_receiver() as receiver:
        site.node(receiver.port)
        (key,) = site.send(1)
        message = site.until("sent", key)
    assert receiver.came == [order(1)] == [message.raw]
    row = message.row
    assert (row.node, row.message_type, row.control_id) == ("RIS", "ORM^O01", "1")
    assert (row.origin, row.attempts, row.answer_code, row.remark) == ("a test", 1, "AA", "")
    assert row.attempted_at and row.ended_at and b"MSA|AA|1" in message.answer


def test_messages_go_in_the_order_in_which_they_were_asked_for(site):
    with hl7_receiver() as receiver:
        site.node(receiver.port)
        keys = site.send(*range(1, 21))
        site.until("sent", keys[-1])
        assert receiver.came == [order(number) for number in range(1, 21)]


def test_those_behind_wait_for_one_that_cannot_go_yet(site):
    busy = [3]

    def answer(raw):
        if raw == order(2) and busy[0]:
            busy[0] -= 1
            return acknowledgement(raw, "AR", "later")
        return acknowledgement(raw)

    with hl7_receiver(answer) as receiver:
        site.node(receiver.port)
        keys = site.send(1, 2, 3)
        site.until("sent", keys[2])
        assert receiver.came == [order(number) for number in (1, 2, 2, 2, 2, 3)]
    assert [site.row(key).attempts for key in keys] == [1, 4, 1]


def test_a_refused_message_has_failed_and_lets_the_others_pass(site):
    def answer(raw):
        return acknowledgement(raw, "AE" if raw == order(1) else "AA", "no such patient")

    with hl7_receiver(answer) as receiver:
        site.node(receiver.port)
        refused, taken = site.send(1, 2)
        site.until("sent", taken)
        message = site.until("failed", refused)
        assert receiver.came == [order(1), order(2)]
    assert (message.row.answer_code, message.row.remark) == ("AE", "no such patient")
    assert b"MSA|AE|1|no such patient" in message.answer and message.row.ended_at


def test_a_type_that_the_receiver_does_not_process_has_failed(site):
    with hl7_receiver(lambda raw: acknowledgement(raw, "AR", error="200^Unsupported")) as receiver:
        site.node(receiver.port)
        (key,) = site.send(1)
        assert site.until("failed", key).row.attempts == 1


def test_an_answer_that_is_none_has_failed_and_is_kept(site):
    with hl7_receiver(lambda raw: acknowledgement(raw, control_id="other"), hang_up=True) as there:
        site.node(there.port)
        message = site.until("failed", site.send(1)[0])
    assert "no acknowledgement of this message" in message.row.remark
    assert b"MSA|AA|other" in message.answer


def test_endless_refusals_are_given_up(site, monkeypatch):
    monkeypatch.setattr(outbox, "MAXIMUM_REFUSALS", 3)
    with hl7_receiver(lambda raw: acknowledgement(raw, "AR", "busy")) as receiver:
        site.node(receiver.port)
        message = site.until("failed", site.send(1)[0])
    assert (message.row.attempts, message.row.remark) == (3, "busy")


def test_a_receiver_that_is_away_too_long_gets_nothing(site, monkeypatch):
    monkeypatch.setattr(outbox, "MAXIMUM_AGE", 0.0)
    site.node(1)
    assert site.until("failed", site.send(1)[0]).row.remark == "the receiver refuses connections"


def test_a_receiver_that_is_away_gets_everything_later_in_order(site):
    with hl7_receiver() as receiver:
        site.node(1)
        keys = site.send(1, 2)
        eventually(lambda: site.row(keys[0]).attempts > 1)
        row = site.row(keys[0])
        assert (row.state, row.remark) == ("waiting", "the receiver refuses connections")
        assert site.ask(outgoing.counts) == {"RIS": 2}
        site.ask(nodes.change, "RIS", Node("RIS", "127.0.0.1", receiver.port))
        site.until("sent", keys[1])
        assert receiver.came == [order(1), order(2)]


def test_a_slow_node_does_not_hold_up_another(site):
    with hl7_receiver(lambda raw: None) as slow, hl7_receiver() as quick:
        site.node(slow.port, "SLOW")
        site.node(quick.port)
        (waiting,) = site.send(1, node="SLOW")
        (key,) = site.send(2)
        site.until("sent", key)
        assert site.row(waiting).state == "waiting"
        eventually(lambda: site.row(waiting).remark == "the receiver did not answer")


def test_what_waits_is_sent_by_the_next_run(site):
    site.node(1)
    keys = site.send(1, 2)
    eventually(lambda: site.row(keys[0]).attempts > 0)
    site.end()
    with hl7_receiver() as receiver:
        site.ask(nodes.change, "RIS", Node("RIS", "127.0.0.1", receiver.port))
        site.begin()
        site.until("sent", keys[1])
        assert receiver.came == [order(1), order(2)]


def test_a_restart_brings_back_a_job_that_somebody_cancelled(site):
    site.node(1)
    (key,) = site.send(1)
    eventually(lambda: site.row(key).attempts > 0)
    (job,) = site.ask(jobs.page)
    site.reactor_thread.run(site.queue.cancel, job.id)
    eventually(lambda: site.ask(jobs.find, job.id).state == "cancelled")
    site.end()
    with hl7_receiver() as receiver:
        site.ask(nodes.change, "RIS", Node("RIS", "127.0.0.1", receiver.port))
        site.begin()
        site.until("sent", key)


def test_what_is_on_its_way_when_the_server_stops_is_not_lost(site):
    came, going_on = threading.Event(), threading.Event()

    def answer(raw):
        came.set()
        going_on.wait(10)
        return acknowledgement(raw)

    with hl7_receiver(answer) as receiver:
        site.node(receiver.port)
        site.settings.hl7 = replace(site.settings.hl7, send_timeout=20.0)
        (key,) = site.send(1)
        assert came.wait(10)
        site.reactor_thread.run(site.queue.stop, 0.1)
        assert site.row(key).state == "waiting"
        going_on.set()
        site.begin()
        site.until("sent", key)
        assert set(receiver.came) == {order(1)}


def test_a_node_that_is_gone_or_receives_nothing_fails_its_messages(site):
    site.node(9, enabled=False)
    (key,) = site.send(1)
    eventually(lambda: "switched off" in site.row(key).remark)
    site.ask(nodes.delete, "RIS")
    assert "any more" in site.until("failed", key).row.remark
    site.node(9)
    (key,) = site.send(2)
    site.ask(nodes.change, "RIS", Node("RIS", "127.0.0.1", 0))
    assert "any more" in site.until("failed", key).row.remark


def test_what_cannot_be_sent_is_refused_at_once(site):
    with pytest.raises(NotFound):
        site.send(1, node="NOBODY")
    site.node(0)
    with pytest.raises(Malformed, match="no port"):
        site.send(1)
    site.node(9, "OTHER")
    for raw in (b"", b"hello", b"MSH" + bytes(outgoing.MAXIMUM_SIZE)):
        with pytest.raises(Malformed):
            site.ask(outgoing.enqueue, "OTHER", raw, "")
    assert site.ask(outgoing.page) == []


def test_a_message_that_no_receiver_could_frame_fails_alone(site):
    with hl7_receiver() as receiver:
        site.node(receiver.port)
        bad = site.ask(outgoing.enqueue, "RIS", order(1) + b"OBX|\x1c\r", "")
        (good,) = site.send(2)
        site.until("sent", good)
        assert site.row(bad).remark == "the message holds MLLP delimiters"


def test_a_cancelled_message_is_not_sent(site):
    site.node(1)
    first, second, third = site.send(1, 2, 3)
    assert site.ask(outgoing.cancel, second)
    assert not site.ask(outgoing.cancel, second)
    with hl7_receiver() as receiver:
        site.ask(nodes.change, "RIS", Node("RIS", "127.0.0.1", receiver.port))
        site.until("sent", third)
        assert receiver.came == [order(1), order(3)]
    assert not site.ask(outgoing.cancel, first)
    assert site.row(second).state == "cancelled"


def test_again_sends_a_copy_after_all_that_waits(site):
    with hl7_receiver(lambda raw: acknowledgement(raw, "AE")) as receiver:
        site.node(receiver.port)
        (key,) = site.send(1)
        site.until("failed", key)
        receiver.answer = acknowledgement
        other = site.ask(outgoing.again, key, "somebody")
        site.reactor_thread.run(site.queue.wake)
        message = site.until("sent", other)
        assert message.raw == order(1) and message.row.origin == "somebody"
    assert site.row(key).state == "failed"
    with pytest.raises(NotFound):
        site.ask(outgoing.again, 999, "")


def test_again_tries_a_waiting_one_now(site):
    site.node(1, enabled=False)
    (key,) = site.send(1)
    assert site.ask(outgoing.again, key, "somebody") == key
    assert len(site.ask(outgoing.page)) == 1


def test_the_list_is_newest_first_by_state_and_node(site):
    with hl7_receiver() as receiver:
        site.node(receiver.port)
        site.node(1, "AWAY", enabled=False)
        keys = site.send(1, 2, 3)
        (waiting,) = site.send(4, node="AWAY")
        site.until("sent", keys[-1])
    listed = [row.id for row in site.ask(outgoing.page)]
    assert listed == [waiting, *reversed(keys)]
    assert [row.id for row in site.ask(outgoing.page, state="waiting")] == [waiting]
    assert [row.id for row in site.ask(outgoing.page, node="RIS", limit=2)] == keys[:0:-1]
    assert [row.id for row in site.ask(outgoing.page, before=keys[1])] == [keys[0]]


def test_old_ones_are_deleted_but_never_what_waits(site):
    with hl7_receiver() as receiver:
        site.node(receiver.port)
        keys = site.send(1, 2)
        site.until("sent", keys[1])
    site.node(1, "AWAY", enabled=False)
    (waiting,) = site.send(3, node="AWAY")
    assert site.ask(outgoing.delete_older, 1, 10) == 0
    assert site.ask(outgoing.delete_older, 0, 1) == 1
    assert site.ask(outgoing.delete_older, 0, 10) == 1
    assert [row.id for row in site.ask(outgoing.page)] == [waiting]
    assert site.ask(outgoing.message, keys[0]) is None


def test_no_database_is_said(site):
    box = Outbox(site.reactor_thread.reactor, site.database, site.settings)
    site.reactor_thread.run(site.database.stop)
    with pytest.raises(Unavailable):
        site.reactor_thread.run(box.start, site.queue)
