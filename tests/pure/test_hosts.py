"""Under which names the server may be asked, who the client is, what links begin with."""

import dataclasses

import pytest

from santepacs.settings import WebSettings
from santepacs.web.hosts import asked, is_ours, split_host

PLAIN = WebSettings()


def settings(**changes):
    return dataclasses.replace(PLAIN, **changes)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pacs.example.org", ("pacs.example.org", None)), ("PACS:3000", ("pacs", 3000)),
        ("192.168.1.6:3000", ("192.168.1.6", 3000)), ("[::1]:3000", ("::1", 3000)),
        ("[::ffff:127.0.0.1]", ("127.0.0.1", None)),
        ("pacs.example.org.", ("pacs.example.org", None)), ("a_b", ("a_b", None)),
    ],
)  # fmt: skip
def test_a_host_header_is_taken_apart(text, expected):
    assert split_host(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "::1", "[::1", "a:b", "a:0", "a:65536", "a:3000:3000", "a b", "a/b", "<script>",
        "a@b", "a\r\nb", "-a", "é", "a" * 254, "a,b", "[zz]", "[1.2.3.4]",
    ],
)  # fmt: skip
def test_w14_a_broken_host_header_is_none(text):
    assert split_host(text) is None


@pytest.mark.parametrize(
    ("host", "local", "ours"),
    [
        ("192.168.1.6", "192.168.1.6", True), ("localhost", "192.168.1.6", True),
        ("127.0.0.1", "127.0.0.1", True), ("127.0.0.9", "::1", True),
        ("127.0.0.1", "192.168.1.6", False), ("pacs.example.org", "192.168.1.6", True),
        ("other.example.org", "192.168.1.6", True), ("evil.example.com", "192.168.1.6", False),
        ("192.168.1.7", "192.168.1.6", False),
    ],
)  # fmt: skip
def test_the_server_answers_to_its_own_names_only(host, local, ours):
    web = settings(server_name="pacs.example.org", allowed_hosts=("Other.example.org",))
    assert is_ours(web, host, local) is ours


def look(web=PLAIN, peer="192.0.2.1", secure=False, hosts=("pacs:3000",), **forwarded):
    return asked(web, peer, secure, "192.168.1.6", 3000, list(hosts), forwarded)


def test_forwarded_headers_of_strangers_count_for_nothing():
    seen = look(**{"for": "198.51.100.1", "proto": "https", "host": "evil"})
    assert (seen.client, seen.scheme, seen.host) == ("192.0.2.1", "http", "pacs")


def test_forwarded_headers_of_a_trusted_proxy_are_believed():
    web = settings(trusted_proxies=("192.0.2.1",))
    seen = look(web, **{"for": "198.51.100.1", "proto": "https", "host": "pacs.example.org"})
    assert (seen.client, seen.origin()) == ("198.51.100.1", "https://pacs.example.org")


@pytest.mark.parametrize(
    ("header", "client"),
    [
        ("10.0.0.1, 198.51.100.7", "198.51.100.7"), ("198.51.100.7, 192.0.2.2", "198.51.100.7"),
        ("evil", "192.0.2.1"), ("", "192.0.2.1"), ("::ffff:198.51.100.7", "198.51.100.7"),
    ],
)  # fmt: skip
def test_the_client_is_the_last_address_that_no_proxy_of_ours_added(header, client):
    web = settings(trusted_proxies=("192.0.2.1", "192.0.2.2"))
    assert look(web, **{"for": header}).client == client


def test_two_hosts_are_none():
    assert look(hosts=("a", "b")) is None


@pytest.mark.parametrize(
    ("server_name", "hosts", "secure", "base"),
    [
        ("", ["192.168.1.6:3000"], False, "http://192.168.1.6:3000"),
        ("pacs.example.org", ["192.168.1.6:3000"], True, "https://pacs.example.org:3000"),
        ("", ["[2001:db8::1]:3000"], False, "http://[2001:db8::1]:3000"),
        ("", ["pacs.example.org"], True, "https://pacs.example.org"),
        ("", ["pacs:443"], True, "https://pacs"),
        ("", [], False, "http://192.168.1.6:3000"),
    ],
)  # fmt: skip
def test_links_begin_with_the_configured_name_else_the_one_asked_for(
    server_name, hosts, secure, base
):
    assert look(secure=secure, hosts=hosts).base(server_name) == base
