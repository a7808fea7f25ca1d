"""Who may associate: peers by title, address, name and certificate; everybody else."""

from dataclasses import replace

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import formatEvent

from santepacs.access import unknown
from santepacs.access.unknown import UnknownCallers
from santepacs.db import callers, peers
from santepacs.dicom.admission import PATIENCE, Admission, Caller
from santepacs.dicom.proposal import (
    CALLED_TITLE_UNKNOWN,
    CALLING_TITLE_UNKNOWN,
    TOO_MANY,
    WRONG_APPLICATION_CONTEXT,
    WRONG_PROTOCOL_VERSION,
)
from santepacs.dicom.request import parse
from santepacs.errors import Unavailable
from santepacs.host.names import HostNames
from santepacs.model.peers import Address, Peer
from santepacs.settings import Settings
from support.archive import running_site
from support.dicom import CT, STUDY_FIND, VERIFICATION, associate_request, eventually

IMPLICIT = "1.2.840.10008.1.2"
HERE = "192.0.2.7"
ELSEWHERE = "192.0.2.99"
FINGERPRINT = "0123456789abcdef" * 4
NAMES = {
    "ct1.example.org": frozenset({HERE}),
    "two.example.org": frozenset({"192.0.2.8", "2001:db8::8"}),
}


class Crowd:
    full = full_for_strangers = False

    def is_full(self):
        return self.full

    def is_full_for_strangers(self):
        return self.full_for_strangers


class AdmissionSite:
    """An admission on a real database, with names of its own."""

    def __init__(self, site, **dicom):
        self.site = site
        self.clock = Clock()
        self.crowd = Crowd()
        self.looked_up = []
        settings = Settings()
        settings.dicom = replace(settings.dicom, **dicom)
        self.admission = Admission(
            self.clock,
            settings,
            site.database,
            HostNames(site.threads, self.clock.seconds, self._resolve),
            UnknownCallers(site.database, self.clock),
            self.crowd,
        )

    def _resolve(self, host):
        self.looked_up.append(host)
        return NAMES.get(host, frozenset())

    def add(self, *arguments, **keywords):
        self.site.ask(peers.add, Peer(*arguments, **keywords))

    def decide(
        self, calling="CT1", address=HERE, certificate=None, contexts=(VERIFICATION, CT), **more
    ):
        request = parse(
            associate_request(
                calling=calling.encode(), contexts=[(uid, IMPLICIT) for uid in contexts]
            )
        )
        return self.site.reactor_thread.run(
            self.admission.decide, replace(request, **more), address, certificate
        )

    def noted(self):
        return self.site.ask(callers.everyone)


@pytest.fixture
def admitting(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as site:
        yield lambda **dicom: AdmissionSite(site, **dicom)


# --- peers ----------------------------------------------------------------------------------------


def test_a_peer_gets_its_permissions(admitting):
    site = admitting()
    site.add("CT1", HERE, 104, may_query=False, may_worklist=False, may_move_to_others=True)
    caller = site.decide()
    assert caller == Caller("CT1", HERE, True, False, True, False, may_move_to_others=True)
    site.site.ask(peers.change, "CT1", Peer("CT1", HERE, 104, may_retrieve=False))
    assert site.decide() == Caller("CT1", HERE, True, True, False, True)


@pytest.mark.parametrize("address", [HERE, "192.0.2.8", "2001:db8::8", "2001:db8::9", "192.0.2.10"])
def test_a_peer_may_call_from_any_of_its_addresses(admitting, address):
    site = admitting()
    others = (Address("two.example.org", 105), Address("2001:DB8:0::9", 106),
              Address("::ffff:192.0.2.10", 107))  # fmt: skip
    site.add("CT1", "ct1.example.org", 104, other_addresses=others)
    assert site.decide(address=address).reason == ""
    assert "another address" in site.decide(address=ELSEWHERE, calling="CT1").reason


def test_a_mapped_address_is_the_address_that_it_maps(admitting):
    site = admitting()
    site.add("CT1", HERE, 104)
    caller = site.decide(address=f"::ffff:{HERE}")
    assert (caller.reason, caller.address) == ("", HERE)


def test_names_are_looked_up_only_where_an_address_does_not_settle_it(admitting):
    site = admitting()
    site.add("CT1", "ct1.example.org", 104, other_addresses=(Address(HERE, 104),))
    assert site.decide().reason == ""
    assert site.looked_up == []


def test_a_name_service_that_does_not_answer_costs_some_seconds(admitting):
    site = admitting()
    site.add("CT1", "slow.example.org", 104)
    asked, result = [], []

    def addresses(host):
        asked.append(host)
        return Deferred()

    site.admission._names.addresses = addresses

    def ask():
        Deferred.fromCoroutine(site.admission.caller("CT1", HERE)).addBoth(result.append)

    site.site.reactor_thread.run(ask)
    eventually(lambda: asked == ["slow.example.org"])
    site.site.reactor_thread.run(site.clock.advance, PATIENCE + 0.1)
    assert "slow name service" in result[0].reason


def test_a_name_without_addresses_is_said(admitting):
    site = admitting()
    others = (Address("two.example.org", 104),)
    site.add("CT1", "gone.example.org", 104, other_addresses=others)
    reason = site.decide(address=ELSEWHERE).reason
    assert "gone.example.org in the peer list has no address" in reason
    assert site.decide(address="192.0.2.8").reason == ""


def test_the_right_certificate_stands_for_the_address(admitting):
    site = admitting()
    site.add("CT1", HERE, 104, certificate=FINGERPRINT)
    assert site.decide(address=ELSEWHERE, certificate=FINGERPRINT).reason == ""
    assert site.decide(address=HERE).reason == ""
    for wrong, words in (
        (None, "no certificate was verified"),
        ("", "no certificate was verified"),
        ("f" * 64, "another certificate"),
    ):
        reason = site.decide(address=ELSEWHERE, certificate=wrong).reason
        assert "another address" in reason
        assert words in reason


@pytest.mark.parametrize("shown", [None, "", FINGERPRINT])
def test_a_peer_without_certificate_cannot_be_claimed_with_one(admitting, shown):
    site = admitting()
    site.add("CT1", HERE, 104)
    assert "another address" in site.decide(address=ELSEWHERE, certificate=shown).reason


def test_titles_with_spaces_inside_are_titles(admitting):
    site = admitting()
    site.add("CT 1", HERE, 104)
    assert site.decide(" CT 1 ").reason == ""


# --- strangers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("calling", "address", "reason"),
    [
        ("OTHER", HERE, "not in the peer list"),
        ("ct1", HERE, "not in the peer list"),
        ("../../x", HERE, "not in the peer list"),
        ("<script>", HERE, "not in the peer list"),
        ("CT1", ELSEWHERE, "another address"),
        ("OFF", HERE, "switched off"),
    ],
)
def test_an_unknown_caller_may_verify_and_is_noted_with_its_reason(
    admitting, calling, address, reason
):
    site = admitting()
    site.add("CT1", HERE, 104)
    site.add("OFF", HERE, 104, enabled=False)
    caller = site.decide(calling, address)
    assert reason in caller.reason
    permissions = (caller.may_store, caller.may_query, caller.may_retrieve, caller.may_worklist)
    assert permissions == (False,) * 4
    assert not caller.may_move_to_others
    assert site.decide(calling, address, contexts=(CT, STUDY_FIND)) == CALLING_TITLE_UNKNOWN
    eventually(site.noted)
    (noted,) = site.noted()
    assert (noted.protocol, noted.title, noted.address) == ("dicom", calling, address)
    assert reason in noted.reason


def logged(log, ask):
    """The lines that `log` gets while `ask()` runs."""
    events = []
    log.observer, before = events.append, log.observer
    try:
        ask()
    finally:
        log.observer = before
    return [formatEvent(event) for event in events]


def test_a_stranger_is_said_to_be_let_in_or_not_once_for_each_reason(admitting):
    site = admitting()
    site.add("OFF", HERE, 104, enabled=False)

    def ask():
        for _ in range(2):
            site.decide("OFF", contexts=(VERIFICATION,))
            site.decide("OFF", contexts=(CT,))
        site.site.ask(peers.delete, "OFF")
        site.decide("OFF", contexts=(CT,))

    assert logged(unknown.log, ask) == [
        f"alert: dicom caller OFF from {HERE} may verify, no more: the peer is switched off",
        f"alert: dicom caller OFF from {HERE} turned away: the peer is switched off",
        f"alert: dicom caller OFF from {HERE} turned away: the AE title is not in the peer list",
    ]


@pytest.mark.parametrize("calling", ["", "   ", "\0" * 16, "C\0T", "A\\B", "\x7f"])
@pytest.mark.parametrize("address", [HERE, "127.0.0.1"])
def test_a_caller_without_a_title_is_rejected_even_from_this_machine(admitting, calling, address):
    assert admitting().decide(calling, address) == CALLING_TITLE_UNKNOWN


@pytest.mark.parametrize(
    "called",
    ["OTHER", "santepacs", "SANTEPACS_X", "SANTEPACS_TEX", "SANTE PACS", "", "../secret/VICTIM"],
)
@pytest.mark.parametrize("address", [HERE, "127.0.0.1"])
def test_another_called_title_is_rejected_and_noted(admitting, called, address):
    site = admitting()
    site.add("CT1", HERE, 104)
    assert site.decide(address=address, called_ae_title=called) == CALLED_TITLE_UNKNOWN
    eventually(site.noted)
    assert "not this server's AE title" in site.noted()[0].reason


@pytest.mark.parametrize("suffix", ["", "_E", "_P", "_TE", "_TP"])
def test_the_own_title_has_suffixes_for_discs(admitting, suffix):
    site = admitting(ae_title="ARCHIVE")
    assert site.decide(address="::1", called_ae_title="ARCHIVE" + suffix).reason == ""


def test_callers_on_this_machine_are_trusted_by_setting(admitting):
    caller = admitting().decide("ANYBODY", "127.0.0.1")
    assert caller == Caller("ANYBODY", "127.0.0.1", True, True, True, True, "", True)
    assert "peer list" in admitting(trust_loopback=False).decide("ANYBODY", "127.0.0.1").reason


def test_one_source_with_many_titles_is_noted_a_few_times(admitting, monkeypatch):
    monkeypatch.setattr(unknown, "MAXIMUM_TITLES", 3)
    site = admitting()
    for number in range(10):
        site.decide(f"T{number}", HERE)
    site.decide("OTHER", ELSEWHERE)
    eventually(lambda: len(site.noted()) == 4)
    site.clock.advance(unknown.QUIET + 1)
    site.decide("LATER", HERE)
    eventually(lambda: "LATER" in {noted.title for noted in site.noted()})
    assert len(site.noted()) == 5


# --- requests that nobody could accept, and crowds ------------------------------------------------


def test_another_protocol_or_application_is_rejected_with_its_reason(admitting):
    site = admitting()
    assert site.decide(address="::1", protocol_version=2) == WRONG_PROTOCOL_VERSION
    assert site.decide(address="::1", application_context="1.2") == WRONG_APPLICATION_CONTEXT


def test_too_many_are_told_to_come_again(admitting):
    site = admitting()
    site.crowd.full = True
    assert site.decide(address="::1") == TOO_MANY
    assert site.decide("STRANGER") == TOO_MANY
    assert site.noted() == []


def test_too_many_strangers_keep_out_strangers_alone(admitting):
    site = admitting()
    site.add("CT1", HERE, 104)
    site.crowd.full_for_strangers = True
    assert site.decide("STRANGER") == TOO_MANY
    assert site.decide("CT1").reason == ""


# --- without the database -------------------------------------------------------------------------


def test_without_the_database_peers_are_remembered_and_others_told_to_come_again(admitting):
    site = admitting()
    site.add("CT1", HERE, 104)
    site.add("GONE", HERE, 104)
    assert site.decide("CT1").may_store
    assert site.decide("GONE").may_store
    site.site.ask(peers.delete, "GONE")
    assert "peer list" in site.decide("GONE").reason
    site.site.reactor_thread.run(site.site.database.stop)
    assert site.decide("CT1").may_store
    assert "another address" in site.decide("CT1", ELSEWHERE).reason
    for nobody in ("GONE", "OTHER"):
        with pytest.raises(Unavailable):
            site.decide(nobody)


def test_a_database_that_does_not_answer_is_like_one_that_is_away(admitting):
    site = admitting()
    site.add("CT1", HERE, 104)
    assert site.decide("CT1").may_store
    site.admission._database = type("Stuck", (), {"transaction": lambda *_, **__: Deferred()})()
    for title, known in (("CT1", True), ("OTHER", False)):
        result = []

        def ask(title=title, result=result):
            asked = Deferred.fromCoroutine(site.admission.caller(title, HERE))
            asked.addBoth(result.append)
            site.clock.advance(PATIENCE + 0.1)

        site.site.reactor_thread.run(ask)
        assert result[0].may_store if known else result[0].check(Unavailable)
