"""Addresses as text, so that one host is one text."""

import ipaddress
from functools import lru_cache


@lru_cache(maxsize=4096)
def plain_address(host: str) -> str:
    """`host` in its one canonical spelling: IPv4-mapped IPv6 as IPv4, without a zone.

    What is no IP address (a DNS name) comes back in lower case.
    """
    try:
        address = ipaddress.ip_address(host.strip().partition("%")[0])
    except ValueError:
        return host.strip().lower()
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address of this machine's loopback (127.0.0.0/8, ::1)."""
    try:
        return ipaddress.ip_address(plain_address(host)).is_loopback
    except ValueError:
        return False
