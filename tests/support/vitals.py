"""Is the server well? It answers everybody at once, and gives back what attacks made it take."""

import os
import re
import time
from pathlib import Path

from support.clients import Browser, mllp, order
from support.raw_dicom import CT, EXPLICIT, VERIFICATION, Image, associated, echo_command

PROMPT = 5.0  # seconds; two by the table of attacks, and some for a busy machine
PATIENCE = 30.0  # seconds until threads and descriptors are given back
# The pool of threads and the connections to PostgreSQL come when they are needed, and stay.
SPARE = 24
MEMORY = 64 * 2**20


class Vitals:
    """What a server's process holds, compared with what it held when this was made."""

    def __init__(self, server):
        self._server = server
        self._process = Path(f"/proc/{server.process.pid}")
        self._threads, self._descriptors = self.threads(), self.descriptors()

    def threads(self):
        return int(re.search(r"Threads:\s+(\d+)", self._status())[1])

    def descriptors(self):
        return len(os.listdir(self._process / "fd"))

    def memory(self):
        """Resident bytes."""
        return 1024 * int(re.search(r"VmRSS:\s+(\d+) kB", self._status())[1])

    def processor_time(self):
        """Seconds of CPU used so far."""
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def growth(self):
        """Threads and descriptors more than at the beginning."""
        return self.threads() - self._threads, self.descriptors() - self._descriptors

    def calm(self):
        """Wait until the threads and descriptors of attacks are given back."""
        end = time.monotonic() + PATIENCE
        while max(growth := self.growth()) > SPARE:
            assert time.monotonic() < end, f"threads and descriptors too many: {growth}"
            time.sleep(0.05)

    def check(self, calling=b"RAW"):
        """Everything is given back and every port answers promptly. A study more is stored."""
        assert self._server.process.poll() is None, self._server.output
        self.calm()
        greet(self._server, calling)
        assert Browser(self._server.web_port).get("/").status == 200
        assert b"\rMSA|AA|1" in mllp(self._server.hl7_port, order())

    def _status(self):
        return (self._process / "status").read_text()


def greet(server, calling=b"RAW", **named):
    """A C-ECHO and a C-STORE of a new object, both successful and prompt."""
    began = time.monotonic()
    port = named.pop("port", server.dicom_port)
    with associated(port, VERIFICATION, (CT, EXPLICIT), calling=calling, **named) as peer:
        assert peer.ask(echo_command()).status == 0x0000
        assert peer.store(Image({0x00100020: ("LO", "ALIVE")}), context_id=3) == 0x0000
    assert time.monotonic() - began < PROMPT


def complaints(server, since=0):
    """Lines of the output that tell of an error of the server's own, not of its peers'."""
    signs = ("Traceback", "Unhandled", "#error]", "#critical]", "#failure]")
    return [line for line in server.lines[since:] if any(sign in line for sign in signs)]


def check_logs(server, *secrets):
    """Neither the output nor a log file tells of an unexpected error, or a secret."""
    logs = [path.read_text("utf-8", "replace") for path in (server.data / "log").iterdir()]
    for text in (server.output, *logs):
        found = [word for word in ("Traceback", "Unhandled", *secrets) if word in text]
        assert found == [], text[max(text.find(found[0]) - 200, 0) :][:4000]
