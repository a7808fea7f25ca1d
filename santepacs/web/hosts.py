"""Who asks, under which name, and what address a link gets. Pure.

``X-Forwarded-*`` counts only when the connection comes from a trusted proxy.
"""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from santepacs.model.addresses import is_loopback, plain_address
from santepacs.settings import WebSettings

_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?\.?")


@dataclass(frozen=True, slots=True)
class Asked:
    """The outer side of a request: as the browser sees it."""

    client: str
    """The browser's address."""
    scheme: str
    host: str
    """Name or address that was asked for, lower case, without port; empty: none was given."""
    port: int | None

    def origin(self) -> str:
        """``scheme://host[:port]`` as a browser writes it in Origin."""
        return f"{self.scheme}://{self._authority(self.host)}"

    def base(self, server_name: str) -> str:
        """What links begin with: the configured name, else the one that was asked for."""
        return f"{self.scheme}://{self._authority(server_name or self.host)}"

    def _authority(self, host: str) -> str:
        shown = f"[{host}]" if ":" in host else host
        usual = {"http": 80, "https": 443}[self.scheme]
        return shown if self.port in (None, usual) else f"{shown}:{self.port}"


def split_host(text: str) -> tuple[str, int | None] | None:
    """Name and port of a Host header's value; None if it is not one."""
    match = re.fullmatch(r"(\[[0-9a-f:.]{2,45}\]|[^\[\]:]{1,253})(?::([0-9]{1,5}))?", text.lower())
    if match is None:
        return None
    host, port = match[1], int(match[2]) if match[2] else None
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            return None
    elif _NAME.fullmatch(host) is None:
        return None
    if port is not None and not 0 < port < 65536:
        return None
    return plain_address(host.rstrip(".")), port


def asked(
    settings: WebSettings,
    peer: str,
    secure: bool,
    local: str,
    local_port: int,
    hosts: Sequence[str],
    forwarded: dict[str, str],
) -> Asked | None:
    """What the browser asked for, or None when the Host header is broken.

    `local`, `local_port`: our end of the connection, used when no Host is given (HTTP/1.0).
    `forwarded`: the X-Forwarded headers by their last word (``for``, ``proto``, ``host``).
    """
    proxies = {plain_address(proxy) for proxy in settings.trusted_proxies}
    client, scheme = plain_address(peer), "https" if secure else "http"
    host = hosts[0] if hosts else ""
    if client in proxies:
        client = _client(forwarded.get("for", ""), proxies) or client
        scheme = "https" if forwarded.get("proto", scheme).strip().lower() == "https" else "http"
        host = forwarded.get("host", "").split(",")[-1].strip() or host
    if not host:
        return Asked(client, scheme, plain_address(local), local_port)
    split = split_host(host)
    if split is None or len(hosts) > 1:
        return None
    return Asked(client, scheme, *split)


def _client(header: str, proxies: set[str]) -> str | None:
    """The last address that no proxy of ours added; the ones before it could be invented."""
    for part in reversed(header.split(",")):
        address = plain_address(part.strip().strip("[]"))
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return None
        if address not in proxies:
            return address
    return None


def is_ours(settings: WebSettings, host: str, local: str) -> bool:
    """Whether this server may be asked as `host` on a connection to its address `local`."""
    known = {settings.server_name, *settings.allowed_hosts, local, "localhost"}
    return host in {plain_address(name) for name in known if name} or (
        is_loopback(host) and is_loopback(local)
    )


def outer_name(settings: WebSettings, seen: Asked) -> str:
    """What others call this server by; empty when it was asked as this machine's loopback."""
    name = settings.server_name or seen.host
    return "" if is_loopback(name) or name == "localhost" else name
