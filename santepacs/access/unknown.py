"""Unknown callers, remembered once and not once per attempt."""

from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from santepacs.access.throttle import Rate, network
from santepacs.db import callers
from santepacs.db.database import Database, Transaction
from santepacs.errors import SantepacsError
from santepacs.logs import one_line

log = Logger()

QUIET = 60.0  # seconds in which a caller is neither logged nor written again for the same reason
MAXIMUM_SOURCES = 2000
MAXIMUM_TITLES = 10
"""Callers with different titles from one network that are noted within `QUIET` seconds."""


class UnknownCallers:
    """Notes who is unknown, for the administrator's list. Used on the reactor."""

    def __init__(self, database: Database, clock: Any) -> None:
        """`clock`: the reactor, or what tells the seconds like it."""
        self._database = database
        self._clock = clock
        self._noted: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._of_network = Rate(clock, period=QUIET)

    def note(
        self,
        protocol: str,
        title: str,
        address: str,
        reason: str,
        *,
        became: str = "turned away",
    ) -> None:
        """Remember a caller (`protocol`: ``dicom`` or ``hl7``) without making anybody wait."""
        key, now = (protocol, title, address, reason, became), self._clock.seconds()
        last = self._noted.pop(key, None)
        recent = last is not None and now - last < QUIET
        self._noted[key] = last if recent and last is not None else now
        if len(self._noted) > MAXIMUM_SOURCES:
            self._noted.popitem(last=False)
        source = network(address)
        if recent or self._of_network.exceeded(source, MAXIMUM_TITLES):
            return
        self._of_network.note(source, MAXIMUM_TITLES)
        log.warn(
            "alert: {protocol} caller {who} {became}: {reason}",
            protocol=protocol,
            who=f"{one_line(title, 16)} from {address}" if title else f"from {address}",
            became=became,
            reason=reason,
        )
        Deferred.fromCoroutine(self._write(protocol, title, address, reason))

    async def _write(self, protocol: str, title: str, address: str, reason: str) -> None:
        async def work(tx: Transaction) -> None:
            await callers.note(tx, protocol, title, address, reason)

        try:
            await self._database.transaction("unknown caller", work)
        except SantepacsError as error:
            log.warn("an unknown caller was not noted: {reason}", reason=error)
