"""Listening sockets, bound before anything is half open."""

import errno
import socket

from santepacs.errors import Conflict, Malformed

BACKLOG = 512


def listening_socket(bind: str, port: int, purpose: str) -> socket.socket:
    """A socket that listens on `port` of the address `bind`, empty: all, IPv4 and IPv6.

    `purpose` names it in errors. Raises Conflict when the port is taken or not allowed, Malformed
    when there is no such address here.
    """
    try:
        return _bound(bind, port)
    except PermissionError:
        raise Conflict(
            f"{purpose}: port {port} is reserved; choose one above 1023 or allow the service "
            "CAP_NET_BIND_SERVICE"
        ) from None
    except OSError as error:
        where = bind or "any address"
        raise Conflict(
            f"{purpose}: cannot listen on port {port} of {where}: {_why(error)}"
        ) from None


def _bound(bind: str, port: int) -> socket.socket:
    if bind:
        try:
            family, _, _, _, address = socket.getaddrinfo(
                bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
        except socket.gaierror:
            raise Malformed(f"there is no address {bind!r} to listen on") from None
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(
                ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
        except OSError as error:
            if error.errno is None or not _no_ipv6(error):
                raise
    return socket.create_server(("", port), backlog=BACKLOG)


def _no_ipv6(error: OSError) -> bool:
    return error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program uses it (`ss -ltnp` shows which)"
    return error.strerror or str(error)


def first_address() -> str:
    """This machine's address towards its network, for showing; ``localhost`` without one.

    Connecting a datagram socket asks the routing table and sends nothing; the address is one
    reserved for documentation (RFC 5737).
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "localhost"
