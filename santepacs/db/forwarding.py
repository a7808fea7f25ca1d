"""What forwarding jobs have sent."""

from collections.abc import Sequence

from santepacs.db.database import Transaction


async def sent(tx: Transaction, job_id: int) -> set[int]:
    """The objects (their `id`) that the job has sent so far."""
    rows = await tx.fetch_all("SELECT instance FROM forwarded WHERE job = %s", job_id)
    return {row.instance for row in rows}


async def note(tx: Transaction, job_id: int, instances: Sequence[int]) -> None:
    """Remember that the job has sent these; repeating it changes nothing."""
    await tx.execute(
        "INSERT INTO forwarded (job, instance) SELECT %s, unnest(%s::bigint[])"
        " ON CONFLICT DO NOTHING",
        job_id,
        list(instances),
    )
