"""DICOM over TLS: the settings, what is spoken, and whom a certificate stands for."""

import os
import socket
import ssl
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from santepacs.db import callers, peers
from santepacs.dicom import tls
from santepacs.dicom.client import Client
from santepacs.dicom.connection import Ended
from santepacs.dicom.tls import ServerContext, client_context, fingerprint, server_context
from santepacs.errors import Malformed, Unavailable
from santepacs.model.peers import Peer
from santepacs.settings import Settings
from support.certificates import Authority
from support.dicom import (
    CT,
    STUDY_FIND,
    VERIFICATION,
    Raw,
    associate_request,
    eventually,
    running_dicom,
)


class Keys:
    """Files of one test."""

    def __init__(self, folder):
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate, self.key = map(str, self.authority.issue("server"))
        self.peer_certificate, self.peer_key = map(str, self.authority.issue("peer"))
        self.ca = str(self.authority.path)

    def settings(self, **more):
        own = {"tls_certificate": self.certificate, "tls_private_key": self.key}
        return replace(Settings().dicom, **(own | more))

    @property
    def peer_fingerprint(self):
        return fingerprint(tls.read_certificate(self.peer_certificate))

    def caller(self, *, certificate=True):
        """A peer's context."""
        context = ssl.create_default_context(cafile=self.ca)
        if certificate:
            context.load_cert_chain(self.peer_certificate, self.peer_key)
        return context


@pytest.fixture
def keys(tmp_path_factory):
    return Keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def start(reactor_thread, database_dsn, tmp_path, keys):
    """Starts a server with TLS."""
    sites = []

    def started(**dicom):
        own = {"tls_certificate": keys.certificate, "tls_private_key": keys.key}
        if dicom.get("tls_client_certificates", "no") != "no":
            own["tls_ca"] = keys.ca
        context = running_dicom(reactor_thread, database_dsn, tmp_path, **(own | dicom))
        sites.append(context)
        return context.__enter__()

    yield started
    for context in sites:
        context.__exit__(None, None, None)


@contextmanager
def association(site, keys, *sop_classes, certificate=True, **arguments):
    context = keys.caller(certificate=certificate)
    with site.association(
        *sop_classes, port=site.tls_port, tls_args=(context, "localhost"), **arguments
    ) as made:
        yield made


# --- settings -------------------------------------------------------------------------------------


def test_the_profile_is_bcp_195(keys):
    context = server_context(keys.settings())
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or cipher["name"].startswith("ECDHE-")


@pytest.mark.parametrize(
    ("wanted", "mode"),
    [("no", ssl.CERT_NONE), ("if given", ssl.CERT_OPTIONAL), ("required", ssl.CERT_REQUIRED)],
)
def test_clients_certificates_are_asked_for_by_setting(keys, wanted, mode):
    given = keys.settings(tls_client_certificates=wanted, tls_ca=keys.ca)
    assert server_context(given).verify_mode == mode


def test_a_key_in_the_certificates_file_is_found_there(keys, tmp_path):
    both = tmp_path / "both.pem"
    both.write_bytes(b"".join(Path(path).read_bytes() for path in (keys.key, keys.certificate)))
    assert server_context(keys.settings(tls_certificate=str(both), tls_private_key=""))


def encrypted_key(folder):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    path = folder / "encrypted.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    return str(path)


@pytest.mark.parametrize(
    ("setting", "value", "named"),
    [
        ("tls_certificate", "", "dicom.tls_certificate"),
        ("tls_certificate", "missing", "dicom.tls_certificate"),
        ("tls_certificate", "empty", "dicom.tls_certificate"),
        ("tls_certificate", "key", "dicom.tls_certificate"),
        ("tls_certificate", "folder", "dicom.tls_certificate"),
        ("tls_private_key", "missing", "dicom.tls_private_key"),
        ("tls_private_key", "empty", "dicom.tls_private_key"),
        ("tls_private_key", "", "dicom.tls_private_key"),
        ("tls_private_key", "certificate", "dicom.tls_private_key"),
        ("tls_private_key", "other key", "does not belong"),
        ("tls_private_key", "encrypted", "dicom.tls_private_key"),
        ("tls_ca", "", "dicom.tls_ca"),
        ("tls_ca", "missing", "dicom.tls_ca"),
        ("tls_ca", "empty", "dicom.tls_ca"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line_naming_its_setting(
    keys, tmp_path, setting, value, named
):
    empty = tmp_path / "empty.pem"
    empty.touch()
    files = {
        "": "",
        "missing": str(tmp_path / "missing.pem"),
        "empty": str(empty),
        "folder": str(tmp_path),
        "key": keys.key,
        "certificate": keys.certificate,
        "other key": keys.peer_key,
        "encrypted": encrypted_key(tmp_path),
    }
    given = keys.settings(
        **{"tls_client_certificates": "required", "tls_ca": keys.ca, setting: files[value]}
    )
    with pytest.raises(Malformed) as caught:
        server_context(given)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    if value:
        assert files[value] in str(caught.value)


def test_a_renewed_certificate_is_taken_and_a_broken_one_is_not(keys):
    given = keys.settings()
    context = ServerContext(lambda: given)
    first = context.current
    assert not context.renew()
    assert context.current is first
    keys.authority.issue("server")
    assert context.renew()
    second = context.current
    assert second is not first
    os.truncate(keys.key, 10)
    with pytest.raises(Malformed, match=r"dicom\.tls_private_key"):
        context.renew()
    assert not context.renew()
    assert context.current is second


# --- associations ---------------------------------------------------------------------------------


def test_an_echo_is_answered_over_tls(start, keys):
    with association(start(), keys, VERIFICATION, certificate=False) as made:
        assert made.send_c_echo().Status == 0x0000


def test_both_ports_serve_at_once(start, keys):
    site = start()
    with association(site, keys, VERIFICATION) as one, site.association(VERIFICATION) as other:
        assert one.is_established
        assert other.is_established
        eventually(lambda: site.server.counts() == (2, 2))
    eventually(lambda: site.server.counts() == (0, 0))


def rejection(made):
    assert made.is_rejected
    answer = made.acceptor.primitive
    return answer.result, answer.result_source, answer.diagnostic


def test_rejections_come_over_tls_with_their_reasons(start, keys):
    site = start(trust_loopback=False)
    with association(site, keys, VERIFICATION, called="OTHER") as made:
        assert rejection(made) == (1, 1, 7)
    with association(site, keys, CT, title="STRANGER") as made:
        assert rejection(made) == (1, 1, 3)
    eventually(lambda: len(site.ask(callers.everyone)) == 2)


def test_the_most_associations_are_those_of_both_ports(start, keys):
    site = start(maximum_associations=1)
    with (
        site.association(VERIFICATION) as first,
        association(site, keys, VERIFICATION) as refused,
    ):
        assert first.is_established
        assert rejection(refused) == (2, 3, 2)


@pytest.mark.parametrize("wanted", ["if given", "required"])
def test_a_certificate_stands_for_the_address_of_its_peer(start, keys, wanted):
    site = start(trust_loopback=False, tls_client_certificates=wanted)
    far = Peer("TESTER", "192.0.2.1", 104, certificate=keys.peer_fingerprint)
    site.ask(peers.add, far)
    with association(site, keys, STUDY_FIND) as made:
        assert made.is_established
    with site.association(STUDY_FIND) as made:
        assert rejection(made) == (1, 1, 3)
    site.ask(peers.change, "TESTER", replace(far, certificate="0" * 64))
    with association(site, keys, STUDY_FIND) as made:
        assert rejection(made) == (1, 1, 3)


def test_a_certificate_is_not_looked_at_unless_it_is_asked_for(start, keys):
    site = start(trust_loopback=False, tls_client_certificates="no")
    site.ask(peers.add, Peer("TESTER", "192.0.2.1", 104, certificate=keys.peer_fingerprint))
    with association(site, keys, STUDY_FIND) as made:
        assert rejection(made) == (1, 1, 3)


def handshake(site, context):
    """The version and cipher that are agreed."""
    with (
        socket.create_connection(("127.0.0.1", site.tls_port), 10) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(associate_request())
        assert wrapped.recv(1) == b"\2"
        return wrapped.version()


def test_a_required_certificate_must_be_there_and_ours(start, keys, tmp_path):
    site = start(tls_client_certificates="required")
    assert handshake(site, keys.caller()) == "TLSv1.3"
    foreign = Authority(tmp_path, "foreign")
    strange = keys.caller(certificate=False)
    strange.load_cert_chain(*map(str, foreign.issue("stranger")))
    for context in (keys.caller(certificate=False), strange):
        with pytest.raises(OSError):
            handshake(site, context)
    eventually(lambda: site.server.counts() == (0, 0))


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_protocols_are_refused(start, keys):
    site = start()
    context = keys.caller()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(site, context) == "TLSv1.2"
    with suppress(ValueError):  # where even OpenSSL knows no older one
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError):
            handshake(site, context)


def test_who_does_not_finish_the_handshake_keeps_nobody_out(start, keys, monkeypatch):
    monkeypatch.setattr("santepacs.dicom.associations.UNDECIDED_OF_NETWORK", 4)
    site = start(association_timeout=2.0)
    hello = b"\x16\x03\x01\x00\x06\x01" + bytes(5)
    stalled = [Raw(site.tls_port) for _ in range(8)]
    for each in stalled:
        each.send(hello)
    eventually(lambda: site.server.counts()[0] <= 4)
    with association(site, keys, VERIFICATION) as made:
        assert made.send_c_echo().Status == 0x0000
    eventually(lambda: site.server.counts() == (0, 0))


def test_plain_dicom_is_turned_away_from_the_tls_port_and_tls_from_the_plain_one(start, keys):
    site = start()
    peer = Raw(site.tls_port)
    peer.send(associate_request())
    assert peer.receive()[0] == 7
    with pytest.raises(OSError):
        handshake(site_with(site.port), keys.caller())
    eventually(lambda: site.ask(callers.everyone))
    reasons = {caller.reason for caller in site.ask(callers.everyone)}
    assert reasons <= {
        "it speaks DICOM without TLS, on the port for TLS",
        "what it sends does not begin like DICOM",
    }


def site_with(port):
    class Site:
        tls_port = port

    return Site


# --- calling others -------------------------------------------------------------------------------


def test_a_peer_is_called_with_tls(start, keys):
    site = start(tls_ca="")
    client = Client(site.settings)
    peer = Peer("SANTEPACS", "localhost", site.tls_port, tls=True)
    with pytest.raises(Unavailable):
        client.echo(peer)  # its authority is none of the system's
    site.settings.dicom = replace(site.settings.dicom, tls_ca=keys.ca)
    client.echo(peer)


@pytest.mark.parametrize(
    ("code", "words"),
    [(10, "has expired"), (20, "no authority in dicom.tls_ca"), (62, "another host"),
     (23, "is not valid (revoked)")],
)  # fmt: skip
def test_what_is_wrong_with_a_certificate_is_said(code, words):
    error = ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED")
    error.verify_code, error.verify_message = code, "revoked"
    assert words in tls.reason(error)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "shows no certificate"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not know the authority of our certificate"),
        ("SSLV3_ALERT_CERTIFICATE_EXPIRED", "our certificate has expired"),
        ("WRONG_VERSION_NUMBER", "does not speak TLS"),
        ("the TLS handshake took too long", "took too long"),
        ("SOMETHING_NEW", "SOMETHING_NEW"),
    ],
)
def test_what_openssl_says_is_said_in_words(said, words):
    assert words in tls.reason(Ended(said))


def made_of(error):
    """What a connection makes of an error."""
    try:
        try:
            raise error
        except OSError:
            raise Ended("the TLS handshake failed: X") from None
    except Ended as problem:
        return problem


def test_the_error_behind_an_error_is_looked_at():
    assert "ends the connection" in tls.reason(made_of(ConnectionResetError()))
    error = ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED")
    error.verify_code, error.verify_message = 10, ""
    assert tls.reason(made_of(error)) == "its certificate has expired"


@pytest.mark.parametrize(
    ("host", "own", "peer", "words"),
    [
        ("127.0.0.1", {}, {}, "names another host"),
        ("localhost", {"tls_ca": ""}, {}, "no authority in dicom.tls_ca"),
        ("localhost", {}, {"tls": False}, "perhaps it expects TLS"),
        ("localhost", {}, {"port": "plain"}, "it does not speak TLS"),
        ("localhost", {"tls_client_certificates": "required"}, {}, "our certificate"),
    ],
)
def test_a_call_over_tls_says_why_it_failed(start, keys, host, own, peer, words):
    site = start(**({"tls_ca": keys.ca} | own))
    port = site.port if peer.get("port") else site.tls_port
    settings = site.settings
    if own.get("tls_client_certificates"):
        settings = Settings()
        settings.dicom = replace(site.settings.dicom, tls_certificate="", tls_private_key="")
    called = Peer("SANTEPACS", host, port, tls=peer.get("tls", True))
    with pytest.raises(Unavailable) as caught:
        Client(settings).echo(called)
    assert f"{port}" in str(caught.value)
    assert words in str(caught.value)


def test_an_expired_certificate_is_named_as_such(start, keys):
    day = timedelta(days=1)
    old, key = map(str, keys.authority.issue("old", valid=(-3 * day, -2 * day)))
    site = start(tls_certificate=old, tls_private_key=key)
    settings = Settings()
    settings.dicom = keys.settings(tls_ca=keys.ca)
    with pytest.raises(Unavailable, match="its certificate has expired"):
        Client(settings).echo(Peer("SANTEPACS", "localhost", site.tls_port, tls=True))
    assert tls.expiry(tls.read_certificate(old)) < tls.expiry(
        tls.read_certificate(keys.certificate)
    )


def test_a_pinned_certificate_needs_no_authority(keys):
    context = client_context(keys.settings(tls_ca=""), pinned=True)
    assert context.verify_mode == ssl.CERT_NONE
    assert client_context(keys.settings(), pinned=False).check_hostname
