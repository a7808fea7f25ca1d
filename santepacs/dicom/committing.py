"""The job behind storage commitment: find out what is truly kept, and tell the peer.

One job for each peer reports all that the peer waits for (`santepacs.dicom.reporting`), so that a
peer that is away costs one attempt, not one for each transaction, and one that is back needs few
associations. What could not be reported for `EXPIRY` days is given up. (PS3.4 J.3.3; the failure
reasons are PS3.3 C.14.1.1.)
"""

from collections.abc import Sequence
from pathlib import Path

from twisted.logger import Logger

from santepacs.archive import proof
from santepacs.db import commitments, peers
from santepacs.db.commitments import Commitment, Referenced
from santepacs.dicom.client import Client
from santepacs.dicom.references import Failed
from santepacs.dicom.reporting import Reporter, Result
from santepacs.dicom.resources import Resources
from santepacs.errors import Conflict, Malformed, NotFound, Unavailable
from santepacs.job import Job, Retries
from santepacs.logs import one_line
from santepacs.model.peers import Peer

log = Logger()

EXPIRY = 7.0  # days
AT_ONCE = 2  # peers that are reported to at the same time
# Each transaction has an age of its own, so the job itself is never given up.
RETRIES = Retries(maximum_attempts=2**31, maximum_age=float("inf"))

PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119

_TOGETHER = 20  # transactions that are looked after at a time,
_IN_MEMORY = 100_000  # and their references


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
        waiting = self._resources.read("storage commitments", commitments.waiting, ae_title)
        reporter = Reporter(self._resources, self._client, job, peer)
        refused = done = 0
        while batch := _fitting(waiting[done : done + _TOGETHER]):
            refused += reporter.tell([self._found_out(job, commitment) for commitment in batch])
            done += len(batch)
            job.progress(done - refused, len(waiting))
        if refused:
            raise Unavailable(f"{ae_title} did not take {refused} of {done} reports")

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

    def _found_out(self, job: Job, commitment: Commitment) -> Result:
        result = Result(commitment)
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
