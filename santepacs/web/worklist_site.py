"""The worklist's pages, put together."""

from collections.abc import Callable
from typing import Any

from santepacs.db.database import Database
from santepacs.settings import Settings
from santepacs.web.desk import Desk
from santepacs.web.renderer import Renderer
from santepacs.web.worklist import WorklistPages
from santepacs.web.worklist_editing import WorklistEditing
from santepacs.web.worklist_intake import WorklistIntake
from santepacs.web.worklist_sending import WorklistSending
from santepacs.web.worklist_tools import WorklistTools
from santepacs.worklist.worklist import Worklist


def worklist_pages(
    clock: Any,
    settings: Settings,
    renderer: Renderer,
    database: Database,
    worklist: Worklist,
    tools: WorklistTools,
    desk: Desk,
    wake: Callable[[], Any],
) -> tuple[Any, ...]:
    """All of them. `wake`: the queue of jobs looks at once for what is to be sent."""
    return (
        WorklistPages(clock, settings, renderer, database, worklist, desk),
        WorklistEditing(clock, renderer, database, worklist),
        WorklistIntake(clock, renderer, database, worklist, tools),
        WorklistSending(renderer, database, tools, desk, wake),
    )
