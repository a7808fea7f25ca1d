"""santepacs as SCU: Verification, and Storage towards the destination of a C-MOVE.

Blocking, for threads. A peer gets `dicom.service_timeout` seconds for every answer.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pynetdicom import AE, build_context
from pynetdicom.presentation import PresentationContext

from santepacs.dicom import upper
from santepacs.dicom.contexts import NATIVE, VERIFICATION
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


class Client:
    """Makes associations with peers."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self._in_use = 0

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
        self, peer: Peer, contexts: list[PresentationContext]
    ) -> Iterator[UpperAssociation]:
        """An established association, released at the end.

        Raises Unavailable when there is none to be had, Forbidden when the peer refuses us.
        """
        association = self._request(peer, contexts)
        try:
            if not association.is_established:
                raise _refusal(peer, association)
            yield association
        except BaseException:
            association.end()
            raise
        else:
            association.release()

    @contextmanager
    def turn(self, waiting: Callable[[], None], interval: float = 2.0) -> Iterator[None]:
        """Hold one of `dicom.maximum_connections` outgoing associations.

        `waiting` is called every `interval` seconds until there is one; it gives up by raising.
        """
        with self._changed:
            while self._in_use >= self._settings.dicom.maximum_connections:
                if not self._changed.wait(interval):
                    waiting()
            self._in_use += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_use -= 1
                self._changed.notify()

    def _request(self, peer: Peer, contexts: list[PresentationContext]) -> UpperAssociation:
        timeout = self._settings.dicom.service_timeout
        ae = AE(self._settings.dicom.ae_title)
        ae.acse_timeout = ae.connection_timeout = ae.dimse_timeout = timeout
        ae.network_timeout = max(timeout, self._settings.dicom.network_timeout)
        try:
            return upper.request(ae, peer.ae_title, peer.host, peer.port, contexts)
        except OSError:
            raise Unavailable(f"there is no host {peer.host}") from None


def _refusal(peer: Peer, association: UpperAssociation) -> Unavailable | Forbidden:
    if association.is_rejected:
        answer: Any = association.acceptor.primitive
        reason = _REASONS.get((answer.result_source, answer.diagnostic), "it gives no reason")
        kind = Unavailable if answer.result == 2 else Forbidden
        return kind(f"{peer.ae_title} refused the association: {reason}")
    return Unavailable(f"{peer.ae_title} does not answer at {peer.host} port {peer.port}")
