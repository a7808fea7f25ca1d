"""Attacks with DIMSE messages on the whole server, D-1 to D-12 of the table of attacks, and a fuzz
test of whole conversations.

After each the server is well (`Vitals.check`).
"""

import random
import re
import socket
import struct
import threading
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest
from pynetdicom import AE, evt

from support import raw_dicom as raw
from support.postgres import reachable_folder
from support.raw_dicom import (
    ABORT,
    C_CANCEL,
    C_FIND,
    C_GET,
    C_MOVE,
    COMMITMENT,
    CT,
    DATA,
    EXPLICIT,
    IMPLICIT,
    LAST,
    MORE,
    MR,
    N_ACTION,
    PATIENT_FIND,
    REJECT,
    RELEASE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    WHOLE_COMMAND,
    WORKLIST,
    Image,
    Peer,
    associate_request,
    echo_command,
    identifier,
    implicit,
    new_uid,
    p_data,
    padded,
    pdu,
    request,
    store_command,
    us,
)
from support.server import free_ports, running_server
from support.vitals import MEMORY, PROMPT, Vitals, check_logs, complaints, greet

STRANGER = "127.0.0.2"
STUDIES = 100
CONNECTIONS = 2
SETTINGS = [
    "dicom.trust_loopback=no",
    "dicom.service_timeout=1",
    "dicom.network_timeout=20",
    f"dicom.maximum_connections={CONNECTIONS}",
]
CHARSET, LEVEL, NAME, PATIENT_ID = 0x00080005, 0x00080052, 0x00100010, 0x00100020
STUDY, SERIES, INSTANCE = 0x0020000D, 0x0020000E, 0x00080018
DATE, DESCRIPTION = 0x00080020, 0x00081030
SUCCESS, REFUSED, CANCELLED, RESOURCES = 0x0000, 0xA900, 0xFE00, 0xA700
EVERYBODY = {LEVEL: "STUDY", STUDY: ""}
CONTEXTS = (
    *(VERIFICATION, (CT, EXPLICIT), (CT, IMPLICIT), (MR, EXPLICIT), STUDY_FIND, STUDY_MOVE),
    *(STUDY_GET, WORKLIST, PATIENT_FIND),
)
NUMBER = {syntax: 2 * n + 1 for n, syntax in enumerate(CONTEXTS)}
CT_EXPLICIT = NUMBER[CT, EXPLICIT]


@pytest.fixture(scope="module")
def server():
    """A server with many small studies, which may send to a peer that accepts and says nothing."""
    with reachable_folder() as folder, running_server(folder / "data", SETTINGS) as running:
        running.destination, running.reporting = free_ports(2)
        for title, port, *options in (
            ("RAW", 104, "--allow", "move-to-others"),
            ("SILENT", running.destination),
            ("REPORTED", running.reporting),
        ):
            done = running.command("peer", "add", title, "127.0.0.1", str(port), *options)
            assert done.returncode == 0, done.stderr
        running.images = fill(running)
        greet(running)
        running.vitals = Vitals(running)
        running.vitals.check()  # puts an order into the worklist, too
        yield running
        check_logs(running, "Verysecret")


def fill(server):
    images = []
    with raw.associated(server.dicom_port, (CT, EXPLICIT)) as peer:
        for number in range(STUDIES):
            name = f"Verysecret^{'Jane' if number < 3 else 'Many'}"
            image = Image({NAME: ("PN", name), PATIENT_ID: ("LO", f"S{number}")})
            assert peer.store(image) == SUCCESS
            images.append(image)
    return images


@pytest.fixture(autouse=True)
def alive(server):
    said, before = len(server.lines), received(server)
    yield
    server.vitals.check()
    assert complaints(server, since=said) == []
    end = time.monotonic() + PROMPT
    while left := received(server) - before:
        assert time.monotonic() < end, left
        time.sleep(0.05)


def received(server):
    """The files of what is being received."""
    return set((server.data / "incoming").iterdir())


@pytest.fixture
def connect(server):
    """Makes connections that are closed after the test."""
    with ExitStack() as stack:

        def connected(**named):
            return stack.enter_context(Peer(server.dicom_port, **named))

        yield connected


@pytest.fixture
def peer(connect):
    """A peer associated for everything."""
    return connect().associate(*CONTEXTS)


def find(peer, keys, sop_class=STUDY_FIND):
    return peer.find(keys, sop_class, NUMBER[sop_class])


def text_of(value):
    return value.decode().rstrip(" \0")


def is_refusal(status):
    """Of an object that is not acceptable (PS3.4 B.2.3)."""
    return status & 0xFF00 == 0xA900 or status & 0xF000 == 0xC000


def is_stored(peer, image):
    found, status = find(peer, {LEVEL: "STUDY", STUDY: image.study})
    assert status == SUCCESS
    return len(found) == 1


# --- D-1: strangers -------------------------------------------------------------------------------


def test_d1_an_unknown_caller_may_verify_and_nothing_else(connect):
    for calling, source in ((b"NOBODY", "127.0.0.1"), (b"RAW", STRANGER)):
        for number in range(1, len(CONTEXTS)):
            peer = connect(source=source).associate(*CONTEXTS, calling=calling)
            assert [n for n, result in peer.results.items() if result == 0] == [1]
            assert peer.ask(echo_command()).status == SUCCESS
            image = Image()
            message = p_data(WHOLE_COMMAND, store_command(image.uid), 2 * number + 1) + p_data(
                LAST, image.explicit(), 2 * number + 1
            )
            peer.push(message)
            assert raw.is_abort(peer.farewell(PROMPT))
            peer.socket.close()


# --- D-2, D-3, D-4: queries -----------------------------------------------------------------------

WIDE = {
    "*": {NAME: "*"},
    "?": {NAME: "?" * 15},
    "empty": {NAME: ""},
    "no key": {},
    "a date range": {DATE: "19000101-99991231"},
    "open ranges": {DATE: "19000101-"},
    "*^*": {NAME: "*e*y*^*"},
}


@pytest.mark.parametrize("keys", WIDE.values(), ids=WIDE)
def test_d2_a_wide_query_finds_everything_and_costs_no_memory(server, peer, keys):
    before = server.vitals.memory()
    found, status = find(peer, {LEVEL: "STUDY", STUDY: "", **keys})
    assert len(found) >= STUDIES and status == SUCCESS
    assert server.vitals.memory() - before < MEMORY


def test_d2_a_query_without_a_key_is_answered(peer):
    found, status = find(peer, {LEVEL: "STUDY"})
    assert status in (SUCCESS, REFUSED)
    assert len(found) >= STUDIES or status == REFUSED


def test_d2_too_many_keys_and_values_are_bounded(server, peer):
    before = server.vitals.processor_time()
    many_keys = {0x00090000 + number: "" for number in range(16, 10_016)}
    found, status = find(peer, {**EVERYBODY, **many_keys})
    assert found == [] and is_refusal(status)
    uids = "\\".join(new_uid() for _ in range(1000))
    for key in (STUDY, SERIES, INSTANCE):
        found, status = find(peer, {LEVEL: "STUDY", STUDY: "", key: uids})
        assert status in (SUCCESS, REFUSED)
    mixed = uids + "\\" + server.images[0].study
    found, status = find(peer, {LEVEL: "STUDY", STUDY: mixed})
    assert (len(found), status) == (1, SUCCESS) or is_refusal(status)
    assert server.vitals.processor_time() - before < 5


def test_d2_a_list_whose_length_looks_like_a_vr_is_a_list(server, peer):
    """In Implicit VR the length 18000 is written as "PF": nobody may take it for Explicit VR."""
    image = server.images[0]
    uids = f"{image.uid}\\1." + "2\\1." * 5000
    uids = uids[:17_999] + "3"
    above = {LEVEL: "IMAGE", STUDY: image.study, SERIES: image.series}
    found, status = find(peer, {INSTANCE: uids, **above})
    assert (len(found), status) == (1, SUCCESS) or is_refusal(status)


def test_d2_the_number_of_results_can_be_limited(server, peer):
    assert server.command("settings", "set", "dicom.maximum_results", "5").returncode == 0
    try:
        end = time.monotonic() + PROMPT
        while len(found := find(peer, EVERYBODY)[0]) > 5 and time.monotonic() < end:
            time.sleep(0.1)
        found, status = find(peer, EVERYBODY)
        assert len(found) == 5 and status in (RESOURCES, CANCELLED)
    finally:
        assert server.command("settings", "set", "dicom.maximum_results", "0").returncode == 0
    end = time.monotonic() + PROMPT
    while len(find(peer, EVERYBODY)[0]) < STUDIES:
        assert time.monotonic() < end
        time.sleep(0.1)


# 900 keys that are answered empty make an answer of 7 KB, and all of them more than the kernels
# keep for a peer that does not read.
LARGE_ANSWERS = {**EVERYBODY, **{0x00091000 + number: "" for number in range(900)}}


def test_d2_a_query_is_cancelled_while_its_answers_are_on_their_way(server, connect):
    peer = connect(narrow=True).associate(*CONTEXTS)
    place, everything = NUMBER[STUDY_FIND], len(find(peer, EVERYBODY)[0])
    peer.message(request(C_FIND, STUDY_FIND, message_id=7), identifier(LARGE_ANSWERS), place)
    peer.answer()
    peer.message(request(C_CANCEL, STUDY_FIND, message_id=7, data_set=False), None, place)
    count, status = 0, 0xFF00
    while status == 0xFF00:
        count, status = count + 1, peer.answer().status
        time.sleep(0.05)  # a slow reader, so that the server has the time to see it
    assert status == CANCELLED and count < everything
    assert peer.ask(echo_command()).status == SUCCESS


def test_d2_answers_that_nobody_reads_cost_no_memory(server, connect):
    before = server.vitals.memory()
    waiting = [connect(narrow=True).associate(*CONTEXTS) for _ in range(10)]
    for peer in waiting:
        asking = request(C_FIND, STUDY_FIND)
        peer.message(asking, identifier(LARGE_ANSWERS), NUMBER[STUDY_FIND])
    for _ in range(10):
        assert server.vitals.memory() - before < MEMORY
        greet(server)
    for peer in waiting:
        peer.reset()


@pytest.mark.parametrize(
    "name",
    [
        "' OR 1=1--", "'; DROP TABLE study;--", "%", "_", "Very_ecret*", "%*", "*%*", "[a-z]*",
        "Verysecret^Jan_", "Verysecret^Jan\\_", "\\", "100%_x", "*x" * 5_000, "*" * 10_000 + "x",
        "?" * 10_000, b"\xc0\x27*", b"\xff\xfe", b"Very\0secret^Jane", "*^" * 3000 + "x", "*=*=*=*",
    ],
    ids=lambda name: repr(name[:16]),
)  # fmt: skip
def test_d3_only_star_and_question_mark_are_wildcards(server, peer, name):
    before = server.vitals.processor_time()
    for sop_class, level in ((STUDY_FIND, "STUDY"), (PATIENT_FIND, "PATIENT")):
        for charset in ("", "ISO_IR 192", "ISO 2022 IR 87"):
            keys = {LEVEL: level, NAME: name, CHARSET: charset}
            found, status = find(peer, keys, sop_class)
            assert found == [] and (status == SUCCESS or is_refusal(status))
    assert server.vitals.processor_time() - before < 5


@pytest.mark.parametrize("key", [PATIENT_ID, DESCRIPTION, 0x00080050, STUDY, DATE, 0x00080061])
def test_d3_no_key_is_sql(server, peer, key):
    for value in (
        "' OR '1'='1",
        "x'; DELETE FROM study; --",
        "%",
        "_",
        "S_",
        "S%",
        "\\%",
        b"\xff",
        b"A\0B",
    ):
        found, status = find(peer, {LEVEL: "STUDY", key: value})
        assert found == [] and (status == SUCCESS or is_refusal(status)), value
    assert find(peer, {LEVEL: "STUDY", PATIENT_ID: "S1"})[1] == SUCCESS
    assert len(find(peer, {LEVEL: "STUDY", PATIENT_ID: "S1"})[0]) == 1


def test_d4_a_query_without_its_level_or_its_unique_keys_is_refused(peer):
    for keys in (
        {PATIENT_ID: ""}, {LEVEL: "FOO"}, {LEVEL: ""}, {LEVEL: "IMAGE"}, {LEVEL: "SERIES"},
        {LEVEL: "PATIENT"}, {LEVEL: "STUDY\\SERIES"}, {LEVEL: "study"}, {LEVEL: b"\xff\xff"},
        {LEVEL: "IMAGE", STUDY: "*", SERIES: "*"}, {LEVEL: "SERIES", STUDY: "1.2\\1.3"}, {},
    ):  # fmt: skip
        found, status = find(peer, keys)
        assert found == [] and is_refusal(status), keys


def test_d4_a_level_may_be_padded(server, peer):
    keys = {LEVEL: "SERIES  ", STUDY: server.images[0].study + "\0\0"}
    found, status = find(peer, keys)
    assert (len(found), status) == (1, SUCCESS)


def test_d4_file_meta_information_is_not_queried(peer):
    keys = {0x00020002: "", 0x00020010: "1.2", 0x00000002: "", PATIENT_ID: "S1"}
    found, status = find(peer, {LEVEL: "STUDY", **keys})
    assert is_refusal(status) or (len(found) == 1 and status == SUCCESS)
    for answer in found:
        assert not [tag for tag in answer if tag < 0x00080000]


NO_IDENTIFIERS = {
    "nothing": b"",
    "garbage": b"\xff" * 1000,
    "half an element": identifier(EVERYBODY)[:-3],
    "a value of 4 GiB": implicit(LEVEL, b"STUDY ") + implicit(NAME, b"", 0xFFFFFFFE),
    "an endless sequence": implicit(0x00400100, b"\xfe\xff\x00\xe0\xff\xff\xff\xff", 0xFFFFFFFF),
    "nested 20000 deep": b"".join(
        (implicit(0x0040A730, b"", 0xFFFFFFFF) + implicit(0xFFFEE000, b"", 0xFFFFFFFF))
        for _ in range(20_000)
    ),
    "Explicit VR": raw.explicit(LEVEL, "CS", b"STUDY ") + raw.explicit(STUDY, "UI", b""),
    "a sequence for a name": implicit(LEVEL, b"STUDY ")
    + implicit(NAME, implicit(0xFFFEE000, implicit(NAME, b"A "))),
    "a sequence for a level": implicit(LEVEL, implicit(0xFFFEE000, b""), 0xFFFFFFFF)
    + implicit(0xFFFEE0DD, b""),
    "an item": implicit(0xFFFEE000, b""),
    "every tag of a group": b"".join(implicit(0x00100000 + n, b"") for n in range(0xFFFF)),
    "a name of 1 MB": identifier({**EVERYBODY, NAME: "x" * 1_000_000}),
    "a name of 3 MB of stars": identifier({**EVERYBODY, NAME: "*?" * 1_500_000}),
    "a level of 1 MB": identifier({LEVEL: "STUDY " * 170_000}),
    "a UID list of 3 MB": identifier({LEVEL: "STUDY", STUDY: "\\".join(["1.2.3.4.5"] * 300_000)}),
    "numbers cut off": implicit(LEVEL, b"STUDY ")
    + implicit(0x00201206, b"1 ")
    + implicit(0x00280010, b"\1"),
    "a character set of 1000 values": implicit(CHARSET, b"\\ISO 2022 IR 87" * 1000)
    + identifier({**EVERYBODY, NAME: "\x1b$B!!\x1b(B"}),
    "a character set that is none": implicit(CHARSET, b"../../x ")
    + identifier({**EVERYBODY, NAME: b"\xe4\xf6\xfc "}),
    "the same key twice": implicit(LEVEL, b"STUDY ") + implicit(NAME, b"A ") + implicit(NAME, b"*"),
}


@pytest.mark.parametrize("data", NO_IDENTIFIERS.values(), ids=NO_IDENTIFIERS)
def test_d2_d4_d11_a_hostile_identifier_is_answered(server, peer, data):
    before = server.vitals.processor_time(), server.vitals.memory()
    for service, field, *more in (
        (STUDY_FIND, C_FIND),
        (STUDY_MOVE, C_MOVE, (0x0600, b"SILENT")),
        (STUDY_GET, C_GET),
        (WORKLIST, C_FIND),
    ):
        peer.message(request(field, service, *more), data, NUMBER[service])
        status = final(peer)
        assert status == SUCCESS or is_refusal(status), service
    assert peer.ask(echo_command()).status == SUCCESS
    assert server.vitals.processor_time() - before[0] < 5
    assert server.vitals.memory() - before[1] < MEMORY


# --- D-5, D-6, D-7: retrieval ---------------------------------------------------------------------


@contextmanager
def listener(port):
    """A peer that accepts connections and says nothing; counts how many there are at once."""

    class Count:
        now = most = ever = 0

    count, lock, stopped = Count(), threading.Lock(), threading.Event()

    def hold(connection):
        with connection, suppress(OSError):
            while connection.recv(65_536):
                pass
        with lock:
            count.now -= 1

    def accept():
        with suppress(OSError):
            while not stopped.is_set():
                connection, _ = listening.accept()
                with lock:
                    count.now += 1
                    count.ever += 1
                    count.most = max(count.most, count.now)
                threading.Thread(target=hold, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", port)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield count
        finally:
            stopped.set()
            listening.shutdown(socket.SHUT_RDWR)  # wakes who accepts


def move(peer, destination, keys, message_id=1):
    """Start a C-MOVE."""
    asking = request(C_MOVE, STUDY_MOVE, (0x0600, padded(destination)), message_id=message_id)
    peer.message(asking, identifier(keys), NUMBER[STUDY_MOVE])


def last(peer):
    """The final answer to what was started."""
    while True:
        answer = peer.answer(30)
        if answer.status not in (0xFF00, 0xFF01):
            return answer


def final(peer):
    """The final status of what was started."""
    return last(peer).status


@pytest.mark.parametrize(
    "title",
    ["NOBODY", "", "silent", "SILENT2", "../x", "SILENT\\RAW", "127.0.0.1", "SILENT:4242", b"\xff"],
)
def test_d5_a_move_to_nobody_is_refused_and_calls_nobody(server, peer, title):
    with listener(server.destination) as called:
        move(peer, title, {LEVEL: "STUDY", STUDY: server.images[0].study})
        kind, body = peer.receive()
        if kind == DATA:
            assert raw.elements_of(body[6:])[0x0900] in (us(0xA801), us(REFUSED))
        assert kind in (DATA, ABORT)
        assert called.ever == 0


def test_d6_a_peer_moves_to_itself_alone_unless_it_is_allowed_more(server, connect):
    with listener(server.destination) as called:
        peer = connect().associate(*CONTEXTS, calling=b"REPORTED")
        move(peer, "SILENT", {LEVEL: "STUDY", STUDY: server.images[0].study})
        assert final(peer) in (0xA801, 0x0124)
        assert called.ever == 0
        peer = connect().associate(*CONTEXTS, calling=b"SILENT")
        move(peer, "SILENT", {LEVEL: "STUDY", STUDY: server.images[0].study})
        assert final(peer) == 0xA702
        assert called.ever >= 1


def test_d6_a_destination_that_never_answers_holds_nobody_for_long(server, connect):
    everything = "\\".join(image.study for image in server.images)
    with listener(server.destination) as called:
        movers = [connect().associate(*CONTEXTS) for _ in range(6)]
        began = time.monotonic()
        for peer in movers:
            move(peer, "SILENT", {LEVEL: "STUDY", STUDY: everything})
        greet(server)
        statuses = [final(peer) for peer in movers]
        assert time.monotonic() - began < 30
        assert set(statuses) <= {0xA702, 0xB000, 0xA700}
        assert 1 <= called.most <= CONNECTIONS
    assert movers[0].ask(echo_command()).status == SUCCESS


def test_d6_moves_of_peers_that_went_away_are_forgotten(server, connect):
    with listener(server.destination):
        for _ in range(10):
            peer = connect().associate(*CONTEXTS)
            move(peer, "SILENT", {LEVEL: "STUDY", STUDY: server.images[0].study})
            peer.reset()
        server.vitals.calm()


TOO_WIDE = {
    "no study": {LEVEL: "STUDY"},
    "an empty one": {LEVEL: "STUDY", STUDY: ""},
    "every one": {LEVEL: "STUDY", STUDY: "*"},
    "a wildcard": {LEVEL: "STUDY", STUDY: "2.25.*"},
    "no level": {STUDY: "1.2"},
    "every patient": {LEVEL: "PATIENT", PATIENT_ID: "*"},
    "the images of no series": {LEVEL: "IMAGE", INSTANCE: "1.2"},
    "the images of a study": {LEVEL: "IMAGE", STUDY: "1.2", INSTANCE: "1.2"},
    "NUL in a UID": {LEVEL: "STUDY", STUDY: b"1.2\0.3"},
    "bytes for a UID": {LEVEL: "STUDY", STUDY: b"\xff\xfe\x80\0"},
    "a path for a UID": {LEVEL: "STUDY", STUDY: "../../x\\/etc/passwd"},
    "SQL for a UID": {LEVEL: "STUDY", STUDY: "1.2' OR '1'='1"},
}


@pytest.mark.parametrize("keys", TOO_WIDE.values(), ids=TOO_WIDE)
def test_d7_nothing_is_retrieved_without_its_unique_keys(server, peer, keys):
    with listener(server.destination) as called:
        for start in (
            lambda: move(peer, "SILENT", keys),
            lambda: peer.message(request(C_GET, STUDY_GET), identifier(keys), NUMBER[STUDY_GET]),
        ):
            start()
            answer = last(peer)
            nothing = answer.status == SUCCESS and answer.command[0x1021] == us(0)
            assert is_refusal(answer.status) or nothing
        assert called.ever == 0


def test_d7_a_list_of_5000_studies_is_bounded(server, peer):
    before = server.vitals.processor_time()
    uids = "\\".join(new_uid() for _ in range(5000))
    peer.message(
        request(C_GET, STUDY_GET), identifier({LEVEL: "STUDY", STUDY: uids}), NUMBER[STUDY_GET]
    )
    status = final(peer)
    assert status == SUCCESS or is_refusal(status)
    assert server.vitals.processor_time() - before < 5


def test_d7_who_gets_everything_and_does_not_read_costs_no_memory(server, connect):
    before = server.vitals.memory()
    peer = connect(narrow=True).associate(*CONTEXTS)
    keys = {LEVEL: "STUDY", STUDY: "\\".join(image.study for image in server.images)}
    peer.message(request(C_GET, STUDY_GET), identifier(keys), NUMBER[STUDY_GET])
    greet(server)
    assert server.vitals.memory() - before < MEMORY


# --- D-8, D-9: storage ----------------------------------------------------------------------------


def test_d8_what_is_not_announced_is_not_stored(peer):
    other = new_uid()
    for image, arguments in (
        (Image(), {"sop_instance": other}),
        (Image(), {"context_id": NUMBER[MR, EXPLICIT]}),
        (Image({0x00080016: ("UI", MR)}), {}),
        (Image({STUDY: None}), {}),
        (Image({SERIES: None}), {}),
        (Image({INSTANCE: None}), {}),
        (Image({0x00080016: None}), {}),
        (Image({STUDY: ("UI", "../../x")}), {}),
        (Image({SERIES: ("UI", "1..2")}), {}),
        (Image({INSTANCE: ("UI", "1.2.x")}), {}),
    ):
        arguments = {"context_id": CT_EXPLICIT, **arguments}
        assert is_refusal(peer.store(image, **arguments))
        assert not is_stored(peer, image)
    mismatched = Image(sop_class=MR)
    assert is_refusal(peer.store(mismatched, context_id=CT_EXPLICIT))
    assert peer.store(Image(), context_id=CT_EXPLICIT) == SUCCESS


def test_d8_nothing_is_stored_over_a_context_that_was_not_agreed(connect):
    for number in (3, 99):
        peer = connect().associate(VERIFICATION, ("1.2.3.4", EXPLICIT))
        image = Image()
        peer.push(
            p_data(WHOLE_COMMAND, store_command(image.uid), number)
            + p_data(LAST, image.explicit(), number)
        )
        assert raw.is_abort(peer.farewell(PROMPT))


def test_d8_another_patients_object_under_a_stored_uid_replaces_nothing(peer):
    image = Image()
    assert peer.store(image, context_id=CT_EXPLICIT) == SUCCESS
    image.elements[PATIENT_ID] = ("LO", "OTHER")
    image.elements[NAME] = ("PN", "Roe^Richard")
    assert peer.store(image, context_id=CT_EXPLICIT) in (0xB000, 0xC001)
    ((answer,), status) = find(peer, {LEVEL: "STUDY", STUDY: image.study, PATIENT_ID: "", NAME: ""})
    assert status == SUCCESS
    assert text_of(answer[PATIENT_ID]) == "P1" and text_of(answer[NAME]) == "Doe^Jane"


IMPOSSIBLE_UIDS = [
    b"..", b".", b"...", b"1..2", b"1.2.", b".1.2", b"01.2", b"1.02", b"1." + b"2" * 63, b"1.2.x",
    b"", b"1 2", b"../../x", b"C:\\x", b"1.2.3/4", b"1.2\n.3", b"/etc/passwd", b"1.2\0.3", b"\0",
    b"1.2\\1.3", b"\xff\xfe", b"1.2.3;--", b"1.2*", b"-1.2", "١.٢".encode(), b"1" * 60_000,
]  # fmt: skip


@pytest.mark.parametrize("uid", IMPOSSIBLE_UIDS, ids=lambda uid: repr(uid[:16]))
def test_d9_an_impossible_uid_is_refused_and_names_no_file(server, connect, uid):
    for announced, inside in ((uid, uid), (None, uid), (uid, None)):
        peer = connect().associate(*CONTEXTS)
        image = Image()
        image.elements[INSTANCE] = ("UI", image.uid if inside is None else inside)
        told = store_command(image.uid if announced is None else announced)
        peer.message(told, image.explicit(), CT_EXPLICIT)
        kind, body = peer.receive(PROMPT)
        if kind == DATA:
            status = raw.elements_of(body[6:])[0x0900]
            assert is_refusal(int.from_bytes(status, "little"))
        assert kind in (DATA, ABORT)
        peer.socket.close()
    check_names(server)


def check_names(server):
    """No file is named by anybody outside."""
    for path in (server.data / "objects").rglob("*"):
        assert re.fullmatch(r"[0-9a-f]{2}|[0-9a-f]{64}\.dcm|token-version|[0-9a-f]+", path.name)


def test_d9_padding_is_no_part_of_a_uid(peer):
    for padding in (b"\0", b" ", b"\0\0"):
        image = Image()
        bare = image.uid
        image.uid = bare.encode() + padding
        image.elements[INSTANCE] = ("UI", image.uid)
        if peer.store(image, context_id=CT_EXPLICIT) == SUCCESS:
            keys = {LEVEL: "IMAGE", STUDY: image.study, SERIES: image.series, INSTANCE: ""}
            ((answer,), _) = find(peer, keys)
            assert answer[INSTANCE].rstrip(b"\0") == bare.encode()


# --- D-10: storage commitment ---------------------------------------------------------------------


def commitment(transaction, references, action=1):
    """An N-ACTION-RQ: its command and its data set in Implicit VR."""
    told = raw.command(
        (0x0003, raw.ui(COMMITMENT)), (0x0100, us(N_ACTION)), (0x0110, us(1)), (0x0800, us(1)),
        (0x1001, raw.ui("1.2.840.10008.1.20.1.1")), (0x1008, us(action)),
    )  # fmt: skip
    items = b"".join(
        implicit(
            0xFFFEE000,
            implicit(0x00081150, raw.ui(sop_class)) + implicit(0x00081155, raw.ui(sop_instance)),
        )
        for sop_class, sop_instance in references
    )
    return told, implicit(0x00081195, raw.ui(transaction)) + implicit(0x00081199, items)


@contextmanager
def reports(port):
    """A peer that takes storage commitment results; gives the list of what it got."""
    received = []

    def take(event):
        received.append((event.event_type, event.event_information))
        return 0x0000, None

    entity = AE("REPORTED")
    entity.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
    entity.add_supported_context(VERIFICATION)
    handlers = [(evt.EVT_N_EVENT_REPORT, take)]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
    try:
        yield received
    finally:
        server.shutdown()


def wait_for_report(received, transaction):
    """The type and the content of the report on this transaction."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for kind, report in received:
            if report.TransactionUID == transaction:
                return kind, report
        time.sleep(0.05)
    raise AssertionError("no result came")


def reasons(report):
    return {
        item.ReferencedSOPInstanceUID: item.FailureReason
        for item in report.get("FailedSOPSequence") or ()
    }


def test_d10_each_object_gets_its_own_truth(server, connect):
    stored, another, unknown = server.images[0], server.images[1], new_uid()
    transaction = new_uid()
    references = [(CT, stored.uid), (MR, another.uid), (CT, unknown)]
    with reports(server.reporting) as received:
        peer = connect().associate(COMMITMENT, calling=b"REPORTED")
        assert peer.ask(*commitment(transaction, references)).status == SUCCESS
        peer.release()
        kind, report = wait_for_report(received, transaction)
    assert kind == 2
    assert [item.ReferencedSOPInstanceUID for item in report.ReferencedSOPSequence] == [stored.uid]
    assert reasons(report) == {another.uid: 0x0119, unknown: 0x0112}


def test_d10_the_same_transaction_twice_is_not_done_twice(server, connect):
    transaction = new_uid()
    references = [(CT, server.images[0].uid)]
    with reports(server.reporting) as received:
        for _ in range(2):
            peer = connect().associate(COMMITMENT, calling=b"REPORTED")
            assert peer.ask(*commitment(transaction, references)).status in (SUCCESS, 0x0131)
            peer.release()
        wait_for_report(received, transaction)
    for kind, report in received:
        if report.TransactionUID == transaction:  # others may have waited for this peer
            assert kind == 1 or set(reasons(report).values()) == {0x0131}


HOSTILE_COMMITMENTS = {
    "100 000 references": commitment(new_uid(), [(CT, "1.2.3.4")] * 100_000),
    "10 000 references": commitment(new_uid(), [(CT, f"1.2.{n}") for n in range(10_000)]),
    "no reference": commitment(new_uid(), []),
    "no transaction": commitment("", [(CT, "1.2.3.4")]),
    "a transaction that is no UID": commitment("../../x", [(CT, "1.2.3.4")]),
    "an instance that is no UID": commitment(new_uid(), [(CT, "../../x"), ("' OR 1=1", "")]),
    "an unknown action": commitment(new_uid(), [(CT, "1.2.3.4")], action=99),
    "no data": (commitment(new_uid(), [])[0], b""),
    "garbage": (commitment(new_uid(), [])[0], b"\xff" * 999),
    "no sequence": (
        commitment(new_uid(), [])[0],
        implicit(0x00081195, b"1.2.3 ") + implicit(0x00081199, b"no sequence!"),
    ),
}


@pytest.mark.parametrize("message", HOSTILE_COMMITMENTS.values(), ids=HOSTILE_COMMITMENTS)
def test_d10_a_hostile_commitment_is_answered_or_aborted(server, connect, message):
    before = server.vitals.processor_time(), server.vitals.memory()
    peer = connect().associate(COMMITMENT, calling=b"REPORTED")
    with suppress(ConnectionError):
        peer.message(*message)
    assert peer.receive()[0] in (DATA, ABORT)
    peer.socket.close()
    server.vitals.calm()
    assert server.vitals.processor_time() - before[0] < 5
    assert server.vitals.memory() - before[1] < MEMORY


def test_d10_a_stranger_gets_no_commitment(server, connect):
    with reports(server.reporting) as received:
        for calling, source in ((b"NOBODY", "127.0.0.1"), (b"REPORTED", STRANGER)):
            peer = connect(source=source)
            peer.send(associate_request(COMMITMENT, calling=calling))
            assert peer.receive() == (REJECT, b"\0\1\1\3")
        assert received == []


# --- D-11: the worklist ---------------------------------------------------------------------------

STEPS = 0x00400100


def steps(*items, length=None):
    return implicit(STEPS, b"".join(implicit(0xFFFEE000, item) for item in items), length)


def nested_steps(levels):
    data = b""
    for _ in range(levels):
        data = steps(data)
    return data


HOSTILE_STEPS = {
    "no item": (steps(), True),
    "an empty item": (steps(b""), True),
    "1000 items": (steps(*[implicit(0x00080060, b"CT")] * 1000), None),
    "wildcards for a station": (steps(implicit(0x00400001, b"*?**??*?")), None),
    "a station of 10 kB": (steps(implicit(0x00400001, b"X" * 10_000)), False),
    "a station that is SQL": (steps(implicit(0x00400001, b"' OR '1'='1 ")), False),
    "a percent sign": (steps(implicit(0x00400001, b"% ")), False),
    "an impossible date": (steps(implicit(0x00400002, b"20261345")), False),
    "a date range backwards": (steps(implicit(0x00400002, b"20261231-20260101 ")), False),
    "text instead of items": (implicit(STEPS, b"no items"), None),
    "an item cut off": (steps(implicit(0x00400001, b"A ")[:-1]), None),
    "a name that nests": (
        implicit(NAME, b"*") + steps(implicit(STEPS, implicit(0xFFFEE000, b"" * 9))),
        None,
    ),
    "a sequence in every key": (
        steps(*(implicit(tag, implicit(0xFFFEE000, b"")) for tag in (0x00400001, 0x00080060))),
        None,
    ),
    "binary where text should be": (
        implicit(NAME, bytes(range(256))) + implicit(PATIENT_ID, bytes(range(256))),
        False,
    ),
    "a status that is none": (steps(implicit(0x00400020, b"FOO ")), False),
    "1000 stations": (steps(implicit(0x00400001, b"\\".join([b"A"] * 1000))), False),
    "a name of wildcards": (implicit(NAME, b"*?" * 2000) + steps(b""), False),
    "a character set that is none": (
        implicit(0x00080005, b"\\\\ISO_IR 999\\" + b"X" * 500) + implicit(NAME, b"\xff\x1b$B\x21*"),
        None,
    ),
    "a sequence without end": (implicit(STEPS, implicit(0xFFFEE000, b""), 0xFFFFFFFF), None),
    "steps within steps": (nested_steps(300), None),
    "every key twice": (steps(b"") * 2 + implicit(PATIENT_ID, b"") * 2, None),
}


@pytest.mark.parametrize(("data", "finds"), HOSTILE_STEPS.values(), ids=HOSTILE_STEPS)
def test_d11_a_hostile_worklist_query_is_answered(server, peer, data, finds):
    before = server.vitals.processor_time()
    peer.message(request(C_FIND, WORKLIST), data, NUMBER[WORKLIST])
    count, status = 0, 0xFF00
    while status in (0xFF00, 0xFF01):
        status = peer.answer().status
        count += status in (0xFF00, 0xFF01)
    assert status == SUCCESS or is_refusal(status)
    if finds is not None:
        assert bool(count) == finds
    assert server.vitals.processor_time() - before < 5


# --- D-12: out of turn ----------------------------------------------------------------------------


def test_d12_a_message_id_may_be_used_again(peer):
    for _ in range(3):
        assert peer.ask(echo_command(message_id=7)).status == SUCCESS
        assert peer.store(Image(), context_id=CT_EXPLICIT, message_id=7) == SUCCESS


RESPONSES = {
    "to a store": request(0x8001, CT, (0x0900, us(0)), (0x1000, b"1.2.3 "), data_set=False),
    "to an echo": request(0x8030, VERIFICATION, (0x0900, us(0)), data_set=False),
    "to a query": request(0x8020, STUDY_FIND, (0x0900, us(0xFF00)), data_set=False),
    "to a report": request(0x8100, COMMITMENT, (0x0900, us(0)), data_set=False),
    "to an unknown command": request(0xF777, CT, (0x0900, us(0)), data_set=False),
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
def test_d12_an_answer_that_nobody_asked_for_is_ignored_or_aborted(peer, response):
    peer.push(p_data(WHOLE_COMMAND, response, CT_EXPLICIT))
    peer.push(p_data(WHOLE_COMMAND, echo_command()))
    kind, body = peer.receive(PROMPT)
    assert kind == ABORT or raw.elements_of(body[6:])[0x0900] == us(SUCCESS)


def test_d12_a_cancel_that_nobody_needs_is_ignored(peer):
    for number in (*NUMBER.values(),):
        cancel = request(C_CANCEL, STUDY_FIND, message_id=99, data_set=False)
        peer.send(p_data(WHOLE_COMMAND, cancel, number))
    peer.send(p_data(WHOLE_COMMAND, request(C_CANCEL, CT, message_id=1, data_set=False)))
    assert peer.ask(echo_command()).status == SUCCESS
    assert find(peer, {LEVEL: "STUDY", PATIENT_ID: "S1"})[1] == SUCCESS


def test_d12_a_cancel_of_another_query_does_not_end_this_one(peer):
    cancel = request(C_CANCEL, STUDY_FIND, message_id=8, data_set=False)
    place = NUMBER[STUDY_FIND]
    peer.message(request(C_FIND, STUDY_FIND, message_id=7), identifier(EVERYBODY), place)
    peer.send(p_data(WHOLE_COMMAND, cancel, place))
    assert final(peer) == SUCCESS


def test_d12_a_flood_of_cancels_and_requests_costs_no_memory(server, connect):
    before = server.vitals.memory()
    flood = b"".join(
        p_data(WHOLE_COMMAND, request(C_CANCEL, STUDY_FIND, message_id=n, data_set=False))
        for n in range(10_000)
    )
    peer = connect().associate(*CONTEXTS)
    peer.push(flood + p_data(WHOLE_COMMAND, echo_command()))
    assert peer.receive()[0] in (DATA, ABORT)
    assert server.vitals.memory() - before < MEMORY


def test_d12_interleaved_commands_are_aborted(connect):
    query = identifier(EVERYBODY)
    place = NUMBER[STUDY_FIND]
    for first, second in (
        (p_data(WHOLE_COMMAND, store_command("1.2.3"), CT_EXPLICIT), echo_command()),
        (p_data(WHOLE_COMMAND, request(C_FIND, STUDY_FIND), place), request(C_FIND, STUDY_FIND)),
        (
            p_data(WHOLE_COMMAND, request(C_FIND, STUDY_FIND), place)
            + p_data(MORE, query[:5], place),
            echo_command(),
        ),
    ):
        peer = connect().associate(*CONTEXTS)
        peer.push(first + p_data(WHOLE_COMMAND, second))
        assert raw.is_abort(peer.farewell(PROMPT))


# --- fuzz -----------------------------------------------------------------------------------------

CASES, SECONDS, AT_ONCE = 3000, 5.0, 25
GIVEN_UP = 30.0  # seconds: a silent association is ended sooner


def conversations():
    """Whole valid conversations, as the lists of their PDUs."""
    image = Image()
    data = image.explicit()
    find_place, worklist_place = NUMBER[STUDY_FIND], NUMBER[WORKLIST]
    for messages in (
        [p_data(WHOLE_COMMAND, echo_command())],
        [
            p_data(WHOLE_COMMAND, store_command(image.uid), CT_EXPLICIT),
            p_data(MORE, data[:300], CT_EXPLICIT),
            p_data(LAST, data[300:], CT_EXPLICIT),
        ],
        [
            p_data(WHOLE_COMMAND, request(C_FIND, STUDY_FIND), find_place),
            p_data(LAST, identifier({**EVERYBODY, PATIENT_ID: "S1", NAME: ""}), find_place),
        ],
        [
            p_data(WHOLE_COMMAND, request(C_FIND, WORKLIST), worklist_place),
            p_data(LAST, steps(implicit(0x00400001, b"")), worklist_place),
        ],
        [
            p_data(WHOLE_COMMAND, request(C_GET, STUDY_GET), NUMBER[STUDY_GET]),
            p_data(LAST, identifier({LEVEL: "STUDY", STUDY: "1.2.3"}), NUMBER[STUDY_GET]),
        ],
    ):
        yield [associate_request(*CONTEXTS), *messages, pdu(RELEASE, bytes(4))]


def mutated(conversation):
    """The conversation with some bytes changed, put in or left out, or a PDU out of its place."""
    conversation = list(conversation)
    if random.random() < 0.1:
        random.shuffle(conversation)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        place = random.randrange(len(conversation))
        piece = bytearray(conversation[place]) or bytearray(1)
        at = random.randrange(len(piece) if random.random() < 0.6 else min(len(piece), 6))
        kind = random.randrange(6)
        if kind == 0:
            piece[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            piece[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            piece[at:at] = random.randbytes(random.choice((1, 2, 4, 300)))
        elif kind == 3:
            del piece[at : at + random.choice((1, 2, 4, 100))]
        elif kind == 4:
            piece[at : at + 4] = random.choice((b"\xff" * 4, bytes(4), struct.pack("<L", 1 << 31)))
        else:
            piece = piece[:at] + piece[: random.randrange(len(piece))]
        # Half of the time the PDU says its new length, so that what is inside is reached.
        if len(piece) >= 6 and random.random() < 0.5:
            piece[2:6] = struct.pack(">L", len(piece) - 6)
        conversation[place] = bytes(piece)
    return conversation


def test_fuzz_of_conversations_harms_nobody(server, connect):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    random.seed(seed)
    known = list(conversations())
    end = time.monotonic() + SECONDS
    done = 0
    while done < CASES and time.monotonic() < end:
        peers = [connect() for _ in range(AT_ONCE)]
        for peer in peers:
            first, *others = mutated(random.choice(known))
            peer.push(first)
            if first[:1] == b"\x01" and random.random() < 0.7:
                with suppress(TimeoutError):
                    peer.receive(0.05)
            peer.push(b"".join(others))
            with suppress(OSError):
                peer.half_close()
        for peer in peers:
            with suppress(AssertionError):
                peer.farewell(GIVEN_UP)
            peer.socket.close()
        done += AT_ONCE
    print(f"{done} cases")
    server.vitals.calm()
    check_names(server)
