"""santepacs as SCU: associations with peers, a limited number at a time, and Verification.

Blocking, for threads. A peer gets `dicom.service_timeout` seconds for every answer.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

from pynetdicom import AE, build_context
from pynetdicom.presentation import PresentationContext

from santepacs.destinations import Permit, anywhere
from santepacs.dicom import associate, tls
from santepacs.dicom.connection import Connection
from santepacs.dicom.contexts import NATIVE, VERIFICATION
from santepacs.dicom.dialling import Connecting
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Forbidden, Unavailable
from santepacs.model.peers import Peer
from santepacs.settings import Settings

_REASONS = {
    (1, 1): "it gives no reason",
    (1, 2): "it does not know the application context",
    (1, 3): "it does not know our AE title",
    (1, 7): "it does not answer to this AE title",
    (3, 1): "it is overloaded for now",
    (3, 2): "it serves too many associations for now",
}

Roles = dict[str, tuple[bool, bool]]
"""SOP class -> whether we are SCU, and SCP (PS3.7 D.3.3.4)."""


class Urgency(IntEnum):
    """Who waits for an association of ours; the most urgent gets the next one."""

    HIGH = 0
    MEDIUM = 1
    LOW = 2
    BACKGROUND = 3
    """Nobody waits: santepacs began it."""


class Client:
    """Makes associations with peers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._in_use = 0
        self._waiting: list[tuple[Urgency, int]] = []
        self._served = 0
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._stopped = False

    def stop(self) -> None:
        """End every association and every attempt at one; there are no more afterwards.

        From any thread, without waiting: those who use them hear of it within a second or so.
        """
        with self._lock:
            self._stopped = True
            connections = list(self._connections)
        for connection in connections:
            connection.interrupt()

    def echo(self, peer: Peer) -> None:
        """C-ECHO (PS3.4 annex A). Raises Unavailable or Forbidden with what went wrong."""
        context = build_context(VERIFICATION, list(NATIVE))
        with self.association(peer, [context]) as association:
            answer = association.send_c_echo()
            if "Status" not in answer:
                raise Unavailable(f"{peer.ae_title} did not answer the C-ECHO in time")
            if answer.Status != 0x0000:
                raise Unavailable(f"{peer.ae_title} answered with 0x{answer.Status:04X}")

    @contextmanager
    def association(
        self,
        peer: Peer,
        contexts: Sequence[PresentationContext],
        *,
        roles: Roles | None = None,
        permit: Permit = anywhere,
    ) -> Iterator[UpperAssociation]:
        """An established association with the peer's first address that answers.

        It is released at the end, or aborted if the end is an exception. `permit` is asked before
        anything is said. Raises Unavailable when there is none to be had, Forbidden when the peer
        refuses us, Malformed when our settings for TLS cannot be used; and what `permit` raises.
        """
        with self._watching(permit) as connecting:
            association = self._request(peer, contexts, roles, connecting)
            with _released(association):
                if not association.is_established:
                    raise _refusal(peer, association)
                _check_certificate(peer, association)
                yield association

    @contextmanager
    def _watching(self, permit: Permit) -> Iterator[Connecting]:
        """Have `stop` end the connections that are begun meanwhile."""
        begun: set[Connection] = set()

        def connecting(connection: Connection, remote: str, port: int, local: str) -> None:
            permit(remote, port, local)
            with self._lock:
                if self._stopped:
                    raise Unavailable("the server is stopping")
                begun.add(connection)
                self._connections.add(connection)

        try:
            yield connecting
        finally:
            with self._lock:
                self._connections -= begun

    @contextmanager
    def turn(
        self,
        waiting: Callable[[], None],
        urgency: Urgency = Urgency.BACKGROUND,
        *,
        interval: float = 0.5,
    ) -> Iterator[None]:
        """Hold one of `dicom.maximum_connections` outgoing associations.

        `waiting` is called every `interval` seconds until there is one; it gives up by raising.
        """
        self._take_turn(waiting, urgency, interval)
        try:
            yield
        finally:
            with self._changed:
                self._in_use -= 1
                self._changed.notify_all()

    def _take_turn(self, waiting: Callable[[], None], urgency: Urgency, interval: float) -> None:
        with self._changed:
            self._served += 1
            ticket = (urgency, self._served)
            self._waiting.append(ticket)
        try:
            while not self._is_next(ticket, interval):
                waiting()
        except BaseException:
            with self._changed:
                self._waiting.remove(ticket)
                self._changed.notify_all()
            raise

    def _is_next(self, ticket: tuple[Urgency, int], interval: float) -> bool:
        """Whether it is the ticket's turn within `interval` seconds; then it is taken."""

        def free() -> bool:
            room = self._in_use < self._settings.dicom.maximum_connections
            return room and ticket == min(self._waiting)

        with self._changed:
            if not self._changed.wait_for(free, interval):
                return False
            self._in_use += 1
            self._waiting.remove(ticket)
            self._changed.notify_all()  # there may be room for the next one, too
            return True

    def _request(
        self,
        peer: Peer,
        contexts: Sequence[PresentationContext],
        roles: Roles | None,
        connecting: Connecting,
    ) -> UpperAssociation:
        dicom = self._settings.dicom
        timeout = dicom.service_timeout
        ae = AE(dicom.ae_title)
        ae.acse_timeout = ae.connection_timeout = ae.dimse_timeout = timeout
        ae.network_timeout = max(timeout, dicom.network_timeout)
        return associate.request(
            ae,
            peer.ae_title,
            [(address.host, address.port) for address in peer.addresses],
            list(contexts),
            tls=tls.client_context(dicom, pinned=bool(peer.certificate)) if peer.tls else None,
            roles=roles,
            connecting=connecting,
        )


@contextmanager
def _released(association: UpperAssociation) -> Iterator[None]:
    """Release the association at the end, or abort it if the end is an exception."""
    try:
        yield
    except BaseException:
        if association.is_established:
            association.abort()
        raise
    else:
        association.release()
    finally:
        association.close()


def _check_certificate(peer: Peer, association: UpperAssociation) -> None:
    if not (peer.tls and peer.certificate):
        return
    shown = association.connection.peer_certificate()
    if shown is None or tls.fingerprint(shown) != peer.certificate:
        raise Forbidden(f"{peer.ae_title} shows another certificate than the one it is known by")


def _refusal(peer: Peer, association: UpperAssociation) -> Unavailable | Forbidden:
    answer: Any = association.acceptor.primitive
    reason = _REASONS.get((answer.result_source, answer.diagnostic), "it gives no reason")
    kind = Unavailable if answer.result == 2 else Forbidden
    return kind(f"{peer.ae_title} refused the association: {reason}")
