"""One connection of the DICOM upper layer: whole PDUs, deadlines, interruption."""

import socket
import ssl
import threading
import time

import pytest

from santepacs.dicom import connection as module
from santepacs.dicom.connection import Connection, Ended, Interrupted, Unacceptable
from support.certificates import Authority
from support.dicom import pdu


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    connection = Connection(ours)
    yield connection, theirs
    connection.close()
    theirs.close()


def soon(seconds=5.0):
    return time.monotonic() + seconds


def next_pdu(connection, maximum=100_000, until=None, patience=5.0):
    found = connection.next_pdu(maximum, soon() if until is None else until, patience)
    return found if found is None else bytes(found)


def test_pdus_come_one_by_one_however_they_were_sent(ends):
    connection, theirs = ends
    sent = [pdu(4, bytes([n]) * n * 7) for n in range(1, 40)]
    theirs.sendall(b"".join(sent)[:333])
    received = [next_pdu(connection)]
    theirs.sendall(b"".join(sent)[333:])
    while len(received) < len(sent):
        received.append(next_pdu(connection))
    assert received == sent


@pytest.mark.parametrize("size", [10, 16_378, 16_379, 131_072, 1_000_000])
def test_a_pdu_may_be_larger_than_what_is_read_at_once(ends, size):
    connection, theirs = ends
    sent = pdu(4, b"x" * size)
    sender = threading.Thread(target=theirs.sendall, args=(sent * 3,))
    sender.start()
    try:
        for _ in range(3):
            assert next_pdu(connection, maximum=size) == sent
    finally:
        sender.join()
    assert connection.received == 3 * len(sent)


def test_nothing_there_is_no_wait_and_no_pdu(ends):
    connection, theirs = ends
    assert next_pdu(connection, until=0.0) is None
    theirs.sendall(pdu(4, b"half")[:7])
    assert next_pdu(connection, until=0.0) is None
    theirs.sendall(pdu(4, b"half")[7:])
    assert next_pdu(connection, until=0.0) == pdu(4, b"half")


def test_nothing_comes_until_the_time_that_was_given(ends):
    connection, _ = ends
    began = time.monotonic()
    assert next_pdu(connection, until=soon(0.1)) is None
    assert 0.09 < time.monotonic() - began < 2


@pytest.mark.parametrize("start", [b"\0", b"\x08", b"\x16\3\1\0\0\0", b"GET / HTTP", b"\xff" * 6])
def test_what_is_no_pdu_is_not_waited_for(ends, start):
    connection, theirs = ends
    theirs.sendall(start.ljust(6, b"\0"))
    with pytest.raises(Unacceptable):
        next_pdu(connection)


def test_a_pdu_that_is_too_long_is_not_waited_for(ends):
    connection, theirs = ends
    theirs.sendall(b"\4\0\xff\xff\xff\xff")
    with pytest.raises(Unacceptable):
        next_pdu(connection)


@pytest.mark.parametrize("start", [b"\4", b"\4\0\0\0", pdu(4, b"something")[:9]])
def test_a_pdu_must_come_to_its_end(ends, start):
    connection, theirs = ends
    theirs.sendall(start)
    began = time.monotonic()
    with pytest.raises(Unacceptable):
        next_pdu(connection, patience=0.1)
    assert time.monotonic() - began < 2


def test_a_pdu_that_drips_must_come_to_its_end_too(ends):
    connection, theirs = ends
    stop = threading.Event()

    def drip():
        for byte in pdu(4, b"x" * 1000):
            if stop.wait(0.02):
                return
            theirs.sendall(bytes([byte]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    try:
        with pytest.raises(Unacceptable):
            next_pdu(connection, patience=0.2)
    finally:
        stop.set()
        dripping.join()


def test_the_end_of_the_connection(ends):
    connection, theirs = ends
    theirs.sendall(pdu(5, b"1234") + b"\4\0")
    theirs.close()
    assert next_pdu(connection) == pdu(5, b"1234")
    with pytest.raises(Ended):
        next_pdu(connection)


def test_an_interruption_wakes_who_waits(ends):
    connection, _ = ends
    threading.Timer(0.05, connection.interrupt).start()
    with pytest.raises(Interrupted):
        next_pdu(connection)


def test_an_interruption_wakes_who_writes(ends, monkeypatch):
    monkeypatch.setattr(module, "_TURN", 0.05)
    connection, _ = ends
    threading.Timer(0.05, connection.interrupt).start()
    with pytest.raises(Interrupted):
        connection.write([bytes(50_000_000)], patience=60)


def test_many_buffers_are_written_in_order_however_slowly_they_are_read(ends):
    connection, theirs = ends
    buffers = [bytes([n % 256]) * (n % 5000) for n in range(3000)]
    received = bytearray()

    def read():
        while len(received) < sum(map(len, buffers)):
            received.extend(theirs.recv(100_000))

    reading = threading.Thread(target=read)
    reading.start()
    connection.write(buffers, patience=5)
    reading.join()
    assert received == b"".join(buffers)


def test_who_does_not_read_is_given_up(ends, monkeypatch):
    monkeypatch.setattr(module, "MINIMUM_RATE", 10**9)
    connection, _ = ends
    began = time.monotonic()
    with pytest.raises(Ended):
        connection.write([bytes(50_000_000)], patience=0.1)
    assert time.monotonic() - began < 3


def test_writing_to_who_has_left(ends):
    connection, theirs = ends
    theirs.close()
    with pytest.raises(Ended):
        for _ in range(100):
            connection.write([bytes(100_000)], patience=1)


def test_last_words_can_be_read(ends):
    connection, theirs = ends
    connection.last_words(b"goodbye")
    assert theirs.recv(100) == b"goodbye"
    assert theirs.recv(100) == b""
    theirs.sendall(b"ignored")
    theirs.close()
    began = time.monotonic()
    connection.discard_until_closed(5)
    assert time.monotonic() - began < 2


def test_who_does_not_close_is_left_alone_after_a_while(ends):
    connection, _ = ends
    began = time.monotonic()
    connection.discard_until_closed(0.1)
    assert time.monotonic() - began < 2


def test_who_takes_a_little_and_then_nothing_is_given_up(ends):
    connection, theirs = ends
    threading.Timer(0.1, lambda: theirs.recv(50_000)).start()
    began = time.monotonic()
    with pytest.raises(Ended):
        connection.write([bytes(50_000_000)], patience=0.3)
    assert time.monotonic() - began < 3


def test_an_interruption_before_anything_was_sent_leaves_room_for_last_words(ends):
    connection, theirs = ends
    connection.interrupt()
    with pytest.raises(Interrupted) as caught:
        connection.write([b"something"], patience=1)
    assert caught.value.between_pdus
    connection.last_words(b"goodbye")
    assert theirs.recv(100) == b"goodbye"


def test_an_interruption_leaves_tls_on(ends, tmp_path):
    connection, theirs = ends
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=authority.path)
    client.check_hostname = False
    shaking = threading.Thread(target=connection.start_tls, args=(server, 5.0),
                               kwargs={"server_side": True})  # fmt: skip
    shaking.start()
    with client.wrap_socket(theirs) as encrypted:
        shaking.join()
        connection.interrupt()
        connection.last_words(b"goodbye")
        assert encrypted.recv(100) == b"goodbye"


def test_a_handshake_is_interrupted(ends):
    connection, _ = ends
    threading.Timer(0.05, connection.interrupt).start()
    with pytest.raises((Interrupted, Ended)):
        connection.start_tls(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), 5.0, server_side=True)
