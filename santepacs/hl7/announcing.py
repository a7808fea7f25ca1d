"""Telling an HL7 node how far its orders are: ORM^O01 with ORC-1 SC, through the send queue.

ORC-5 is IP when a step has begun, CM when it is completed, DC when it was discontinued (table
0038). Nobody is told while the setting `worklist.status_node` is empty.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from twisted.logger import Logger

from santepacs.db import outgoing
from santepacs.db.database import Transaction
from santepacs.errors import Malformed, NotFound
from santepacs.hl7.acknowledgement import Sender
from santepacs.hl7.compose import order_message
from santepacs.model.order import StepStatus, WorklistRecord
from santepacs.settings import Settings

log = Logger()

ORDER_STATUS = {
    StepStatus.STARTED: "IP",
    StepStatus.COMPLETED: "CM",
    StepStatus.DISCONTINUED: "DC",
}
STATUS_CHANGED = "SC"
ORIGIN = "the worklist: a procedure has moved on"


class StatusMessages:
    """Announces records that have moved (`santepacs.worklist.progress.Announce`)."""

    def __init__(
        self, settings: Settings, now: Callable[[], datetime], control_id: Callable[[], str]
    ) -> None:
        """`now`: local time with its zone. `control_id`: a new MSH-10."""
        self._settings = settings
        self._now = now
        self._control_id = control_id

    async def announce(self, tx: Transaction, record: WorklistRecord) -> None:
        """Have the node told of the status that `record` has now, when `tx` is committed.

        A node that is none must not keep the work from going on: that is for the log.
        """
        node, status = self._settings.worklist.status_node, ORDER_STATUS.get(record.step_status)
        if not node or status is None:
            return
        own = self._settings.hl7
        raw = order_message(
            replace(record, status=status),
            sender=Sender(own.sending_application, own.sending_facility),
            # It goes back to where the order came from.
            receiver=Sender(record.sending_application, record.sending_facility),
            control_id=self._control_id(),
            now=self._now(),
            control=STATUS_CHANGED,
        )
        try:
            await outgoing.enqueue(tx, node, raw, ORIGIN)
        except (NotFound, Malformed) as problem:
            log.error("worklist.status_node is not told: {problem}", problem=problem)
