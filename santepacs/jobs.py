"""Later work: forward, commit, burn, and whatever else must not be lost when the server stops.

A job is a row that is written in the transaction which causes it (`santepacs.db.jobs.add`); the
queue does it afterwards, in this run of the server or the next. What a handler must know:

- A job is done *at least* once: the server may die between the work and the note that it is done.
- It ends by returning. Unavailable means later: it is tried again, after longer and longer pauses.
  Malformed, NotFound, Forbidden and Conflict mean never. Anything else is a mistake of ours and
  is tried again like Unavailable; its message is kept nowhere, for it may quote a patient's data.
- Work that takes long looks at `Job.is_cancelled` now and then, or calls `Job.check`.

One server owns the data directory, so whoever writes a job wakes this queue in process; a slow
poll finds what came another way.
"""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from santepacs.db import jobs
from santepacs.db.database import Database, Transaction
from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, SantepacsError, Unavailable
from santepacs.job import Interrupted, Job, Retries
from santepacs.logs import fault, one_line

__all__ = ["Interrupted", "Job", "Queue", "Retries"]

log = Logger()

PROGRESS_INTERVAL = 1.0  # seconds between notes of how far jobs are
PURGE_INTERVAL = 3600.0
PURGE_STEP = 500
_AT_ONCE = 0.05  # seconds; what is due but in another's hand is not looked for more often
_SOON = 2.0  # seconds until the database is asked again after it was away
_FOR_GOOD = (Malformed, NotFound, Forbidden, Conflict)


Handler = Callable[[Job], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class _Kind:
    handler: Handler
    at_once: int
    retries: Retries


class Queue:
    """Does the jobs of the kinds it has handlers for. To be used on the reactor."""

    def __init__(
        self,
        reactor: Any,
        database: Database,
        random: Callable[[], float],
        run: str,
        *,
        poll: float = 10.0,
        keep_days: float = 7.0,
    ) -> None:
        """`random` gives numbers in [0, 1). `run`: a text no other run of the server ever had.

        `poll`: seconds between looks for what nobody woke the queue for. Jobs that have ended are
        kept for `keep_days`.
        """
        self._reactor = reactor
        self._database = database
        self._random = random
        self._run = run
        self._poll = poll
        self._keep_days = keep_days
        self._kinds: dict[str, _Kind] = {}
        self._running: dict[int, Job] = {}
        self._noted: dict[int, tuple[int, int]] = {}
        self._started = self._stopping = False
        self._looking = self._look_again = False
        self._unsure = False  # whether there may be jobs in our hand that we know nothing of
        self._timer: Any = None
        self._loops = (
            (self._looping(self._note_progress), PROGRESS_INTERVAL),
            (self._looping(self._purge), PURGE_INTERVAL),
        )

    def handle(
        self, kind: str, handler: Handler, *, at_once: int = 1, retries: Retries | None = None
    ) -> None:
        """Have `handler` do the jobs of `kind`, at most `at_once` of them at a time."""
        self._kinds[kind] = _Kind(handler, at_once, retries or Retries())
        self.wake()

    async def start(self) -> None:
        """Begin, with what earlier runs left half done. Raises Unavailable."""

        limits = {kind: each.retries.maximum_attempts for kind, each in self._kinds.items()}

        async def free(tx: Transaction) -> tuple[int, int]:
            return await jobs.free_dead(tx, self._run, limits)

        freed, given_up = await self._database.transaction("free jobs", free)
        if given_up:
            log.warn(
                "{count} jobs are given up: the server died at their last attempt", count=given_up
            )
        if freed:
            log.info("{count} jobs of an earlier run begin again", count=freed)
        self._started = True
        for loop, interval in self._loops:
            loop.start(interval)
        self.wake()

    async def stop(self, grace: float) -> None:
        """Begin nothing more, tell what runs; what has not ended in `grace` seconds is left.

        What is left or was interrupted begins again at the next start.
        """
        self._stopping = True
        for loop, _ in self._loops:
            if loop.running:
                loop.stop()
        self._unset_timer()
        end = self._reactor.seconds() + grace
        while (self._running or self._looking) and self._reactor.seconds() < end:
            for job in self._running.values():
                job.interrupted = True
            await deferLater(self._reactor, _AT_ONCE)

        async def give_back(tx: Transaction) -> int:
            return await jobs.give_back(tx, self._run)

        try:
            await self._database.transaction("give back jobs", give_back)
        except Unavailable:
            log.info("jobs in hand are freed at the next start")

    def wake(self) -> None:
        """Look for work: to be called after the commit of a transaction that added some."""
        if not self._started or self._stopping:
            return
        self._look_again = True
        if not self._looking:
            self._looking = True
            self._unset_timer()
            Deferred.fromCoroutine(self._look())

    async def cancel(self, job_id: int) -> bool:
        """End a job; False if there is nothing to end. One that runs here is told at once.

        Raises Unavailable.
        """

        async def work(tx: Transaction) -> bool:
            return await jobs.cancel(tx, job_id)

        found = await self._database.transaction("cancel job", work)
        if found and job_id in self._running:
            self._running[job_id].cancelled = True
        return found

    # --- taking in hand

    async def _look(self) -> None:
        pause = self._poll
        while self._look_again and not self._stopping:
            self._look_again = False
            try:
                pause = await self._claim()
            except Unavailable:
                # The commit may have happened all the same.
                self._unsure = True
                pause = _SOON
            except Exception as error:  # noqa: BLE001 - the queue must not end for it
                log.error("cannot look for jobs: {fault}", fault=fault(error))
                pause = self._poll
        self._looking = False
        if not self._stopping:
            self._timer = self._reactor.callLater(pause, self.wake)

    async def _claim(self) -> float:
        """Begin what there is room for; returns the seconds until the next look."""
        in_hand = Counter(job.kind for job in self._running.values())
        free = {kind: each.at_once - in_hand[kind] for kind, each in self._kinds.items()}
        free = {kind: count for kind, count in free.items() if count > 0}

        async def work(tx: Transaction) -> tuple[list[jobs.Claimed], float | None]:
            if self._unsure:
                await jobs.give_back(tx, self._run, list(self._running))
            claimed = await jobs.claim(tx, self._run, free)
            taken = Counter(one.kind for one in claimed)
            open_kinds = [kind for kind, count in free.items() if taken[kind] < count]
            return claimed, await jobs.seconds_to_next(tx, open_kinds)

        claimed, seconds = await self._database.transaction("claim jobs", work)
        self._unsure = False
        for one in claimed:
            job = self._running[one.id] = Job(one)
            Deferred.fromCoroutine(self._do(job))
        return self._poll if seconds is None else min(self._poll, max(_AT_ONCE, seconds))

    # --- doing

    async def _do(self, job: Job) -> None:
        began = self._reactor.seconds()
        error = await Deferred.fromCoroutine(self._call(job)).addErrback(lambda f: f.value)
        job.age += self._reactor.seconds() - began
        if error is None or not self._is_left(job, error):
            await self._settle(job, error)
        del self._running[job.id]
        self._noted.pop(job.id, None)
        self.wake()

    async def _call(self, job: Job) -> None:
        await self._kinds[job.kind].handler(job)

    @staticmethod
    def _is_left(job: Job, error: BaseException) -> bool:
        """Whether it ended because the server is stopping: `stop` gives it back."""
        return job.interrupted and not job.cancelled and not isinstance(error, _FOR_GOOD)

    async def _settle(self, job: Job, error: BaseException | None) -> None:
        """Write down how it ended, however long the database is away."""
        note = self._verdict(job, error)

        async def work(tx: Transaction) -> None:
            await jobs.note_progress(tx, self._run, {job.id: job.reached})
            await note(tx, self._run, job.id)

        while True:
            try:
                await self._database.transaction("end job", work)
                return
            except Unavailable:
                if self._stopping:
                    return
            except Exception as problem:  # noqa: BLE001 - it will be done again, at the next start
                log.error("the end of a job is not noted: {fault}", fault=fault(problem))
                return
            await deferLater(self._reactor, _SOON)

    def _verdict(self, job: Job, error: BaseException | None) -> Callable[..., Awaitable[None]]:
        if error is None:
            return partial(jobs.finish, state="done", error="")
        if job.cancelled:
            return partial(jobs.finish, state="cancelled", error="")
        reason = type(error).__name__
        if isinstance(error, SantepacsError):
            reason = one_line(error)
        else:
            log.error("a {kind} job failed: {fault}", kind=job.kind, fault=fault(error))
        retries = self._kinds[job.kind].retries
        if isinstance(error, _FOR_GOOD) or retries.is_over(job.attempts, job.age):
            log.warn(
                "{kind} job {id} is given up after {count} attempts: {reason}",
                kind=job.kind,
                id=job.id,
                count=job.attempts,
                reason=reason,
            )
            return partial(jobs.finish, state="failed", error=reason)
        delay = retries.delay(job.attempts, self._random())
        log.info(
            "{kind} job {id} is tried again in {delay:.0f} s: {reason}",
            kind=job.kind,
            id=job.id,
            delay=delay,
            reason=reason,
        )
        return partial(jobs.postpone, delay=delay, error=reason)

    # --- every now and then

    def _looping(self, work: Callable[[], Awaitable[None]]) -> LoopingCall:
        async def guarded() -> None:
            try:
                await work()
            except Unavailable:
                return  # the next time will do
            except Exception as error:  # noqa: BLE001 - the loop must not end for it
                log.error("the job queue failed: {fault}", fault=fault(error))

        loop = LoopingCall(guarded)
        loop.clock = self._reactor
        return loop

    async def _note_progress(self) -> None:
        if not self._running:
            return
        changed = {
            job.id: job.reached
            for job in self._running.values()
            if job.reached != self._noted.get(job.id, (0, 0))
        }

        async def work(tx: Transaction) -> set[int]:
            return await jobs.note_progress(tx, self._run, changed)

        cancelled = await self._database.transaction("note progress", work)
        for job in list(self._running.values()):
            if job.id in changed:
                self._noted[job.id] = changed[job.id]
            job.cancelled = job.cancelled or job.id in cancelled

    async def _purge(self) -> None:
        async def work(tx: Transaction) -> int:
            return await jobs.purge(tx, self._keep_days, PURGE_STEP)

        while not self._stopping:
            if await self._database.transaction("purge jobs", work) < PURGE_STEP:
                return
            await deferLater(self._reactor, _AT_ONCE)

    def _unset_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
