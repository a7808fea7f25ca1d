"""The only crossing between the reactor and threads.

The reactor hands blocking work out with `Threads.run`. A thread asks the reactor with
`Threads.ask`, which waits at most until a deadline: `blockingCallFromThread` would wait for ever
when the reactor stops. Work that was asked for may finish after the deadline, so every write
reached through `ask` must be repeatable.
"""

import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from santepacs.errors import Unavailable

T = TypeVar("T")

PATIENCE = 1.0  # seconds that `Threads.stop` waits for work that does not end


class _Answer(Generic[T]):
    """What a waiting thread gets: a value or a failure, once."""

    def __init__(self) -> None:
        # A bare lock: there is one of these for every stored object, and an Event is four times
        # as much work.
        self._pending = threading.Lock()
        self._pending.acquire()
        self._value: T | None = None
        self._failure: Failure | None = None

    def give(self, value: T) -> None:
        self._value = value
        self._wake()

    def fail(self, failure: Failure) -> None:
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        with suppress(RuntimeError):  # at the end of the server it may have been told already
            self._pending.release()

    def wait(self, deadline: float) -> T:
        if not self._pending.acquire(timeout=deadline):
            raise Unavailable("the server is too busy to answer in time")
        if self._failure is not None:
            self._failure.raiseException()
        return self._value  # type: ignore[return-value]


class Threads:
    """A pool of threads for blocking work, and the way back to the reactor."""

    def __init__(self, reactor: Any, size: int = 16, deadline: float = 30.0) -> None:
        """`deadline`: seconds that `ask` waits when it is not told otherwise."""
        self._reactor: IReactorFromThreads = reactor
        self._deadline = deadline
        self._pool = ThreadPool(0, size, "santepacs")
        self._pool.threadFactory = _Daemon
        self._lock = threading.Lock()
        self._waiting: set[_Answer[Any]] = set()
        self._stopping = False

    def start(self) -> None:
        """Start the pool; before the first `run`."""
        self._pool.start()

    def stop(self) -> None:
        """Answer everybody who waits with Unavailable, then wait for the pool's threads.

        But for no longer than `PATIENCE`: what still holds one then, such as a name that nobody
        resolves, ends with the process.
        """
        with self._lock:
            self._stopping = True
            waiting = list(self._waiting)
        for answer in waiting:
            answer.fail(Failure(Unavailable("the server is stopping")))
        joining = _Daemon(target=self._pool.stop)
        joining.start()
        joining.join(PATIENCE)

    def run(self, function: Callable[..., T], *args: Any) -> "Deferred[T]":
        """Call `function(*args)` in a thread of the pool; to be called on the reactor."""
        return deferToThreadPool(self._reactor, self._pool, function, *args)

    def ask(
        self, work: Callable[..., Awaitable[T]], *args: Any, deadline: float | None = None
    ) -> T:
        """Run the coroutine function `work(*args)` on the reactor and wait for its result.

        To be called in any thread but the reactor's. Raises what `work` raises, and Unavailable
        when `deadline` seconds have passed or the server is stopping.
        """
        answer: _Answer[T] = _Answer()
        with self._lock:
            if self._stopping:
                raise Unavailable("the server is stopping")
            self._waiting.add(answer)
        try:
            self._reactor.callFromThread(self._begin, answer, work, args)
            return answer.wait(self._deadline if deadline is None else deadline)
        finally:
            with self._lock:
                self._waiting.discard(answer)

    @staticmethod
    def _begin(
        answer: _Answer[T], work: Callable[..., Awaitable[T]], args: tuple[Any, ...]
    ) -> None:
        async def finish() -> None:
            try:
                answer.give(await work(*args))
            except BaseException:  # noqa: BLE001 - whatever it is, the waiting thread gets it
                answer.fail(Failure())

        Deferred.fromCoroutine(finish())


IDLE = 16  # threads of a crew that are kept for what comes next


class Crew:
    """Threads for work that lasts, such as associations; kept, because a new one costs time."""

    def __init__(self, name: str, size: int) -> None:
        """At most `size` threads; what is more waits for one of them."""
        self._size = size
        self._pool = ThreadPool(0, size, name)
        self._pool.threadFactory = _Daemon

    def start(self) -> None:
        """Before the first `run`."""
        self._pool.start()

    def run(self, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` in one of the threads; from any thread, without waiting."""
        self._pool.callInThread(self._work, function, args)

    def _work(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        finally:
            idle = len(self._pool.waiters)
            if idle > IDLE:
                self._pool.adjustPoolsize(0, len(self._pool.working) + IDLE)
                self._pool.adjustPoolsize(0, self._size)

    def stop(self) -> None:
        """Let the threads go: the idle ones now, the others when they have finished."""
        self._pool.adjustPoolsize(0, 0)


class _Daemon(threading.Thread):
    """A thread that does not keep the process alive."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named, daemon=True)
