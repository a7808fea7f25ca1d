"""Between reactor and threads: answers, deadlines, and an orderly end."""

import threading
import time

import pytest
from twisted.internet.defer import Deferred

from santepacs.errors import Malformed, Unavailable
from santepacs.threads import Threads


@pytest.fixture
def threads(reactor_thread):
    made = Threads(reactor_thread.reactor, size=2, deadline=5)
    reactor_thread.run(made.start)
    yield made
    made.stop()


def test_work_for_a_thread_runs_in_one(reactor_thread, threads):
    name = reactor_thread.run(threads.run, lambda: threading.current_thread().name)
    assert name != reactor_thread.run(lambda: threading.current_thread().name)


def test_a_thread_gets_the_reactor_s_answer(threads, reactor_thread):
    async def double(number):
        return 2 * number, threading.current_thread().name

    answer, where = threads.ask(double, 21)
    assert answer == 42
    assert where == reactor_thread.run(lambda: threading.current_thread().name)


def test_a_thread_gets_the_reactor_s_error(threads):
    async def fail():
        raise Malformed("not so")

    with pytest.raises(Malformed, match="not so"):
        threads.ask(fail)


def test_work_that_cannot_even_begin_is_an_error_not_a_wait(threads):
    async def wants_one(_argument):
        """Called without its argument."""

    with pytest.raises(TypeError):
        threads.ask(wants_one)


def test_nobody_waits_longer_than_the_deadline(threads):
    """blockingCallFromThread would wait for ever."""

    async def never():
        await Deferred()

    began = time.monotonic()
    with pytest.raises(Unavailable, match="too busy"):
        threads.ask(never, deadline=0.1)
    assert time.monotonic() - began < 3


def test_stopping_answers_everybody_who_waits(reactor_thread):
    threads = Threads(reactor_thread.reactor, size=2, deadline=60)
    reactor_thread.run(threads.start)
    asked, outcomes = threading.Event(), []

    async def never():
        asked.set()
        await Deferred()

    def wait():
        try:
            threads.ask(never)
        except Unavailable as error:
            outcomes.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert asked.wait(5)
    threads.stop()
    waiting.join(5)
    assert outcomes == ["the server is stopping"]
    with pytest.raises(Unavailable, match="stopping"):
        threads.ask(never)
