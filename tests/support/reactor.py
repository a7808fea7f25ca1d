"""A reactor in a thread of its own, for tests that drive real servers with blocking clients.

It is a private reactor, not the global one, so it lives beside trial's TestCases in one process.
"""

import threading

from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.threads import blockingCallFromThread


class ReactorThread:
    """`run` works on the reactor and waits for the result."""

    def __init__(self):
        self.reactor = EPollReactor()
        self._thread = threading.Thread(target=self._main, name="test reactor", daemon=True)

    def start(self):
        started = threading.Event()
        self.reactor.callWhenRunning(started.set)
        self._thread.start()
        assert started.wait(10)

    def stop(self):
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def run(self, work, *args, **kwargs):
        """Call the function or coroutine function `work` on the reactor; return what it gives."""

        async def awaited():
            result = work(*args, **kwargs)
            if isinstance(result, Deferred) or hasattr(result, "__await__"):
                result = await result
            return result

        return blockingCallFromThread(self.reactor, lambda: Deferred.fromCoroutine(awaited()))

    def _main(self):
        self.reactor.run(installSignalHandlers=False)
