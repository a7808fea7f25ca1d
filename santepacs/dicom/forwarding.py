"""Forwarding: a job that sends stored objects to a peer, however often it has to try.

What the peer took is written down as it goes, so a job that begins again sends only what is
missing; at most the objects of the last second go twice, which a peer that has them knows. Objects
that the peer refuses for good, or that nobody can send, fail the job when all others are there.
"""

import hashlib
import json
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from itertools import chain

from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import forwarding, jobs, peers
from santepacs.db.database import Transaction
from santepacs.dicom import selection, status
from santepacs.dicom.client import Client, Urgency
from santepacs.dicom.contexts import to_send
from santepacs.dicom.resources import Resources
from santepacs.dicom.selection import Selection, objects
from santepacs.dicom.sending import Outcome, Sender
from santepacs.dicom.status import Status
from santepacs.errors import Malformed, NotFound, Unavailable
from santepacs.job import Job
from santepacs.logs import one_line
from santepacs.model.peers import Peer

log = Logger()

KIND = "forward"
"""The kind of job."""
AT_ONCE = 2  # jobs at a time
NOTED = 100  # objects, or seconds below, until it is written down what was sent
INTERVAL = 1.0

_OUT_OF_RESOURCES = range(0xA700, 0xA800)  # PS3.4 table B.2-1: later it may have room


async def enqueue(
    tx: Transaction, ae_title: str, chosen: Selection, *, priority: int = 0, delay: float = 0
) -> int:
    """Ask for `chosen` to be sent to the peer; returns the job's id. Wake the queue afterwards.

    The same asked for again before it has ended is one job. Raises NotFound for an unknown peer,
    Malformed for too many keys.
    """
    if await peers.find(tx, ae_title) is None:
        raise NotFound(f"there is no peer {ae_title}")
    payload = {"ae_title": ae_title, "selection": chosen.as_values()}
    key = hashlib.sha256(json.dumps(payload, sort_keys=True).encode("ascii")).hexdigest()
    return await jobs.add(tx, KIND, payload, key=key, priority=priority, delay=delay)


@dataclass(slots=True)
class _Account:
    """What became of a job's objects in this attempt."""

    total: int
    sent: set[int]
    refused: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    new: list[int] = field(default_factory=list)
    """Sent, but not written down yet."""
    noted_at: float = field(default_factory=time.monotonic)

    def count(self, outcome: Outcome) -> None:
        answer = outcome.status
        if answer is not None and (answer == Status.SUCCESS or status.is_warning(answer)):
            self.sent.add(outcome.stored.id)
            self.new.append(outcome.stored.id)
            return
        reason = outcome.reason or f"the receiver answers 0x{answer or 0:04X}"
        passing = outcome.passing if answer is None else answer in _OUT_OF_RESOURCES
        (self.left if passing else self.refused)[reason] += 1

    def is_noteworthy(self) -> bool:
        return len(self.new) >= NOTED or time.monotonic() - self.noted_at > INTERVAL

    def check(self) -> None:
        """Raise Unavailable or Malformed unless all was sent."""
        for counter, kind in ((self.left, Unavailable), (self.refused, Malformed)):
            for reason, _ in counter.most_common(1):
                count = counter.total()
                raise kind(f"{count} of {self.total} objects were not sent: {reason}")


class Forwarding:
    """Handles the jobs that `enqueue` asks for (`KIND`)."""

    def __init__(self, resources: Resources, client: Client) -> None:
        self._resources = resources
        self._client = client

    async def handle(self, job: Job) -> None:
        """Send what is missing. Raises Unavailable when that is worth another attempt."""
        await self._resources.threads.run(self._forward, job)

    def _forward(self, job: Job) -> None:
        peer = self._peer(job.payload["ae_title"])
        chosen = Selection.of(job.payload["selection"])
        kinds = selection.kinds(self._resources, chosen)
        sent = self._resources.read("forwarded objects", forwarding.sent, job.id)
        account = _Account(sum(kind.count for kind in kinds), sent)
        job.progress(len(sent), account.total)
        with self._client.turn(job.check, Urgency.BACKGROUND):
            for contexts in to_send(
                (kind.sop_class_uid, kind.transfer_syntax_uid) for kind in kinds
            ):
                self._send_over(job, peer, contexts, chosen, account)
        account.check()
        log.info(
            "{count} objects forwarded to {title}",
            count=len(account.sent),
            title=one_line(peer.ae_title),
        )

    def _peer(self, ae_title: str) -> Peer:
        peer = self._resources.read("find peer", peers.find, ae_title)
        if peer is None:
            raise NotFound(f"{ae_title} is not in the peer list any more")
        if not peer.enabled:
            raise Unavailable(f"the peer {ae_title} is switched off")
        return peer

    def _send_over(
        self,
        job: Job,
        peer: Peer,
        contexts: dict[str, list[PresentationContext]],
        chosen: Selection,
        account: _Account,
    ) -> None:
        """Send those of the missing objects that have a context here."""
        missing = (
            stored
            for stored in objects(self._resources, chosen)
            if stored.sop_class_uid in contexts and stored.id not in account.sent
        )
        first = next(missing, None)
        if first is None:
            return
        proposed = [context for of_class in contexts.values() for context in of_class]
        try:
            with self._client.association(peer, proposed) as association:
                sender = Sender(self._resources, association, job.check, priority=0)
                with closing(sender.send_all(chain((first,), missing))) as outcomes:
                    for outcome in outcomes:
                        account.count(outcome)
                        job.progress(len(account.sent), account.total)
                        if account.is_noteworthy():
                            self._note(job, account)
                        if job.is_cancelled():
                            break
        finally:
            self._note(job, account)
        job.check()

    def _note(self, job: Job, account: _Account) -> None:
        if account.new:
            self._resources.write("note forwarded", forwarding.note, job.id, account.new)
        account.new, account.noted_at = [], time.monotonic()
