"""The door of a DICOM port: accepts on the reactor and hands over what may become an association.

Nothing is read: the first PDU (of TLS the ClientHello) is looked at in the kernel's buffer, which
with SO_RCVLOWAT wakes us only when all of it is there. So a connection that says nothing, or half
of something, costs a file descriptor and no thread, and whoever gets the socket finds it untouched.
Callers that are refused are answered here (PS3.8 9.3.4, 9.3.8).
"""

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from santepacs.dicom import request
from santepacs.dicom.arrivals import Arrival, Farewell, Listener
from santepacs.dicom.proposal import CONGESTED, TOO_MANY, AssociationRequest, Refusal
from santepacs.dicom.tls import hello_length
from santepacs.errors import Unavailable
from santepacs.logs import fault

log = Logger()

Decide = Callable[[AssociationRequest, str], Awaitable[Any]]
"""What a request from an address gets: a Refusal, or what `Handoff` is told."""

Handoff = Callable[[socket.socket, tuple[Any, ...], Any], None]
"""Takes a blocking socket, its peer's address and what `Decide` said (None from a TLS gate).

Raises Unavailable when that is not possible now; then the socket is still the gate's.
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """Connections that may be on their way to an association."""

    in_all: int = 512
    of_one_network: int = 128
    """IPv6: of one /64."""


class Gate:
    """Watches one listening socket. Used on the reactor; `start` and `stop` once each."""

    def __init__(
        self,
        reactor: Any,
        listener: socket.socket,
        decide: Decide | None,
        handoff: Handoff,
        *,
        patience: Callable[[], float],
        turned_away: Callable[[str, str], None],
        limits: Limits,
    ) -> None:
        """`decide` is None on a TLS port: there the request can only be read after the handshake.

        `patience`: seconds until the first PDU must be there and decided; read for each caller.
        `turned_away` is told address and reason of who does not speak the protocol.
        """
        self._reactor = reactor
        self._decide = decide
        self._handoff = handoff
        self._patience = patience
        self._turned_away = turned_away
        self._limits = limits
        self._listener = Listener(reactor, listener, self)
        self._waiting: dict[Arrival, None] = {}
        self._of_network: dict[str, dict[Arrival, None]] = {}
        self._leaving: dict[Farewell, None] = {}

    def start(self) -> None:
        """Begin to accept."""
        self._listener.start()

    def stop(self) -> None:
        """Accept no more, and close what waits."""
        self._listener.close()
        for watched in (*self._waiting, *self._leaving):
            watched.close()

    @property
    def waiting(self) -> int:
        """Connections that have not been handed over or refused yet."""
        return len(self._waiting)

    # --- coming -----------------------------------------------------------------------------------

    def arrived(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        """Take up a connection; where there are too many, the longest silent one must go."""
        arrival = Arrival(self._reactor, connection, address, self)
        crowd = self._of_network.get(arrival.network, {})
        if len(crowd) >= self._limits.of_one_network:
            room = _close_silent(crowd)
        elif len(self._waiting) >= self._limits.in_all:
            room = _close_silent(self._waiting)
        else:
            room = True
        if not room:
            self._part(arrival, request.reject_pdu(*TOO_MANY) if self._decide else b"")
            return
        self._waiting[arrival] = None
        self._of_network.setdefault(arrival.network, {})[arrival] = None
        arrival.start(self._patience())

    def make_room(self) -> bool:
        """Close a connection that is of little use, for its file descriptor; whether there is."""
        for leaving in self._leaving:
            leaving.close()
            return True
        return _close_silent(self._waiting)

    def gone(self, arrival: Arrival) -> None:
        """`arrival` is not waiting any more."""
        self._waiting.pop(arrival, None)
        crowd = self._of_network.get(arrival.network, {})
        crowd.pop(arrival, None)
        if not crowd:
            self._of_network.pop(arrival.network, None)

    # --- the first PDU ----------------------------------------------------------------------------

    def expected(self, beginning: bytes) -> int:
        """How many bytes must be there; more may be expected then. Raises Malformed."""
        return (request.expected_length if self._decide else hello_length)(beginning)

    def complete(self, arrival: Arrival, pdu: bytes) -> None:
        """The first PDU is there. Raises Malformed."""
        if self._decide is None:
            self._pass_on(arrival, None)
            return
        arrival.rest()
        Deferred.fromCoroutine(self._judge(arrival, self._decide, request.parse(pdu)))

    def garbage(self, arrival: Arrival, reason: str) -> None:
        """What came is not our protocol."""
        self._turned_away(arrival.address, reason)
        self._part(arrival, request.abort_pdu())

    def expired(self, arrival: Arrival) -> None:
        """The time is over (PS3.8 9.1.5, ARTIM)."""
        if arrival.is_silent:
            arrival.close()
        else:
            self._part(arrival, request.reject_pdu(*CONGESTED))

    async def _judge(self, arrival: Arrival, decide: Decide, asked: AssociationRequest) -> None:
        try:
            answer = await decide(asked, arrival.address)
        except Unavailable:
            answer = CONGESTED
        except Exception as error:  # noqa: BLE001 - the caller gets an answer whatever happened
            log.error("an association could not be decided: {fault}", fault=fault(error))
            answer = CONGESTED
        if arrival not in self._waiting:
            return
        if isinstance(answer, Refusal):
            self._part(arrival, request.reject_pdu(*answer))
        else:
            self._pass_on(arrival, answer)

    def _pass_on(self, arrival: Arrival, admitted: Any) -> None:
        connection = arrival.release()
        try:
            _prepare(connection)
            self._handoff(connection, arrival.peer, admitted)
        except OSError:
            connection.close()
        except Unavailable:
            self._see_off(connection, request.reject_pdu(*TOO_MANY) if self._decide else b"")
        except Exception as error:  # noqa: BLE001 - one bad connection must not end them all
            log.error("a connection could not be served: {fault}", fault=fault(error))
            connection.close()

    # --- going ------------------------------------------------------------------------------------

    def _part(self, arrival: Arrival, answer: bytes) -> None:
        self._see_off(arrival.release(), answer)

    def _see_off(self, connection: socket.socket, answer: bytes) -> None:
        if len(self._leaving) >= self._limits.in_all:
            next(iter(self._leaving)).close()
        farewell = Farewell(self._reactor, connection, self)
        self._leaving[farewell] = None
        farewell.start(answer)

    def left(self, farewell: Farewell) -> None:
        """`farewell` is over."""
        self._leaving.pop(farewell, None)


def _close_silent(arrivals: dict[Arrival, None]) -> bool:
    """Close the one that has been silent for longest; whether there is one."""
    silent = next((arrival for arrival in arrivals if arrival.is_silent), None)
    if silent is not None:
        silent.close()
    return silent is not None


def _prepare(connection: socket.socket) -> None:
    """As whoever takes it over expects a socket."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
    connection.setblocking(True)
