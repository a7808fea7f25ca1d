"""The web port put together: the portal, and what its pages need of the HL7 and DICOM rooms."""

import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from santepacs.access.accounts import Accounts
from santepacs.access.setup import Setup
from santepacs.archive.archive import Archive
from santepacs.db.database import Database
from santepacs.hl7.acknowledgement import Sender
from santepacs.hl7.compose import control_for_others, order_message
from santepacs.hl7.desk import Desk
from santepacs.hl7.receiver import Receiver
from santepacs.model.order import WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.web.health import Health
from santepacs.web.site import WebServer
from santepacs.web.worklist_tools import Verdict
from santepacs.worklist.mapping import Mappings
from santepacs.worklist.worklist import Worklist

Ask = Callable[[Peer, WorklistQuery, int], Awaitable[list[WorklistRecord]]]
"""Asks another worklist server for at most so many records."""

_REPEATED = "the very same message was accepted before; nothing was changed"


class Tools:
    """What the worklist's pages do with other doors (`santepacs.web.worklist_tools`)."""

    def __init__(
        self,
        settings: Settings,
        receiver: Receiver,
        ask: Ask,
        clock: Callable[[], datetime],
        control_id: Callable[[], str],
    ) -> None:
        """`clock`: local time with its zone. `control_id`: a new MSH-10 at each call."""
        self._settings = settings
        self._receiver = receiver
        self._clock = clock
        self._control_id = control_id
        self._ask = ask

    def compose(self, record: WorklistRecord) -> bytes:
        """The record as an order message, to be kept."""
        return self._compose(record, "NW", Sender("", ""))

    def compose_for(self, application: str, facility: str, record: WorklistRecord) -> bytes:
        """The record as a message that does to this receiver's order what was done to ours."""
        return self._compose(record, control_for_others(record), Sender(application, facility))

    def _compose(self, record: WorklistRecord, control: str, receiver: Sender) -> bytes:
        own = self._settings.hl7
        return order_message(
            record,
            sender=Sender(own.sending_application, own.sending_facility),
            receiver=receiver,
            control_id=self._control_id(),
            now=self._clock(),
            control=control,
        )

    async def take(self, content: bytes, source: str, actor: str) -> list[Verdict]:
        """Process the messages of a file as if they had come by the HL7 port."""
        return [
            Verdict(
                verdict.code,
                _REPEATED if verdict.repeated else verdict.text,
                verdict.location,
                verdict.key,
            )
            for verdict in await self._receiver.take(content, source, actor)
        ]

    async def ask(self, peer: Peer, query: WorklistQuery, limit: int) -> list[WorklistRecord]:
        """Ask another worklist server."""
        return await self._ask(peer, query, limit)


def web_server(
    reactor: Any,
    settings: Settings,
    database: Database,
    threads: Threads,
    archive: Archive,
    accounts: Accounts,
    setup: Setup,
    health: Health,
    worklist: Worklist,
    receiver: Receiver,
    mappings: Callable[[], Mappings],
    ask: Ask,
    wake: Callable[[], Any],
    clock: Callable[[], datetime],
) -> WebServer:
    """The portal. `wake`: the queue of jobs looks for work."""

    def control_id() -> str:
        return secrets.token_hex(10).upper()

    return WebServer(
        reactor,
        settings,
        database,
        threads,
        archive,
        accounts,
        setup,
        health,
        worklist,
        Tools(settings, receiver, ask, clock, control_id),
        Desk(reactor, settings, threads, receiver, mappings, clock, control_id),
        wake,
    )
