"""The HL7 port put together: one conversation, two protocols, and who may use them."""

import secrets
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from santepacs.access.unknown import UnknownCallers
from santepacs.archive.archive import Archive
from santepacs.db import messages, nodes, studies
from santepacs.db.database import Database, Transaction
from santepacs.db.messages import MessageRow
from santepacs.db.studies import StudyRow
from santepacs.hl7.charset import codec_of
from santepacs.hl7.receiver import Receiver
from santepacs.host.names import HostNames
from santepacs.settings import Settings
from santepacs.tokens.dialogue import StudyToken
from santepacs.tokens.responder import TokenResponder
from santepacs.wire.admission import Admission
from santepacs.wire.conversation import ConversationFactory, Limits
from santepacs.wire.framing import Kind
from santepacs.worklist.mapping import Mappings
from santepacs.worklist.worklist import Worklist

MAXIMUM_PATIENT_STUDIES = 1000  # of one token reply


def hl7_receiver(
    settings: Settings,
    database: Database,
    worklist: Worklist,
    mappings: Callable[[], Mappings],
    clock: Callable[[], datetime],
) -> Receiver:
    """What judges messages, of the port and those that are run again.

    `mappings`: the field mappings in force. `clock`: local time with its zone.
    """

    async def kept(key: int) -> MessageRow | None:
        async def work(tx: Transaction) -> MessageRow | None:
            return await messages.message(tx, key)

        return await database.transaction("kept HL7 message", work, read_only=True)

    return Receiver(
        worklist, settings, mappings, kept, clock, lambda: secrets.token_hex(10).upper()
    )


def hl7_factory(
    reactor: Any,
    settings: Settings,
    database: Database,
    archive: Archive,
    receiver: Receiver,
    names: HostNames,
    unknown: UnknownCallers,
) -> ConversationFactory:
    """What the HL7 port listens with."""

    def limits() -> Limits:
        return Limits(
            message_size=settings.hl7.maximum_message_size * 1_000_000,
            connections=settings.hl7.maximum_connections,
            frame_timeout=settings.hl7.frame_timeout,
            token_timeout=settings.hl7.token_timeout,
            idle_timeout=settings.hl7.idle_timeout,
        )

    async def known_addresses() -> Iterable[str]:
        hosts = await database.transaction("HL7 nodes", nodes.enabled_hosts, read_only=True)
        return {address for host in hosts for address in await names.addresses(host)}

    async def by_uid(uid: str) -> Sequence[StudyToken]:
        async def work(tx: Transaction) -> StudyRow | None:
            return await studies.study(tx, uid)

        row = await database.transaction("token of a study", work, read_only=True)
        return [token(row)] if row else []

    async def by_patient_id(patient_id: str) -> Sequence[StudyToken]:
        async def work(tx: Transaction) -> list[StudyRow]:
            return await studies.studies_of_patient_id(
                tx, patient_id, limit=MAXIMUM_PATIENT_STUDIES
            )

        rows = await database.transaction("tokens of a patient", work, read_only=True)
        return [token(row) for row in rows]

    def token(row: StudyRow) -> StudyToken:
        return StudyToken(
            row.study_instance_uid,
            row.study_date,
            row.study_description,
            archive.token(row.study_instance_uid, row.token_version),
        )

    admission = Admission(lambda: settings.hl7.trust_loopback, known_addresses)
    responder = TokenResponder(
        settings,
        by_uid,
        by_patient_id,
        lambda: codec_of(settings.hl7.default_charset),
        reactor.seconds,
    )
    return ConversationFactory(
        reactor,
        limits,
        admission.admit,
        lambda address, reason: unknown.note("hl7", "", address, reason),
        {
            Kind.MLLP: receiver.receive,
            Kind.BROKEN: receiver.refuse_broken,
            Kind.TOKEN: responder.respond,
        },
    )
