"""C-ECHO as SCP (PS3.4 annex A)."""

from pynetdicom.presentation import PresentationContext

from santepacs.dicom.message import Request
from santepacs.dicom.resources import Resources
from santepacs.dicom.session import Session
from santepacs.dicom.status import Status


def serve(
    _resources: Resources, session: Session, request: Request, context: PresentationContext
) -> None:
    """Say that we are here."""
    session.respond(request, context, Status.SUCCESS)
