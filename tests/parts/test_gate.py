"""The gate of a DICOM port: what it hands over, whom it answers, and what it costs."""

import errno
import queue
import resource
import socket
import ssl
import struct
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred

from santepacs.dicom import arrivals
from santepacs.dicom.arrivals import Arrival
from santepacs.dicom.gate import Gate, Limits
from santepacs.dicom.proposal import Refusal
from santepacs.dicom.request import LARGEST_REQUEST
from santepacs.dicom.tls import ServerContext
from santepacs.errors import Unavailable
from santepacs.settings import Settings
from support.certificates import Authority
from support.dicom import associate_request, eventually, item, p_data, pdu

ABORT = bytes.fromhex("0700000000040000" + "0200")
REQUEST = associate_request()
HELLO = b"\x16\x03\x01\x00\x06\x01" + bytes(5)


def rejection(result, source, reason):
    return pdu(3, bytes([0, result, source, reason]))


class Door:
    """A gate on a port of this machine, and what became of those who came."""

    def __init__(self, reactor_thread, *, tls=False, patience=20.0, limits=None, listener=None):
        self.answer = "admitted"
        """What a request gets: a value, a Deferred, or an exception."""
        self.problem = None
        """What handing over raises."""
        self.passed = queue.Queue()
        self.turned_away = []
        self.asked = []
        self._reactor_thread = reactor_thread
        listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]
        self.gate = Gate(
            reactor_thread.reactor,
            listener,
            None if tls else self._decide,
            self._take,
            patience=lambda: patience,
            turned_away=lambda *who: self.turned_away.append(who),
            limits=limits or Limits(),
        )
        self.run(self.gate.start)

    def run(self, function, *arguments):
        return self._reactor_thread.run(function, *arguments)

    async def _decide(self, request, address):
        self.asked.append((request, address))
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer if isinstance(self.answer, Deferred) else self.answer

    def _take(self, connection, address, admitted):
        if self.problem is not None:
            raise self.problem
        self.passed.put((connection, address, admitted))

    @contextmanager
    def caller(self, data=b"", source="127.0.0.1"):
        with socket.socket() as caller:
            caller.bind((source, 0))
            caller.settimeout(10)
            caller.connect(("127.0.0.1", self.port))
            if data:
                caller.sendall(data)
            yield caller

    @contextmanager
    def handed_over(self):
        connection, address, admitted = self.passed.get(timeout=10)
        with connection:
            yield connection, address, admitted

    @property
    def waiting(self):
        return self.gate.waiting


@pytest.fixture
def opened(reactor_thread):
    """Opens doors; they are closed afterwards."""
    doors = []

    def door(**arguments):
        doors.append(Door(reactor_thread, **arguments))
        return doors[-1]

    yield door
    for each in doors:
        each.run(each.gate.stop)
        while not each.passed.empty():
            each.passed.get()[0].close()


def last_words(caller):
    """All that comes until the other side closes; raises ConnectionError when it resets."""
    received = b""
    while piece := caller.recv(4096):
        received += piece
    return received


def is_closed(caller):
    try:
        return caller.recv(1) == b""
    except ConnectionError:
        return True


# --- handing over ---------------------------------------------------------------------------------


def test_a_request_is_handed_over_untouched_with_what_was_decided(opened):
    door = opened()
    with door.caller(REQUEST) as caller, door.handed_over() as (connection, address, admitted):
        assert admitted == "admitted"
        assert address == caller.getsockname()
        assert connection.gettimeout() is None
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
        assert connection.recv(10_000) == REQUEST
        caller.sendall(b"more")
        assert connection.recv(10_000) == b"more"
    (request, address), *others = door.asked
    assert (request.calling_ae_title, address, others) == ("RAW", "127.0.0.1", [])
    assert door.waiting == 0


def test_a_request_that_comes_byte_by_byte_is_handed_over_when_it_is_complete(opened):
    door = opened()
    with door.caller() as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(len(REQUEST) - 1):
            caller.sendall(REQUEST[place : place + 1])
        eventually(lambda: door.waiting == 1)
        assert door.asked == []
        caller.sendall(REQUEST[-1:])
        with door.handed_over() as (connection, _, _):
            assert connection.recv(10_000) == REQUEST


def test_what_follows_the_request_stays_in_the_connection(opened):
    door = opened()
    more = p_data(3, bytes(100_000))
    with door.caller(REQUEST + more), door.handed_over() as (connection, _, _):
        received = b""
        while len(received) < len(REQUEST + more):
            received += connection.recv(10_000)
        assert received == REQUEST + more


def test_the_longest_request_is_waited_for(opened):
    door = opened()
    filler = LARGEST_REQUEST - (len(REQUEST) - 6)
    items = item(0x99, bytes(60_000 - 4)) * (filler // 60_000)
    whole = pdu(1, REQUEST[6:] + items + item(0x99, bytes(filler - len(items) - 4)))
    assert len(whole) == LARGEST_REQUEST + 6
    with door.caller(whole[:100]) as caller:
        caller.sendall(whole[100:])
        with door.handed_over() as (connection, _, _):
            assert connection.recv(1) == b"\1"


def test_a_caller_that_closed_its_half_is_handed_over_if_its_request_is_complete(opened):
    door = opened()
    with door.caller(REQUEST) as caller:
        caller.shutdown(socket.SHUT_WR)
        with door.handed_over() as (connection, _, _):
            assert connection.recv(10_000) == REQUEST


def test_ipv6_callers_come_too(opened):
    listener = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    door = opened(listener=listener)
    with socket.create_connection(("::1", door.port), 10) as caller:
        caller.sendall(REQUEST)
        with door.handed_over():
            pass
    with door.caller(REQUEST), door.handed_over():
        pass
    assert [address for _, address in door.asked] == ["::1", "127.0.0.1"]


# --- refusing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("refusal", [(1, 1, 7), (1, 1, 3), (1, 2, 2), (2, 3, 2)])
def test_a_refusal_is_answered_and_the_connection_closed(opened, refusal):
    door = opened()
    door.answer = Refusal(*refusal)
    with door.caller(REQUEST) as caller:
        assert last_words(caller) == rejection(*refusal)
    assert door.passed.empty()


@pytest.mark.parametrize("problem", [Unavailable("the database is away"), RuntimeError("a bug")])
def test_who_cannot_be_judged_is_told_to_come_again(opened, problem):
    door = opened()
    door.answer = problem
    with door.caller(REQUEST) as caller:
        assert last_words(caller) == rejection(2, 3, 1)


def test_who_cannot_be_served_is_told_to_come_again(opened):
    door = opened()
    door.problem = Unavailable("no more threads")
    with door.caller(REQUEST) as caller:
        assert last_words(caller) == rejection(2, 3, 2)


def test_a_connection_that_cannot_be_handed_over_is_closed_and_the_next_one_served(opened):
    door = opened()
    door.problem = RuntimeError("a bug")
    with door.caller(REQUEST) as caller:
        assert is_closed(caller)
    door.problem = None
    with door.caller(REQUEST), door.handed_over():
        pass


def test_an_answer_arrives_though_much_was_sent_that_nobody_read(opened):
    door = opened()
    door.answer = Refusal(1, 1, 7)
    with door.caller(REQUEST + bytes(200_000)) as caller:
        time.sleep(0.1)  # a reset, if there were one, would come now
        assert last_words(caller) == rejection(1, 1, 7)


def test_a_refused_caller_that_stays_is_put_out(opened, monkeypatch):
    monkeypatch.setattr(arrivals, "LINGER", 0.3)
    door = opened()
    door.answer = Refusal(1, 1, 7)
    with door.caller(REQUEST) as caller:
        assert last_words(caller) == rejection(1, 1, 7)
        with pytest.raises(ConnectionError):
            end = time.monotonic() + 10
            while time.monotonic() < end:
                caller.sendall(b"still here")
                time.sleep(0.02)


def test_a_refused_caller_that_floods_is_put_out(opened):
    door = opened()
    door.answer = Refusal(1, 1, 7)
    with door.caller(REQUEST) as caller, pytest.raises(ConnectionError):
        for _ in range(1000):
            caller.sendall(bytes(100_000))


@pytest.mark.parametrize(
    "data",
    [
        b"G",
        b"GET /",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        HELLO,
        b"SSH-2.0-OpenSSH\r\n",
        b"\x01\x00\xff\xff\xff\xff" + bytes(1000),
        b"\x01\x00" + struct.pack(">L", LARGEST_REQUEST + 1),
        pdu(4, bytes(100)),
        pdu(5, bytes(4)),
        pdu(7, bytes(4)),
        bytes(10_000),
        pdu(1, bytes(68)),
        pdu(1, b"\0\1\0\0" + b"\xff" * 200),
        pdu(1, REQUEST[6:] + b"\x99"),
    ],
)
def test_what_is_no_association_request_gets_an_abort_at_once(opened, data):
    door = opened()
    with door.caller(data) as caller:
        assert last_words(caller) == ABORT
    assert door.passed.empty()
    ((address, reason),) = door.turned_away
    assert address == "127.0.0.1"
    assert reason


# --- waiting --------------------------------------------------------------------------------------


@pytest.mark.parametrize("beginning", [b"", b"\x01", b"\x01\0\0", REQUEST[:6], REQUEST[:-1]])
def test_who_does_not_say_enough_is_closed_when_the_time_is_over(opened, beginning):
    door = opened(patience=0.5)
    began = time.monotonic()
    with door.caller(beginning) as caller:
        try:
            assert last_words(caller) == b""
        except ConnectionError:
            assert beginning  # what was sent has not been read
        assert 0.4 < time.monotonic() - began < 5
    assert door.waiting == 0


def test_the_time_is_not_prolonged_by_dripping(opened):
    door = opened(patience=0.6)
    with door.caller() as caller, pytest.raises(ConnectionError):
        for byte in REQUEST * 3:
            caller.sendall(bytes([byte]))
            time.sleep(0.05)
    assert door.asked == []


def test_who_is_not_judged_in_time_is_told_to_come_again(opened):
    door = opened(patience=0.5)
    door.answer = Deferred()
    with door.caller(REQUEST) as caller:
        assert last_words(caller) == rejection(2, 3, 1)
    door.run(door.answer.callback, "admitted, but too late")
    assert door.passed.empty()


def wakes(monkeypatch):
    """The list grows each time that a connection is looked at."""
    seen = []
    look = Arrival.doRead

    def counted(self):
        seen.append(self)
        look(self)

    monkeypatch.setattr(Arrival, "doRead", counted)
    return seen


@pytest.mark.parametrize("size", [0, 1, 5, 6, len(REQUEST) - 1])
def test_who_closes_its_half_before_it_said_enough_is_closed(opened, monkeypatch, size):
    looks = wakes(monkeypatch)
    door = opened()
    with door.caller(REQUEST[:size]) as caller:
        eventually(lambda: door.waiting == 1)
        caller.shutdown(socket.SHUT_WR)
        eventually(lambda: door.waiting == 0)
    assert len(looks) < 10


def test_who_resets_is_forgotten(opened):
    door = opened()
    with door.caller(REQUEST[:20]) as caller:
        eventually(lambda: door.waiting == 1)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: door.waiting == 0)


def test_an_incomplete_request_does_not_wake_us(opened, monkeypatch):
    looks = wakes(monkeypatch)
    door = opened()
    with door.caller(REQUEST[:10]) as caller:
        eventually(lambda: door.waiting == 1)
        for byte in REQUEST[10:-1]:
            caller.sendall(bytes([byte]))
        time.sleep(0.1)
        assert len(looks) < 5
        caller.sendall(REQUEST[-1:])
        with door.handed_over():
            pass


def test_a_kernel_that_wakes_us_too_early_does_not_keep_us_busy(opened, monkeypatch):
    looks = wakes(monkeypatch)
    monkeypatch.setattr(socket, "SO_RCVLOWAT", socket.SO_KEEPALIVE)
    door = opened()
    with door.caller(REQUEST[:10]) as caller:
        time.sleep(0.5)
        assert len(looks) < 30
        caller.sendall(REQUEST[10:])
        with door.handed_over() as (connection, _, _):
            assert connection.recv(10_000) == REQUEST


# --- crowds ---------------------------------------------------------------------------------------


def test_the_longest_silent_one_of_an_address_makes_room(opened):
    door = opened(limits=Limits(of_one_network=2))
    with ExitStack() as crowd:
        other = crowd.enter_context(door.caller(b"\1", "127.0.0.9"))
        first, second, third = (crowd.enter_context(door.caller(b"\1")) for _ in range(3))
        assert is_closed(first)
        eventually(lambda: door.waiting == 3)
        for caller in (other, second, third):
            caller.sendall(REQUEST[1:])
            with door.handed_over():
                pass


def test_the_longest_silent_one_of_all_makes_room(opened):
    door = opened(limits=Limits(in_all=3))
    with ExitStack() as crowd:
        callers = []
        for number in range(5):
            callers.append(crowd.enter_context(door.caller(b"\1", f"127.0.0.{2 + number}")))
            eventually(lambda number=number: door.waiting == min(number + 1, 3))
        assert is_closed(callers[0])
        assert is_closed(callers[1])
        callers[2].sendall(REQUEST[1:])
        with door.handed_over():
            pass


def test_who_is_being_judged_does_not_make_room(opened):
    door = opened(limits=Limits(of_one_network=2))
    door.answer = judging = Deferred()
    with door.caller(REQUEST), door.caller(b"\1") as silent:
        eventually(lambda: len(door.asked) == 1 and door.waiting == 2)
        with door.caller(REQUEST):
            assert is_closed(silent)
            eventually(lambda: len(door.asked) == 2)
            with door.caller() as one_too_many:
                assert last_words(one_too_many) == rejection(2, 3, 2)
            door.run(judging.callback, "admitted")
            with door.handed_over():
                pass


def file_descriptors(wanted):
    """Allow this process so many files, as far as the system does; how many it may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize("beginning", [b"", b"\x01", REQUEST[:100]])
def test_two_thousand_silent_connections_keep_nobody_out(opened, beginning):
    limits = Limits()
    count = min(2000, file_descriptors(4000) - limits.in_all - 200)
    door = opened(limits=limits)
    threads = threading.active_count()
    with ExitStack() as crowd:
        for number in range(count):
            crowd.enter_context(door.caller(beginning, f"127.0.0.{2 + number % 8}"))
        eventually(lambda: door.waiting <= limits.in_all)
        assert threading.active_count() == threads
        for _ in range(20):
            began = time.monotonic()
            with door.caller(REQUEST), door.handed_over():
                pass
            assert time.monotonic() - began < 2
    eventually(lambda: door.waiting == 0)


class Starved(socket.socket):
    """A listening socket in a process that has no more file descriptors, now and then."""

    missing = ()

    def accept(self):
        if self.missing:
            raise OSError(self.missing.pop(0), "out of something")
        return super().accept()


@pytest.fixture
def starved():
    listener = Starved()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def test_without_file_descriptors_a_silent_connection_makes_room(opened, starved):
    door = opened(listener=starved)
    with door.caller(b"\1") as silent:
        eventually(lambda: door.waiting == 1)
        starved.missing = [errno.EMFILE]
        with door.caller(REQUEST), door.handed_over():
            assert is_closed(silent)


@pytest.mark.parametrize("kind", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_file_descriptors_and_anybody_to_close_there_is_a_pause(opened, starved, kind):
    starved.missing = [kind]
    door = opened(listener=starved)
    began = time.monotonic()
    with door.caller(REQUEST), door.handed_over():
        assert time.monotonic() - began > 0.3


def test_a_connection_that_is_gone_before_it_is_accepted_is_nothing(opened, starved):
    starved.missing = [errno.ECONNABORTED]
    door = opened(listener=starved)
    with door.caller(REQUEST), door.handed_over():
        pass


# --- stopping -------------------------------------------------------------------------------------


def test_stopping_closes_everything(opened):
    door = opened()
    door.answer = judging = Deferred()
    with door.caller() as silent, door.caller(REQUEST) as judged, door.caller(b"x") as refused:
        assert last_words(refused) == ABORT
        eventually(lambda: door.waiting == 2)
        door.run(door.gate.stop)
        assert is_closed(silent)
        assert is_closed(judged)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", door.port), 1)
    door.run(judging.callback, "admitted, but too late")
    assert door.passed.empty()


# --- TLS ------------------------------------------------------------------------------------------


def test_a_hello_is_handed_over_untouched(opened):
    door = opened(tls=True)
    with door.caller(HELLO[:4]) as caller:
        eventually(lambda: door.waiting == 1)
        caller.sendall(HELLO[4:])
        with door.handed_over() as (connection, _, admitted):
            assert admitted is None
            assert connection.recv(100) == HELLO


@pytest.mark.parametrize(
    "data",
    [
        REQUEST,
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x02\x01\x00\x06\x01",
        b"\x16\x03\x01\xff\xff\x01",
        b"\x16\x03\x01\x00\x06\x02" + bytes(5),
    ],
)
def test_what_is_no_hello_is_turned_away_from_the_tls_port(opened, data):
    door = opened(tls=True)
    with door.caller(data) as caller:
        assert last_words(caller) == ABORT
    assert len(door.turned_away) == 1


@pytest.mark.parametrize("beginning", [b"", b"\x16", HELLO[:5], HELLO[:-1]])
def test_half_a_hello_is_closed_when_the_time_is_over(opened, beginning):
    door = opened(tls=True, patience=0.3)
    with door.caller(beginning) as caller:
        assert is_closed(caller)
    assert door.turned_away == []


def test_tls_can_be_spoken_over_what_is_handed_over(opened, tmp_path):
    certificate, key = Authority(tmp_path).issue("server")
    ours = replace(Settings().dicom, tls_certificate=str(certificate), tls_private_key=str(key))
    server = ServerContext(lambda: ours).current
    client = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    door = opened(tls=True)

    def serve():
        connection, _, _ = door.passed.get(timeout=10)
        with server.wrap_socket(connection, server_side=True) as wrapped:
            wrapped.sendall(b"hello")

    serving = threading.Thread(target=serve)
    serving.start()
    with door.caller() as caller, client.wrap_socket(caller, server_hostname="localhost") as tls:
        assert tls.recv(100) == b"hello"
    serving.join(10)
