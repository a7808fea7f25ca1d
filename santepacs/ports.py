"""The ports of all modules, bound before the reactor runs: all of them, or none and an error."""

import socket

from santepacs.dicom.tls import ServerContext
from santepacs.host.listening import listening_socket
from santepacs.settings import Settings


def tls_context(settings: Settings) -> ServerContext | None:
    """For the DICOM port with TLS, if there is one. Raises Malformed for unusable files."""
    return ServerContext(lambda: settings.dicom) if settings.dicom.tls_port else None


def bind(settings: Settings) -> dict[str, socket.socket]:
    """A listening socket for each module that is switched on, or none at all and an error."""
    dicom, hl7, web = settings.dicom, settings.hl7, settings.web
    wanted = [
        ("dicom", "the DICOM server", dicom.bind, dicom.port),
        ("dicom tls", "the DICOM server for TLS", dicom.bind, dicom.tls_port),
        ("hl7", "the HL7 server", hl7.bind, hl7.port),
        ("web", "the web server", web.bind, web.port),
    ]
    sockets: dict[str, socket.socket] = {}
    try:
        for module, purpose, address, port in wanted:
            if port:
                sockets[module] = listening_socket(address, port, purpose)
    except BaseException:
        for bound in sockets.values():
            bound.close()
        raise
    return sockets
