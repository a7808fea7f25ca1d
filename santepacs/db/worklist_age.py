"""Worklist records that are over: to be deleted for their age."""

from santepacs.db.database import Transaction
from santepacs.model.order import StepStatus

_EVERY_STATUS = [status.value for status in StepStatus]


async def delete_older(tx: Transaction, days: int, limit: int) -> int:
    """Delete at most `limit` records that were scheduled, and changed last, more than `days` ago;
    returns how many. Their history goes with them; one that somebody changes right now stays.
    """
    return await tx.execute(
        "DELETE FROM worklist_record WHERE id = ANY (ARRAY (SELECT id FROM worklist_record"
        " WHERE step_status = ANY (%s)"
        " AND start_date < to_char(now() - make_interval(days => %s), 'YYYYMMDD')"
        " AND updated_at < now() - make_interval(days => %s) LIMIT %s FOR UPDATE SKIP LOCKED))",
        _EVERY_STATUS,
        days,
        days,
        limit,
    )
