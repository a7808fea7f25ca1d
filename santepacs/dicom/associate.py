"""Associations made: accepted from who connects to us, or asked for (PS3.8 7.1)."""

import socket
import ssl
from collections.abc import Callable, Sequence
from typing import Any

from pynetdicom import AE, build_role
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation

from santepacs.dicom.connection import Connection, Ended, Interrupted
from santepacs.dicom.dialling import Connecting, dial, unwatched
from santepacs.dicom.provider import MAXIMUM_PDU
from santepacs.dicom.tls import reason
from santepacs.dicom.upper import OpenSpool, Service, UpperAssociation
from santepacs.errors import Unavailable


def accept(
    ae: AE,
    connection: socket.socket,
    address: tuple[Any, ...],
    services: dict[int, Service],
    spool: OpenSpool,
    handlers: list[tuple[Any, Callable[[Any], Any]]],
    ended: Callable[[UpperAssociation], None],
    tls: ssl.SSLContext | None = None,
) -> UpperAssociation:
    """An association, not started yet, for a connection that somebody made to us.

    `services` by command field; `handlers` are pynetdicom's (event, function); `ended` is called
    when all is over. With `tls` the handshake comes first, in the association's own thread.
    """
    local = connection.getsockname()
    association = UpperAssociation(
        ae, "acceptor", Connection(connection), services, spool, ended, tls
    )
    association.acceptor.ae_title = ae.ae_title
    association.acceptor.address_info = _numeric(local)
    association.acceptor.maximum_length = MAXIMUM_PDU
    association.acceptor.implementation_class_uid = ae.implementation_class_uid
    association.acceptor.implementation_version_name = ae.implementation_version_name
    association.acceptor.supported_contexts = []
    association.requestor.address_info = _numeric(address)
    for event, handler in handlers:
        association.bind(event, handler)
    return association


def request(
    ae: AE,
    ae_title: str,
    addresses: Sequence[tuple[str, int]],
    contexts: list[PresentationContext],
    *,
    tls: ssl.SSLContext | None = None,
    roles: dict[str, tuple[bool, bool]] | None = None,
    handlers: Sequence[tuple[Any, Callable[[Any], Any]]] = (),
    connecting: Connecting = unwatched,
) -> UpperAssociation:
    """Ask the application at the first of `addresses` (host, port) that answers. Blocking.

    The association has no thread of its own: it is used, and at the end released or aborted, by
    the caller's. Look at `is_established`: without it, it was rejected. `roles`: (SCU, SCP) to
    propose for SOP classes (PS3.7 D.3.3.4). Raises Unavailable naming what went wrong when there is
    no connection, no answer, or no context that both know; and what `connecting` raises, which gets
    every connection as it is begun.
    """
    try:
        timeout = float(ae.connection_timeout or 60)
        connection, remote = _connected(addresses, timeout, tls, connecting)
    except Ended as problem:
        raise Unavailable(f"{ae_title} does not answer at {problem}") from None
    association = UpperAssociation(ae, "requestor", connection)
    association.acceptor.ae_title = ae_title
    association.acceptor.address_info = _numeric(remote)
    association.requestor.ae_title = ae.ae_title
    association.requestor.address_info = _numeric(("127.0.0.1", 0))
    association.requestor.maximum_length = MAXIMUM_PDU
    association.requestor.implementation_class_uid = ae.implementation_class_uid
    association.requestor.implementation_version_name = ae.implementation_version_name
    for number, context in enumerate(contexts):
        context.context_id = 2 * number + 1
    association.requestor.requested_contexts = contexts
    for sop_class, (scu, scp) in (roles or {}).items():
        association.requestor.add_negotiation_item(build_role(sop_class, scu, scp))
    for event, handler in handlers:
        association.bind(event, handler)
    association.request()
    if not association.is_established:
        association.close()
        if not association.is_rejected:
            raise Unavailable(_why_none(association, ae_title, remote, tls is not None))
    return association


def _why_none(
    association: UpperAssociation, ae_title: str, remote: tuple[Any, ...], with_tls: bool
) -> str:
    """Why there is no association although there was a connection."""
    place = f"{remote[0]} port {remote[1]}"
    if association.rejected_contexts:
        return f"{ae_title} accepts none of the proposed presentation contexts"
    if not association.is_aborted:
        return f"{ae_title} does not answer at {place} in time"
    perhaps = "it does not take our certificate" if with_tls else "it expects TLS"
    return f"{ae_title} does not answer at {place}: it ends the connection; perhaps {perhaps}"


def _connected(
    addresses: Sequence[tuple[str, int]],
    timeout: float,
    tls: ssl.SSLContext | None,
    connecting: Connecting,
) -> tuple[Connection, tuple[Any, ...]]:
    problem = "any address"
    for host, port in addresses:
        try:
            connection, remote = dial(host, port, timeout, connecting)
        except OSError as error:
            problem = f"{host} port {port}: {error.strerror or 'not in time'}"
            continue
        if tls is None:
            return connection, remote
        try:
            connection.start_tls(tls, timeout, server_side=False, server_hostname=host)
            return connection, remote
        except (Ended, Interrupted) as ended:
            connection.close()
            problem = f"{host} port {port}: {reason(ended)}"
    raise Ended(problem)


def _numeric(address: tuple[Any, ...]) -> AddressInformation:
    return AddressInformation.from_tuple(address)


def reject(association: UpperAssociation, result: int, source: int, reason: int) -> None:
    """Answer the association request with A-ASSOCIATE-RJ (PS3.8 table 9-21) and end it."""
    association.acse.send_reject(result, source, reason)
    association.kill()
