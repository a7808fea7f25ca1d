"""Worker processes: for work that is long, holds the interpreter, or may crash.

Decoders of pixels are C libraries fed with whatever came over the network. What runs here cannot
take the server along: a worker that crashes, takes too much memory or too much time is killed,
fails the one job it had, and the next job gets a fresh one. Workers inherit no sockets and no
files, hear of nothing but their jobs, and end when the server does.

A job is a function of a module of ours, named so that only workers import it, and called with
values that JSON can carry. The same goes for its result, so that not even a worker that was taken
over can hand in more than values.

Blocking, for threads. Nothing is started before the first job.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from santepacs import errors
from santepacs.errors import Malformed, SantepacsError, Unavailable

log = Logger()

SIZE = 2
MEMORY = 3 * 1024**3  # bytes of address space: a decoded image of 512 MB and its compressed form
SECONDS = 120.0  # that a job may take
DEATH = 2.0  # seconds that a process may take to end after its last word
STEP = 0.2  # seconds between looks whether the result is still wanted
_LARGEST_ANSWER = 64 * 1024

_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); from santepacs.processes import serve; serve()"
)
_READY = b'"ready"\n'

Waiting = Callable[[], None]
"""Called every now and then; by raising, it gives the job up."""


class Processes:
    """A pool of `size` workers."""

    def __init__(self, size: int = SIZE, memory: int = MEMORY) -> None:
        self._size = size
        self._memory = memory
        self._changed = threading.Condition()
        self._idle: list[_Worker] = []
        self._busy: set[_Worker] = set()
        self._taken = 0
        self._stopping = False

    def run(
        self,
        function: str,
        *args: Any,
        seconds: float = SECONDS,
        waiting: Waiting | None = None,
    ) -> Any:
        """Call `function` (``module:name``) with `args` in a worker and return its result.

        Raises what the function raises, if that is one of `santepacs.errors`; Malformed when it
        crashed or took more than `seconds` or too much memory; Unavailable when there is no worker
        to be had; and what `waiting` raises.
        """
        worker = self._take(waiting)
        try:
            answer = worker.call(function, args, seconds, waiting)
        except BaseException:
            worker.close()
            raise
        finally:
            self._give_back(worker)
        if "error" in answer:
            raise _error(answer)
        return answer["result"]

    def stop(self) -> None:
        """End all workers; whoever waits for one gets Unavailable."""
        with self._changed:
            self._stopping = True
            idle, self._idle = self._idle, []
            busy = list(self._busy)
            self._changed.notify_all()
        for worker in busy:
            worker.kill()
        for worker in idle:
            worker.close()

    def _take(self, waiting: Waiting | None) -> "_Worker":
        with self._changed:
            while self._taken >= self._size and not self._stopping:
                self._changed.wait(STEP)
                if waiting is not None:
                    waiting()
            if self._stopping:
                raise Unavailable("the server is stopping")
            self._taken += 1
            worker = self._idle.pop() if self._idle else _Worker(self._memory)
            self._busy.add(worker)
            return worker

    def _give_back(self, worker: "_Worker") -> None:
        with self._changed:
            self._taken -= 1
            self._busy.discard(worker)
            if worker.alive and not self._stopping:
                self._idle.append(worker)
            self._changed.notify()


class _Worker:
    """One worker process, started by its first call; used by one thread at a time."""

    def __init__(self, memory: int) -> None:
        self.alive = True
        self._memory = memory
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def call(
        self, function: str, args: Any, seconds: float, waiting: Waiting | None
    ) -> dict[str, Any]:
        """The worker's answer. If anything is raised, the worker is of no more use."""
        deadline = time.monotonic() + seconds
        process = self._started(deadline, waiting)
        job = json.dumps({"function": function, "args": args, "seconds": seconds})
        try:
            _pipe(process.stdin).write(job.encode("ascii") + b"\n")
            _pipe(process.stdin).flush()
            answer: dict[str, Any] = json.loads(self._line(process, deadline, waiting))
        except (OSError, EOFError, ValueError):
            raise self._death(process, function) from None
        return answer

    def kill(self) -> None:
        """End the process now; from any thread."""
        with self._lock:
            self.alive = False
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process and let go of it; by whoever uses it."""
        self.kill()
        if self._process is not None:
            self._process.wait()
            _pipe(self._process.stdout).close()
            with suppress(OSError):  # a job that it did not live to read
                _pipe(self._process.stdin).close()

    def _started(self, deadline: float, waiting: Waiting | None) -> "subprocess.Popen[bytes]":
        if self._process is not None:
            return self._process
        root = Path(__file__).resolve().parents[1]
        command = [sys.executable, "-I", "-c", _START, str(root), str(self._memory)]
        with self._lock:
            if not self.alive:
                raise Unavailable("the server is stopping")
            try:
                process = self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    cwd="/",
                    env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                    start_new_session=True,  # Ctrl-C at the server is not for it
                )
            except OSError as error:
                raise Unavailable(f"cannot start a worker process: {error.strerror}") from None
        with suppress(EOFError):
            if self._line(process, deadline, waiting) == _READY:
                return process
        raise Unavailable("a worker process does not start")

    def _line(
        self, process: "subprocess.Popen[bytes]", deadline: float, waiting: Waiting | None
    ) -> bytes:
        output = _pipe(process.stdout).fileno()
        poll = select.poll()
        poll.register(output, select.POLLIN)
        line = b""
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise Malformed("it took too long")
            if poll.poll(1000 * min(STEP, left)):
                piece = os.read(output, _LARGEST_ANSWER)
                line += piece
                if not piece or len(line) > _LARGEST_ANSWER:
                    raise EOFError
            elif waiting is not None:
                waiting()
        return line

    def _death(self, process: "subprocess.Popen[bytes]", name: str) -> SantepacsError:
        try:
            status = process.wait(DEATH)
        except subprocess.TimeoutExpired:
            process.kill()
            status = -signal.SIGABRT
        if not self.alive or status == -signal.SIGKILL:
            return Unavailable("the worker process was ended")
        log.warn("a worker process crashed in {name}, with {status}", name=name, status=status)
        return Malformed("it crashed the process that worked on it")


def _pipe(stream: Any) -> Any:
    assert stream is not None
    return stream


def _error(answer: dict[str, Any]) -> SantepacsError:
    kind = getattr(errors, str(answer["error"]), None)
    if not (isinstance(kind, type) and issubclass(kind, SantepacsError)):
        kind = Malformed
    error: SantepacsError = kind(str(answer.get("message", "")))
    return error


# --- in the worker --------------------------------------------------------------------------------


def serve() -> None:
    """Do one job after the other until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]),) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(5)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    # What a library prints must not be taken for an answer.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    answers.write(_READY)
    for line in sys.stdin.buffer:
        job = json.loads(line)
        _bound_time(job["seconds"])
        answers.write(json.dumps(_done(job)).encode("ascii") + b"\n")


def _bound_time(seconds: float) -> None:
    """Should nobody be there any more to kill us, the kernel does."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _done(job: dict[str, Any]) -> dict[str, Any]:
    module, _, name = job["function"].partition(":")
    try:
        return {"result": getattr(import_module(module), name)(*job["args"])}
    except SantepacsError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        return {"error": "Malformed", "message": "it takes too much memory"}
    except OSError as error:
        return {"error": "Unavailable", "message": error.strerror or type(error).__name__}
    except BaseException as error:  # noqa: BLE001 - a library's panic is no Exception
        # Its message may quote a patient's data.
        return {"error": "Malformed", "message": f"it cannot be processed ({type(error).__name__})"}
