"""The DICOM server: who may associate, and what an open network can do to it."""

import socket
import struct
import threading
import time

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from twisted.logger import formatEvent, globalLogPublisher

from santepacs.db import callers, peers
from santepacs.dicom import messages, provider, spool
from santepacs.dicom.admission import own_titles
from santepacs.dicom.client import Client
from santepacs.dicom.gate import Limits
from santepacs.errors import Forbidden, Unavailable
from santepacs.model.peers import Peer
from support.archive import ct, encoded
from support.dicom import (
    CT,
    PATIENT_FIND,
    STUDY_FIND,
    STUDY_GET,
    VERIFICATION,
    WORKLIST,
    Raw,
    closing_port,
    command,
    eventually,
    p_data,
    pdu,
    running_dicom,
    store_command,
)
from support.programs import run
from support.raw_dicom import associate_request, context, item


@pytest.fixture
def start(reactor_thread, database_dsn, tmp_path):
    """Starts a server with settings of the test's choice."""
    sites = []

    def started(**dicom):
        context = running_dicom(reactor_thread, database_dsn, tmp_path, **dicom)
        sites.append(context)
        return context.__enter__()

    yield started
    for site in sites:
        site.__exit__(None, None, None)


# --- verification and titles ----------------------------------------------------------------------


def test_an_echo_is_answered(start):
    site = start()
    with site.association(VERIFICATION) as association:
        assert association.send_c_echo().Status == 0x0000


def test_dcmtk_gets_its_echo_answered(start):
    run("echoscu", "-aec", "SANTEPACS", "127.0.0.1", start().port)


@pytest.mark.parametrize("title", ["SANTEPACS", "SANTEPACS_E", "SANTEPACS_P", "SANTEPACS_TE",
                                   "SANTEPACS_TP"])  # fmt: skip
def test_the_own_title_is_answered_with_the_suffixes_for_discs(start, title):
    with start().association(VERIFICATION, called=title) as association:
        assert association.is_established


@pytest.mark.parametrize(
    "title", ["OTHER", "santepacs", "SANTEPACS_X", "../secret", "SANTEPACS_TEX"]
)
def test_another_title_is_rejected(start, title):
    with start().association(VERIFICATION, called=title) as association:
        assert association.is_rejected
        answer = association.acceptor.primitive
        assert (answer.result, answer.result_source, answer.diagnostic) == (1, 1, 7)


def test_a_suffix_that_does_not_fit_is_not_offered():
    assert own_titles("FOURTEEN_CHARS") == {
        "FOURTEEN_CHARS", "FOURTEEN_CHARS_E", "FOURTEEN_CHARS_P"
    }  # fmt: skip


# --- callers --------------------------------------------------------------------------------------


def noted(site):
    """The unknown callers, once there is one: nobody waits for it to be written."""
    eventually(lambda: site.ask(callers.everyone))
    return site.ask(callers.everyone)


def rejection(association):
    assert association.is_rejected
    answer = association.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_an_unknown_caller_may_verify_and_nothing_else_and_is_noted_once(start):
    site = start(trust_loopback=False)
    for _ in range(2):
        with site.association(VERIFICATION, STUDY_FIND, CT, title="STRANGER") as association:
            assert association.send_c_echo().Status == 0x0000
            (accepted,) = association.accepted_contexts
            assert accepted.abstract_syntax == VERIFICATION
    (caller,) = noted(site)
    assert (caller.protocol, caller.title, caller.address) == ("dicom", "STRANGER", "127.0.0.1")
    assert "not in the peer list" in caller.reason


def test_an_unknown_caller_that_does_not_verify_is_rejected(start):
    site = start(trust_loopback=False)
    with site.association(STUDY_FIND, title="STRANGER") as association:
        assert rejection(association) == (1, 1, 3)


def test_the_right_title_from_another_address_is_unknown(start):
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", "192.0.2.1", 104))
    with site.association(STUDY_FIND) as association:
        assert rejection(association) == (1, 1, 3)
    (caller,) = noted(site)
    assert "another address" in caller.reason


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::ffff:127.0.0.1"])
def test_a_peer_is_served_by_address_or_name(start, host):
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", host, 104))
    with site.association(STUDY_FIND, CT) as association:
        assert len(association.accepted_contexts) == 2
    assert site.ask(callers.everyone) == []


def test_callers_come_by_ipv6_too(start):
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", "0:0:0:0:0:0:0:1", 104))
    with site.association(STUDY_FIND, host="::1") as association:
        assert association.is_established
    with site.association(STUDY_FIND, host="127.0.0.1") as association:
        assert rejection(association) == (1, 1, 3)


def test_a_peer_that_is_switched_off_is_unknown(start):
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104, enabled=False))
    with site.association(STUDY_FIND) as association:
        assert rejection(association) == (1, 1, 3)


@pytest.mark.parametrize(
    ("permission", "offered"),
    [
        ("may_store", {CT}),
        ("may_query", {STUDY_FIND, PATIENT_FIND}),
        ("may_worklist", {WORKLIST}),
        ("may_retrieve", {STUDY_GET, CT}),
    ],
)
def test_a_peer_gets_the_services_it_is_permitted(start, permission, offered):
    site = start(trust_loopback=False)
    none = dict.fromkeys(("may_store", "may_query", "may_retrieve", "may_worklist"), False)
    site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104, **(none | {permission: True})))
    every = (CT, STUDY_FIND, PATIENT_FIND, WORKLIST, STUDY_GET)
    with site.association(VERIFICATION, *every) as association:
        accepted = {context.abstract_syntax for context in association.accepted_contexts}
    assert accepted == offered | {VERIFICATION}


def test_a_peer_that_may_only_retrieve_cannot_store(start):
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104, may_store=False))
    assert site.send(ct()) == [0x0124]
    assert site.received() == []


PRIVATE = "1.2.826.0.1.3680043.8.498.777"


@pytest.mark.parametrize(
    ("private", "accepted"),
    [((), set()), ((PRIVATE,), {PRIVATE}), ((PRIVATE, "1.2.3.4"), {PRIVATE, "1.2.3.4"})],
)
def test_private_sop_classes_are_accepted_by_setting(start, private, accepted):
    site = start(private_sop_classes=private)
    with site.association(VERIFICATION, PRIVATE, "1.2.3.4") as association:
        found = {context.abstract_syntax for context in association.accepted_contexts}
    assert found == accepted | {VERIFICATION}


def test_a_private_sop_class_is_no_way_to_a_service_that_is_denied(start):
    site = start(trust_loopback=False, private_sop_classes=(STUDY_FIND, STUDY_GET))
    site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104, may_query=False, may_retrieve=False))
    with site.association(VERIFICATION, STUDY_FIND, STUDY_GET) as association:
        assert len(association.accepted_contexts) == 1


def test_transfer_syntaxes_that_we_do_not_know_are_never_accepted(start):
    site = start(private_sop_classes=(PRIVATE,))
    unknown = build_context(PRIVATE, ["1.2.3.4.5"])
    deflated = build_context(CT, ["1.2.840.10008.1.2.1.99"])
    with site.association(VERIFICATION, unknown, deflated) as association:
        assert len(association.accepted_contexts) == 1
        assert {context.result for context in association.rejected_contexts} == {4}


def test_what_a_peer_may_not_have_is_said_once(start):
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104, may_store=False, may_retrieve=False))
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        for _ in range(2):
            with site.association(VERIFICATION, CT, PRIVATE) as association:
                assert len(association.accepted_contexts) == 1
    finally:
        globalLogPublisher.removeObserver(events.append)
    lines = [line for line in map(formatEvent, events) if line and "not accepted" in line]
    assert len(lines) == 1
    assert f"{CT} CT Image Storage (it may neither store nor retrieve)" in lines[0]
    assert PRIVATE in lines[0]


def test_a_users_identity_is_neither_answered_nor_logged(start, caplog):
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 2
    identity.primary_field, identity.secondary_field = b"somebody", b"secret word"
    identity.positive_response_requested = True
    events = []
    globalLogPublisher.addObserver(events.append)
    try:
        with start(debug=True).association(VERIFICATION, ext_neg=[identity]) as association:
            assert association.send_c_echo().Status == 0x0000
            assert association.acceptor.user_identity is None
    finally:
        globalLogPublisher.removeObserver(events.append)
    logged = " ".join(formatEvent(event) for event in events)
    assert "TESTER" in logged
    assert "secret word" not in logged
    assert "somebody" not in logged


def test_what_speaks_something_else_is_noted(start):
    site = start()
    peer = Raw(site.port)
    peer.send(b"GET / HTTP/1.1\r\n\r\n")
    assert ends(peer)
    (caller,) = noted(site)
    assert (caller.title, caller.address) == ("", "127.0.0.1")
    assert "does not begin like DICOM" in caller.reason


def test_while_the_database_is_away_known_peers_are_served_and_others_told_to_come_again(start):
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104))
    with site.association(VERIFICATION) as association:
        assert association.is_established
    site.reactor_thread.run(site.database.stop)
    with site.association(VERIFICATION) as association:
        assert association.is_established
    with site.association(VERIFICATION, title="OTHER") as association:
        assert rejection(association) == (2, 3, 1)


def test_too_many_associations_are_told_to_come_again(start):
    site = start(maximum_associations=2)
    one, another, third = (site.association(VERIFICATION) for _ in range(3))
    with one, another, third as refused:
        assert rejection(refused) == (2, 3, 2)
    eventually(lambda: site.server.counts() == (0, 0))
    with site.association(VERIFICATION) as association:
        assert association.is_established


def test_connections_that_never_associate_keep_nobody_out(start):
    site = start(maximum_associations=2, association_timeout=2.0)
    idle = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(20)]
    with site.association(VERIFICATION) as association:
        assert association.send_c_echo().Status == 0x0000
    for connection in idle:
        connection.settimeout(10)
        assert connection.recv(100) == b""
    eventually(lambda: site.server.counts() == (0, 0))


def test_connections_of_one_address_make_room_for_its_next_one(start, monkeypatch):
    monkeypatch.setattr("santepacs.dicom.entity.LIMITS", Limits(of_one_network=3))
    site = start()
    idle = [Raw(site.port) for _ in range(3)]
    eventually(lambda: site.server.counts()[0] == 3)
    with site.association(VERIFICATION) as association:
        assert association.send_c_echo().Status == 0x0000
        assert ends(idle[0])
        eventually(lambda: site.server.counts() == (3, 1))


def test_strangers_cannot_take_every_association(start, monkeypatch):
    monkeypatch.setattr("santepacs.dicom.associations.STRANGERS", 1)
    site = start(trust_loopback=False)
    site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104))
    stranger = site.association(VERIFICATION, title="STRANGER")
    another = site.association(VERIFICATION, title="ANOTHER")
    with stranger, another as refused, site.association(VERIFICATION) as association:
        assert rejection(refused) == (2, 3, 2)
        assert association.is_established


# --- the upper layer ------------------------------------------------------------------------------


ABORT = 7


def ends(peer, seconds=5):
    """Whether the server ends the connection in time and says nothing before but A-ABORT."""
    peer.socket.settimeout(seconds)
    kind = ABORT
    while kind == ABORT:
        kind, _ = peer.receive()
    return kind is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x01\x00\xff\xff\xff\xff" + bytes(1000),
        pdu(4, bytes(100)),
        pdu(5, bytes(4)),
        pdu(7, bytes(4)),
        pdu(1, bytes(68)),
        pdu(1, b"\0\1\0\0" + b"\xff" * 200),
        pdu(9, b"x"),
    ],
)
def test_what_is_no_association_request_ends_the_connection(start, data):
    peer = Raw(start().port)
    peer.send(data)
    assert ends(peer)


@pytest.mark.parametrize("beginning", [b"\x01", b"\x01\x00\x00", b"\x01\0\0\0\0\xff" + bytes(9)])
def test_a_request_that_stalls_is_given_up(start, beginning):
    site = start(association_timeout=1.0)
    peer = Raw(site.port)
    peer.send(beginning)
    assert ends(peer)
    eventually(lambda: site.server.counts() == (0, 0))


@pytest.mark.parametrize(
    "data",
    [
        pdu(4, struct.pack(">LBB", 0, 1, 3)),
        pdu(4, struct.pack(">LB", 1, 1)),
        pdu(4, struct.pack(">LBB", 0xFFFFFFFF, 1, 3)),
        pdu(4, struct.pack(">LBB", 500, 1, 3) + b"x"),
        p_data(3, b"garbage!" * 4),
        p_data(3, store_command()[:40]),
        p_data(0, b"data without a command"),
        p_data(2, b"data without a command"),
        p_data(1, bytes(100_000)),
        p_data(3, store_command(), context_id=99),
        p_data(3, store_command()),
        b"\x04\x00\xff\xff\xff\xff",
        b"\x04\x00\x7f\xff\xff\xff" + bytes(1000),
        pdu(1, bytes(100)),
        pdu(2, bytes(100)),
        pdu(99, bytes(8)),
    ],
)
def test_nonsense_in_an_association_ends_it_and_nothing_stays(start, data):
    site = start()
    peer = Raw(site.port)
    peer.associate()
    peer.send(data)
    assert ends(peer)
    eventually(lambda: site.server.counts() == (0, 0))
    assert site.received() == []
    with site.association(VERIFICATION) as association:
        assert association.send_c_echo().Status == 0x0000


def test_a_pdu_that_stalls_in_an_association_ends_it(start):
    site = start(network_timeout=1.0)
    peer = Raw(site.port)
    peer.associate()
    peer.send(p_data(3, store_command())[:-5])
    assert ends(peer)


def test_an_idle_association_is_ended(start):
    site = start(network_timeout=1.0)
    peer = Raw(site.port)
    peer.associate()
    assert ends(peer)


def test_many_contexts_are_negotiated_and_too_long_a_request_is_not(start):
    site = start()
    peer = Raw(site.port)
    peer.associate(contexts=[(CT, ImplicitVRLittleEndian)] * 127)
    peer.close()
    peer = Raw(site.port)
    peer.send(pdu(1, bytes(provider.LARGEST_REQUEST + 1))[:100])
    assert ends(peer)


@pytest.fixture
def spooled_at_once(monkeypatch):
    """Every object goes to a file, however small."""
    monkeypatch.setattr(spool, "IN_MEMORY", 0)


def object_on_the_way(site):
    """A peer in the middle of sending an object."""
    peer = Raw(site.port)
    peer.associate(contexts=[(CT, ImplicitVRLittleEndian)])
    peer.send(p_data(3, store_command()))
    peer.send(p_data(0, bytes(10_000)))
    eventually(site.received)
    return peer


@pytest.mark.usefixtures("spooled_at_once")
def test_an_object_cut_off_by_the_end_of_its_connection_leaves_nothing(start):
    site = start()
    peer = object_on_the_way(site)
    peer.close()
    eventually(lambda: not site.received())


@pytest.mark.usefixtures("spooled_at_once")
def test_an_object_cut_off_by_an_abort_leaves_nothing(start):
    site = start()
    peer = object_on_the_way(site)
    peer.send(pdu(ABORT, bytes(4)))
    eventually(lambda: not site.received())


@pytest.mark.usefixtures("spooled_at_once")
def test_an_object_without_end_is_cut_off(start, monkeypatch):
    monkeypatch.setattr("santepacs.dicom.spool.LARGEST_OBJECT", 50_000)
    site = start()
    peer = object_on_the_way(site)
    for _ in range(10):
        peer.send(p_data(0, bytes(10_000)))
    assert ends(peer)
    eventually(lambda: not site.received())


def test_an_identifier_without_end_is_cut_off(start, monkeypatch):
    monkeypatch.setattr(messages, "LARGEST_IDENTIFIER", 10_000)
    site = start()
    peer = Raw(site.port)
    peer.associate(contexts=[(STUDY_FIND, ImplicitVRLittleEndian)])
    find = store_command(STUDY_FIND).replace(b"\0\0\0\1\2\0\0\0\1\0", b"\0\0\0\1\2\0\0\0\x20\0")
    peer.send(p_data(3, find))
    peer.send(p_data(0, bytes(11_000)))
    assert ends(peer)


# --- stopping -------------------------------------------------------------------------------------


def test_stopping_ends_idle_associations_soon_and_leaves_no_thread(start):
    site = start()
    with site.association(VERIFICATION) as association:
        started = time.monotonic()
        site.server.stop(10)
        assert time.monotonic() - started < 5
        eventually(lambda: not association.is_established)
    eventually(lambda: site.server.counts() == (0, 0))
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", site.port), 1)


@pytest.mark.usefixtures("spooled_at_once")
def test_stopping_lets_an_object_come_in_that_is_on_its_way(start):
    site = start()
    data = encoded(ct(transfer_syntax=ImplicitVRLittleEndian))
    dataset = data[data.index(b"DICM") + 4 :]
    length = struct.unpack("<L", dataset[8:12])[0]
    dataset = dataset[12 + length :]
    peer = Raw(site.port)
    peer.associate(contexts=[(CT, ImplicitVRLittleEndian)])
    peer.send(p_data(3, store_command(sop_instance=ct().SOPInstanceUID.encode())))
    peer.send(p_data(0, dataset[:100]))
    eventually(site.received)
    stopping = threading.Thread(target=site.server.stop, args=(10,))
    stopping.start()
    time.sleep(1.5)  # longer than an idle association would be left alone
    peer.send(p_data(2, dataset[100:]))
    kind, body = peer.receive()
    assert kind == 4
    assert body.endswith(struct.pack("<HHLH", 0, 0x0900, 2, 0)) or b"\0\0\0\t\2\0\0\0\0\0" in body
    stopping.join(10)
    assert not stopping.is_alive()


# --- santepacs as SCU -----------------------------------------------------------------------------


def test_a_peer_is_echoed(start):
    site = start()
    Client(site.settings).echo(Peer("SANTEPACS", "127.0.0.1", site.port))
    Client(site.settings).echo(Peer("SANTEPACS", "localhost", site.port))


def test_an_echo_says_why_it_failed(start):
    site = start(service_timeout=1.0)
    client = Client(site.settings)
    with pytest.raises(Forbidden, match="does not answer to this AE title"):
        client.echo(Peer("WRONG", "127.0.0.1", site.port))
    with closing_port() as port:
        pass
    with pytest.raises(Unavailable, match="does not answer at"):
        client.echo(Peer("NOBODY", "127.0.0.1", port))
    with pytest.raises(Unavailable, match="Name or service not known"):
        client.echo(Peer("NOBODY", "nowhere.invalid", 104))


def test_a_peer_that_says_nothing_is_given_up_after_the_service_timeout(start):
    site = start(service_timeout=1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        with pytest.raises(Unavailable):
            Client(site.settings).echo(Peer("SILENT", "127.0.0.1", silent.getsockname()[1]))
        assert time.monotonic() - started < 8


@pytest.mark.parametrize("length", [1, 2, 6, 7, 127])
def test_a_caller_that_takes_too_little_at_a_time_is_aborted(start, length):
    peer = Raw(start().port)
    peer.send(associate_request(maximum=length))
    assert peer.receive()[0] == 7
    peer.close()


@pytest.mark.parametrize("name", [b"OLD\\DEVICE", b"GER\xc4T", b"\x01\x02", b""])
def test_an_implementation_of_a_strange_name_is_served(start, name):
    peer = Raw(start().port)
    peer.send(associate_request(user=item(0x55, name)))
    assert peer.receive()[0] == 2
    peer.close()


def test_a_context_that_proposes_nothing_is_refused_alone(start):
    peer = Raw(start().port)
    empty = item(0x20, bytes([3, 0, 0, 0]) + item(0x30, VERIFICATION.encode()) + item(0x40, b""))
    peer.send(associate_request(context(1, VERIFICATION), empty))
    kind, answer = peer.receive()
    assert kind == 2
    assert item(0x21, b"")[:1] + b"\0" in answer
    peer.send(p_data(3, command((0x0002, VERIFICATION.encode() + b"\0"), (0x0100, b"\x30\0"),
                                (0x0110, b"\1\0"), (0x0800, b"\1\1"))))  # fmt: skip
    assert peer.receive()[0] == 4
    peer.close()


def test_a_stopping_server_says_so_to_who_is_idle(start):
    site = start()
    peer = Raw(site.port)
    peer.associate()
    site.server.stop(0)
    assert peer.receive() == (7, bytes(4))
    peer.close()
