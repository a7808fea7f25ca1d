"""One job of the queue, as its handler sees it, and when a job is tried again."""

from dataclasses import dataclass

from santepacs.db import jobs


class Interrupted(Exception):
    """Raised by `Job.check` to leave a handler whose job shall end now."""


@dataclass(frozen=True, slots=True)
class Retries:
    """When to try a job again that failed for now, and when to give it up."""

    delays: tuple[float, ...] = (10, 30, 120, 600, 3600)
    """Seconds after the first, second, ... attempt; the last one holds for all that follow."""
    maximum_attempts: int = 200
    maximum_age: float = 7 * 86400
    """Seconds since the job was asked for."""

    def delay(self, attempts: int, random: float) -> float:
        """Seconds to wait after so many attempts; `random` in [0, 1) spreads them by a fifth."""
        return self.delays[min(attempts, len(self.delays)) - 1] * (0.8 + 0.4 * random)

    def is_over(self, attempts: int, age: float) -> bool:
        """Whether a job that has just failed again is given up."""
        return attempts >= self.maximum_attempts or age >= self.maximum_age


class Job:
    """A job in hand. Every method may be called in any thread."""

    def __init__(self, claimed: jobs.Claimed) -> None:
        self.id = claimed.id
        self.kind = claimed.kind
        self.payload = claimed.payload
        self.attempts = claimed.attempts
        """How often it was begun, this time included."""
        self.age = claimed.age
        """Seconds since it was asked for, when it was begun."""
        self.reached = (0, 0)
        """Done and total, as `progress` said last."""
        self.cancelled = self.interrupted = False

    def progress(self, done: int, total: int) -> None:
        """Say how far it is; written down about once a second."""
        self.reached = (done, total)

    def is_cancelled(self) -> bool:
        """Whether it shall end now: somebody cancelled it, or the server is stopping."""
        return self.cancelled or self.interrupted

    def check(self) -> None:
        """Raise Interrupted when it shall end now."""
        if self.is_cancelled():
            raise Interrupted
