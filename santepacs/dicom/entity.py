"""The DICOM server: one port, every service, each association in threads of its own.

What associations do is said by the table of services; who may ask for what by the admission.
"""

import logging
import socket
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.presentation import PresentationContext
from twisted.logger import Logger

from santepacs.access.unknown import UnknownCallers
from santepacs.dicom import contexts, query, retrieve, sending, store, upper, worklist
from santepacs.dicom.admission import Admission, Caller, own_titles
from santepacs.dicom.client import Client
from santepacs.dicom.contexts import MODALITY_WORKLIST_FIND, VERIFICATION
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import COMBINED, RELATIONAL, Session
from santepacs.dicom.spool import Spool
from santepacs.dicom.upper import UpperAssociation
from santepacs.errors import Unavailable
from santepacs.host.names import HostNames
from santepacs.logs import fault, one_line
from santepacs.model.addresses import plain_address

log = Logger()

UNASSOCIATED = 100  # connections beyond the associations that may be asking for one
UNASSOCIATED_OF_ADDRESS = 50  # of these from one address: beyond, the longest there must go
STRANGERS = 10  # associations at once of callers who may only verify
QUIET = 1.0  # seconds without work after which a stopping server ends an association
_LAST_WORDS = 3.0  # seconds for associations to end once they are told to


class DicomServer:
    """Takes associations on a listening socket and serves them; `start` and `stop` once each."""

    def __init__(self, resources: Resources) -> None:
        self.client = Client(resources.settings)
        self._settings = resources.settings
        self._resources = resources
        self._admission = Admission(
            resources,
            HostNames(resources.threads, time.monotonic),
            UnknownCallers(resources.database, time.monotonic),
        )
        self._titles = own_titles(resources.settings.dicom.ae_title)
        self._lock = threading.Lock()
        self._associations: dict[UpperAssociation, Session] = {}
        self._listener: socket.socket | None = None
        self._stopping = False

    def start(self, listener: socket.socket) -> None:
        """Serve the callers of `listener`, which is this server's from now on."""
        _configure_pynetdicom()
        self._listener = listener
        # Blocking, so not the reactor's: a thread that does nothing but accept.
        threading.Thread(
            target=self._accept_all, args=(listener,), name="DICOM accept", daemon=True
        ).start()

    def stop(self, grace: float) -> None:
        """Take no more callers, let work finish for `grace` seconds, then abort. Blocking."""
        self._stopping = True
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        deadline = time.monotonic() + grace
        while self._running() and time.monotonic() < deadline:
            for association in self._running():
                if association.is_quiet(QUIET):
                    association.end()
            time.sleep(0.05)
        for association in self._running():
            association.end()
        deadline = time.monotonic() + _LAST_WORDS
        for association in self._running():
            association.join(max(0.0, deadline - time.monotonic()))

    def counts(self) -> tuple[int, int]:
        """Connections that there are, and those of them that are established associations."""
        running = self._running()
        return len(running), sum(association.is_established for association in running)

    def _running(self) -> list[UpperAssociation]:
        with self._lock:
            return list(self._associations)

    # --- connections ------------------------------------------------------------------------------

    def _accept_all(self, listener: socket.socket) -> None:
        while not self._stopping:
            try:
                connection, address = listener.accept()
            except OSError:
                if not self._stopping:
                    log.error("cannot accept DICOM connections: out of file descriptors?")
                    time.sleep(0.2)
                continue
            try:
                self._begin(connection, address)
            except Exception as error:  # noqa: BLE001 - one bad connection must not end them all
                log.error("a connection could not be served: {fault}", fault=fault(error))
                connection.close()

    def _begin(self, connection: socket.socket, address: tuple[Any, ...]) -> None:
        dicom = self._settings.dicom
        _speak(dicom.debug)
        running = self._running()
        if len(running) >= dicom.maximum_associations + UNASSOCIATED:
            connection.close()
            return
        crowd = [each for each in running if each.is_idle_caller(address[0])]
        if len(crowd) >= UNASSOCIATED_OF_ADDRESS:
            crowd[0].end()
        ae = AE(dicom.ae_title)
        ae.acse_timeout = dicom.association_timeout
        ae.dimse_timeout = dicom.service_timeout
        ae.network_timeout = dicom.network_timeout
        association = upper.accept(
            ae, connection, address, self._services(), self._spool, self._handlers(), self._ended
        )
        with self._lock:
            self._associations[association] = Session(association)
        try:
            association.start()
        except RuntimeError:  # no more threads
            self._ended(association)
            raise

    def _ended(self, association: UpperAssociation) -> None:
        with self._lock:
            session = self._associations.pop(association, None)
        if session is not None and session.summary():
            log.info(
                "{title} from {address}: {summary} in {seconds:.1f} s",
                title=one_line(session.caller.ae_title),
                address=session.caller.address,
                summary=session.summary(),
                seconds=time.monotonic() - session.began,
            )

    def _strangers(self) -> int:
        with self._lock:
            associations = list(self._associations.items())
        return sum(
            bool(session.caller.reason) and association.is_established
            for association, session in associations
        )

    def _session(self, association: UpperAssociation) -> Session:
        with self._lock:
            return self._associations[association]

    # --- what comes over an association -----------------------------------------------------------

    def _services(self) -> dict[type, upper.Service]:
        return {
            C_STORE: self._serving(store.serve),
            C_FIND: self._serving(_find),
            C_GET: self._serving(retrieve.serve_get),
            C_MOVE: self._serving(partial(_move, self.client)),
        }

    def _serving(
        self, service: Callable[[Resources, Session, Any, PresentationContext], None]
    ) -> upper.Service:
        def serve(
            association: UpperAssociation, request: Any, context: PresentationContext
        ) -> None:
            service(self._resources, self._session(association), request, context)

        return serve

    def _spool(
        self, association: UpperAssociation, command: Any, context: PresentationContext
    ) -> Spool:
        return store.open_spool(self._resources, self._session(association), command, context)

    def _handlers(self) -> list[tuple[Any, Callable[[Any], Any]]]:
        return [(evt.EVT_REQUESTED, self._requested), (evt.EVT_SOP_EXTENDED, self._negotiate)]

    def _requested(self, event: Any) -> None:
        """Decide on an association request; until then no context is acceptable."""
        association: UpperAssociation = event.assoc
        try:
            refusal = self._decide(association)
        except Unavailable:
            refusal = (2, 3, 1)  # transient: temporary congestion
        except Exception as error:  # noqa: BLE001 - pynetdicom would go on and accept
            log.error("an association could not be decided: {fault}", fault=fault(error))
            refusal = (2, 3, 1)
        if refusal is not None:
            upper.reject(association, *refusal)

    def _decide(self, association: UpperAssociation) -> tuple[int, int, int] | None:
        """Result, source and reason of a rejection (PS3.8 table 9-21), or None to accept."""
        proposal: Any = association.requestor.primitive
        where: Any = association.requestor.address_info
        calling, called = proposal.calling_ae_title.strip(), proposal.called_ae_title.strip()
        if called not in self._titles:
            reason = f"it calls {one_line(called, 16)}, which is not this server's AE title"
            self._admission.note(Caller(calling, plain_address(where.address), reason=reason))
            return (1, 1, 7)
        if self.counts()[1] >= self._settings.dicom.maximum_associations or self._stopping:
            return (2, 3, 2)
        caller = self._admission.caller(calling, where.address)
        if caller.reason:
            self._admission.note(caller)
            proposed = proposal.presentation_context_definition_list
            if all(context.abstract_syntax != VERIFICATION for context in proposed):
                return (1, 1, 3)
            if self._strangers() >= STRANGERS:
                return (2, 3, 2)
        else:
            self._note_denied(caller, proposal.presentation_context_definition_list)
        self._session(association).caller = caller
        association.acceptor.supported_contexts = contexts.supported(
            proposal.presentation_context_definition_list,
            store=caller.may_store,
            query=caller.may_query,
            retrieve=caller.may_retrieve,
            worklist=caller.may_worklist,
        )
        return None

    def _note_denied(self, caller: Caller, proposed: list[PresentationContext]) -> None:
        """Say in the log why a listed peer gets fewer contexts than it proposed."""
        asked = {str(context.abstract_syntax) for context in proposed}
        services = (
            ("query", caller.may_query, contexts.QUERY),
            ("retrieve", caller.may_retrieve, contexts.RETRIEVE),
            ("ask for the worklist", caller.may_worklist, (MODALITY_WORKLIST_FIND,)),
        )
        for service, allowed, uids in services:
            if not allowed and asked.intersection(uids):
                log.warn(
                    "{title} from {address} may not {service}",
                    title=one_line(caller.ae_title),
                    address=caller.address,
                    service=service,
                )

    def _negotiate(self, event: Any) -> dict[str, bytes]:
        """Agree to relational queries and retrieval, and to combined date and time (C.5.1.1)."""
        session = self._session(event.assoc)
        for uid, asked in event.app_info.items():
            if uid in (*contexts.QUERY, *contexts.RETRIEVE):
                agreed = bytearray(len(asked))
                for position in (RELATIONAL, COMBINED) if uid in contexts.QUERY else (RELATIONAL,):
                    agreed[position : position + 1] = asked[position : position + 1]
                session.negotiated[str(uid)] = bytes(agreed)
        return session.negotiated


def _find(
    resources: Resources, session: Session, request: C_FIND, context: PresentationContext
) -> None:
    service = worklist if context.abstract_syntax == MODALITY_WORKLIST_FIND else query
    service.serve(resources, session, request, context)


def _move(
    client: Client,
    resources: Resources,
    session: Session,
    request: C_MOVE,
    context: PresentationContext,
) -> None:
    retrieve.serve_move(resources, client, session, request, context)


class _ToOurLog(logging.Handler):
    """pynetdicom's log records, for `dicom.debug`."""

    def emit(self, record: logging.LogRecord) -> None:
        log.debug("pynetdicom: {message}", message=record.getMessage())


def _configure_pynetdicom() -> None:
    """pynetdicom's switches, for the process: never the content of anything in a log."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    sending.use_file_sending()
    # pydicom warns of impossible values by quoting them, and those may be a patient's.
    warnings.filterwarnings("ignore", module=r"pydicom\b")


def _speak(debug: bool) -> None:
    """Let pynetdicom tell what goes on (`dicom.debug`), or keep it quiet."""
    _config.LOG_HANDLER_LEVEL = "standard" if debug else "none"
    logger = logging.getLogger("pynetdicom")
    if debug and not any(isinstance(handler, _ToOurLog) for handler in logger.handlers):
        logger.addHandler(_ToOurLog())
    logger.setLevel(logging.DEBUG if debug else logging.CRITICAL)
