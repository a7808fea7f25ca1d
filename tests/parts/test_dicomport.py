"""The DICOM ports as a whole: whatever peers do, they stop in time."""

import random
import socket
import struct
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from santepacs.access.unknown import UnknownCallers
from santepacs.db import commitments, jobs, peers
from santepacs.dicom import commitment, forwarding
from santepacs.dicom.selection import Selection
from santepacs.dicomport import LAST_WORDS, DicomPort
from santepacs.host.listening import listening_socket
from santepacs.host.names import HostNames
from santepacs.jobs import Queue
from santepacs.model.peers import Peer
from santepacs.threads import PATIENCE
from support.archive import Site, ct
from support.dicom import CT, Raw, eventually, item, pdu, settings
from support.raw_dicom import items_of

GRACE = 1.0
BOUND = GRACE + LAST_WORDS + PATIENCE + 1.0  # a slow machine
LARGE = ct(Rows=3000, Columns=3000, PixelData=bytes(18_000_000))


class PortSite(Site):
    """A site with the DICOM ports as the service makes them."""

    def start(self):
        super().start()
        reactor = self.reactor_thread.reactor
        self.jobs_queue = Queue(reactor, self.database, random.random, "this run")
        self.port = DicomPort(
            reactor,
            self.settings,
            self.threads,
            self.archive,
            self.database,
            self.directory.incoming,
            HostNames(self.threads, reactor.seconds),
            UnknownCallers(self.database, reactor),
            None,
            self.jobs_queue,
        )
        self.reactor_thread.run(self.port.start, listening_socket("", 0, "DICOM"), None)
        self.reactor_thread.run(self.jobs_queue.start)

    def cause(self, port, kind):
        """A job of this kind for a peer on `port`."""
        self.ask(peers.add, Peer("DEST", "127.0.0.1", port))
        if kind == forwarding.KIND:
            chosen = Selection(study_instance_uids=(str(LARGE.StudyInstanceUID),))
            self.ask(forwarding.enqueue, "DEST", chosen)
        else:
            uid = str(LARGE.SOPInstanceUID)
            self.ask(commitments.record, "DEST", "1.2.3", b"digest", [(CT, uid)])
            self.ask(jobs.add, commitment.KIND, {"ae_title": "DEST"}, key="DEST")
        self.reactor_thread.run(self.jobs_queue.wake)

    def connections(self):
        return len(self.port.server.client._connections)


@contextmanager
def never_connecting():
    """Its queue of connections is full, so that no more are answered."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1], threading.Event()


@contextmanager
def never_answering():
    """It takes connections, and that is all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        begun = threading.Event()
        begun.set()
        yield listener.getsockname()[1], begun


@contextmanager
def never_reading():
    """It accepts an association, and that is all."""
    begun = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:

        def serve():
            peer = Raw.__new__(Raw)
            peer.socket, _ = listener.accept()
            stack.enter_context(peer.socket)
            _, body = peer.receive()
            peer.send(accepted(body))
            begun.set()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1], begun


def accepted(body):
    """The A-ASSOCIATE-AC that takes the first transfer syntax of every proposed context."""
    contexts = b""
    for kind, value in items_of(body[68:]):
        if kind == 0x20:
            syntax = next(one for sub, one in items_of(value[4:]) if sub == 0x40)
            contexts += item(0x21, bytes([value[0], 0, 0, 0]) + item(0x40, syntax))
    user = item(0x50, item(0x51, struct.pack(">L", 16384)) + item(0x52, b"1.2.3"))
    return pdu(2, body[:68] + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


@pytest.mark.parametrize("kind", [forwarding.KIND, commitment.KIND])
@pytest.mark.parametrize("peer", [never_connecting, never_answering, never_reading])
def test_no_peer_keeps_the_server_from_stopping(reactor_thread, database_dsn, tmp_path, peer, kind):
    given = settings(service_timeout=60.0, network_timeout=60.0)
    site = PortSite(reactor_thread, database_dsn.runtime, tmp_path, given)
    site.start()
    try:
        site.store(LARGE)
        with peer() as (port, begun):
            site.cause(port, kind)
            eventually(site.connections)
            if peer is not never_connecting:
                assert begun.wait(10)
            time.sleep(0.5)  # nothing tells that a sender is blocked
            began = time.monotonic()
            reactor_thread.run(site.port.stop, GRACE)
            assert site.connections() == 0
            (job,) = site.ask(jobs.page)
            assert (job.state, job.attempts, job.error) == ("waiting", 0, "")
    finally:
        site.stop()
    assert time.monotonic() - began < BOUND
