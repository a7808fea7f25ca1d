"""Addresses of host names: looked up in a thread, remembered for a minute."""

import socket
from collections.abc import Callable

from santepacs.model.addresses import plain_address
from santepacs.threads import Threads

LIFETIME = 60.0  # seconds that an answer is used before asking again
MAXIMUM_NAMES = 10_000


class HostNames:
    """Used on the reactor. A slow name service delays a name's first look-up alone."""

    def __init__(
        self,
        threads: Threads,
        seconds: Callable[[], float],
        resolve: Callable[[str], frozenset[str]] | None = None,
    ) -> None:
        """`seconds`: a clock that never goes back."""
        self._threads = threads
        self._seconds = seconds
        self._resolve = resolve or _resolve
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    async def addresses(self, host: str) -> frozenset[str]:
        """The IP addresses of a host name or address, as canonical text; none when it has none."""
        known = self._known.get(host)
        if known is None:
            return self._learn(await self._threads.run(self._resolve, host), host)
        if self._seconds() - known[0] > LIFETIME:
            # The old answer serves until the new one is there.
            self._known[host] = (self._seconds(), known[1])
            self._threads.run(self._resolve, host).addCallback(self._learn, host)
        return known[1]

    def _learn(self, found: frozenset[str], host: str) -> frozenset[str]:
        if len(self._known) >= MAXIMUM_NAMES:
            self._known.clear()
        self._known[host] = (self._seconds(), found)
        return found


def _resolve(host: str) -> frozenset[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return frozenset()
    return frozenset(plain_address(str(address[0])) for *_, address in found)
