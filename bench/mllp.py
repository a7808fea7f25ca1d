"""An HL7 client: each connection sends a message, waits for its acknowledgement, sends the next."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.orders import hl7_order

_ACCEPTED = (b"MSA|AA|", b"MSA|CA|")
_END = b"\x1c\r"


@dataclass(frozen=True, slots=True)
class Sent:
    """What was sent: wall seconds, bytes, and the seconds that each message took."""

    wall: float
    bytes: int
    latencies: list[float]


def send_orders(
    address: tuple[str, int], count: int, connections: int = 1, distinct: int = 5000
) -> Sent:
    """Send `count` messages, which place `distinct` orders again and again.

    Raises RuntimeError when one is not accepted, OSError when a connection fails.
    """
    return asyncio.run(_send(address, messages_of(count, distinct), connections))


def messages_of(count: int, distinct: int) -> list[bytes]:
    """Framed messages that no earlier run has sent."""
    run = time.time_ns() // 1_000_000 % 10**9
    return [
        b"\x0b" + hl7_order(number % distinct, f"{run:09d}{number:07d}") + _END
        for number in range(count)
    ]


async def _send(address: tuple[str, int], messages: Sequence[bytes], connections: int) -> Sent:
    start = time.perf_counter()
    shares = [messages[first::connections] for first in range(connections)]
    latencies = await asyncio.gather(*(_one_by_one(address, share) for share in shares))
    wall = time.perf_counter() - start
    return Sent(wall, sum(map(len, messages)), [latency for one in latencies for latency in one])


async def _one_by_one(address: tuple[str, int], messages: Sequence[bytes]) -> list[float]:
    reader, writer = await asyncio.open_connection(*address)
    latencies = []
    for message in messages:
        start = time.perf_counter()
        writer.write(message)
        answer = await reader.readuntil(_END)
        latencies.append(time.perf_counter() - start)
        if not any(code in answer for code in _ACCEPTED):
            raise RuntimeError("a message was not accepted")
    writer.close()
    return latencies
