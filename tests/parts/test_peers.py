"""The list of DICOM peers: what can be one, and how it is kept."""

from dataclasses import replace

import pytest

from santepacs.db import callers, nodes, peers
from santepacs.db.nodes import Node
from santepacs.errors import Conflict, Malformed, NotFound
from santepacs.model.peers import MAXIMUM_ADDRESSES, Address, Peer, checked, is_ae_title
from support.archive import running_site

FINGERPRINT = "0123456789abcdef" * 4
WHOLE = Peer(
    "CT 1",
    "ct1.example.org",
    104,
    may_store=False,
    may_query=False,
    may_retrieve=False,
    may_worklist=False,
    enabled=False,
    other_addresses=(Address("192.0.2.7", 104), Address("2001:db8::7", 11112)),
    may_move_to_others=True,
    tls=True,
    certificate=FINGERPRINT,
)


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as site:
        yield site


# --- what can be a peer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "kept"),
    [("CT1", "CT1"), (" CT1  ", "CT1"), ("CT 1", "CT 1"), ("A" * 16, "A" * 16), ("<script>",) * 2],
)
def test_titles_are_kept_without_the_spaces_around_them(title, kept):
    assert checked(Peer(title, "h", 104)).ae_title == kept
    assert is_ae_title(kept)


@pytest.mark.parametrize(
    "title",
    ["", " ", "A" * 17, "A\\B", "ÄE", "A\nB", "A\0", "A\tB", "\x7f", "A" + " " * 20 + "C"],
)
def test_what_can_be_no_title_is_refused(title):
    with pytest.raises(Malformed, match="AE title"):
        checked(Peer(title, "h", 104))


@pytest.mark.parametrize(
    ("host", "port"),
    [("", 104), ("h/x", 104), ("http://h", 104), ("two words", 104), ("-h", 104), ("h", 0),
     ("h", 65536), ("h" * 300, 104)],
)  # fmt: skip
def test_an_impossible_address_is_refused_wherever_it_stands(host, port):
    with pytest.raises(Malformed, match=r"host|port"):
        checked(Peer("A", host, port))
    with pytest.raises(Malformed, match=r"host|port"):
        checked(Peer("A", "h", 104, other_addresses=(Address(host, port),)))


def test_addresses_are_bounded():
    others = tuple(Address("h", number) for number in range(1, MAXIMUM_ADDRESSES + 1))
    assert checked(Peer("A", "h", 104, other_addresses=others[1:]))
    with pytest.raises(Malformed, match="addresses"):
        checked(Peer("A", "h", 104, other_addresses=others))


@pytest.mark.parametrize("fingerprint", ["0" * 63, "0" * 65, "A" * 64, "x" * 64, ":" * 64])
def test_what_is_no_fingerprint_is_refused(fingerprint):
    with pytest.raises(Malformed, match="fingerprint"):
        checked(Peer("A", "h", 104, certificate=fingerprint))


def test_the_first_address_is_where_we_call():
    first, *others = WHOLE.addresses
    assert first == Address("ct1.example.org", 104)
    assert tuple(others) == WHOLE.other_addresses


def test_nobody_may_move_to_others_unless_that_is_said():
    assert not Peer("A", "h", 104).may_move_to_others


# --- how it is kept -------------------------------------------------------------------------------


@pytest.mark.parametrize("peer", [Peer("A", "h", 1), WHOLE])
def test_a_peer_comes_back_as_it_was_added(site, peer):
    site.ask(peers.add, peer)
    assert site.ask(peers.find, peer.ae_title) == peer
    assert site.ask(peers.everyone) == [peer]


def test_titles_are_told_apart_exactly(site):
    site.ask(peers.add, WHOLE)
    for other in ("ct 1", "CT  1", "CT1", "CT 1 ", ""):
        assert site.ask(peers.find, other) is None


def test_a_title_is_taken_once(site):
    site.ask(peers.add, WHOLE)
    with pytest.raises(Conflict):
        site.ask(peers.add, Peer(" CT 1 ", "h", 104))
    assert site.ask(peers.everyone) == [WHOLE]


def test_who_becomes_known_is_no_unknown_caller_any_more(site):
    for caller in (
        ("dicom", "CT1", "192.0.2.7"),
        ("dicom", "MR1", "192.0.2.8"),
        ("hl7", "", "192.0.2.7"),
        ("hl7", "", "192.0.2.8"),
    ):
        site.ask(callers.note, *caller, "unknown")
    site.ask(peers.add, Peer("CT1", "192.0.2.7", 104))
    site.ask(nodes.add, Node("RIS", "192.0.2.8"))
    left = {(one.protocol, one.address) for one in site.ask(callers.everyone)}
    assert left == {("dicom", "192.0.2.8"), ("hl7", "192.0.2.7")}


def test_every_property_can_be_changed(site):
    site.ask(peers.add, WHOLE)
    for changed in (
        Peer("CT 1", "h", 104),
        Peer("MR1", "h", 105, other_addresses=(Address("g", 1),)),
        replace(WHOLE, ae_title="MR1"),
    ):
        (before,) = site.ask(peers.everyone)
        site.ask(peers.change, before.ae_title, changed)
        assert site.ask(peers.everyone) == [changed]


def test_a_change_to_anothers_title_changes_nothing(site):
    site.ask(peers.add, WHOLE)
    site.ask(peers.add, Peer("MR1", "h", 104))
    with pytest.raises(Conflict):
        site.ask(peers.change, "MR1", WHOLE)
    with pytest.raises(Malformed):
        site.ask(peers.change, "MR1", Peer("MR1", "", 104))
    with pytest.raises(NotFound):
        site.ask(peers.change, "NOBODY", Peer("NOBODY", "h", 104))
    assert site.ask(peers.everyone) == [WHOLE, Peer("MR1", "h", 104)]


def test_a_peer_that_is_gone_leaves_nothing(site):
    site.ask(peers.add, WHOLE)
    site.ask(peers.delete, "CT 1")
    assert site.ask(peers.everyone) == []
    site.ask(peers.add, Peer("CT 1", "h", 104))
    assert site.ask(peers.everyone) == [Peer("CT 1", "h", 104)]
    with pytest.raises(NotFound):
        site.ask(peers.delete, "MR1")
