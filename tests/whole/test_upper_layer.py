"""Attacks on the DICOM upper layer (PS3.8) of the whole server, U-1 to U-16 of the table of
attacks: bytes on sockets. U-14, TLS, has a file of its own.

After each the server is well (`Vitals.check`). Stalls are tested with time limits of a second or
two. Not here, because a black box cannot show it in a test's time: an object without end reaching
the cap of 4 GiB (U-9; here it only must cost no memory), 500 associations a second for a minute
(U-13; here some hundred as fast as they go).
"""

import random
import struct
import threading
import time
from contextlib import ExitStack, suppress

import pytest

from support import raw_dicom as raw
from support.postgres import reachable_folder
from support.raw_dicom import (
    ABORT,
    ACCEPT,
    CT,
    DATA,
    EXPLICIT,
    PROVIDER,
    REJECT,
    RELEASE,
    REQUEST,
    STUDY_FIND,
    VERIFICATION,
    Image,
    Peer,
    all_end,
    associate_request,
    context,
    echo_command,
    fragment,
    is_abort,
    item,
    p_data,
    pdu,
    request,
    store_command,
)
from support.server import running_server
from support.vitals import MEMORY, PROMPT, SPARE, Vitals, check_logs, complaints, greet

ASSOCIATIONS = 20
SETTINGS = [
    "dicom.association_timeout=1",
    "dicom.network_timeout=2",
    "dicom.service_timeout=2",
    "dicom.trust_loopback=no",
    f"dicom.maximum_associations={ASSOCIATIONS}",
]
CLOSED = 8.0  # seconds: the longest of these times, a second for the last words, a busy machine
STRANGER = "127.0.0.2"
SECRET = "Verysecret^Jane"
KNOWN = (VERIFICATION, (CT, EXPLICIT), STUDY_FIND)


@pytest.fixture(scope="module")
def server():
    with reachable_folder() as folder, running_server(folder / "data", SETTINGS) as running:
        assert running.command("peer", "add", "RAW", "127.0.0.1", "104").returncode == 0
        greet(running)
        running.vitals = Vitals(running)
        yield running
        check_logs(running, SECRET)


@pytest.fixture(autouse=True)
def alive(server):
    said = len(server.lines)
    yield
    server.vitals.check()
    assert complaints(server, since=said) == []


@pytest.fixture
def connect(server):
    """Makes connections that are closed after the test."""
    with ExitStack() as stack:

        def connected(**named):
            return stack.enter_context(Peer(server.dicom_port, **named))

        yield connected


def without_answer(received):
    """Whether nothing was said before the end, or only that this is the end."""
    return all(kind == ABORT for kind, _ in received)


# --- U-1, U-2: silence ----------------------------------------------------------------------------


def test_u1_silent_connections_cost_no_thread_keep_nobody_out_and_are_closed(server, connect):
    silent = [connect(source=f"127.0.0.{2 + number % 8}") for number in range(400)]
    greet(server)
    threads, _ = server.vitals.growth()
    assert threads <= SPARE
    assert all(map(without_answer, all_end(silent, CLOSED)))


STALLS = {
    "one byte": b"\x01",
    "half a header": b"\x01\0\0",
    "a header": associate_request()[:6],
    "half a request": associate_request()[:100],
    "all but a byte": associate_request()[:-1],
    "the header of 128 KiB": pdu(REQUEST, bytes(10), length=131_072),
    "the beginning of data": b"\x04\0\0\0",
}


def test_u2_a_request_that_stalls_is_given_up(server, connect):
    stalled = []
    for beginning in STALLS.values():
        for _ in range(20):
            stalled.append(connect(source=f"127.0.0.{2 + len(stalled) % 8}"))
            stalled[-1].send(beginning)
    greet(server)
    assert all(map(without_answer, all_end(stalled, CLOSED)))


def drip(peer, data, pause=0.2):
    """Send a byte now and then until the server ends it; the seconds that it took."""
    began = time.monotonic()
    for byte in data:
        with suppress(TimeoutError):
            kind, _ = peer.receive(pause)
            assert kind in (ABORT, None)
            return time.monotonic() - began
        peer.push(bytes([byte]))
    raise AssertionError("it took every byte")


def test_u2_a_request_that_drips_is_given_up(connect):
    assert drip(connect(), associate_request()) < CLOSED


# --- U-3, U-4, U-5: not DICOM, or not now ---------------------------------------------------------

STARTS = {"at first": False, "in an association": True}


@pytest.mark.parametrize("associated", STARTS.values(), ids=STARTS)
def test_u3_a_pdu_of_4_gib_ends_it_at_once_and_costs_no_memory(server, connect, associated):
    before = server.vitals.memory()
    for kind in (REQUEST, DATA, RELEASE, ABORT, 0, 8, 255):
        for length in (0xFFFFFFFF, 0x7FFFFFFF, 0x10000000):
            peer = connect()
            if associated:
                peer.associate(*KNOWN)
            began = time.monotonic()
            peer.push(pdu(kind, bytes(60_000), length))
            assert without_answer(peer.farewell())
            assert time.monotonic() - began < PROMPT, (kind, length)
            peer.socket.close()
    assert server.vitals.memory() - before < MEMORY


@pytest.mark.parametrize("associated", STARTS.values(), ids=STARTS)
def test_u3_a_flood_in_one_pdu_costs_no_memory(server, connect, associated):
    before = server.vitals.memory()
    peer = connect()
    if associated:
        peer.associate(*KNOWN)
    peer.send(pdu(DATA if associated else REQUEST, b"", 0xFFFFFFFF))
    highest = before
    with suppress(OSError):
        for _ in range(100):
            peer.send(bytes(1_000_000))
            highest = max(highest, server.vitals.memory())
    assert without_answer(peer.farewell())
    assert highest - before < MEMORY


def client_hello(version, *ciphers):
    """A TLS ClientHello that offers nothing newer than `version`."""
    suites = b"".join(struct.pack(">H", cipher) for cipher in ciphers)
    body = struct.pack(">H", version) + bytes(range(32)) + b"\0"
    body += struct.pack(">H", len(suites)) + suites + b"\1\0"
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + struct.pack(">H", len(message)) + message


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"SSH-2.0-Hello\r\n", b"\x16\x03\x01",
        client_hello(0x0303, 0xC02F), b"\0" * 1000, b"\xff" * 1000, b"\r\n\r\n\r\n\r\n",
        b"\x0bMSH|^~\\&|\x1c\r", b"\x10P1\r          ", pdu(0, b""), pdu(8, b""), pdu(9, b"x"),
        pdu(REQUEST, b""), pdu(REQUEST, bytes(68)), pdu(REQUEST, b"\0\1\0\0" + b"\xff" * 200),
    ],
    ids=lambda data: repr(data[:12]),
)  # fmt: skip
def test_u4_what_is_no_dicom_ends_the_connection(connect, data):
    peer = connect()
    peer.push(data)
    kinds = {kind for kind, _ in peer.farewell()}
    assert kinds <= {ABORT, REJECT}


def test_u4_random_bytes_end_the_connection(connect):
    noise = [random.randbytes(256) for _ in range(300)]
    for start in range(0, len(noise), 50):
        peers = [connect(source=f"127.0.0.{2 + number % 8}") for number in range(50)]
        for peer, data in zip(peers, noise[start : start + 50], strict=True):
            peer.push(data)
        assert all(map(without_answer, all_end(peers, CLOSED)))


UNEXPECTED_FIRST = {
    "data": p_data(3, echo_command()), "release": pdu(RELEASE, bytes(4)),
    "released": pdu(6, bytes(4)), "abort": pdu(ABORT, bytes(4)), "acceptance": pdu(2, bytes(70)),
    "rejection": pdu(REJECT, bytes(4)),
}  # fmt: skip


@pytest.mark.parametrize("data", UNEXPECTED_FIRST.values(), ids=UNEXPECTED_FIRST)
def test_u5_what_may_not_come_first_ends_the_connection(connect, data):
    peer = connect()
    peer.push(data)
    assert without_answer(peer.farewell())


# --- U-6: association requests --------------------------------------------------------------------


def role(sop_class=CT):
    return item(0x54, struct.pack(">H", len(sop_class)) + sop_class.encode() + b"\1\1")


def extended(sop_class=STUDY_FIND):
    return item(0x56, struct.pack(">H", len(sop_class)) + sop_class.encode() + b"\1\1\1\1")


def identity(kind, primary, secondary=b"", answer=0):
    lengths = struct.pack(">BBH", kind, answer, len(primary)), struct.pack(">H", len(secondary))
    return item(0x58, lengths[0] + primary + lengths[1] + secondary)


ODD = {
    "128 contexts": (associate_request(*[(CT, EXPLICIT)] * 128), {ACCEPT}),
    "unknown items": (associate_request(items=item(0x99, b"?" * 50)), {ACCEPT}),
    "unknown user items": (associate_request(user=item(0x5F, b"?") + item(0xF0, b"")), {ACCEPT}),
    "unknown transfer syntaxes": (
        associate_request(context(1, VERIFICATION, *(f"1.2.3.{n}" for n in range(500)))),
        {ACCEPT, ABORT},
    ),
    "1000 contexts": (
        associate_request(*(context(n * 2 % 256 | 1, CT) for n in range(1000))),
        {REJECT, ABORT},
    ),
    "65000 contexts": (
        associate_request(*(context(n * 2 % 256 | 1, CT) for n in range(65_000))),
        {REJECT, ABORT},
    ),
    "one ID for two contexts": (
        associate_request(context(1, VERIFICATION), context(1, CT)),
        {REJECT, ABORT},
    ),
    "an even ID": (associate_request(context(2, VERIFICATION)), {REJECT, ABORT}),
    "ID zero": (associate_request(context(0, VERIFICATION)), {REJECT, ABORT}),
    "no context": (associate_request(b""), {ACCEPT, REJECT, ABORT}),
    "a context without abstract syntax": (
        associate_request(item(0x20, b"\1\0\0\0" + item(0x40, b"1.2.840.10008.1.2"))),
        {REJECT, ABORT},
    ),
    "a context without transfer syntax": (
        associate_request(item(0x20, b"\1\0\0\0" + item(0x30, VERIFICATION.encode()))),
        {REJECT, ABORT},
    ),
    "an item beyond its context": (
        associate_request(item(0x20, b"\1\0\0\0" + item(0x30, b"1.2", length=9999))),
        {REJECT, ABORT},
    ),
    "an item beyond the request": (
        associate_request(items=item(0x20, b"\1\0\0\0", length=65_535)),
        {REJECT, ABORT},
    ),
    "half an item": (associate_request(items=b"\x20\0"), {REJECT, ABORT}),
    "a user item beyond its information": (
        associate_request(user=item(0x55, b"x", length=60_000)),
        {REJECT, ABORT},
    ),
    "a maximum length of one byte": (
        associate_request(user=item(0x51, b"\1")),
        {ACCEPT, REJECT, ABORT},
    ),
    "60 kB of user information": (
        associate_request(user=item(0x55, b"V" * 60_000)),
        {ACCEPT, REJECT, ABORT},
    ),
    "1000 roles": (associate_request(user=role() * 1000), {ACCEPT, REJECT, ABORT}),
    "1000 negotiations": (associate_request(user=extended() * 1000), {ACCEPT, REJECT, ABORT}),
    "another application": (associate_request(application=b"1.2.3.4"), {REJECT, ABORT}),
    "no application": (associate_request(application=b""), {REJECT, ABORT}),
    "a UID that is none": (
        associate_request(context(1, "../../x", "x" * 1000)),
        {ACCEPT, REJECT, ABORT},
    ),
    "version 0": (associate_request(version=0), {REJECT, ABORT}),
    "a later version": (associate_request(version=0xFFFF), {ACCEPT, REJECT}),
    "a name of 1 MB": (
        associate_request(*[item(0x50, identity(1, b"x" * 60_000))] * 17),
        {REJECT, ABORT},
    ),
    "a name cut off": (
        associate_request(user=item(0x58, b"\1\0\xff\xffDoe")),
        {ACCEPT, REJECT, ABORT},
    ),
    **{
        f"identity of type {kind}": (
            associate_request(
                user=identity(kind, SECRET.encode() * 2000, SECRET.encode() * 2000, answer)
            ),
            {ACCEPT, REJECT, ABORT},
        )
        for kind, answer in ((0, 0), (1, 1), (2, 1), (3, 0), (4, 1), (5, 1), (6, 1), (255, 255))
    },
}


@pytest.mark.parametrize(("data", "allowed"), ODD.values(), ids=ODD)
def test_u6_an_odd_association_request_is_decided_at_once(connect, data, allowed):
    peer = connect()
    began = time.monotonic()
    peer.push(data)
    kind, body = peer.receive()
    assert time.monotonic() - began < PROMPT
    assert (kind or ABORT) in allowed, body
    if kind == ACCEPT:
        peer.send(pdu(RELEASE, bytes(4)))
        assert peer.receive()[0] == 6


def test_u6_of_128_contexts_each_has_its_answer(connect):
    peer = connect().associate(*[(CT, EXPLICIT)] * 127, "1.2.3.4")
    assert len(peer.results) == 128
    assert [number for number, result in peer.results.items() if result] == [255]


# --- U-7, U-8, U-10: what comes over an association -----------------------------------------------

COMMAND = echo_command()
STORE = store_command("1.2.3")
MALFORMED = {
    "an empty PDV": pdu(DATA, fragment(3, b"", length=0)),
    "a PDV without control header": pdu(DATA, struct.pack(">LB", 1, 1)),
    "a PDV of 4 GiB": pdu(DATA, fragment(3, b"x", length=0xFFFFFFFF)),
    "a PDV beyond its PDU": pdu(DATA, fragment(3, COMMAND, length=len(COMMAND) + 100)),
    "half a PDV": pdu(DATA, fragment(3, COMMAND) + b"\0\0"),
    "no PDV": pdu(DATA, b""),
    "a request again": associate_request(),
    "an acceptance": pdu(ACCEPT, bytes(70)),
    "a rejection": pdu(REJECT, b"\0\1\1\1"),
    "an answer to no release": pdu(6, bytes(4)),
    "an unknown PDU": pdu(99, bytes(8)),
    "PDU 0": pdu(0, bytes(8)),
    "a long release": pdu(RELEASE, bytes(4_000_000)),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_u5_u7_what_may_not_come_over_an_association_is_aborted(connect, data):
    peer = connect().associate(*KNOWN)
    began = time.monotonic()
    peer.push(data)
    assert is_abort(peer.farewell(), PROVIDER)
    assert time.monotonic() - began < PROMPT


SENSELESS = {
    "a context that is not there": p_data(3, COMMAND, context_id=99),
    "context 0": p_data(3, COMMAND, context_id=0),
    "a refused context": p_data(3, COMMAND, context_id=7),
    "a PDV after a bad one": pdu(DATA, fragment(3, b"x" * 30) + fragment(3, COMMAND)),
    "odd flags": p_data(0xFC, COMMAND),
    "data without a command": p_data(0, b"data"),
    "last data without a command": p_data(2, b"data"),
    "garbage for a command": p_data(3, b"garbage!" * 4),
    "an empty command": p_data(3, b""),
    "half a command": p_data(3, COMMAND[:40]),
    "a command cut in its value": p_data(3, COMMAND[:-1]),
    "no Command Field": p_data(3, raw.command((0x0800, raw.us(0x0101)), (0x0110, raw.us(1)))),
    "no Command Data Set Type": p_data(
        3, raw.command((0x0002, raw.ui(VERIFICATION)), (0x0100, raw.us(0x30)), (0x0110, b"\1\0"))
    ),
    "no Message ID": p_data(
        3, raw.command((0x0002, raw.ui(VERIFICATION)), (0x0100, raw.us(0x30)), (0x0800, b"\1\1"))
    ),
    "a Command Field of one byte": p_data(3, raw.command((0x0100, b"\x30"), (0x0800, b"\1\1"))),
    "an unknown command": p_data(3, request(0x7777, VERIFICATION, data_set=False)),
    "command 0": p_data(3, request(0, VERIFICATION, data_set=False)),
    "a value of 4 GiB": p_data(3, COMMAND[:12] + b"\0\0\2\0\xff\xff\xff\xff1.2"),
    "a command in Explicit VR": p_data(
        3,
        raw.explicit(0x00000002, "UI", raw.ui(VERIFICATION))
        + raw.explicit(0x00000100, "US", b"\x30\0")
        + raw.explicit(0x00000110, "US", b"\1\0")
        + raw.explicit(0x00000800, "US", b"\1\1"),
    ),
    "a command in Big Endian": p_data(3, struct.pack(">HHLH", 0, 0x0100, 2, 0x30)),
    "1 MB of command": b"".join(p_data(1, bytes(16_000)) for _ in range(64)),
    "1 MB of command elements": p_data(1, COMMAND)
    + b"".join(p_data(1, raw.implicit(0x00001000, b"1" * 16_000)) for _ in range(64)),
    "data inside a command": p_data(1, COMMAND[:20]) + p_data(2, b"data"),
    "a command in two contexts": p_data(1, COMMAND[:20]) + p_data(3, COMMAND[20:], context_id=3),
    "a command before the last one's data": p_data(3, STORE, 3) + p_data(3, STORE, 3),
    "data in another context": p_data(3, STORE, 3) + p_data(2, b"data", 1),
    "an object where none may come": p_data(3, STORE, 1) + p_data(2, bytes(100), 1),
}


@pytest.mark.parametrize("data", SENSELESS.values(), ids=SENSELESS)
def test_u7_u8_a_message_that_makes_no_sense_is_aborted(server, connect, data):
    peer = connect().associate(*KNOWN, "1.2.3.4")
    began = time.monotonic()
    peer.push(data)
    assert is_abort(peer.farewell())
    assert time.monotonic() - began < PROMPT
    assert list((server.data / "incoming").iterdir()) == []


ODD_COMMANDS = {
    **{
        f"group length {length}": p_data(
            3,
            raw.command(
                *((0x0002, raw.ui(VERIFICATION)), (0x0100, b"\x30\0"), (0x0110, b"\1\0")),
                (0x0800, b"\1\1"),
                group_length=length,
            ),
        )
        for length in (0, 1, 0xFFFFFFFF)
    },
    "group 0008": p_data(3, COMMAND + raw.implicit(0x00080018, b"1.2.3.4 ")),
    "an echo with a data set": p_data(3, request(0x30, VERIFICATION)) + p_data(2, bytes(100)),
    # PS3.8 E.2: the reserved bits "shall never be checked by the receiver".
    "reserved bits": p_data(0xFF, COMMAND),
    "a priority that is none": p_data(3, COMMAND + raw.implicit(0x00000700, b"\x99\x99")),
}


@pytest.mark.parametrize("data", ODD_COMMANDS.values(), ids=ODD_COMMANDS)
def test_u8_an_odd_command_is_answered_or_aborted(connect, data):
    peer = connect().associate(*KNOWN)
    peer.push(data)
    assert peer.receive(PROMPT)[0] in (DATA, ABORT)


def test_a_command_in_many_small_fragments_is_one_command(connect):
    """What is legal must not suffer: one byte in a PDV, several PDVs in a PDU, empty ones."""
    peer = connect().associate()
    pieces = [COMMAND[at : at + 1] for at in range(len(COMMAND))]
    peer.send(b"".join(p_data(1, piece) for piece in pieces[:20]))
    peer.send(pdu(DATA, b"".join(fragment(1, piece) for piece in (*pieces[20:], b""))))
    peer.send(p_data(3, b""))
    assert peer.answer().status == 0x0000
    peer.release()


@pytest.mark.parametrize("more", [1, 100, 2_000_000])
def test_u10_data_beyond_the_negotiated_length_are_aborted(connect, more):
    peer = connect().associate(*KNOWN)
    assert 4096 <= peer.maximum <= 2**20
    image = Image()
    padding = bytes(peer.maximum - 6 + more)
    peer.push(p_data(3, store_command(image.uid), 3) + p_data(0, padding, 3))
    assert is_abort(peer.farewell(PROMPT), PROVIDER)


def test_data_of_exactly_the_negotiated_length_are_taken(connect):
    peer = connect().associate(*KNOWN)
    pixels = bytes(3 * peer.maximum)
    image = Image({0x7FE00010: ("OW", pixels), 0x00280010: ("US", 1)})
    peer.message(store_command(image.uid), image.explicit(), 3, size=peer.maximum - 6)
    assert peer.answer().status == 0x0000
    peer.release()


# --- U-9, U-11, U-12: no end ----------------------------------------------------------------------


def test_u9_an_object_without_end_costs_no_memory_and_leaves_nothing(server, connect):
    incoming = server.data / "incoming"
    before = server.vitals.memory()
    peer = connect().associate(*KNOWN)
    peer.send(p_data(3, store_command("1.2.3"), 3))
    part = p_data(0, bytes(16_000), 3) * 64
    for _ in range(100):
        peer.send(part)
        assert server.vitals.memory() - before < MEMORY
    assert len(list(incoming.iterdir())) == 1
    peer.socket.close()
    server.vitals.calm()
    until(lambda: list(incoming.iterdir()) == [])


def test_u11_u12_what_stalls_in_an_association_is_aborted(server, connect):
    stalls = {
        "idle": b"",
        "one byte": b"\x04",
        "half a header": b"\x04\0\0",
        "half a command": p_data(3, COMMAND)[:-5],
        "half a message": p_data(1, COMMAND[:20]),
        "an object that never comes": p_data(3, STORE, 3),
        "half an object": p_data(3, STORE, 3) + p_data(0, bytes(1000), 3),
        "half a PDU of an object": p_data(3, STORE, 3) + p_data(0, bytes(1000), 3)[:-100],
        "half a release": pdu(RELEASE, bytes(4))[:-1],
    }
    peers = [connect().associate(*KNOWN) for _ in stalls]
    for peer, data in zip(peers, stalls.values(), strict=True):
        peer.send(data)
    for name, received in zip(stalls, all_end(peers, CLOSED), strict=True):
        assert is_abort(received), name
    until(lambda: list((server.data / "incoming").iterdir()) == [])


def test_u12_a_pdu_that_drips_in_an_association_is_given_up(connect):
    assert drip(connect().associate(*KNOWN), p_data(3, COMMAND)) < CLOSED


def test_u12_answers_that_nobody_reads_end_the_association(server, connect):
    """The peer asks on and on and never reads: its answers must not pile up, nor hold a thread."""
    before = server.vitals.memory()
    peer = connect(narrow=True).associate()
    peer.socket.settimeout(CLOSED)
    with suppress(OSError):
        while True:
            peer.socket.sendall(p_data(3, COMMAND) * 100)
    assert server.vitals.memory() - before < MEMORY


# --- U-13: many, and abrupt ends ------------------------------------------------------------------


def test_u13_associations_come_and_go_quickly(server):
    failures = []

    def churn():
        try:
            for _ in range(50):
                with raw.associated(server.dicom_port) as peer:
                    assert peer.ask(COMMAND).status == 0x0000
        except (OSError, AssertionError) as error:
            failures.append(error)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_u13_above_the_limit_callers_are_told_to_come_again(server, connect):
    server.vitals.calm()
    peers = [connect() for _ in range(100)]
    for peer in peers:
        peer.send(associate_request())
    answers = [peer.receive() for peer in peers]
    accepted = [peer for peer, (kind, _) in zip(peers, answers, strict=True) if kind == ACCEPT]
    refusals = {body for kind, body in answers if kind != ACCEPT}
    assert 1 <= len(accepted) <= ASSOCIATIONS
    assert {kind for kind, _ in answers} == {ACCEPT, REJECT}
    assert refusals == {b"\0\2\3\2"}
    for peer in accepted:
        assert peer.ask(COMMAND).status == 0x0000
        peer.release()


QUERY = p_data(3, request(raw.C_FIND, STUDY_FIND), 5) + p_data(
    2, raw.identifier({0x00080052: "STUDY", 0x0020000D: ""}), 5
)
MOMENTS = {
    "connected": (False, b""),
    "half a request": (False, associate_request()[:90]),
    "requested": (False, associate_request()),
    "associated": (True, b""),
    "half a header": (True, b"\x04\0\0"),
    "half a command": (True, p_data(3, COMMAND)[:-9]),
    "half an object": (True, p_data(3, STORE, 3) + p_data(0, bytes(500), 3)),
    "stored": (True, p_data(3, STORE, 3) + p_data(2, bytes(500), 3)),
    "echoed": (True, p_data(3, COMMAND) * 16),
    "asked": (True, QUERY),
    "releasing": (True, pdu(RELEASE, bytes(4))),
    "aborting": (True, pdu(ABORT, bytes(4))),
}


@pytest.mark.parametrize(("associated", "data"), MOMENTS.values(), ids=MOMENTS)
def test_u13_a_connection_may_break_at_any_moment(server, connect, associated, data):
    for end in (Peer.reset, Peer.half_close) * 5:
        peer = connect()
        if associated:
            peer.associate(*KNOWN)
        peer.send(data)
        end(peer)
        if end is Peer.half_close:
            peer.farewell(CLOSED)
    server.vitals.calm()
    until(lambda: list((server.data / "incoming").iterdir()) == [])


# --- U-15, U-16: titles ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", "_E", "_P", "_TE", "_TP"])
def test_u15_the_own_titles_answer(connect, suffix):
    connect().associate(called=b"SANTEPACS" + suffix.encode()).release()


@pytest.mark.parametrize(
    "title",
    [
        b"OTHER", b"santepacs", b"SANTEPACS_X", b"SANTEPACS_TEX", b"SANTEPACS1", b"SANTEPAC", b"",
        b"../secret/VICTIM", b"SANTEPACS\\VICTIM", b"SANTEPACS/../x", b"<script>", b"*", b"%",
        b"\xff" * 16, b"' OR 1=1--", b"SANTEPACS\n", b"SANTE\0PACS",
    ],
)  # fmt: skip
def test_u15_another_called_title_is_rejected(connect, title):
    peer = connect()
    peer.send(associate_request(*KNOWN, called=title))
    kind, body = peer.receive()
    assert (kind, body) == (REJECT, b"\0\1\1\7") or kind == ABORT


HOSTILE = [
    b"", b"../x", b"../secret/VICTIM", b"<script>", b"raw", b"RAW2", b"*", b"' OR 1=1--", b"%",
    b"RAW\\OTHER", b"\0" * 16, b"RAW\0VICTIM", b"\xff" * 16, b"RAW\nVICTIM", b"\x1b[31mVICTIM",
]  # fmt: skip


@pytest.mark.parametrize("title", HOSTILE)
def test_u15_another_calling_title_is_a_stranger(connect, title):
    peer = connect()
    peer.send(associate_request((CT, EXPLICIT), STUDY_FIND, calling=title))
    kind, body = peer.receive()
    assert (kind, body) == (REJECT, b"\0\1\1\3") or kind == ABORT


def test_u15_a_title_is_no_path_and_no_line_of_a_log(server, connect):
    for title in HOSTILE:
        peer = connect()
        peer.send(associate_request(*KNOWN, calling=title))
        kind, body = peer.receive()
        assert kind in (ACCEPT, REJECT, ABORT)
        if kind == ACCEPT:
            peer.read_acceptance(body)
            assert [n for n, result in peer.results.items() if result == 0] == [1]
    assert list(server.data.rglob("*VICTIM*")) == []
    assert not any(line.startswith("VICTIM") or "\x1b" in line for line in server.lines)


def test_u15_a_title_of_17_characters_is_no_title(connect):
    request_ = bytearray(associate_request(calling=b"RAW"))
    request_[26:42] = b"SEVENTEEN_LETTERS"
    request_[2:6] = struct.pack(">L", len(request_) - 6)
    peer = connect()
    peer.send(bytes(request_))
    kind, _ = peer.receive()
    assert kind in (REJECT, ABORT, None)


def test_u16_a_peers_title_from_another_address_is_a_stranger(server, connect):
    connect().associate((CT, EXPLICIT), STUDY_FIND).release()
    spoofed = connect(source=STRANGER)
    spoofed.send(associate_request((CT, EXPLICIT), STUDY_FIND))
    assert spoofed.receive() == (REJECT, b"\0\1\1\3")
    verifying = connect(source=STRANGER).associate(*KNOWN)
    assert [number for number, result in verifying.results.items() if result == 0] == [1]
    assert verifying.ask(COMMAND).status == 0x0000
    verifying.push(p_data(3, STORE, 3))
    assert is_abort(verifying.farewell())
    until(lambda: f"RAW from {STRANGER} turned away" in server.output)


def until(condition, seconds=CLOSED):
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
