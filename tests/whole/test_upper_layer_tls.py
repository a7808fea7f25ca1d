"""Attacks on the TLS port of the DICOM server, U-14 (and U-16) of the table of attacks.

Client certificates are required; what holds without them is tested where that is said.
"""

import datetime
import socket
import ssl
import struct
import subprocess
import time
from contextlib import ExitStack, suppress

import pytest

from support import raw_dicom as raw
from support.certificates import Authority
from support.postgres import reachable_folder
from support.programs import program
from support.raw_dicom import (
    ABORT,
    ACCEPT,
    CT,
    EXPLICIT,
    REJECT,
    VERIFICATION,
    Image,
    Peer,
    associate_request,
    echo_command,
    p_data,
    pdu,
)
from support.server import free_ports, running_server
from support.vitals import PROMPT, Vitals, check_logs, complaints, greet

CLOSED = 13.0  # seconds: ten for a handshake, and some for a busy machine
LONG_AGO = (datetime.timedelta(days=-9), datetime.timedelta(days=-2))
HANDSHAKE, ALERT = 0x16, 0x15


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Certificates and keys: ours, and those of peers good and bad."""
    with reachable_folder() as folder:
        ours, foreign = Authority(folder), Authority(folder, "foreign authority")

        class Keys:
            authority, server = ours.path, ours.issue("server")
            good, expired = ours.issue("good"), ours.issue("expired", valid=LONG_AGO)
            other, stranger = ours.issue("other"), foreign.issue("stranger")

        yield Keys


def settings(keys, port, client_certificates):
    certificate, key = keys.server
    return [
        "dicom.association_timeout=1",
        "dicom.network_timeout=2",
        f"dicom.tls_port={port}",
        f"dicom.tls_certificate={certificate}",
        f"dicom.tls_private_key={key}",
        f"dicom.tls_ca={keys.authority}",
        f"dicom.tls_client_certificates={client_certificates}",
    ]


@pytest.fixture(scope="module")
def server(keys):
    (port,) = free_ports(1)
    wanted = settings(keys, port, "required")
    with reachable_folder() as folder, running_server(folder / "data", wanted) as running:
        running.tls_port = port
        greet(running, port=port, wrap=tls(keys, keys.good))
        running.vitals = Vitals(running)
        yield running
        check_logs(running)


@pytest.fixture(autouse=True)
def alive(server, keys):
    said = len(server.lines)
    yield
    greet(server, port=server.tls_port, wrap=tls(keys, keys.good))
    server.vitals.check()
    assert complaints(server, since=said) == []


@pytest.fixture
def connect(server):
    """Makes connections to the TLS port that are closed after the test."""
    with ExitStack() as stack:

        def connected(wrap=None):
            return stack.enter_context(Peer(server.tls_port, wrap=wrap))

        yield connected


def tls(keys, pair=None, **limits):
    """How a socket becomes one of TLS, with a client certificate or without."""
    context = ssl.create_default_context(cafile=keys.authority)
    for name, value in limits.items():
        setattr(context, name, value)
    if pair is not None:
        context.load_cert_chain(*pair)
    return lambda connection: context.wrap_socket(connection, server_hostname="localhost")


VERSIONS = {
    "TLS 1.2": {"maximum_version": ssl.TLSVersion.TLSv1_2},
    "TLS 1.3": {"minimum_version": ssl.TLSVersion.TLSv1_3},
}


@pytest.mark.parametrize("limits", VERSIONS.values(), ids=VERSIONS)
def test_u14_todays_versions_are_served(server, keys, limits):
    greet(server, port=server.tls_port, wrap=tls(keys, keys.good, **limits))


# --- who never finishes ---------------------------------------------------------------------------


def client_hello(version, *ciphers):
    """A ClientHello that offers nothing newer than `version`, and every usual curve and hash."""
    suites = b"".join(struct.pack(">H", cipher) for cipher in ciphers)
    body = struct.pack(">H", version) + bytes(range(32)) + b"\0"
    body += struct.pack(">H", len(suites)) + suites + b"\1\0"
    extensions = b"".join(
        struct.pack(">HHH", kind, len(values) * 2 + 2, len(values) * 2)
        + b"".join(struct.pack(">H", value) for value in values)
        for kind, values in ((10, (29, 23, 24)), (13, (0x0403, 0x0503, 0x0804, 0x0401, 0x0203)))
    )
    body += struct.pack(">H", len(extensions)) + extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


GOOD_CIPHERS = (0xC02B, 0xC02F, 0x009C)  # with AES-GCM
UNFINISHED = {
    "nothing": b"",
    "one byte": b"\x16",
    "a header": b"\x16\x03\x01",
    "half a hello": client_hello(0x0303, *GOOD_CIPHERS)[:30],
    "a hello": client_hello(0x0303, *GOOD_CIPHERS),
    "a hello of 16 KiB": b"\x16\x03\x01\x40\x00\x01\x00\x3f\xfc" + bytes(100),
}


def ended(connection, seconds):
    """Whether the server ends a connection in time, whatever it says before."""
    end = time.monotonic() + seconds
    with suppress(ConnectionError, ssl.SSLError):
        while True:
            connection.settimeout(max(end - time.monotonic(), 0.001))
            if not connection.recv(65_536):
                break
    return True


def test_u14_who_never_finishes_the_handshake_blocks_nobody_and_is_closed(server, keys, connect):
    held = []
    for beginning in UNFINISHED.values():
        for _ in range(8):
            held.append(connect())
            held[-1].send(beginning)
    greet(server, port=server.tls_port, wrap=tls(keys, keys.good))
    greet(server)
    began = time.monotonic()
    assert all(ended(peer.socket, began + CLOSED - time.monotonic()) for peer in held)


def test_u14_a_handshake_that_drips_is_given_up(connect):
    peer = connect()
    began = time.monotonic()
    for byte in client_hello(0x0303, *GOOD_CIPHERS) * 10:
        peer.push(bytes([byte]))
        peer.socket.settimeout(0.2)
        try:
            if not peer.socket.recv(65_536):
                break
        except TimeoutError:
            continue
        except ConnectionError:
            break
    assert time.monotonic() - began < CLOSED


def test_u14_who_is_silent_after_the_handshake_is_closed(keys, connect):
    stalls = (b"", b"\x01", associate_request()[:50], b"\x01\0\xff\xff\xff\xff")
    peers = [connect(tls(keys, keys.good)) for _ in stalls]
    for peer, beginning in zip(peers, stalls, strict=True):
        peer.push(beginning)
    assert all(ended(peer.socket, CLOSED) for peer in peers)


def test_u12_u14_what_stalls_in_an_association_is_aborted(keys, connect):
    command = p_data(3, echo_command())
    peers = [connect(tls(keys, keys.good)).associate() for _ in range(3)]
    for peer, beginning in zip(peers, (b"", b"\x04", command[:-1]), strict=True):
        peer.send(beginning)
    assert all(raw.is_abort(received) for received in raw.all_end(peers, CLOSED))


# --- what is not spoken here ----------------------------------------------------------------------

WEAK = {
    "SSL 3": client_hello(0x0300, 0x002F, 0x0035, 0xC013),
    "TLS 1.0": client_hello(0x0301, 0x002F, 0x0035, 0xC013),
    "TLS 1.1": client_hello(0x0302, 0x002F, 0x0035, 0xC013),
    "no encryption": client_hello(0x0303, 0x0001, 0x0002, 0x003B, 0xC006, 0xC010),
    "no authentication": client_hello(0x0303, 0x0018, 0x0034, 0x006C, 0xC018, 0xC019),
    "3DES": client_hello(0x0303, 0x000A, 0x0016, 0xC008, 0xC012),
    "RC4": client_hello(0x0303, 0x0004, 0x0005, 0xC007, 0xC011),
    "export": client_hello(0x0303, 0x0003, 0x0006, 0x0008, 0x0014),
    "no cipher": client_hello(0x0303),
}


def first_answer(peer):
    """The kind of the first TLS record that comes; nothing at the end."""
    peer.socket.settimeout(PROMPT)
    try:
        return peer.socket.recv(1)
    except ConnectionError:
        return b""


def test_u14_such_a_hello_with_a_good_cipher_is_answered(connect):
    peer = connect()
    peer.send(client_hello(0x0303, *GOOD_CIPHERS))
    assert first_answer(peer) == bytes([HANDSHAKE])


@pytest.mark.parametrize("hello", WEAK.values(), ids=WEAK)
def test_u14_weak_versions_and_ciphers_are_refused(connect, hello):
    peer = connect()
    peer.send(hello)
    assert first_answer(peer) in (b"", bytes([ALERT])), "it went on with the handshake"
    assert ended(peer.socket, CLOSED)


PLAIN = {
    "an association request": associate_request(),
    "a C-ECHO too": associate_request() + p_data(3, echo_command()),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "4 GiB": b"\x01\0\xff\xff\xff\xff" + bytes(100_000),
    "a bad handshake": b"\x16\x03\x01\x00\x05hello",
    "a huge record": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "application data": b"\x17\x03\x03\x00\x20" + bytes(32),
}


@pytest.mark.parametrize("data", PLAIN.values(), ids=PLAIN)
def test_u14_without_tls_nothing_is_said_here(connect, data):
    peer = connect()
    peer.push(data)
    answer = b""
    end = time.monotonic() + CLOSED
    with suppress(ConnectionError):
        while True:
            peer.socket.settimeout(max(end - time.monotonic(), 0.001))
            piece = peer.socket.recv(65_536)
            if not piece:
                break
            answer += piece
    assert answer[:1] in (b"", bytes([ALERT]), bytes([ABORT]))
    assert b"SANTEPACS" not in answer


def test_u14_tls_on_the_plain_port_is_no_association(server):
    with Peer(server.dicom_port) as peer:
        peer.push(client_hello(0x0303, *GOOD_CIPHERS))
        assert all(kind == ABORT for kind, _ in peer.farewell(CLOSED))


# --- certificates ---------------------------------------------------------------------------------


def is_served(port, wrap):
    """Whether an association is granted."""
    try:
        with Peer(port, wrap=wrap) as peer:
            peer.send(associate_request())
            return peer.receive(CLOSED)[0] == ACCEPT
    except (ssl.SSLError, ConnectionError):
        return False


@pytest.mark.parametrize("limits", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("whose", ["good", "expired", "stranger", "nobody"])
def test_u14_only_our_authoritys_valid_certificates_are_let_in(server, keys, whose, limits):
    pair = getattr(keys, whose, None)
    assert is_served(server.tls_port, tls(keys, pair, **limits)) == (whose == "good")


@pytest.mark.parametrize("wanted", ["no", "if given"])
def test_u14_where_none_is_required_a_bad_one_is_still_refused_if_it_is_looked_at(keys, wanted):
    (port,) = free_ports(1)
    given = settings(keys, port, wanted)
    with reachable_folder() as folder, running_server(folder / "data", given):
        assert is_served(port, tls(keys))
        assert is_served(port, tls(keys, keys.good))
        if wanted == "if given":
            assert not is_served(port, tls(keys, keys.expired))
            assert not is_served(port, tls(keys, keys.stranger))


def test_u16_a_certificate_stands_for_the_address_of_its_own_peer_alone(keys):
    (port,) = free_ports(1)
    given = [*settings(keys, port, "if given"), "dicom.trust_loopback=no"]
    with reachable_folder() as folder, running_server(folder / "data", given) as server:
        done = server.command(
            *("peer", "add", "CERTIFIED", "192.0.2.1", "104", "--certificate", str(keys.good[0]))
        )
        assert done.returncode == 0, done.stderr
        answers = {}
        for calling, whose in (
            *((b"CERTIFIED", "good"), (b"CERTIFIED", "other"), (b"CERTIFIED", "nobody")),
            *((b"OTHER", "good"), (b"CERTIFIED", "plain")),
        ):
            wrap = None if whose == "plain" else tls(keys, getattr(keys, whose, None))
            with Peer(server.dicom_port if whose == "plain" else port, wrap=wrap) as peer:
                peer.send(associate_request((CT, EXPLICIT), calling=calling))
                answers[calling, whose] = peer.receive()
        assert answers.pop((b"CERTIFIED", "good"))[0] == ACCEPT
        assert set(answers.values()) == {(REJECT, b"\0\1\1\3")}


def test_u14_renegotiation_is_refused(server, keys):
    certificate, key = keys.good
    client = subprocess.Popen(
        [program("openssl"), "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-tls1_2",
         "-CAfile", keys.authority, "-cert", certificate, "-key", key],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = ""
    while "Verify return code" not in said:
        line = client.stdout.readline()
        assert line, said
        said += line
    client.stdin.write("R\n")
    client.stdin.flush()
    after = client.communicate(timeout=CLOSED)[0]
    assert "no renegotiation" in after.lower() and "Verify return code" not in after, after


# --- what TLS hides from whoever waits for the socket ---------------------------------------------


def test_everything_in_one_record_is_answered(keys, connect):
    """The bytes are decrypted at once: a server that waits for the socket would wait in vain."""
    peer = connect(tls(keys, keys.good)).associate()
    peer.send(p_data(3, echo_command()) * 3 + pdu(raw.RELEASE, bytes(4)))
    kinds = [peer.receive()[0] for _ in range(4)]
    assert kinds == [raw.DATA, raw.DATA, raw.DATA, raw.RELEASED]


def test_one_byte_in_a_record_is_taken(keys, connect):
    peer = connect(tls(keys, keys.good))
    for byte in associate_request():
        peer.send(bytes([byte]))
    assert peer.receive()[0] == ACCEPT
    for byte in p_data(3, echo_command()):
        peer.send(bytes([byte]))
    assert peer.answer().status == 0x0000
    peer.release()


def test_a_large_object_comes_whole(keys, connect):
    peer = connect(tls(keys, keys.good)).associate(VERIFICATION, (CT, EXPLICIT))
    image = Image({0x7FE00010: ("OW", bytes(range(256)) * 40_000), 0x00280010: ("US", 1)})
    assert peer.store(image, context_id=3) == 0x0000
    peer.release()


@pytest.mark.parametrize("how", ["reset", "without close_notify", "half"])
def test_u13_u14_a_connection_may_break_at_any_moment(server, keys, how):
    moments = (b"", associate_request()[:60], associate_request(), p_data(3, echo_command())[:9])
    for number, data in enumerate(moments):
        peer = Peer(server.tls_port, wrap=tls(keys, keys.good))
        if number == len(moments) - 1:
            peer.associate()
        peer.send(data)
        if how == "reset":
            peer.reset()
        elif how == "half":
            peer.socket.shutdown(socket.SHUT_WR)
            assert ended(peer.socket, CLOSED)
        else:
            peer.socket.close()
    server.vitals.calm()
