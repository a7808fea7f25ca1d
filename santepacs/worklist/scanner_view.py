"""What a scanner sees of the worklist: its query, asked here as it would ask it.

It goes the way of a C-FIND: as an identifier, read with the settings of the peer that the scanner
is, through the same search. `explain` says of a record why it is found or not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from santepacs.db import orders, peers, worklist_search
from santepacs.db.database import Database, Transaction
from santepacs.db.orders import StoredRecord
from santepacs.errors import NotFound
from santepacs.model.order import StepQuery, WorklistQuery
from santepacs.model.peers import Peer
from santepacs.settings import Settings
from santepacs.worklist.explaining import Reason, explain, is_found
from santepacs.worklist.keys import query_from_dataset
from santepacs.worklist.requests import request_of

__all__ = ["Explanation", "Reason", "ScannerView", "Sight", "explain", "is_found", "typical_query"]

MOST = 10_000  # records that are shown where any number may be sent


@dataclass(frozen=True, slots=True)
class Sight:
    """What a scanner gets; with a `refusal`, what it would get without."""

    query: WorklistQuery
    """As it was understood: with what settings and the peer's own add to it."""
    records: list[StoredRecord]
    is_cut: bool
    """There are more than may be sent."""
    refusal: str
    """Why it gets nothing at all; empty if it is welcome."""
    notes: list[str]
    """What settings add to its query, in sentences without full stop."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a scanner gets a record or not."""

    stored: StoredRecord
    reasons: list[Reason]
    is_found: bool
    refusal: str
    notes: list[str]


def typical_query(ae_title: str, today: date, modality: str = "") -> WorklistQuery:
    """What most scanners ask: their own steps of the day, of their modality if that is given."""
    day = f"{today:%Y%m%d}"
    step = StepQuery(
        station_ae_titles=(ae_title,),
        modalities=(modality.upper(),) if modality else (),
        start_date_from=day,
        start_date_to=day,
    )
    return WorklistQuery(steps=(step,))


class ScannerView:
    """Asks as any calling AE title."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    async def see(self, ae_title: str, asked: WorklistQuery) -> Sight:
        """What the scanner gets that asks this, in the order in which it is sent.

        Raises Malformed for keys that no query can have.
        """
        limit = self._settings.worklist.maximum_results or MOST

        async def work(tx: Transaction) -> Sight:
            peer = await peers.find(tx, ae_title)
            query = self._understood(ae_title, peer, asked)
            found = await worklist_search.find(tx, query, limit + 1)
            return Sight(
                query,
                found[:limit],
                len(found) > limit,
                self._refusal(ae_title, peer),
                list(self._notes(ae_title, peer, asked)),
            )

        return await self._database.transaction("scanner view", work, read_only=True)

    async def explain(self, ae_title: str, asked: WorklistQuery, key: int) -> Explanation:
        """Why the scanner that asks this gets the record `key` or not. Raises NotFound."""

        async def work(tx: Transaction) -> Explanation:
            peer = await peers.find(tx, ae_title)
            stored = await orders.record(tx, key)
            if stored is None:
                raise NotFound(f"there is no worklist record {key}")
            reasons = explain(stored.record, self._understood(ae_title, peer, asked))
            return Explanation(
                stored,
                reasons,
                is_found(reasons),
                self._refusal(ae_title, peer),
                list(self._notes(ae_title, peer, asked)),
            )

        return await self._database.transaction("scanner view", work, read_only=True)

    def _understood(self, ae_title: str, peer: Peer | None, asked: WorklistQuery) -> WorklistQuery:
        append = peer is not None and peer.append_wildcard
        return query_from_dataset(
            request_of(asked), ae_title, self._settings, append_wildcard=append
        )

    def _refusal(self, ae_title: str, peer: Peer | None) -> str:
        if peer is not None and peer.enabled and peer.may_worklist:
            return ""
        if peer is None:
            reason = f"{ae_title} is not in the peer list"
        elif not peer.enabled:
            reason = f"the peer {ae_title} is switched off"
        else:
            reason = f"the peer {ae_title} may not ask for the worklist"
        if self._settings.dicom.trust_loopback:
            reason += "; only a caller on this machine gets an answer"
        return reason

    def _notes(self, ae_title: str, peer: Peer | None, asked: WorklistQuery) -> Iterator[str]:
        worklist = self._settings.worklist
        is_without = any(not step.station_ae_titles for step in asked.steps)
        if is_without and worklist.station_from_calling_ae:
            yield f"without a station it is asked for the steps of {ae_title}"
        if worklist.station_or_none and (not is_without or worklist.station_from_calling_ae):
            yield "the steps of no station are found, too"
        if peer is not None and peer.append_wildcard:
            yield "a name without wildcards is the beginning of one"
