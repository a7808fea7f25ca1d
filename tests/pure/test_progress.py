"""How long work shows how far it has come."""

import io

import pytest

from santepacs.commands.output import table
from santepacs.commands.progress import Progress, bar, duration, summary


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Time:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    ("done", "total", "shown"),
    [
        (0, 10, ".........."),
        (5, 10, "#####....."),
        (10, 10, "##########"),
        (12, 10, "##########"),
        (0, 0, ".........."),
        (999, 1000, "#########."),
    ],
)
def test_the_bar_is_full_when_all_is_done(done, total, shown):
    assert bar(done, total, 10) == shown


@pytest.mark.parametrize(
    ("done", "total", "seconds", "shown"),
    [
        (50, 200, 10.0, "50 of 200 (25 %), 5 a second, 30 s left"),
        (1, 3, 0.0, "1 of 3 (33 %)"),
        (5, 3, 1.0, "5 of 3 (100 %), 5 a second, 0 s left"),
    ],
)
def test_how_far_how_fast_and_how_long_still(done, total, seconds, shown):
    assert summary(done, total, seconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.2, "0 s"),
        (59.6, "1 min 0 s"),
        (61, "1 min 1 s"),
        (3599, "59 min 59 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_seconds_as_a_person_says_them(seconds, shown):
    assert duration(seconds) == shown


def test_elsewhere_there_is_a_plain_line_now_and_then():
    stream, time = io.StringIO(), Time()
    progress = Progress(100, stream, time)
    for _ in range(30):
        time.now += 1
        progress.advance()
    progress.clear()
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "10 of 100 (10 %)",
        "20 of 100 (20 %)",
        "30 of 100 (30 %)",
    ]
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_the_bar_is_drawn_over_and_over_and_taken_away():
    stream, time = Terminal(), Time()
    progress = Progress(2, stream, time)
    time.now += 1
    progress.advance()
    progress.say("a\nline that stays")
    progress.clear()
    assert stream.getvalue() == (
        "\r\x1b[K[###############...............] 1 of 2 (50 %), 1 a second, 1 s left"
        "\r\x1b[Ksantepacs: a\\x0aline that stays\n"
        "\r\x1b[K"
    )


def test_a_fast_worker_does_not_flood_the_terminal():
    stream, time = Terminal(), Time()
    progress = Progress(10_000, stream, time)
    for _ in range(10_000):
        time.now += 0.0001
        progress.advance()
    assert stream.getvalue().count("\r") <= 10


def test_a_table_is_aligned_and_has_one_line_for_each_row():
    rows = [("a", 1, ""), ("long name", 22, "x\ny")]
    assert table(rows) == "a          1   -\nlong name  22  x\\x0ay\n"
    assert table([]) == ""
