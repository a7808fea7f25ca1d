"""TCP connections begun by us, which somebody else may end before there is an answer."""

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from santepacs.dicom.connection import Connection

Connecting = Callable[[Connection, str, int, str], None]
"""Gets a connection that was begun, to call its `interrupt` if need be, where it leads to (address
and port), and our end's address."""


def dial(
    host: str, port: int, timeout: float, connecting: Connecting
) -> tuple[Connection, tuple[Any, ...]]:
    """A connection to the first address of the host that answers, and that address.

    Each address gets `timeout` seconds. Raises OSError, and what `connecting` raises.
    """
    problem = OSError()
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # a family that this machine does not have
            problem = error
            continue
        try:
            sock.setblocking(False)
            with suppress(BlockingIOError):
                sock.connect(address)
            connection = Connection(sock)
            # Not earlier: what is not begun cannot be interrupted.
            connecting(connection, str(address[0]), port, sock.getsockname()[0])
            _await_answer(sock, timeout)
            return connection, sock.getpeername()
        except OSError as error:
            problem = error
            sock.close()
        except BaseException:
            sock.close()
            raise
    raise problem


def unwatched(_connection: Connection, _remote: str, _port: int, _local: str) -> None:
    """For connections that nobody wants to interrupt."""


def _await_answer(sock: socket.socket, timeout: float) -> None:
    poller = select.poll()
    poller.register(sock, select.POLLOUT)
    if not poller.poll(timeout * 1000):
        raise TimeoutError
    number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))
