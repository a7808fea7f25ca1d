"""A running web server on loopback with a real database, and a small browser to ask it."""

import hashlib
import html
import http.client
import re
import secrets
import socket
import zlib
from contextlib import contextmanager
from datetime import datetime
from urllib.parse import urlencode

from argon2 import PasswordHasher
from zope.interface import directlyProvides, providedBy

from santepacs.access.accounts import Accounts
from santepacs.access.passwords import Passwords
from santepacs.access.setup import Setup
from santepacs.archive.archive import Archive
from santepacs.archive.files import ObjectFiles
from santepacs.db import studies
from santepacs.db.database import Database
from santepacs.db.studies import Entry, StoredFile
from santepacs.hl7port import hl7_receiver
from santepacs.model import tokens
from santepacs.model.order import WorklistRecord
from santepacs.model.study import ObjectRecord
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.web.health import Health
from santepacs.webport import web_server
from santepacs.worklist.mapping import DEFAULT, Mappings
from santepacs.worklist.worklist import Worklist

SECRET_KEY = b"k" * 32
PASSWORD = "correct horse battery staple"
CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}


class Clock:
    """The reactor's time and delayed calls, with an hour or a year added at will."""

    def __init__(self, reactor):
        self._reactor = reactor
        self.ahead = 0.0
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name):
        return getattr(self._reactor, name)

    def seconds(self):
        return self._reactor.seconds() + self.ahead

    def callLater(self, delay, work, *args, **kwargs):
        return self._reactor.callLater(delay, work, *args, **kwargs)


class RunningWeb:
    """The server and everything below it. Use `running_web`."""

    def __init__(self, reactor_thread, dsn, folder):
        self.run = reactor_thread.run
        self.settings = Settings()
        self.folder = folder
        self.database = Database(reactor_thread.reactor, dsn, connections=4)
        self.threads = Threads(reactor_thread.reactor, 8)
        self.clock = Clock(reactor_thread.reactor)
        folders = [folder / name for name in ("objects", "incoming", "aside")]
        for path in folders:
            path.mkdir()
        self.files = ObjectFiles(*folders)
        self.archive = Archive(self.database, self.threads, self.files, SECRET_KEY, self.settings)
        self.passwords = Passwords(self.threads, PasswordHasher(**CHEAP))
        self.accounts = Accounts(self.database, self.passwords)
        self.setup = Setup(self.database, self.passwords, self.clock)
        self.health = Health(
            self.clock, self.settings, self.database, self.threads, folder / "incoming"
        )
        self.mappings = Mappings(DEFAULT)
        self.worklist = Worklist(self.database, self.settings, secrets.randbelow)
        self.receiver = hl7_receiver(
            self.settings, self.database, self.worklist, lambda: self.mappings, self._now
        )
        self.other_worklist = []
        self.asked = []
        self.woken = []
        self.server = web_server(
            self.clock,
            self.settings,
            self.database,
            self.threads,
            self.archive,
            self.accounts,
            self.setup,
            self.health,
            self.worklist,
            self.receiver,
            lambda: self.mappings,
            self._ask,
            lambda: self.woken.append(True),
            self._now,
        )
        self._reactor = reactor_thread.reactor
        self._port = None
        self.port = 0

    def start(self):
        self.threads.start()
        self.run(self.database.start)
        self._port = self.run(
            self._reactor.listenTCP, 0, self.server.factory, interface="127.0.0.1"
        )
        self.port = self._port.getHost().port

    def stop(self):
        self.run(self._port.stopListening)
        self.run(self.threads.stop)
        self.run(self.database.stop)

    def _now(self):
        return datetime.fromtimestamp(self.clock.seconds()).astimezone()

    async def _ask(self, peer, query, limit):
        """Another worklist server: it has `other_worklist` (an error is raised)."""
        self.asked.append((peer, query, limit))
        if isinstance(self.other_worklist, Exception):
            raise self.other_worklist
        return self.other_worklist[:limit]

    def schedule(self, **fields):
        """Make a worklist record; returns its key."""
        record = {"patient_id": "P1", "patient_name": "Doe^Jane", "requested_procedure_id": "R1",
                  "start_date": "20261121", "start_time": "101500", **fields}  # fmt: skip
        return self.run(self.worklist.create, WorklistRecord(**record), "test")

    def receive(self, *lines, charset="utf-8"):
        """Let an HL7 message arrive from a file; what became of it."""
        content = "".join(f"{line}\r" for line in lines).encode(charset)
        return self.run(self.receiver.take, content, "127.0.0.1", "test")

    def user(self, name="jane", **rights):
        """Make a user whose password is PASSWORD."""
        return self.run(self.accounts.create, name, PASSWORD, **rights)

    def browser(self, source=None):
        return Browser(self.port, source)

    def logged_in(self, name="jane", **rights):
        """A browser of a new user who is logged in."""
        self.user(name, **rights)
        browser = self.browser()
        assert browser.log_in(name).status == 303
        return browser

    def sql(self, statement, *values):
        """Run a statement; the rows of a query."""

        async def work(tx):
            if statement.lstrip().upper().startswith("SELECT"):
                return await tx.fetch_all(statement, *values)
            return await tx.execute(statement, *values)

        return self.run(self.database.transaction, "test", work)

    def store(self, *objects):
        """Index objects (dicts of ObjectRecord, with `content`) and write their files."""
        entries = []
        for number, given in enumerate(objects, 1):
            record = {
                "patient_id": "P1",
                "patient_name": "Doe^Jane",
                "study_instance_uid": "1.2.3",
                "series_instance_uid": "1.2.3.1",
                "modality": "CT",
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
                "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                "instance_number": number,
                **given,
            }
            content = record.pop("content", b"x" * 100)
            size = record.pop("bytes", len(content))
            record.setdefault("sop_instance_uid", f"{record['series_instance_uid']}.{number}")
            uid = record["study_instance_uid"]
            digest = hashlib.sha256(content + record["sop_instance_uid"].encode()).hexdigest()
            path = self.files.path(uid, digest)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            stored = StoredFile(digest, size, zlib.crc32(content), "test")
            token = tokens.digest(self.token(uid))
            entries.append(Entry(ObjectRecord(**record), stored, 1, token))

        studies.store(self.database.direct, entries)
        return entries

    def token(self, study_instance_uid="1.2.3", version=1):
        return tokens.token(SECRET_KEY, study_instance_uid, version)

    def raw(self, data, *, timeout=10, source=None):
        """Send bytes as they are; everything that comes back until the server closes."""
        with self.connect(timeout, source) as connection:
            connection.sendall(data)
            return received(connection)

    def connect(self, timeout=10, source=None):
        return socket.create_connection(("127.0.0.1", self.port), timeout, source and (source, 0))

    def alive(self):
        assert self.browser().get("/").status == 200


def received(connection):
    """Everything until the other side closes (or resets)."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@contextmanager
def running_web(reactor_thread, dsn, folder):
    web = RunningWeb(reactor_thread, dsn, folder)
    web.start()
    try:
        yield web
    finally:
        web.stop()


class Answer:
    def __init__(self, response, body):
        self.status = response.status
        self.headers = response.headers
        self.body = body

    @property
    def text(self):
        return self.body.decode("utf-8")

    def field(self, name):
        """The value of a form's hidden or other input."""
        match = re.search(rf'<input[^>]*name="{name}"[^>]*value="([^"]*)"', self.text)
        return html.unescape(match[1])


class Browser:
    """Keeps cookies, follows nothing, sends forms as a browser does."""

    def __init__(self, port, source=None):
        self.port, self.source = port, source
        self.cookies = {}

    def request(self, method, path, body=None, headers=()):
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=20, source_address=self.source and (self.source, 0)
        )
        sent = {"Cookie": "; ".join(f"{k}={v}" for k, v in self.cookies.items()), **dict(headers)}
        try:
            connection.request(method, path, body, {k: v for k, v in sent.items() if v})
            response = connection.getresponse()
            answer = Answer(response, response.read())
        finally:
            connection.close()
        for line in answer.headers.get_all("Set-Cookie", []):
            name, _, value = line.partition(";")[0].partition("=")
            if value:
                self.cookies[name] = value
            else:
                self.cookies.pop(name, None)
        return answer

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def send(self, path, fields, headers=()):
        """Send a form without looking at its page first."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.request("POST", path, urlencode(fields), {**kind, **dict(headers)})

    def submit(self, page, path, fields, headers=()):
        """Open `page` and send its form."""
        proof = self.get(page).field("proof")
        return self.send(path, {"proof": proof, **fields}, headers)

    def log_in(self, name="jane", password=PASSWORD, **fields):
        return self.submit("/login", "/login", {"username": name, "password": password, **fields})
