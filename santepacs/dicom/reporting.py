"""Reports of storage commitments on their way to one peer (PS3.4 J.3.3).

As many as possible go over one association. One over which the peer ends the association, or which
it does not answer, does not keep the others: they go over the next one, and first of all the next
time.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pynetdicom import build_context
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.db import commitments
from santepacs.db.commitments import Commitment
from santepacs.dicom import message, references
from santepacs.dicom.client import Client
from santepacs.dicom.commitment import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from santepacs.dicom.identifier import encoding_of
from santepacs.dicom.message import Command, Element
from santepacs.dicom.references import Failed, Reference
from santepacs.dicom.resources import Resources
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Forbidden, Malformed, Unavailable
from santepacs.job import Job
from santepacs.logs import one_line
from santepacs.model.peers import Peer
from santepacs.model.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN

log = Logger()

MAXIMUM_LOST = 3  # associations, one after the other, until an attempt is given up

_ALL_COMMITTED, _FAILURES_EXIST = 1, 2  # event types


@dataclass(slots=True)
class Result:
    """What was found out for one transaction."""

    commitment: Commitment
    committed: list[Reference] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)


class _Lost(Exception):
    """The peer ended the association, or did not answer."""


class Reporter:
    """Tells one peer, in one attempt of a job."""

    def __init__(self, resources: Resources, client: Client, job: Job, peer: Peer) -> None:
        self._resources = resources
        self._client = client
        self._job = job
        self._peer = peer
        self._lost = 0  # associations since there was an answer

    def tell(self, results: Sequence[Result]) -> int:
        """Send the reports; returns how many the peer did not take.

        Raises Unavailable when the peer cannot be reached, or ends association after association;
        what it took until then is forgotten all the same.
        """
        pending = list(results)
        refused = 0
        try:
            with self._client.turn(self._job.check):
                while pending:
                    refused += self._tell_over_one(pending)
        except Forbidden as refusal:
            # It may be set right at the other end.
            raise Unavailable(str(refusal)) from None
        return refused

    def _tell_over_one(self, pending: list[Result]) -> int:
        """Send, and take off `pending`, what goes over one association."""
        context = build_context(
            STORAGE_COMMITMENT, [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN]
        )
        roles = {STORAGE_COMMITMENT: (False, True)}
        refused = 0
        try:
            with self._client.association(self._peer, [context], roles=roles) as association:
                refused += self._report(association, pending)
                while pending and association.is_open():
                    refused += self._report(association, pending)
        except _Lost:
            return refused + 1
        return refused

    def _report(self, association: UpperAssociation, pending: list[Result]) -> bool:
        """Send the first of `pending`; whether it was refused. Raises _Lost."""
        self._job.check()
        context = self._accepted(association)
        result = pending.pop(0)
        status = self._answer(association, context, result)
        if status is None:
            self._note_lost(result)
            raise _Lost
        self._lost = 0
        if _is_taken(status):
            self._reported(result)
            return False
        log.warn(
            "{title} answers a storage commitment report with 0x{status:04X}",
            title=one_line(self._peer.ae_title),
            status=status,
        )
        return True

    def _answer(
        self, association: UpperAssociation, context: PresentationContext, result: Result
    ) -> int | None:
        """Send one report; the status of the answer, None without one."""
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
                Element.MESSAGE_ID: 1,  # one at a time
                Element.AFFECTED_SOP_INSTANCE_UID: STORAGE_COMMITMENT_INSTANCE,
                Element.EVENT_TYPE_ID: _FAILURES_EXIST if result.failed else _ALL_COMMITTED,
            },
            data_set=True,
        )
        association.send_message(context.context_id or 0, command, data_set)
        answer = association.dimse.next_message(association.deadline(association.dimse_timeout))
        if answer is not None:
            with suppress(Malformed):
                number = message.number(answer.command, Element.COMMAND_FIELD)
                if number == Command.N_EVENT_REPORT | message.RESPONSE:
                    return message.number(answer.command, Element.STATUS)
        return None

    def _note_lost(self, result: Result) -> None:
        self._job.check()  # when it was us who ended the association, the peer is not to blame
        self._resources.write("lost association", commitments.note_lost, result.commitment)
        log.warn(
            "{title} does not answer a storage commitment report",
            title=one_line(self._peer.ae_title),
        )
        self._lost += 1
        if self._lost >= MAXIMUM_LOST:
            raise Unavailable(
                f"{self._peer.ae_title} does not answer the storage commitment report"
            )

    def _reported(self, result: Result) -> None:
        self._resources.write("storage commitment reported", commitments.forget, result.commitment)
        log.info(
            "storage commitment reported to {title}: {committed} committed, {failed} not",
            title=one_line(self._peer.ae_title),
            committed=len(result.committed),
            failed=len(result.failed),
        )

    def _accepted(self, association: UpperAssociation) -> PresentationContext:
        """The context for the reports. That the role was agreed to as well is not insisted on:
        peers that take no part in the negotiation of roles do take the report."""
        for context in association.accepted_contexts:
            if context.abstract_syntax == STORAGE_COMMITMENT:
                return context
        raise Unavailable(f"{self._peer.ae_title} does not accept storage commitment reports")


def _is_taken(status: int) -> bool:
    """Success or a warning (PS3.7 annex C)."""
    return status in (0x0000, 0x0001, 0x0107, 0x0116) or status & 0xF000 == 0xB000
