"""The associations that others made with us: how many there are, and their orderly end.

Used by the reactor and by the associations' own threads.
"""

import threading
import time
from dataclasses import dataclass

from santepacs.access.throttle import network
from santepacs.dicom.admission import Caller
from santepacs.dicom.session import Session
from santepacs.dicom.upper import UpperAssociation
from santepacs.model.addresses import plain_address
from santepacs.settings import Settings

STRANGERS = 10  # associations at once of callers who may only verify
UNDECIDED = 256  # TLS connections at once that shake hands or are not decided yet
UNDECIDED_OF_NETWORK = 64
QUIET = 1.0  # seconds without work after which a stopping server ends an association
_LAST_WORDS = 3.0  # seconds for associations to end once they are told to


@dataclass(slots=True)
class _Entry:
    session: Session
    network: str
    admitted: bool = False
    ended: bool = False


class Associations:
    """All that run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._entries: dict[UpperAssociation, _Entry] = {}
        self._stopping = False

    @property
    def maximum(self) -> int:
        """The most that there can be at once, those included that are not decided yet."""
        return self._settings.dicom.maximum_associations + STRANGERS + UNDECIDED

    def add(self, association: UpperAssociation, address: str, caller: Caller | None) -> None:
        """Take up an association with somebody at `address`, with `caller` if that is known.

        Where too many are not known, the oldest of them has to end.
        """
        entry = _Entry(Session(association), network(plain_address(address)))
        with self._lock:
            self._entries[association] = entry
            if caller is not None:
                entry.session.caller = caller
                entry.admitted = True
                return
            undecided = [e for e in self._entries.values() if not (e.admitted or e.ended)]
            neighbours = [e for e in undecided if e.network == entry.network]
            if len(neighbours) > UNDECIDED_OF_NETWORK:
                leaving = neighbours[0]
            elif len(undecided) > UNDECIDED:
                leaving = undecided[0]
            else:
                return
            leaving.ended = True
        leaving.session.association.end()

    def admit(self, association: UpperAssociation, caller: Caller) -> None:
        """Let an association that was not known be `caller`'s."""
        with self._lock:
            entry = self._entries.get(association)
            if entry is not None:
                entry.session.caller = caller
                entry.admitted = True

    def is_admitted(self, association: UpperAssociation) -> bool:
        """Whether it is known whose association this is."""
        with self._lock:
            return self._entries[association].admitted

    def remove(self, association: UpperAssociation) -> Session | None:
        """Forget an association that has ended; None if that happened before."""
        with self._lock:
            entry = self._entries.pop(association, None)
        return entry.session if entry is not None else None

    def session(self, association: UpperAssociation) -> Session:
        """The session of an association. Raises KeyError when that is over."""
        with self._lock:
            return self._entries[association].session

    def counts(self) -> tuple[int, int]:
        """Connections that there are, and those of them that are established associations."""
        running = self._running()
        return len(running), sum(association.is_established for association in running)

    def is_full(self) -> bool:
        """Whether there may be no more."""
        with self._lock:
            admitted = sum(entry.admitted for entry in self._entries.values())
        return self._stopping or admitted >= self._settings.dicom.maximum_associations

    def is_full_for_strangers(self) -> bool:
        """Whether there may be no more of callers who may only verify."""
        with self._lock:
            entries = list(self._entries.values())
        strangers = sum(entry.admitted and bool(entry.session.caller.reason) for entry in entries)
        return strangers >= STRANGERS

    def stop(self, grace: float) -> None:
        """Let work finish for `grace` seconds, then abort. Blocking."""
        self._stopping = True
        deadline = time.monotonic() + grace
        while self._running() and time.monotonic() < deadline:
            for association in self._running():
                if association.is_quiet(QUIET):
                    association.end()
            time.sleep(0.05)
        for association in self._running():
            association.end()
        deadline = time.monotonic() + _LAST_WORDS
        while self._running() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _running(self) -> list[UpperAssociation]:
        with self._lock:
            return list(self._entries)
