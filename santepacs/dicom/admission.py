"""Who may associate, and what for.

A caller is a peer when its calling AE title and its address are those of an enabled peer; callers
on this machine are trusted by setting. Anybody else may verify (C-ECHO), no more, and is noted.
"""

from dataclasses import dataclass

from twisted.logger import Logger

from santepacs.access.unknown import UnknownCallers
from santepacs.db import peers
from santepacs.dicom.resources import Resources
from santepacs.errors import Unavailable
from santepacs.host.names import HostNames
from santepacs.model.addresses import is_loopback, plain_address
from santepacs.model.peers import Peer

log = Logger()

SUFFIXES = ("", "_E", "_P", "_TE", "_TP")
"""Of the own AE title: objects sent to base + suffix are also to be burned on a disc."""

NAME_TIMEOUT = 5.0  # seconds that a caller waits for the addresses of a new name


def own_titles(ae_title: str) -> frozenset[str]:
    """The AE titles that answer here; a suffix that does not fit in 16 characters is left out."""
    return frozenset(ae_title + suffix for suffix in SUFFIXES if len(ae_title + suffix) <= 16)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is at the other end, and what it may do; without a `reason` it is welcome."""

    ae_title: str
    address: str
    may_store: bool = False
    may_query: bool = False
    may_retrieve: bool = False
    may_worklist: bool = False
    reason: str = ""


class Admission:
    """Tells callers apart. Used in association threads."""

    def __init__(self, resources: Resources, names: HostNames, unknown: UnknownCallers) -> None:
        self._resources = resources
        self._names = names
        self._unknown = unknown
        self._remembered: dict[str, Peer] = {}

    def caller(self, ae_title: str, address: str) -> Caller:
        """Who calls, by AE title and IP address. An unknown one carries the reason.

        Raises Unavailable when that cannot be told now.
        """
        address = plain_address(address)
        if is_loopback(address) and self._resources.settings.dicom.trust_loopback:
            return Caller(ae_title, address, True, True, True, True)
        peer = self._peer(ae_title)
        if peer is None:
            return Caller(ae_title, address, reason="the AE title is not in the peer list")
        if not peer.enabled:
            return Caller(ae_title, address, reason="the peer is switched off")
        if address not in self._addresses(peer.host):
            return Caller(ae_title, address, reason="the AE title calls from another address")
        return Caller(
            ae_title,
            address,
            peer.may_store,
            peer.may_query,
            peer.may_retrieve,
            peer.may_worklist,
        )

    def note(self, caller: Caller) -> None:
        """Put an unknown caller on the administrator's list."""
        try:
            self._resources.threads.ask(self._note, caller)
        except Unavailable:
            log.debug("the caller could not be noted")

    async def _note(self, caller: Caller) -> None:
        self._unknown.note("dicom", caller.ae_title, caller.address, caller.reason)

    def _peer(self, ae_title: str) -> Peer | None:
        """The peer of this title; while the database is away, as it was last seen."""
        try:
            peer = self._resources.read("find peer", peers.find, ae_title)
        except Unavailable:
            if ae_title in self._remembered:
                return self._remembered[ae_title]
            raise
        if peer is None:
            self._remembered.pop(ae_title, None)
        else:
            self._remembered[ae_title] = peer
        return peer

    def _addresses(self, host: str) -> frozenset[str]:
        try:
            return self._resources.threads.ask(self._names.addresses, host, deadline=NAME_TIMEOUT)
        except Unavailable:
            return frozenset()
