"""How far a retrieval is: the counts of its sub-operations (PS3.7 9.1.3, 9.1.4)."""

import threading
import time
from collections import Counter
from dataclasses import dataclass

from santepacs.dicom import status
from santepacs.dicom.sending import Outcome
from santepacs.dicom.status import Status

MAXIMUM_COUNT = 65_535  # what a count in a response can say
MAXIMUM_FAILED = 1000  # UIDs in the list of failed ones: it must fit an explicit VR's length
INTERVAL = 0.1  # seconds between two reports of progress
SILENCE = 2.0  # seconds after which one is due although nothing has changed
_REASONS = 20  # different ones that are remembered


@dataclass(frozen=True, slots=True)
class Counts:
    """Sub-operations as a response says them."""

    remaining: int
    completed: int
    failed: int
    warning: int


class Progress:
    """What became of the sub-operations so far. One thread counts, others look."""

    def __init__(self) -> None:
        self.failed_uids: list[str] = []
        self.reasons: Counter[str] = Counter()
        """Why objects were not sent."""
        self._lock = threading.Lock()
        self._remaining = self._completed = self._failed = self._warning = 0
        self._is_closed = False

    def expect(self, count: int) -> None:
        """Say how many there will be."""
        with self._lock:
            self._remaining = count

    def count(self, outcome: Outcome) -> None:
        """Take note of one sub-operation."""
        with self._lock:
            if self._is_closed:
                return
            self._remaining = max(self._remaining - 1, 0)
            if outcome.status == Status.SUCCESS:
                self._completed += 1
            elif outcome.status is not None and status.is_warning(outcome.status):
                self._warning += 1
            else:
                self._failed += 1
                reason = outcome.reason or f"the receiver answers 0x{outcome.status or 0:04X}"
                if reason in self.reasons or len(self.reasons) < _REASONS:
                    self.reasons[reason] += 1
                if len(self.failed_uids) < MAXIMUM_FAILED:
                    self.failed_uids.append(outcome.stored.sop_instance_uid)

    def give_up(self, reason: str) -> None:
        """Count all that remain as failed."""
        with self._lock:
            if self._remaining and not self._is_closed:
                self.reasons[reason] += self._remaining
                self._failed += self._remaining
                self._remaining = 0

    def close(self) -> None:
        """From now on nothing counts any more."""
        with self._lock:
            self._is_closed = True

    def counts(self) -> Counts:
        """The counts now, as far as a response can say them."""
        with self._lock:
            numbers = (self._remaining, self._completed, self._failed, self._warning)
        return Counts(*(min(number, MAXIMUM_COUNT) for number in numbers))

    @property
    def sent(self) -> int:
        """How many objects the receiver has now."""
        with self._lock:
            return self._completed + self._warning

    def final(self) -> Status:
        """The status of the whole (PS3.4 table C.4-2)."""
        with self._lock:
            if not self._failed and not self._warning:
                return Status.SUCCESS
            if self._completed or self._warning:
                return Status.SOME_FAILED
            return Status.SUBOPERATIONS_FAILED


class Reports:
    """When progress is worth a report: not too often, and now and then in any case."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._said = progress.counts()
        self._at = time.monotonic()

    def due(self) -> Counts | None:
        """The counts to be reported now; None if it is not time yet."""
        silent = time.monotonic() - self._at
        if silent < INTERVAL:
            return None
        counts = self._progress.counts()
        if counts == self._said and silent < SILENCE:
            return None
        self._said, self._at = counts, time.monotonic()
        return counts
