"""Read HL7 messages with a parser, and say what it took.

    python bench/parsers.py santepacs|hl7 PLACES

Standard input has the messages, each ended as MLLP does. `PLACES`: what is looked for in each of
them, as JSON. What comes out is JSON: how many messages there were, wall and CPU seconds for all
of them, and how many characters were found.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

Places = Sequence[tuple[str, int, int]]
Read = Callable[[bytes], int]


def with_santepacs(places: Places) -> Read:
    """Ours, from bytes."""
    from santepacs.hl7.message import parse

    def read(raw: bytes) -> int:
        message = parse(raw)
        return sum(len(message.value(*place)) for place in places)

    return read


def with_hl7(places: Places) -> Read:
    """The package `hl7`, which wants text."""
    import hl7  # type: ignore[import-untyped]

    def read(raw: bytes) -> int:
        message: Any = hl7.parse(raw.decode("utf-8"))
        return sum(len(message.extract_field(name, 1, field, 1, at)) for name, field, at in places)

    return read


def main() -> None:
    """The command."""
    places = [tuple(place) for place in json.loads(sys.argv[2])]
    read = {"santepacs": with_santepacs, "hl7": with_hl7}[sys.argv[1]](places)
    *messages, _ = sys.stdin.buffer.read().split(b"\x1c\r")
    read(messages[0])  # imports, and what is worked out once
    cpu, wall = time.process_time(), time.perf_counter()
    found = sum(map(read, messages))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    json.dump({"count": len(messages), "wall": wall, "cpu": cpu, "found": found}, sys.stdout)


if __name__ == "__main__":
    main()
