"""Ctrl-C, an orderly kill and a closed terminal: all end a command cleanly.

What a command has begun (a PostgreSQL, a lock, a half received file) is put away on the way out.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked the command to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number
        """As shells have it: 130 after Ctrl-C."""


def interrupt(number: int) -> NoReturn:
    """Leave whatever is being done."""
    raise Interrupted(number)


@contextmanager
def interrupts_call(handler: Callable[[int], object]) -> Iterator[None]:
    """Within the block, these signals call `handler` in the main thread with their number.

    What our parent had us ignore (``nohup``) stays ignored.
    """
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {
        number: signal.signal(number, lambda received, _: handler(received)) for number in heard
    }
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
