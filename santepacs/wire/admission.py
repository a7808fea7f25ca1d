"""Who may connect to the HL7 port: this machine, and the addresses of enabled HL7 nodes."""

from collections.abc import Awaitable, Callable, Iterable

from santepacs.model.addresses import is_loopback, plain_address


class Admission:
    """Decides by address, before a byte is read."""

    def __init__(
        self,
        trust_loopback: Callable[[], bool],
        known_addresses: Callable[[], Awaitable[Iterable[str]]],
    ) -> None:
        """`known_addresses`: the IP addresses (textual) of enabled nodes, asked each time."""
        self._trust_loopback = trust_loopback
        self._known_addresses = known_addresses

    async def admit(self, address: str) -> bool:
        """Whether `address` is served. Raises Unavailable when the nodes cannot be read."""
        if is_loopback(address) and self._trust_loopback():
            return True
        known = {plain_address(host) for host in await self._known_addresses()}
        return bool(address) and plain_address(address) in known
