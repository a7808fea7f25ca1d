"""Where the portal and HL7 nodes may have the server connect to (O-2)."""

import socket
from dataclasses import replace

import pytest

from santepacs.destinations import anywhere, for_dicom, for_hl7
from santepacs.errors import Malformed
from santepacs.settings import Settings
from support.hl7_pages import orm, submit_parts
from support.web import received, running_web


@pytest.mark.parametrize(
    "remote",
    ["169.254.169.254", "169.254.1.1", "fe80::1", "fe80::1%2", "::ffff:169.254.169.254",
     "fd00:ec2::254"],
)  # fmt: skip
@pytest.mark.parametrize("rule", [for_hl7, for_dicom])
def test_link_local_addresses_are_not_connected_to_unless_allowed(rule, remote):
    settings = Settings()
    with pytest.raises(Malformed, match="link-local"):
        rule(settings)(remote, 80, "10.0.0.2")
    settings.server = replace(settings.server, link_local=True)
    rule(settings)(remote, 80, "10.0.0.2")


@pytest.mark.parametrize(
    ("remote", "local"),
    [("127.0.0.1", "127.0.0.1"), ("127.0.0.2", "127.0.0.1"), ("::1", "::1"),
     ("::ffff:127.0.0.1", "::ffff:127.0.0.1"), ("10.0.0.2", "10.0.0.2"),
     ("0.0.0.0", "127.0.0.1"), ("::", "::1")],
)  # fmt: skip
def test_our_other_doors_are_not_connected_to(remote, local):
    settings = Settings()
    for rule, ports in (
        (for_hl7, (settings.web.port, settings.dicom.port)),
        (for_dicom, (settings.web.port, settings.hl7.port)),
    ):
        for port in ports:
            with pytest.raises(Malformed, match="another door"):
                rule(settings)(remote, port, local)
    for_hl7(settings)(remote, settings.hl7.port, local)
    for_dicom(settings)(remote, settings.dicom.port, local)


def test_another_machine_may_use_our_numbers():
    settings = Settings()
    for rule in (for_hl7, for_dicom, lambda _settings: anywhere):
        for port in (settings.web.port, settings.hl7.port, settings.dicom.port, 25):
            rule(settings)("10.0.0.3", port, "10.0.0.2")


# --- through the pages ----------------------------------------------------------------------------


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        running.settings.web = replace(running.settings.web, port=running.port)
        yield running


@pytest.fixture
def admin(web):
    return web.logged_in("boss", administrator=True)


SPELLINGS = ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "127.1", "::1"]


@pytest.mark.parametrize("host", SPELLINGS)
def test_our_web_port_gets_no_message_however_it_is_spelt(web, admin, host):
    fields = {"do": "send", "text": "\n".join(orm()), "host": host, "port": str(web.port)}
    answer = submit_parts(admin, "/hl7/compose", fields)
    assert answer.status in (400, 502)
    assert "400 Bad Request" not in answer.text  # nothing was sent, so nothing was said
    if answer.status == 400:
        assert "another door" in answer.text


def test_a_node_that_is_our_web_port_is_neither_tested_nor_sent_to(web, admin):
    proof = admin.get("/hl7/nodes").field("proof")
    node = {"name": "SELF", "host": "127.0.0.1", "port": str(web.port), "enabled": "yes"}
    assert admin.send("/hl7/nodes", {"proof": proof, **node}).status == 303
    tested = admin.send("/hl7/nodes/test", {"proof": proof, "name": "SELF"})
    assert tested.status == 200 and "another door" in tested.text


def test_a_record_does_not_go_to_our_web_port(web, admin):
    key = web.schedule()
    fields = {f"r{key}": "on", "node": "", "host": "127.0.0.1", "port": str(web.port)}
    answer = admin.submit(f"/worklist/send?records={key}", "/worklist/send", fields)
    assert "another door" in answer.text


def test_nothing_is_sent_to_whom_it_may_not_be_sent(web):
    from santepacs.hl7.sender import send

    def never(remote, port, local):
        raise Malformed("not there")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(Malformed, match="not there"):
            web.run(send, web._reactor, "127.0.0.1", port, b"MSH|^~\\&|A\r", 5.0, never)
        with server.accept()[0] as connection:
            assert received(connection) == b""
