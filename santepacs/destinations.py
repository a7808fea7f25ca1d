"""Where this server connects to for the portal and its HL7 nodes: not everywhere.

Whoever may type a host and a port could otherwise reach, with this machine's eyes, what only it
reaches: a cloud's metadata server, and our own doors, which trust callers of this machine. The rule
is applied to the connection that was made, before anything is said on it, so that no name service
can change its mind in between (OWASP ASVS 1.3.6).
"""

import ipaddress
from collections.abc import Callable

from santepacs.errors import Malformed
from santepacs.model.addresses import is_loopback, plain_address
from santepacs.settings import Settings

Permit = Callable[[str, int, str], None]
"""Gets the address and port that we are connected to, and our end's address. Raises Malformed."""

_METADATA = ipaddress.ip_address("fd00:ec2::254")  # where a large cloud has it, besides 169.254


def anywhere(_remote: str, _port: int, _local: str) -> None:
    """For whoever sits at this machine, and for peers that were saved by one who does."""


def for_hl7(settings: Settings) -> Permit:
    """HL7 messages may go to our own HL7 port, but to no other door of ours."""
    return _rule(settings, settings.web.port, settings.dicom.port, settings.dicom.tls_port)


def for_dicom(settings: Settings) -> Permit:
    """Worklist queries may go to our own DICOM ports, but to no other door of ours."""
    return _rule(settings, settings.web.port, settings.hl7.port)


def _rule(settings: Settings, *own_ports: int) -> Permit:
    def permit(remote: str, port: int, local: str) -> None:
        place = plain_address(remote)
        address = ipaddress.ip_address(place)
        is_here = is_loopback(place) or address.is_unspecified or place == plain_address(local)
        if is_here and port in own_ports:
            raise Malformed(f"port {port} there is another door of this server itself")
        if (address.is_link_local or address == _METADATA) and not settings.server.link_local:
            raise Malformed(
                "this server connects to no link-local address; the setting server.link_local "
                "allows it"
            )

    return permit
