"""The HL7 tools' pages, put together."""

from collections.abc import Callable
from typing import Any

from santepacs.db.database import Database
from santepacs.settings import Settings
from santepacs.web.desk import Desk
from santepacs.web.hl7 import Hl7Pages
from santepacs.web.hl7_compare import ComparePages
from santepacs.web.hl7_compose import ComposePages
from santepacs.web.hl7_nodes import NodePages
from santepacs.web.hl7_outgoing import OutgoingPages
from santepacs.web.mapping import MappingPages
from santepacs.web.renderer import Renderer
from santepacs.web.scanner import ScannerPages
from santepacs.web.study_uids import StudyUidPages


def hl7_pages(
    clock: Any,
    settings: Settings,
    renderer: Renderer,
    database: Database,
    desk: Desk,
    wake: Callable[[], Any],
) -> tuple[Any, ...]:
    """All of them. `wake`: the queue of jobs looks at once for what is to be sent."""
    return (
        Hl7Pages(clock, renderer, database, desk),
        OutgoingPages(renderer, database, desk, wake),
        ComposePages(renderer, database, desk),
        ComparePages(renderer, database, desk),
        MappingPages(renderer, database, desk),
        StudyUidPages(settings, renderer, database),
        NodePages(settings, renderer, database, desk),
        ScannerPages(clock, settings, renderer, database),
    )
