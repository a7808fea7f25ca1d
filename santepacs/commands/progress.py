"""How far long work has come: a bar on a terminal, now and then a plain line elsewhere."""

import shutil
import sys
import time
from collections.abc import Callable
from typing import TextIO

from santepacs.logs import one_line

REDRAW = 0.1  # seconds between two drawings of the bar
PLAIN_INTERVAL = 10.0  # seconds between two plain lines
_BAR = 30  # characters
_CLEAR = "\r\x1b[K"


class Progress:
    """One piece of work of `total` steps; used by one thread at a time."""

    def __init__(
        self,
        total: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stream`: stderr when it is not given."""
        self._total = total
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._start = self._said = clock()
        self._done = 0

    def advance(self) -> None:
        """One more step is done."""
        self._done += 1
        now = self._clock()
        if now - self._said < (REDRAW if self._terminal else PLAIN_INTERVAL):
            return
        self._said = now
        text = summary(self._done, self._total, now - self._start)
        if self._terminal:
            columns = shutil.get_terminal_size().columns
            line = f"[{bar(self._done, self._total)}] {text}"[: columns - 1]
            self._write(f"{_CLEAR}{line}")
        else:
            self._write(f"{text}\n")

    def say(self, text: str) -> None:
        """A line that stays."""
        self.clear()
        self._write(f"santepacs: {one_line(text, 1000)}\n")

    def clear(self) -> None:
        """Take the bar away; the next step draws it again."""
        if self._terminal:
            self._write(_CLEAR)

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def bar(done: int, total: int, width: int = _BAR) -> str:
    """A bar of `width` characters, full when `done` is `total`."""
    filled = width * min(done, total) // max(total, 1)
    return "#" * filled + "." * (width - filled)


def summary(done: int, total: int, seconds: float) -> str:
    """How far, how fast, and how long it will still take."""
    percent = 100 * min(done, total) // max(total, 1)
    text = f"{done} of {total} ({percent} %)"
    if seconds <= 0 or not done:
        return text
    rate = done / seconds
    left = max(total - done, 0) / rate
    return f"{text}, {rate:.0f} a second, {duration(left)} left"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
