"""Brakes: waits grow, are forgotten, and never take more memory than they may."""

import pytest
from twisted.internet.task import Clock

from santepacs.access.throttle import MAXIMUM_KEYS, Rate, Waits, network


@pytest.fixture
def clock():
    made = Clock()
    made.advance(1_000_000)
    return made


def test_the_first_failures_are_free_then_each_doubles_the_wait(clock):
    waits = Waits(clock)
    seen = []
    for _ in range(6):
        waits.failed("a")
        seen.append(waits.remaining("a", free=3))
    assert seen == [0, 0, 1, 2, 4, 8]


def test_a_wait_has_a_longest_length_and_passes(clock):
    waits = Waits(clock, longest=300, memory=10_000)
    for _ in range(500):
        waits.failed("a")
    assert waits.remaining("a", free=3) == 300
    clock.advance(300)
    assert waits.remaining("a", free=3) == 0


def test_failures_are_forgotten_after_a_while(clock):
    waits = Waits(clock, memory=60)
    for _ in range(10):
        waits.failed("a")
    clock.advance(61)
    waits.failed("a")
    assert waits.remaining("a", free=3) == 0


def test_keys_do_not_wait_for_each_other(clock):
    waits = Waits(clock)
    for _ in range(10):
        waits.failed("a")
    assert waits.remaining("b", free=3) == 0


def test_forgiving_takes_one_failure_back_and_success_all(clock):
    waits = Waits(clock)
    for _ in range(4):
        waits.failed("a")
    waits.forgive("a")
    assert waits.remaining("a", free=4) == 0
    assert waits.remaining("a", free=3) > 0
    waits.succeeded("a")
    assert waits.remaining("a", free=1) == 0


def test_memory_is_bounded(clock):
    waits, rate = Waits(clock), Rate(clock)
    for number in range(MAXIMUM_KEYS + 100):
        waits.failed(str(number))
        rate.note(str(number), 5)
    assert len(waits._failures) == MAXIMUM_KEYS
    assert len(rate._times) == MAXIMUM_KEYS


def test_a_rate_is_exceeded_at_its_limit_and_recovers(clock):
    rate = Rate(clock)
    for _ in range(3):
        assert not rate.exceeded("a", 3)
        rate.note("a", 3)
    assert rate.exceeded("a", 3)
    assert not rate.exceeded("b", 3)
    clock.advance(60)
    assert not rate.exceeded("a", 3)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::1", "::/64"), ("unknown", "unknown"),
    ],
)  # fmt: skip
def test_an_ipv6_caller_counts_by_his_network(address, expected):
    assert network(address) == expected
