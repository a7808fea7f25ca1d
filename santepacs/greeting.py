"""What a server that has just started tells its operator: where everything is."""

from collections.abc import Iterator
from pathlib import Path

from santepacs.host.listening import first_address
from santepacs.model.addresses import is_loopback
from santepacs.settings import Settings


def greeting(settings: Settings, data: Path, setup_link: str) -> Iterator[str]:
    """One line each. `setup_link`: path of the first administrator's link, empty if not needed."""
    web = settings.web
    host = web.server_name or first_address()
    portal = f"http://{f'[{host}]' if ':' in host else host}:{web.port}"
    if web.port:
        yield f"web portal: {portal}/ (on this machine http://localhost:{web.port}/)"
        if not is_loopback(web.bind or "::"):
            yield (
                "the portal speaks plain HTTP: use it inside your own network or a VPN only, or "
                "behind a proxy with HTTPS (web.trusted_proxies)"
            )
    if settings.dicom.port:
        yield f"DICOM server: AE title {settings.dicom.ae_title}, port {settings.dicom.port}"
    if settings.dicom.tls_port:
        yield f"DICOM over TLS: AE title {settings.dicom.ae_title}, port {settings.dicom.tls_port}"
    if settings.hl7.port:
        yield f"HL7 server: port {settings.hl7.port}"
    yield f"data directory: {data}"
    if setup_link and web.port:
        yield (
            "there is no administrator yet; open this within 24 hours to make the first: "
            f"{portal}{setup_link}"
        )
    yield "ready"
