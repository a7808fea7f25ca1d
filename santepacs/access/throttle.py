"""Brakes against guessing: waits that grow, and a count a minute. In memory, bounded.

A restart forgets them; an attacker cannot cause one. IPv6 callers count by their /64, because one
caller owns that many addresses.
"""

import ipaddress
from collections import OrderedDict, deque
from typing import Any

MAXIMUM_KEYS = 10_000


def network(address: str) -> str:
    """What one caller cannot leave: the IPv4 address, or the /64 of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False))


class Waits:
    """After `free` failures of a key each further one doubles its wait, up to `longest` seconds.

    Failures are forgotten `memory` seconds after the last one.
    """

    def __init__(
        self, clock: Any, *, first: float = 1.0, longest: float = 300.0, memory: float = 900.0
    ) -> None:
        self._clock = clock
        self._first = first
        self._longest = longest
        self._memory = memory
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def remaining(self, key: str, free: int) -> float:
        """Seconds that `key` must still wait; 0: it may try now."""
        count, last = self._of(key)
        if count < free:
            return 0.0
        wait = min(self._longest, self._first * 2.0 ** min(count - free, 30))
        return float(max(0.0, last + wait - self._clock.seconds()))

    def failed(self, key: str) -> None:
        """Note a failure."""
        count, _ = self._of(key)
        self._failures.pop(key, None)
        self._failures[key] = (count + 1, self._clock.seconds())
        if len(self._failures) > MAXIMUM_KEYS:
            self._failures.popitem(last=False)

    def forgive(self, key: str) -> None:
        """Take one failure back; the others of `key` stay."""
        count, last = self._of(key)
        if count > 1:
            self._failures[key] = (count - 1, last)
        else:
            self._failures.pop(key, None)

    def succeeded(self, key: str) -> None:
        """Forget the failures of `key`."""
        self._failures.pop(key, None)

    def _of(self, key: str) -> tuple[int, float]:
        count, last = self._failures.get(key, (0, 0.0))
        if count and self._clock.seconds() - last > self._memory:
            del self._failures[key]
            return 0, 0.0
        return count, last


class Rate:
    """How often something happened to a key in the last minute."""

    def __init__(self, clock: Any, *, period: float = 60.0) -> None:
        self._clock = clock
        self._period = period
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def exceeded(self, key: str, limit: int) -> bool:
        """Whether `limit` events have been noted within the period."""
        times = self._times.get(key)
        if times is None:
            return False
        self._forget(key, times)
        return len(times) >= limit

    def note(self, key: str, limit: int) -> None:
        """Note an event; no more than `limit` are kept of one key."""
        times = self._times.pop(key, deque())
        times.append(self._clock.seconds())
        while len(times) > limit:
            times.popleft()
        self._times[key] = times
        if len(self._times) > MAXIMUM_KEYS:
            self._times.popitem(last=False)

    def _forget(self, key: str, times: deque[float]) -> None:
        earliest = self._clock.seconds() - self._period
        while times and times[0] <= earliest:
            times.popleft()
        if not times:
            del self._times[key]
