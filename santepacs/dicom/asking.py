"""Modality Worklist C-FIND as SCU (PS3.4 annex K): other worklist servers are asked.

What they answer is hostile: bounded in size, number and time, and read or left out.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pynetdicom import build_context
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.destinations import Permit, anywhere, for_dicom
from santepacs.dicom import debugging, identifier, message
from santepacs.dicom.client import Client
from santepacs.dicom.contexts import MODALITY_WORKLIST_FIND
from santepacs.dicom.message import RESPONSE, Command, Element
from santepacs.dicom.messages import Message
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Forbidden, Malformed, Unavailable
from santepacs.logs import fault
from santepacs.model.order import WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer
from santepacs.model.transfer_syntaxes import EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.worklist.requests import record_of, request_of

log = Logger()

MAXIMUM_ANSWERS = 10_000
PATIENCE = 10  # times `dicom.service_timeout` that all answers together may take
_MESSAGE_ID = 1
_MEDIUM = 0
_PENDING = (0xFF00, 0xFF01)
_CANCELLED = 0xFE00


@dataclass(frozen=True, slots=True)
class Answered:
    """The records of another server."""

    records: list[WorklistRecord]
    is_cut: bool = False
    """There are more than were asked for."""
    left_out: int = 0
    """Answers that could not be read."""


class OtherWorklists:
    """Asks other worklist servers, from the reactor."""

    def __init__(self, settings: Settings, threads: Threads, client: Client) -> None:
        self._settings = settings
        self._threads = threads
        self._client = client

    async def ask(self, peer: Peer, query: WorklistQuery, limit: int) -> list[WorklistRecord]:
        """At most `limit` records of `peer`. Raises Unavailable, Forbidden or Malformed."""
        permit = for_dicom(self._settings)
        found = await self._threads.run(find_worklist, self._client, peer, query, limit, permit)
        return found.records


def find_worklist(
    client: Client, peer: Peer, query: WorklistQuery, limit: int, permit: Permit = anywhere
) -> Answered:
    """What another worklist server has that matches, at most `limit` records. Blocking.

    `permit`: where it may be. Raises Unavailable when it does not answer or cannot now, Forbidden
    when it refuses us, Malformed when it does not take the query, cannot be understood or may not
    be asked.
    """
    debugging.keep_content_out_of_logs()
    context = build_context(
        MODALITY_WORKLIST_FIND, [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN]
    )
    limit = max(1, min(limit, MAXIMUM_ANSWERS))
    records: list[WorklistRecord] = []
    left_out = 0
    with client.association(peer, [context], permit=permit) as association:
        accepted = association.accepted_contexts[0]
        answers = _answers(association, accepted, peer, query)
        for answer in answers:
            if len(records) + left_out == limit:
                association.abort()  # the rest is not waited for
                return Answered(records, is_cut=True, left_out=left_out)
            try:
                records.append(record_of(identifier.decode(answer.data_set, accepted)))
            except Exception as error:  # noqa: BLE001 - whatever they have sent
                left_out += 1
                log.info(
                    "an answer of {title} cannot be read: {fault}",
                    title=peer.ae_title,
                    fault=fault(error),
                )
    return Answered(records, left_out=left_out)


def _answers(
    association: UpperAssociation,
    context: PresentationContext,
    peer: Peer,
    query: WorklistQuery,
) -> Iterator[Message]:
    """The pending responses to a C-FIND."""
    syntax = context.transfer_syntax[0]
    asked = encode(request_of(query), syntax.is_implicit_VR, syntax.is_little_endian)
    if asked is None:
        raise Malformed("the query cannot be encoded")
    command = message.encoded(
        {
            Element.AFFECTED_SOP_CLASS_UID: MODALITY_WORKLIST_FIND,
            Element.COMMAND_FIELD: Command.C_FIND,
            Element.MESSAGE_ID: _MESSAGE_ID,
            Element.PRIORITY: _MEDIUM,
        },
        data_set=True,
    )
    association.send_message(context.context_id or 0, command, asked)
    patience = float(association.dimse_timeout or 30)
    end = association.deadline(PATIENCE * patience)
    while True:
        until = min(end, association.deadline(patience))
        received = association.dimse.next_message(until)
        if received is None:
            association.abort()
            raise Unavailable(f"{peer.ae_title} did not answer the whole query in time")
        status = _status(received, peer)
        if status not in _PENDING:
            _check_final(status, peer)
            return
        yield received


def _status(received: Message, peer: Peer) -> int:
    command = received.command
    field = message.number(command, Element.COMMAND_FIELD)
    answered = message.number(command, Element.MESSAGE_ID_BEING_RESPONDED_TO)
    if field != Command.C_FIND | RESPONSE or answered != _MESSAGE_ID:
        raise Malformed(f"{peer.ae_title} answers something else than the query")
    return message.number(command, Element.STATUS)


def _check_final(status: int, peer: Peer) -> None:
    if status in (0x0000, _CANCELLED):
        return
    said = f"{peer.ae_title} answers the query with 0x{status:04X}"
    if status == 0x0124:
        raise Forbidden(f"{said}: it refuses us")
    if status & 0xFF00 == 0xA700:
        raise Unavailable(f"{said}: it is out of resources")
    if status & 0xFF00 == 0xA900:
        raise Malformed(f"{said}: it does not take a key of the query")
    raise Unavailable(said)
