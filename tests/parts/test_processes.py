"""Worker processes: whatever happens in one, it concerns one job alone."""

import os
import signal
import threading
import time

import pytest

from santepacs.errors import Malformed, NotFound, Unavailable
from santepacs.processes import Processes, _error
from support.dicom import eventually


@pytest.fixture
def processes():
    pool = Processes(size=1)
    yield pool
    pool.stop()


def in_thread(function, *args, **named):
    """Call it in a thread; the list gets what it raised or returned."""
    results = []

    def call():
        try:
            results.append(function(*args, **named))
        except Exception as error:  # noqa: BLE001 - looked at by the test
            results.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, results


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_is_done_in_another_process_and_the_next_in_the_same(processes):
    first = processes.run("os:getpid")
    assert first != os.getpid()
    assert processes.run("os:getpid") == first
    assert processes.run("posixpath:join", "a", "b") == "a/b"


def test_nothing_is_started_before_the_first_job():
    pool = Processes()
    pool.stop()
    with pytest.raises(Unavailable):
        pool.run("os:getpid")


def test_a_crash_fails_its_job_alone(processes):
    before = processes.run("os:getpid")
    with pytest.raises(Malformed, match="crashed"):
        processes.run("os:abort")
    assert processes.run("os:getpid") != before


def test_what_is_not_even_an_exception_fails_its_job_alone(processes):
    before = processes.run("os:getpid")
    with pytest.raises(Malformed, match=r"\(SystemExit\)$"):
        processes.run("sys:exit", 3)
    with pytest.raises(Malformed, match="crashed"):
        processes.run("os:_exit", 3)
    assert processes.run("os:getpid") != before


def test_a_worker_that_is_killed_fails_its_job_for_now(processes):
    pid = processes.run("os:getpid")
    thread, results = in_thread(processes.run, "time:sleep", 60)
    time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    thread.join(10)
    assert isinstance(results[0], Unavailable)
    assert processes.run("os:getpid") != pid


def test_a_worker_that_died_between_two_jobs_fails_no_more_than_the_next(processes):
    pid = processes.run("os:getpid")
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable):
        processes.run("os:getpid")
    assert processes.run("os:getpid") != pid


def test_time_is_limited(processes):
    pid = processes.run("os:getpid")
    started = time.monotonic()
    with pytest.raises(Malformed, match="too long"):
        processes.run("time:sleep", 60, seconds=0.3)
    assert time.monotonic() - started < 5
    assert not is_running(pid)
    assert processes.run("os:getpid") != pid


def test_memory_is_limited(processes):
    with pytest.raises(Malformed, match="too much memory"):
        processes.run("builtins:bytearray", 20 * 1024**3)
    assert processes.run("os:getpid")


def test_errors_of_ours_come_through_and_others_without_what_they_quote(processes):
    with pytest.raises(Malformed, match="there is no setting"):
        processes.run("santepacs.settings:find_option", "no.such")
    with pytest.raises(Malformed, match=r"\(ValueError\)$"):
        processes.run("builtins:int", "Doe^Jane")
    with pytest.raises(Unavailable, match="No such file"):
        processes.run("os:stat", "/nowhere")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"error": "NotFound", "message": "gone"}, NotFound),
        ({"error": "SystemExit", "message": "x"}, Malformed),
        ({"error": "log"}, Malformed),
    ],
)
def test_an_answer_can_raise_nothing_but_our_errors(answer, expected):
    assert type(_error(answer)) is expected


def test_a_job_that_nobody_wants_any_more_is_ended(processes):
    pid = processes.run("os:getpid")

    def waiting():
        raise NotFound("cancelled")

    started = time.monotonic()
    with pytest.raises(NotFound):
        processes.run("time:sleep", 60, waiting=waiting)
    assert time.monotonic() - started < 2
    assert not is_running(pid)


def test_jobs_wait_for_a_free_worker(processes):
    threads = [in_thread(processes.run, "os:getpid") for _ in range(5)]
    for thread, _ in threads:
        thread.join(20)
    assert len({results[0] for _, results in threads}) == 1


def test_stopping_ends_what_runs_and_what_waits():
    pool = Processes(size=1)
    pid = pool.run("os:getpid")
    threads = [in_thread(pool.run, "time:sleep", 60) for _ in range(2)]
    time.sleep(0.2)
    pool.stop()
    for thread, results in threads:
        thread.join(10)
        assert isinstance(results[0], Unavailable)
    eventually(lambda: not is_running(pid))


def test_a_worker_has_no_sockets_and_no_environment_of_ours(processes, monkeypatch):
    monkeypatch.setenv("SANTEPACS_ADMIN_PASSWORD", "secret")
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    try:
        open_files = processes.run("os:listdir", "/proc/self/fd")
        assert len(open_files) <= 5
        assert processes.run("os:getenv", "SANTEPACS_ADMIN_PASSWORD") is None
    finally:
        os.close(reader)
        os.close(writer)


def test_what_a_library_prints_is_no_answer(processes):
    assert processes.run("os:system", "echo '{\"result\": 1}'") == 0
    assert processes.run("os:getpid") > 1


def test_a_worker_ends_when_its_server_is_gone():
    pool = Processes(size=1)
    pid = pool.run("os:getpid")
    (worker,) = pool._idle
    worker._process.stdin.close()  # what the kernel does for a server that died
    worker._process.wait(10)
    assert not is_running(pid)
    worker._process.stdout.close()
