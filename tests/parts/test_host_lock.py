"""The lock of a data directory."""

import os
import subprocess
import threading

import pytest

from santepacs.errors import Conflict, Unavailable
from santepacs.host.lock import Holder, lock, who_holds
from support.accounts import run_python, start_python

HOLD = """
held = datalock.lock(Path(sys.argv[1]), sys.argv[2])
print("held", flush=True)
sys.stdin.read() if len(sys.argv) < 4 else time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Starts processes that hold the lock of tmp_path."""
    processes = []

    def start(role):
        process = start_python(HOLD, tmp_path, role, "sleep")
        processes.append(process)
        assert process.stdout.readline() == "held\n", process.stderr.read()
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_nobody_holds_a_fresh_directory(tmp_path):
    assert who_holds(tmp_path) is None
    with lock(tmp_path, "server"):
        assert who_holds(tmp_path) == Holder("server", os.getpid())
    assert who_holds(tmp_path) is None


def test_only_its_owner_reads_the_lock_file(tmp_path):
    with lock(tmp_path, "server"):
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("role", ["server", "command"])
def test_a_second_one_is_refused_at_once_while_a_server_runs(tmp_path, holder, role):
    server = holder("server")
    with pytest.raises(Conflict, match=rf"another santepacs server \(process {server.pid}\)"):
        lock(tmp_path, role, wait=60)


def test_a_command_that_does_not_end_is_named(tmp_path, holder):
    command = holder("command")
    with pytest.raises(Conflict, match=rf"a santepacs command \(process {command.pid}\)"):
        lock(tmp_path, "server", wait=0.1)


def test_a_server_waits_for_a_command_to_end(tmp_path, holder):
    command = holder("command")
    ending = threading.Timer(0.2, command.kill)
    ending.start()
    with lock(tmp_path, "server", wait=30):
        assert who_holds(tmp_path) == Holder("server", os.getpid())
    ending.join()


def test_a_killed_server_leaves_no_lock(tmp_path, holder):
    server = holder("server")
    server.kill()
    server.wait()
    assert who_holds(tmp_path) is None
    lock(tmp_path, "server").release()


def test_the_name_of_a_dead_process_is_not_believed(tmp_path):
    dead = subprocess.Popen(["true"])
    dead.wait()
    with lock(tmp_path, "command"):
        (tmp_path / "lock").write_text(f"server {dead.pid}\n")
        with pytest.raises(Conflict, match="another santepacs is using"):
            lock(tmp_path, "server")
        assert who_holds(tmp_path) == Holder("unknown", 0)


def test_a_program_that_was_started_does_not_keep_the_lock(tmp_path):
    code = """
import subprocess
held = datalock.lock(Path(sys.argv[1]), "server")
child = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
print(child.pid)
"""
    child = int(run_python(code, tmp_path))
    try:
        assert who_holds(tmp_path) is None
    finally:
        os.kill(child, 9)


def test_the_lock_survives_daemonising(tmp_path):
    code = """
held = datalock.lock(Path(sys.argv[1]), "server")
ready, done = os.pipe()
if os.fork():
    os.read(ready, 1)
    os._exit(0)
os.close(1); os.close(2)
held.sign()
os.write(done, b".")
time.sleep(600)
"""
    parent = start_python(code, tmp_path)
    parent.communicate(timeout=60)
    holder = who_holds(tmp_path)
    try:
        assert holder.role == "server"
        assert holder.pid not in (0, parent.pid)
        with pytest.raises(Conflict, match=f"process {holder.pid}"):
            lock(tmp_path, "server")
    finally:
        os.kill(holder.pid, 9)


def test_a_folder_that_cannot_hold_a_lock_is_named(tmp_path):
    with pytest.raises(Unavailable, match="cannot open"):
        lock(tmp_path / "missing", "server")
