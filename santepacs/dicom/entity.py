"""The DICOM server: gates for its ports, every service, each association in a thread of its own.

What associations do is said by the table of services; who may ask for what by the admission.
"""

import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from pynetdicom import AE
from pynetdicom.presentation import PresentationContext
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from santepacs.access.unknown import UnknownCallers
from santepacs.activity import Activity
from santepacs.dicom import (
    associate,
    commitment,
    debugging,
    procedure,
    query,
    retrieve,
    store,
    tls,
    upper,
    verification,
    worklist,
)
from santepacs.dicom.admission import Admission, Caller
from santepacs.dicom.associations import Associations
from santepacs.dicom.client import Client
from santepacs.dicom.contexts import MODALITY_WORKLIST_FIND
from santepacs.dicom.gate import Gate, Limits
from santepacs.dicom.message import Command, Request
from santepacs.dicom.negotiation import Negotiation
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.dicom.spool import Spool
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Malformed, Unavailable
from santepacs.host.names import HostNames
from santepacs.logs import one_line
from santepacs.threads import Crew

log = Logger()

LIMITS = Limits()
RENEWAL = 60.0  # seconds between looks for a renewed certificate

Serve = Callable[[Resources, Session, Request, PresentationContext], None]


class DicomServer:
    """Takes associations on listening sockets and serves them; `start` and `stop` once each."""

    def __init__(
        self,
        resources: Resources,
        reactor: Any,
        names: HostNames,
        unknown: UnknownCallers,
        tls_context: tls.ServerContext | None = None,
        activity: Activity | None = None,
    ) -> None:
        """`tls_context`: for the port with TLS, if there is one. `activity` keeps what was done."""
        self.client = Client(resources.settings)
        self._settings = resources.settings
        self._resources = resources
        self._reactor = reactor
        self._tls = tls_context
        self._activity = activity
        self._associations = Associations(resources.settings)
        self._crew = Crew("DICOM", self._associations.maximum)
        self._admission = Admission(
            reactor, resources.settings, resources.database, names, unknown, self._associations
        )
        self._negotiation = Negotiation(resources, self._admission, self._associations)
        self._gates: list[Gate] = []
        self._renewal = LoopingCall(self._renew)
        self._renewal.clock = reactor

    def start(
        self, listener: socket.socket | None, tls_listener: socket.socket | None = None
    ) -> None:
        """Serve the callers of the sockets, which are this server's from now on. In a thread."""
        debugging.keep_content_out_of_logs()
        self._resources.threads.ask(self._open, listener, tls_listener)

    def stop(self, grace: float) -> None:
        """Take no more callers, let work finish for `grace` seconds, then abort. In a thread."""
        self._resources.threads.ask(self._close)
        self._associations.stop(grace)
        self._crew.stop()

    def counts(self) -> tuple[int, int]:
        """Connections that there are, and those of them that are established associations."""
        connections, established = self._associations.counts()
        return connections + sum(gate.waiting for gate in self._gates), established

    # --- connections: on the reactor --------------------------------------------------------------

    async def _open(
        self, listener: socket.socket | None, tls_listener: socket.socket | None
    ) -> None:
        if listener is not None:
            self._gates.append(self._gate(listener, self._admission.decide, self._begin))
        if tls_listener is not None and self._tls is not None:
            self._gates.append(self._gate(tls_listener, None, partial(self._begin, with_tls=True)))
            self._renewal.start(RENEWAL, now=False)
        self._crew.start()
        for gate in self._gates:
            gate.start()

    def _gate(self, listener: socket.socket, decide: Any, handoff: Any) -> Gate:
        return Gate(
            self._reactor,
            listener,
            decide,
            handoff,
            patience=lambda: self._settings.dicom.association_timeout,
            turned_away=partial(self._admission.note, ""),
            limits=LIMITS,
        )

    async def _close(self) -> None:
        if self._renewal.running:
            self._renewal.stop()
        while self._gates:
            self._gates.pop().stop()

    async def _renew(self) -> None:
        try:
            if self._tls is not None and await self._resources.threads.run(self._tls.renew):
                log.info("the certificate for DICOM over TLS was read anew")
        except Malformed as problem:
            log.error("the old TLS certificate stays in use: {problem}", problem=problem)

    def _begin(
        self,
        connection: socket.socket,
        address: tuple[Any, ...],
        caller: Caller | None,
        *,
        with_tls: bool = False,
    ) -> None:
        """Let a thread of its own serve a connection; its caller is not known before TLS."""
        dicom = self._settings.dicom
        debugging.speak(dicom.debug)
        ae = AE(dicom.ae_title)
        ae.acse_timeout = dicom.association_timeout
        ae.dimse_timeout = dicom.service_timeout
        ae.network_timeout = dicom.network_timeout
        association = associate.accept(
            ae,
            connection,
            address,
            self._services(),
            self._spool,
            self._negotiation.handlers(),
            self._ended,
            self._tls.current if with_tls and self._tls is not None else None,
        )
        self._associations.add(association, address[0], caller)
        try:
            self._crew.run(association.run_reactor)
        except RuntimeError:
            self._associations.remove(association)
            raise Unavailable("there are no more threads") from None

    # --- associations: in their own threads -------------------------------------------------------

    def _ended(self, association: UpperAssociation) -> None:
        session = self._associations.remove(association)
        if session is None:
            return
        record = session.record(datetime.now(UTC))
        if self._activity is not None and record is not None:
            self._reactor.callFromThread(self._activity.note, record)
        if session.summary():
            log.info(
                "{title} from {address}: {summary} in {seconds:.1f} s",
                title=one_line(session.caller.ae_title),
                address=session.caller.address,
                summary=session.summary(),
                seconds=time.monotonic() - session.began,
            )

    # --- services ---------------------------------------------------------------------------------

    def _services(self) -> dict[int, upper.Service]:
        services: dict[int, Serve] = {
            Command.C_ECHO: verification.serve,
            Command.C_STORE: store.serve,
            Command.C_FIND: _find,
            Command.C_GET: retrieve.serve_get,
            Command.C_MOVE: partial(_move, self.client),
            Command.N_ACTION: commitment.serve,
            Command.N_CREATE: procedure.serve_create,
            Command.N_SET: procedure.serve_set,
        }
        return {command: self._serving(serve) for command, serve in services.items()}

    def _serving(self, service: Serve) -> upper.Service:
        def serve(
            association: UpperAssociation, request: Request, context: PresentationContext
        ) -> None:
            session = self._associations.session(association)
            service(self._resources, session, request, context)

        return serve

    def _spool(
        self, association: UpperAssociation, request: Request, context: PresentationContext
    ) -> Spool:
        session = self._associations.session(association)
        return store.open_spool(self._resources, session, request, context)


def _find(
    resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    service = worklist if context.abstract_syntax == MODALITY_WORKLIST_FIND else query
    service.serve(resources, session, request, context)


def _move(
    client: Client,
    resources: Resources,
    session: Session,
    request: Request,
    context: PresentationContext,
) -> None:
    retrieve.serve_move(resources, client, session, request, context)
