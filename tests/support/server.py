"""The whole server as its user starts it: twistd of the installed wheel, a process of its own."""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
START_TIMEOUT = 90
STOP_TIMEOUT = 60
# twistd ends an orderly stop with the signal that asked for it.
ENDED = (0, -signal.SIGTERM)
ADMIN_PASSWORD = "correct horse battery"


# Below what the system gives out by itself, so that no other test's connection takes one of them.
PORTS = range(12_000, 32_000)
_reserved = []


def free_ports(count):
    """Ports that nothing listens on, reserved among the processes that run tests."""
    return [_free_port() for _ in range(count)]


def _free_port():
    while True:
        port = random.SystemRandom().choice(PORTS)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0santepacs test port {port}")  # a name without a file: one has it
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            claim.close()
            continue
        _reserved.append(claim)
        return port


class Server:
    """A santepacs with its data in `data`. `start` waits until it serves."""

    def __init__(self, data, settings=(), environment=None, ports=None):
        self.data = Path(data)
        self.dicom_port, self.hl7_port, self.web_port = ports or free_ports(3)
        self.settings = [
            f"dicom.port={self.dicom_port}",
            f"hl7.port={self.hl7_port}",
            f"web.port={self.web_port}",
            "dicom.bind=127.0.0.1",
            "hl7.bind=127.0.0.1",
            "web.bind=127.0.0.1",
            "server.disk_reserve=1",
            *settings,
        ]
        self.environment = {"SANTEPACS_ADMIN_PASSWORD": ADMIN_PASSWORD} | (environment or {})
        self.process = None
        self.lines = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.web_port}"

    @property
    def output(self):
        return "\n".join(self.lines)

    def arguments(self):
        """`--data` and `--set`, as the server and the admin command take them."""
        arguments = ["--data", str(self.data)]
        for setting in self.settings:
            arguments += ["--set", setting]
        return arguments

    def launch(self):
        """Start the process and read its output; do not wait."""
        self.lines = []
        self.process = subprocess.Popen(
            [BIN / "twistd", "--nodaemon", "--pidfile=", "santepacs", *self.arguments()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            cwd="/",
            env={**os.environ, **self.environment},
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def start(self):
        self.launch()
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self._reader.join(5)
                raise AssertionError(f"the server ended:\n{self.output}")
            if f":{self.web_port}/" in self.output and self.healthy():
                return self
            time.sleep(0.05)
        raise AssertionError(f"the server does not serve:\n{self.output}")

    def healthy(self):
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return json.load(answer) is not None
        except (OSError, urllib.error.URLError):
            return False

    def wait(self, timeout=STOP_TIMEOUT):
        """Wait until the process ends; returns its exit status."""
        status = self.process.wait(timeout)
        self._reader.join(5)
        return status

    def stop(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self):
        """SIGKILL, as when power is cut for this program alone."""
        self.process.kill()
        self.process.wait(10)

    def command(self, *arguments, stdin=""):
        """Run `santepacs ...` on this server's data; returns the finished process."""
        return subprocess.run(
            [BIN / "santepacs", *self.arguments(), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            cwd="/",
            check=False,
        )

    def line(self, pattern):
        """The first match of `pattern` in the output."""
        found = re.search(pattern, self.output)
        assert found, f"{pattern!r} is not in:\n{self.output}"
        return found

    def _read(self, process):
        for line in process.stdout:
            self.lines.append(line.rstrip("\n"))


@contextmanager
def running_server(data, settings=(), **options):
    """A server for one block; its end is orderly and checked unless the test ended it itself."""
    server = Server(data, settings, **options)
    server.start()
    try:
        yield server
    finally:
        if server.process.poll() is None:
            status = server.stop()
            assert status in ENDED, server.output
            assert "Traceback" not in server.output, server.output[
                server.output.find("Traceback") :
            ]
        end_leftover_postgres(server.data)


def end_leftover_postgres(data):
    """Stop a PostgreSQL that a killed server left behind."""
    try:
        pid = int((Path(data) / "postgres/cluster/postmaster.pid").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return
    try:
        os.kill(pid, signal.SIGQUIT)
        while True:
            os.kill(pid, 0)
            time.sleep(0.05)
    except ProcessLookupError:
        pass
