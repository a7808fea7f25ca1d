"""Many at once, storing, silent or with the same object: all are served and leave nothing."""

import time
from functools import partial

import pytest

from support.faults import SUCCESS, Ledger, Vitals, alive, check, together
from support.faults_database import index_of
from support.faults_sender import Sender, images
from support.postgres import reachable_folder
from support.server import running_server

STORING, SILENT, OBJECTS = 50, 200, 8
MAXIMUM = STORING + SILENT + 10


@pytest.fixture(scope="module")
def server():
    settings = [f"dicom.maximum_associations={MAXIMUM}"]
    with reachable_folder() as folder, running_server(folder / "data", settings) as running:
        yield running


def test_fifty_store_at_once_among_two_hundred_that_are_silent(server):
    ledger, vitals, index = Ledger(), Vitals(server), index_of(server)
    silent = [Sender(server.dicom_port, calling=b"SILENT") for _ in range(SILENT)]
    senders = [Sender(server.dicom_port) for _ in range(STORING)]
    work = [images(500 + number // 5, OBJECTS * 5)[number % 5 :: 5] for number in range(STORING)]

    def store(sender, share):
        return [ledger.store(sender, image) for image in share]

    statuses = together(*map(partial(partial, store), senders, work))
    assert statuses == [[SUCCESS] * OBJECTS] * STORING
    for sender in senders:
        sender.release()
    for sender in silent:
        assert sender.echo() == SUCCESS
    for sender in silent[::2]:
        sender.release()
    for sender in silent[1::2]:
        sender.abort()
    vitals.settled()
    assert len(ledger.sent) == STORING * OBJECTS
    # Who waits for a commit shares the next one with all who wait by then.
    assert index.transactions() < len(ledger.sent) / 2
    check(server, ledger, index)
    alive(server)


def test_an_echo_is_answered_soon_while_many_store(server):
    ledger = Ledger()
    work = images(520, 120)
    echoing = Sender(server.dicom_port)
    longest = 0.0

    def echo():
        nonlocal longest
        for _ in range(20):
            began = time.monotonic()
            assert echoing.echo() == SUCCESS
            longest = max(longest, time.monotonic() - began)

    together(echo, *(partial(ledger.store_all, server.dicom_port, work[n::20]) for n in range(20)))
    echoing.release()
    assert ledger.answered() == ledger.sent.keys()
    assert longest < 2
    check(server, ledger, index_of(server), again=False)


def test_beyond_the_most_associations_callers_are_told_to_come_again(server):
    vitals = Vitals(server)
    there = [Sender(server.dicom_port) for _ in range(MAXIMUM)]
    for _ in range(5):
        with pytest.raises(ConnectionRefusedError) as refusal:
            Sender(server.dicom_port)
        kind, body = refusal.value.args
        assert (kind, body[1:]) == (3, b"\x02\x03\x02")  # rejected, transient, limit exceeded
    assert {sender.echo() for sender in there} == {SUCCESS}
    for sender in there:
        sender.close()
    vitals.settled()
    alive(server)


def test_twenty_store_the_same_study_again_and_again(server):
    """Each has all of it: whoever is second is told the same."""
    ledger, index, work = Ledger(), index_of(server), images(530, 20)
    before = index.transactions()
    statuses = together(*[partial(ledger.store_all, server.dicom_port, work)] * 20)
    assert statuses == [[SUCCESS] * len(work)] * 20
    assert index.transactions() - before <= len(work)
    check(server, ledger, index)
    alive(server)
