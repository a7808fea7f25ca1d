"""Who may associate, and what for: decided on the reactor, for the gate and for associations.

A caller is a peer when its calling AE title is that of an enabled peer, and it comes from one of
that peer's addresses or shows its TLS certificate. Callers on this machine are trusted by setting.
Anybody else may verify (C-ECHO), no more, and is noted.
"""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred, TimeoutError

from santepacs.access.unknown import UnknownCallers
from santepacs.db import peers
from santepacs.db.database import Database, Transaction
from santepacs.dicom.contexts import VERIFICATION
from santepacs.dicom.proposal import (
    CALLED_TITLE_UNKNOWN,
    CALLING_TITLE_UNKNOWN,
    TOO_MANY,
    AssociationRequest,
    Refusal,
)
from santepacs.errors import Unavailable
from santepacs.host.names import HostNames
from santepacs.logs import one_line
from santepacs.model.addresses import is_loopback, plain_address
from santepacs.model.peers import Peer, is_ae_title
from santepacs.settings import Settings

T = TypeVar("T")

SUFFIXES = ("", "_E", "_P", "_TE", "_TP")
"""Of the own AE title: objects sent to base + suffix are also to be burned on a disc."""

PATIENCE = 5.0  # seconds that a caller waits for the database, and for the addresses of names


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
    may_move_to_others: bool = False
    """Whether its C-MOVE may name another destination than itself."""


class Crowd(Protocol):
    """The associations that there are, as far as one more is concerned."""

    def is_full(self) -> bool:
        """Whether there may be no more."""

    def is_full_for_strangers(self) -> bool:
        """Whether there may be no more of callers who may only verify."""


class Admission:
    """Tells callers apart."""

    def __init__(
        self,
        clock: Any,
        settings: Settings,
        database: Database,
        names: HostNames,
        unknown: UnknownCallers,
        crowd: Crowd,
    ) -> None:
        """`clock`: the reactor, or what calls later like it."""
        self._clock = clock
        self._settings = settings
        self._database = database
        self._names = names
        self._unknown = unknown
        self._crowd = crowd
        self._titles = own_titles(settings.dicom.ae_title)
        self._remembered: dict[str, Peer] = {}

    async def decide(
        self, request: AssociationRequest, address: str, certificate: str | None = None
    ) -> Caller | Refusal:
        """What becomes of `request` from an IP address.

        `certificate`: fingerprint of the caller's verified TLS certificate, if it showed one.
        Raises Unavailable when that cannot be told now.
        """
        address, title = plain_address(address), request.calling_ae_title
        if request.refusal is not None:
            return request.refusal
        if request.called_ae_title not in self._titles:
            called = one_line(request.called_ae_title, 16)
            self.note(title, address, f"it calls {called}, which is not this server's AE title")
            return CALLED_TITLE_UNKNOWN
        if not is_ae_title(title):
            self.note(title, address, "it gives no AE title of its own")
            return CALLING_TITLE_UNKNOWN
        if self._crowd.is_full():
            return TOO_MANY
        caller = await self.caller(title, address, certificate)
        if caller.reason:
            if all(context.abstract_syntax != VERIFICATION for context in request.contexts):
                self.note(title, address, caller.reason)
                return CALLING_TITLE_UNKNOWN
            if self._crowd.is_full_for_strangers():
                self.note(title, address, caller.reason)
                return TOO_MANY
            self.note(title, address, caller.reason, became="may verify, no more")
        return TOO_MANY if self._crowd.is_full() else caller

    async def caller(self, ae_title: str, address: str, certificate: str | None = None) -> Caller:
        """Who calls; an unknown one carries the reason. Raises Unavailable."""
        if is_loopback(address) and self._settings.dicom.trust_loopback:
            return Caller(ae_title, address, True, True, True, True, may_move_to_others=True)
        peer = await self._peer(ae_title)
        if peer is None:
            return Caller(ae_title, address, reason="the AE title is not in the peer list")
        if not peer.enabled:
            return Caller(ae_title, address, reason="the peer is switched off")
        shows_certificate = bool(peer.certificate) and peer.certificate == certificate
        if not shows_certificate:
            foreign = await self._why_foreign(peer, address, certificate)
            if foreign:
                return Caller(ae_title, address, reason=foreign)
        return Caller(
            ae_title,
            address,
            peer.may_store,
            peer.may_query,
            peer.may_retrieve,
            peer.may_worklist,
            may_move_to_others=peer.may_move_to_others,
        )

    def note(self, title: str, address: str, reason: str, *, became: str = "turned away") -> None:
        """Put an unknown caller on the administrator's list."""
        self._unknown.note("dicom", title, address, reason, became=became)

    async def _peer(self, ae_title: str) -> Peer | None:
        """The peer of this title; while the database is away, as it was last seen."""

        async def find(tx: Transaction) -> Peer | None:
            return await peers.find(tx, ae_title)

        try:
            peer = await self._soon(self._database.transaction("find peer", find, read_only=True))
        except (Unavailable, TimeoutError):
            if ae_title in self._remembered:
                return self._remembered[ae_title]
            raise Unavailable("the peer list cannot be read now") from None
        if peer is None:
            self._remembered.pop(ae_title, None)
        else:
            self._remembered[ae_title] = peer
        return peer

    async def _why_foreign(self, peer: Peer, address: str, certificate: str | None) -> str:
        """Why who calls from `address` is not this peer; empty if it is."""
        hosts = [each.host for each in peer.addresses]
        if address in map(plain_address, hosts):
            return ""
        try:
            unresolved = await self._soon(Deferred.fromCoroutine(self._search(hosts, address)))
        except TimeoutError:
            return "the AE title calls from another address, or from one of a slow name service"
        if unresolved is None:
            return ""
        reason = "the AE title calls from another address"
        if unresolved:
            reason += f"; {one_line(unresolved[0], 60)} in the peer list has no address"
        if not peer.certificate:
            return reason
        if certificate:
            return f"{reason}, with another certificate than the one in the peer list"
        return f"{reason}, and no certificate was verified"

    async def _search(self, hosts: list[str], address: str) -> list[str] | None:
        """None if one of `hosts` has this address, else those of them that have none at all."""
        unresolved = []
        for host in hosts:
            found = await self._names.addresses(host)
            if address in found:
                return None
            if not found:
                unresolved.append(host)
        return unresolved

    def _soon(self, result: "Deferred[T]") -> Awaitable[T]:
        return result.addTimeout(PATIENCE, self._clock)
