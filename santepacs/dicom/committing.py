"""The job behind storage commitment: find out what is truly kept, and tell the peer.

One job for each peer reports all that the peer waits for, so that a peer that is away costs one
attempt, not one for each transaction, and one that is back needs few associations. What could not
be reported for `EXPIRY` days is given up. (PS3.4 J.3.3; the failure reasons are PS3.3 C.14.1.1.)
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.archive import proof
from santepacs.db import commitments, peers
from santepacs.db.commitments import Commitment, Referenced
from santepacs.dicom import message, references
from santepacs.dicom.client import Client
from santepacs.dicom.commitment import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from santepacs.dicom.identifier import encoding_of
from santepacs.dicom.message import Command, Element
from santepacs.dicom.references import Failed, Reference
from santepacs.dicom.resources import Resources
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, Unavailable
from santepacs.job import Job, Retries
from santepacs.logs import one_line
from santepacs.model.peers import Peer
from santepacs.model.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN

log = Logger()

EXPIRY = 7.0  # days
AT_ONCE = 2  # peers that are reported to at the same time
# Each transaction has an age of its own, so the job itself is never given up.
RETRIES = Retries(maximum_attempts=2**31, maximum_age=float("inf"))

PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119

_ALL_COMMITTED, _FAILURES_EXIST = 1, 2  # event types
_IN_MEMORY = 100_000  # references that are looked after at a time


@dataclass(slots=True)
class _Result:
    """What was found out for one transaction."""

    commitment: Commitment
    committed: list[Reference] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


class Committing:
    """Handles the jobs that `santepacs.dicom.commitment` asks for (`KIND`)."""

    def __init__(self, resources: Resources, client: Client) -> None:
        self._resources = resources
        self._client = client

    async def handle(self, job: Job) -> None:
        """Report to one peer. Raises Unavailable while it does not take the reports."""
        await self._resources.threads.run(self._report_to, job)

    def _report_to(self, job: Job) -> None:
        ae_title = job.payload["ae_title"]
        peer = self._peer(ae_title)
        after = refused = done = 0
        while batch := _fitting(self._read_waiting(ae_title, after)):
            after = batch[-1].id
            results = [self._found_out(job, commitment) for commitment in batch]
            refused += self._tell(job, peer, results)
            done += len(batch)
            job.progress(done - refused, done)
        if refused:
            raise Unavailable(f"{ae_title} did not take {refused} of {done} reports")

    def _read_waiting(self, ae_title: str, after: int) -> list[Commitment]:
        return self._resources.read(
            "storage commitments", commitments.waiting, ae_title, after=after
        )

    def _peer(self, ae_title: str) -> Peer:
        for title, count in self._resources.write(
            "expire storage commitments", commitments.expire, EXPIRY
        ):
            log.warn(
                "{count} storage commitments of {title} were not reported in {days:.0f} days and"
                " are given up",
                count=count,
                title=one_line(title),
                days=EXPIRY,
            )
        peer = self._resources.read("find peer", peers.find, ae_title)
        if peer is None:
            self._resources.write("forget storage commitments", commitments.forget_peer, ae_title)
            raise NotFound(f"{ae_title} is not in the peer list any more")
        if not peer.enabled:
            raise Unavailable(f"the peer {ae_title} is switched off")
        return peer

    # --- finding out

    def _found_out(self, job: Job, commitment: Commitment) -> _Result:
        result = _Result(commitment)
        after = 0
        while page := self._resources.read(
            "committed objects", commitments.references, commitment.id, after=after
        ):
            after = page[-1].position
            proven: list[Referenced] = []
            for one in page:
                job.check()
                reason = self._reason(job, one)
                reference = one.sop_class_uid, one.sop_instance_uid
                if reason:
                    result.failed.append(Failed(reference, reason))
                    continue
                result.committed.append(reference)
                if one.proven != one.digest:
                    proven.append(one)
            if proven:
                self._resources.write(
                    "note proven objects",
                    commitments.note_proven,
                    commitment.id,
                    [one.position for one in proven],
                    [one.digest for one in proven],
                )
        return result

    def _reason(self, job: Job, one: Referenced) -> int:
        """Why this reference cannot be committed; 0 if it can."""
        if not one.stored_class_uid:
            return NO_SUCH_OBJECT
        if one.stored_class_uid != one.sop_class_uid:
            return CLASS_INSTANCE_CONFLICT
        path = self._resources.archive.files.path(one.study_instance_uid, one.digest)
        try:
            self._prove(job, one, path)
        except (NotFound, Conflict, Malformed, OSError) as problem:
            log.error(
                "not committed: stored object {file} cannot be vouched for ({problem})",
                file=path.name,
                problem=type(problem).__name__,
            )
            return NO_SUCH_OBJECT if isinstance(problem, NotFound) else PROCESSING_FAILURE
        return 0

    @staticmethod
    def _prove(job: Job, one: Referenced, path: Path) -> None:
        if one.proven == one.digest:
            proof.check_size(path, one.bytes)
        else:
            proof.prove(path, one.digest, one.bytes, job.check)

    # --- telling

    def _tell(self, job: Job, peer: Peer, results: Sequence[_Result]) -> int:
        """Send the reports over one association; returns how many the peer did not take.

        Raises Unavailable when it cannot be reached, or goes away; what it took until then is
        forgotten all the same.
        """
        context = build_context(
            STORAGE_COMMITMENT, [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN]
        )
        roles = {STORAGE_COMMITMENT: (False, True)}
        refused = 0
        try:
            with (
                self._client.turn(job.check),
                self._client.association(peer, [context], roles=roles) as association,
            ):
                for number, result in enumerate(results, 1):
                    job.check()
                    status = self._report(association, peer, result, number)
                    if _is_taken(status):
                        self._reported(peer, result)
                    else:
                        refused += 1
                        log.warn(
                            "{title} answers a storage commitment report with 0x{status:04X}",
                            title=one_line(peer.ae_title),
                            status=status,
                        )
        except Forbidden as refusal:
            # It may be set right at the other end.
            raise Unavailable(str(refusal)) from None
        return refused

    def _report(
        self, association: UpperAssociation, peer: Peer, result: _Result, message_id: int
    ) -> int:
        context = _accepted(association, peer)
        data_set = references.report(
            result.commitment.transaction_uid,
            self._resources.settings.dicom.ae_title,
            result.committed,
            result.failed,
            encoding_of(context),
        )
        command = message.encoded(
            {
                Element.AFFECTED_SOP_CLASS_UID: STORAGE_COMMITMENT,
                Element.COMMAND_FIELD: Command.N_EVENT_REPORT,
                Element.MESSAGE_ID: message_id,
                Element.AFFECTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_INSTANCE,
                Element.EVENT_TYPE_ID: _FAILURES_EXIST if result.failed else _ALL_COMMITTED,
            },
            data_set=True,
        )
        association.send_message(context.context_id or 0, command, data_set)
        answer = association.dimse.next_message(association.deadline(association.dimse_timeout))
        if answer is not None:
            with suppress(Malformed):
                field = message.number(answer.command, Element.COMMAND_FIELD)
                if field == Command.N_EVENT_REPORT | message.RESPONSE:
                    return message.number(answer.command, Element.STATUS)
        raise Unavailable(f"{peer.ae_title} does not answer the storage commitment report")

    def _reported(self, peer: Peer, result: _Result) -> None:
        self._resources.write("storage commitment reported", commitments.forget, result.commitment)
        log.info(
            "storage commitment reported to {title}: {committed} committed, {failed} not",
            title=one_line(peer.ae_title),
            committed=len(result.committed),
            failed=len(result.failed),
        )


def _fitting(waiting: Sequence[Commitment]) -> list[Commitment]:
    """As many of them, at least one, as are held in memory at a time."""
    batch: list[Commitment] = []
    size = 0
    for commitment in waiting:
        size += commitment.size
        if batch and size > _IN_MEMORY:
            break
        batch.append(commitment)
    return batch


def _accepted(association: UpperAssociation, peer: Peer) -> PresentationContext:
    """The context for the reports. That the role was agreed to as well is not insisted on: peers
    that take no part in the negotiation of roles do take the report."""
    for context in association.accepted_contexts:
        if context.abstract_syntax == STORAGE_COMMITMENT:
            return context
    raise Unavailable(f"{peer.ae_title} does not accept storage commitment reports")


def _is_taken(status: int) -> bool:
    """Success or a warning (PS3.7 annex C)."""
    return status in (0x0000, 0x0001, 0x0107, 0x0116) or status & 0xF000 == 0xB000
