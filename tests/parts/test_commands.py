"""The admin command, as a process, beside a server and alone."""

import io
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from pynetdicom import AE, evt

from santepacs import startup
from santepacs.access.accounts import Accounts
from santepacs.access.passwords import Passwords
from santepacs.commands.admin import main
from santepacs.commands.configuration import without_password
from santepacs.db import blocking, callers, facts, nodes, peers, studies
from santepacs.db.database import Database
from santepacs.db.nodes import Node
from santepacs.dicom.tls import fingerprint, read_certificate
from santepacs.host.accounts import can_enter
from santepacs.host.lock import who_holds
from santepacs.model import tokens
from santepacs.model.peers import Address, Peer
from santepacs.threads import Threads
from santepacs.worklist.mapping import DEFAULT, Mappings
from santepacs.worklist.mapping_json import from_dictionary
from support.accounts import needs_root, some_account
from support.archive import bundled, ct, encoded
from support.certificates import Authority
from support.postgres import reachable_folder

PASSWORD = "correct horse battery"
OTHER_PASSWORD = "Δοκιμή of another one"
SOURCES = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))


class Result:
    """What a command printed and its exit status."""

    def __init__(self, status, output, errors):
        self.status, self.output, self.errors = status, output, errors
        for secret in (PASSWORD, OTHER_PASSWORD):
            assert secret not in output + errors
        assert "Traceback" not in output + errors

    def __repr__(self):
        return f"<{self.status}: {self.output!r} {self.errors!r}>"

    @property
    def rows(self):
        """The lines of a table, cut at the gaps between columns."""
        return [re.split(r"  +", line) for line in self.output.splitlines()]

    @property
    def counts(self):
        """An import's summary, without what did not happen."""
        return {name: int(count) for name, count in self.rows if count != "0"}


PROGRAM = (sys.executable, "-m", "santepacs.commands.admin")


def command_line(*arguments, program=PROGRAM):
    return [*program, *map(str, arguments)]


def run(*arguments, typed="", cwd="/", program=PROGRAM):
    """One command in a process of its own, without a terminal."""
    done = subprocess.run(
        command_line(*arguments, program=program),
        input=typed.encode(),
        capture_output=True,
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": SOURCES},
        start_new_session=True,
        timeout=120,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


class Site:
    """A data directory and the commands for it."""

    def __init__(self, folder, foundation=None):
        self.folder = folder
        self.data = folder / "data"
        self.foundation = foundation

    def run(self, *arguments, **options):
        return run("--data", self.data, *arguments, **options)

    def ask(self, function, *args, **keywords):
        """A function of `santepacs.db` on the server's database."""

        async def work(tx):
            return await function(tx, *args, **keywords)

        return blocking.transaction(self.foundation.dsn, work)


@pytest.fixture(scope="module")
def site():
    """A data directory that a server uses: we play the server."""
    with reachable_folder() as folder:
        pins = ["web.port=8042", "web.institution=St. Elsewhere", "server.disk_reserve=1"]
        foundation = startup.for_server(None, str(folder / "data"), pins)
        try:
            yield Site(folder, foundation)
        finally:
            foundation.release()


@pytest.fixture
def here(capsys, monkeypatch):
    """A command in this process: for those that fail before they touch the data."""

    def run_here(*arguments, typed=b""):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed)))
        capsys.readouterr()
        try:
            status = main([os.fsdecode(argument) for argument in arguments])
        except SystemExit as left:
            status = left.code
        printed = capsys.readouterr()
        return Result(status, printed.out, printed.err)

    return run_here


@pytest.fixture
def nowhere(here, tmp_path):
    """A data directory that does not exist, for commands that must not make it."""
    unmade = Site(tmp_path)
    unmade.run = partial(here, "--data", unmade.data)
    yield unmade
    assert not unmade.data.is_dir()


@pytest.fixture
def alone(reachable_tmp_path):
    """A data directory that does not exist yet."""
    return Site(reachable_tmp_path)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(content) if hasattr(content, "SOPClassUID") else content)


def one_line(result):
    """The command failed and said why in one line."""
    assert result.output == "", result
    (line,) = result.errors.splitlines()
    assert line.startswith("santepacs: ")
    return line.removeprefix("santepacs: ")


# --- usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["user"], "COMMAND"),
        (["user", "add"], "NAME"),
        (["user", "add", "jane", PASSWORD], "too many"),
        (["user", "add", "jane", f"--password={PASSWORD}"], "no option --password"),
        (["user", "add", "jane", "--adm"], "--adm"),
        (["user", "add", b"\xff"], "UTF-8"),
        (["peer", "add", "CT1", "127.0.0.1"], "PORT"),
        (["peer", "add", "CT1", "127.0.0.1", "0"], "1 to 65535"),
        (["peer", "add", "CT1", "127.0.0.1", "٣"], "1 to 65535"),
        (["peer", "add", "CT1", "127.0.0.1", "104", "--deny", "store,all"], "worklist"),
        (["peer", "add", "CT1", "127.0.0.1", "104", "--allow", "all"], "move-to-others"),
        (["peer", "add", "CT1", "127.0.0.1", "104", "--address", "h:0"], "1 to 65535"),
        (["peer", "edit", "CT1", "--port", "0"], "1 to 65535"),
        (["node", "add", "HIS", "127.0.0.1", "65536"], "1 to 65535"),
        (["token"], "STUDY_UID"),
        (["token", "1.2", "--patient", "P"], "not allowed"),
        (["import"], "PATH"),
        (["settings", "set", "web.port"], "VALUE"),
        (["settings", "get", "a", "b"], "too many"),
        (["user", "add", "a", "-\nd"], "\\x0a"),
    ],
)
def test_bad_usage_is_one_line_and_status_2(here, arguments, says):
    refused = here(*arguments)
    assert refused.status == 2
    assert says in one_line(refused)


def test_help_names_every_command(here):
    helped = here("--help")
    assert helped.status == 0
    for name in ("user", "peer", "node", "token", "import", "settings", "mapping", "--config"):
        assert name in helped.output


# --- users


def test_a_user_is_added_and_may_log_in(site, reactor_thread):
    added = site.run(
        "user", "add", "Jane Doe", "--upload", "--password-stdin", typed=PASSWORD + "\n"
    )
    assert (added.status, added.output, added.errors) == (0, "", "")
    rows = [row for row in site.run("user", "list").rows if row[0] == "Jane Doe"]
    assert rows == [["Jane Doe", "upload,share", "enabled", "never"]]
    assert verified(site, reactor_thread, "jane doe", PASSWORD)
    assert not verified(site, reactor_thread, "jane doe", OTHER_PASSWORD)


def verified(site, reactor_thread, name, password):
    """Whether the portal would let this user in."""
    threads = Threads(reactor_thread.reactor, 2)
    database = Database(reactor_thread.reactor, site.foundation.dsn, connections=1)
    reactor_thread.run(threads.start)
    reactor_thread.run(database.start)
    try:
        accounts = Accounts(database, Passwords(threads))
        return reactor_thread.run(accounts.verify, name, password) is not None
    finally:
        reactor_thread.run(database.stop)
        threads.stop()


def test_the_life_of_a_user(site, reactor_thread):
    def state():
        return [row[1:3] for row in site.run("user", "list").rows if row[0] == "Müller"]

    for name in ("Müller", "a second administrator"):
        added = site.run("user", "add", name, "--admin", "--password-stdin", typed=PASSWORD)
        assert added.status == 0
    assert state() == [["admin,share", "enabled"]]
    assert "already" in one_line(
        site.run("user", "add", "MULLER", "--password-stdin", typed=PASSWORD + "\r\n")
    )
    changed = site.run("user", "password", "Müller", "--password-stdin", typed=OTHER_PASSWORD)
    assert changed.status == 0
    assert verified(site, reactor_thread, "Müller", OTHER_PASSWORD)
    assert site.run("user", "disable", "müller").status == 0
    assert state() == [["admin,share", "disabled"]]
    assert not verified(site, reactor_thread, "Müller", OTHER_PASSWORD)
    assert site.run("user", "enable", "Müller").status == 0
    assert state() == [["admin,share", "enabled"]]
    assert site.run("user", "delete", "Müller").status == 0
    assert state() == []


@pytest.mark.parametrize("what", ["enable", "disable", "delete"])
def test_an_unknown_user_is_status_1(site, what):
    gone = site.run("user", what, "nobody of this name")
    assert (gone.status, one_line(gone)) == (1, "there is no user nobody of this name")


def test_the_password_of_an_unknown_user(site):
    gone = site.run("user", "password", "nobody here", "--password-stdin", typed=PASSWORD)
    assert (gone.status, one_line(gone)) == (1, "there is no user nobody here")


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        ("weak1", "short", "at least 8 characters"),
        ("weak2", "password1", "first that are guessed"),
        ("weak-three", "Weak-Three", "first that are guessed"),
        ("weak4", "x" * 1026, "at most 1024 bytes"),
        ("weak5", "", "no password"),
        ("weak6", "\n" + PASSWORD, "no password"),
        ("weak7", b"\xff\xfe\xff\xfe\xff\xfe\xff\xfe", "UTF-8"),
        ("", PASSWORD, "user name"),
        ("a\x1bb", PASSWORD, "user name"),
    ],
)
def test_a_password_or_name_that_is_no_good_is_refused_before_anything_happens(
    nowhere, name, typed, says
):
    typed = typed if isinstance(typed, bytes) else typed.encode()
    refused = nowhere.run("user", "add", name, "--password-stdin", typed=typed)
    assert refused.status == 1
    assert says in one_line(refused)


def test_without_a_terminal_a_password_must_come_by_stdin(alone):
    refused = alone.run("user", "add", "jane", typed=PASSWORD + "\n" + PASSWORD + "\n")
    assert refused.status == 1
    assert "--password-stdin" in one_line(refused)


# The child makes the terminal its own: /dev/tty is then what it prompts on.
_ON_TERMINAL = """
import os, sys
terminal = os.open(sys.argv[1], os.O_RDWR)
for descriptor in (0, 1, 2):
    os.dup2(terminal, descriptor)
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


class OnTerminal:
    """A command on a terminal that we read and type on."""

    def __init__(self, *arguments):
        self.ours, theirs = pty.openpty()
        self.output = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, os.ttyname(theirs), *command_line(*arguments)[1:]],
            env={**os.environ, "PYTHONPATH": SOURCES, "COLUMNS": "80"},
            start_new_session=True,
            cwd="/",
        )
        self.theirs = theirs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.theirs)
        os.close(self.ours)

    def expect(self, text):
        """Read until `text` is there."""
        start = len(self.output)
        while text not in self.output[start:]:
            piece = os.read(self.ours, 4096).decode()
            assert piece
            self.output += piece

    def type(self, text):
        os.write(self.ours, text.encode())

    def end(self):
        """The exit status, and all that was printed."""
        while self.process.poll() is None:
            self._drain(0.05)
        self._drain(0)
        return Result(self.process.returncode, self.output, "")

    def _drain(self, wait):
        while select.select([self.ours], [], [], wait)[0]:
            self.output += os.read(self.ours, 4096).decode()


def test_a_password_is_asked_for_twice_and_not_shown(site, reactor_thread):
    with OnTerminal("--data", site.data, "user", "add", "typist") as terminal:
        terminal.expect("Password for typist: ")
        terminal.type(PASSWORD + "\n")
        terminal.expect("The same again: ")
        terminal.type(PASSWORD + "\n")
        assert terminal.end().status == 0
    assert verified(site, reactor_thread, "typist", PASSWORD)


def test_two_different_passwords_are_refused(site):
    with OnTerminal("--data", site.data, "user", "add", "waverer") as terminal:
        terminal.expect("Password for waverer: ")
        terminal.type(PASSWORD + "\n")
        terminal.expect("The same again: ")
        terminal.type(OTHER_PASSWORD + "\n")
        ended = terminal.end()
    assert ended.status == 1
    assert "not the same" in ended.output


def test_ctrl_c_at_the_prompt_is_status_130_and_one_line(site):
    with OnTerminal("--data", site.data, "user", "add", "leaver") as terminal:
        terminal.expect("Password for leaver: ")
        while terminal.process.poll() is None:
            # One that comes just before Python begins to read is noticed with the next.
            terminal.type("\x03")
            terminal._drain(0.5)
        ended = terminal.end()
    assert ended.status == 130
    assert ended.output.splitlines()[-1] == "santepacs: interrupted"


# --- peers and nodes


def test_the_life_of_a_peer(site):
    added = site.run("peer", "add", "CT1", "10.0.0.7", "104", "--deny", "query,retrieve")
    assert (added.status, added.output, added.errors) == (
        0,
        "CT1 at 10.0.0.7 port 104 is enabled, may store,worklist\n",
        "",
    )
    assert site.ask(peers.find, "CT1") == Peer("CT1", "10.0.0.7", 104, True, False, False, True)
    listed = ["CT1", "10.0.0.7", "104", "store,worklist", "enabled", "-"]
    assert listed in site.run("peer", "list").rows
    assert "already" in one_line(site.run("peer", "add", "CT1", "10.0.0.8", "104"))
    assert site.run("peer", "delete", "CT1").output == "CT1 is no peer any more\n"
    assert "CT1" not in site.run("peer", "list").output
    for what in ("delete", "echo"):
        gone = site.run("peer", what, "CT1")
        assert (gone.status, one_line(gone)) == (1, "there is no peer CT1")


def test_a_peer_with_everything_is_added_edited_and_listed(site, tmp_path):
    certificate, _ = Authority(tmp_path).issue("peer")
    print_of_it = fingerprint(read_certificate(str(certificate)))
    added = site.run(
        *("peer", "add", " MR 1 ", "mr1.example", "104", "--tls", "--certificate", certificate),
        *("--address", "10.0.0.8", "--address", "[2001:db8::8]:105", "--address", "mr2:106"),
        *("--deny", "store", "--allow", "move-to-others"),
    )
    assert added.status == 0, added
    others = (Address("10.0.0.8", 104), Address("2001:db8::8", 105), Address("mr2", 106))
    peer = Peer(
        *("MR 1", "mr1.example", 104, False),
        other_addresses=others,
        may_move_to_others=True,
        tls=True,
        certificate=print_of_it,
    )
    assert site.ask(peers.find, "MR 1") == peer
    (row,) = (row for row in site.run("peer", "list").rows if row[0] == "MR 1")
    assert row[3:5] == ["query,retrieve,worklist,move-to-others", "enabled"]
    assert row[5] == (f"10.0.0.8:104,[2001:db8::8]:105,mr2:106,tls,certificate={print_of_it[:16]}")

    nothing = site.run("peer", "edit", "MR 1")
    assert (nothing.status, nothing.output) == (2, "")
    assert "nothing to change" in one_line(nothing)
    edited = site.run("peer", "edit", "MR 1", "--port", "11112", "--disable")
    assert edited.output.startswith("MR 1 at mr1.example port 11112 is disabled, may query,")
    assert site.ask(peers.find, "MR 1") == replace(peer, port=11112, enabled=False)
    place = ("--title", "MR2", "--host", "::1", "--no-other-address")
    rights = ("--allow", "store", "--deny", "move-to-others,query")
    more = ("--no-tls", "--certificate", "", "--enable")
    assert site.run("peer", "edit", "MR 1", *place, *rights, *more).status == 0
    assert site.ask(peers.find, "MR2") == Peer("MR2", "::1", 11112, may_query=False)
    gone = site.run("peer", "edit", "MR 1", "--disable")
    assert (gone.status, one_line(gone)) == (1, "there is no peer MR 1")
    site.run("peer", "add", "MR3", "h", "104")
    assert "already" in one_line(site.run("peer", "edit", "MR3", "--title", "MR2"))


def test_an_expired_certificate_and_a_useless_denial_are_said(site, tmp_path):
    day = timedelta(days=1)
    old, _ = Authority(tmp_path).issue("old", valid=(-3 * day, -2 * day))
    added = site.run("peer", "add", "OLD", "h", "104", "--certificate", old)
    assert (added.status, "has expired" in added.errors) == (0, True)
    added = site.run("peer", "add", "HERE", "127.0.0.1", "104", "--deny", "store")
    assert (added.status, "dicom.trust_loopback" in added.errors) == (0, True)
    quiet = ("--set", "dicom.trust_loopback=no", "peer", "edit", "HERE", "--deny", "query")
    assert site.run(*quiet).errors == ""


def test_unknown_callers_are_listed_the_last_first(site):
    site.ask(callers.note, "dicom", "CT9", "10.0.0.9", "the AE title is not in the peer list")
    site.ask(callers.note, "dicom", "CT8", "10.0.0.8", "the peer is switched off")
    site.ask(callers.note, "dicom", "CT8", "10.0.0.8", "the peer is switched off")
    site.ask(callers.note, "hl7", "", "10.0.0.10", "it is no HL7 node")
    first, second = site.run("peer", "unknown").rows
    assert first[:4] == ["CT8", "10.0.0.8", "the peer is switched off", "2"]
    assert second[:2] == ["CT9", "10.0.0.9"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first[4])


@pytest.mark.parametrize("kept", [None, b"", b"no certificate"])
def test_a_file_that_is_no_certificate_is_refused_by_name(nowhere, tmp_path, kept):
    path = tmp_path / "peer.pem"
    if kept is not None:
        path.write_bytes(kept)
    refused = nowhere.run("peer", "add", "CT1", "h", "104", "--certificate", str(path))
    assert refused.status == 1
    assert str(path) in one_line(refused)


@pytest.mark.parametrize(
    ("title", "host"), [("TOO LONG TITLE 123", "h"), (" ", "h"), ("A", "two words"), ("A", "")]
)
def test_an_impossible_peer_is_refused(nowhere, title, host):
    refused = nowhere.run("peer", "add", title, host, "104")
    assert refused.status == 1
    assert one_line(refused)


@pytest.fixture
def echo_scp():
    """A DICOM application that answers C-ECHO; gives its port and the callers' AE titles."""
    callers = []

    def answer(event):
        callers.append(event.assoc.requestor.ae_title)
        return 0x0000

    application = AE("ECHOER")
    application.add_supported_context("1.2.840.10008.1.1")
    server = application.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, answer)]
    )
    try:
        yield server.server_address[1], callers
    finally:
        server.shutdown()


def test_a_peer_that_answers_an_echo(site, echo_scp):
    port, callers = echo_scp
    assert site.run("peer", "add", "ECHOER", "127.0.0.1", port).status == 0
    answered = site.run("--set", "dicom.ae_title=OURS", "peer", "echo", "ECHOER")
    assert (answered.status, answered.output) == (0, "ECHOER answers\n")
    assert callers == ["OURS"]


def test_a_peer_that_is_away_is_status_1(site):
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        port = closed_soon.getsockname()[1]
    site.run("peer", "add", "AWAY", "127.0.0.1", port)
    away = site.run("peer", "echo", "AWAY")
    assert (away.status, one_line(away)) == (
        1,
        f"AWAY does not answer at 127.0.0.1 port {port}: Connection refused",
    )


def test_a_peer_that_is_silent_is_given_up(site):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site.run("peer", "add", "SILENT", "127.0.0.1", silent.getsockname()[1])
        away = site.run("--set", "dicom.service_timeout=0.3", "peer", "echo", "SILENT")
    assert away.status == 1
    assert "SILENT" in one_line(away)


def test_ctrl_c_ends_an_echo(site):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site.run("peer", "add", "SILENT2", "127.0.0.1", silent.getsockname()[1])
        started = start(site, "--set", "dicom.service_timeout=300", "peer", "echo", "SILENT2")
        with silent.accept()[0]:
            started.send_signal(signal.SIGINT)
            assert finished(started).status == 130


def test_the_life_of_a_node(site):
    assert site.run("node", "add", "Ward RIS", "10.0.0.9", "2575").status == 0
    assert site.run("node", "add", "HIS", "his.example.org").status == 0
    assert Node("Ward RIS", "10.0.0.9", 2575) in site.ask(nodes.list_all)
    listed = site.run("node", "list").rows
    assert ["Ward RIS", "10.0.0.9", "2575", "enabled"] in listed
    assert ["HIS", "his.example.org", "-", "enabled"] in listed
    assert "already" in one_line(site.run("node", "add", "HIS", "10.0.0.1"))
    assert site.run("node", "delete", "HIS").status == 0
    gone = site.run("node", "delete", "HIS")
    assert gone.status == 1
    assert one_line(gone)


def test_an_impossible_node_is_refused(nowhere):
    refused = nowhere.run("node", "add", "HIS", "http://his/")
    assert refused.status == 1
    assert "host" in one_line(refused)


# --- import


def test_a_folder_with_everything_in_it(site):
    source = site.folder / "mixed"
    first = ct(StudyInstanceUID="1.2.40", SOPInstanceUID="1.2.40.1")
    write(source / "a.dcm", first)
    write(source / "deep" / "er" / "copy of a", first)
    write(source / "deep" / "b", ct(StudyInstanceUID="1.2.40", SOPInstanceUID="1.2.40.2"))
    write(source / "zz" / "preamble", b"MZ" + b"\x90" * 126 + bundled("MR_small.dcm")[128:])
    write(source / "cut.dcm", encoded(ct(SOPInstanceUID="1.2.40.3"))[:-50])
    write(source / "readme.txt", b"see the images\n")
    write(source / "empty.dcm", b"")
    write(source / "short", b"x" * 131)
    write(source / "DICOMDIR", encoded(ct(SOPInstanceUID="1.2.40.4")))
    write(source / "renamed directory", bundled("DICOMDIR"))
    os.mkfifo(source / "pipe")
    done = site.run("import", source)
    assert done.status == 1
    assert done.counts == {"stored": 3, "same": 1, "refused": 1, "not DICOM": 3, "skipped": 2}
    (line,) = done.errors.splitlines()
    assert line.startswith(f"santepacs: {source}/cut.dcm: ")
    study = site.ask(studies.study, "1.2.40")
    assert (study.instance_count, study.patient_id) == (2, "P1")
    stored = [p.read_bytes()[:128] for p in (site.data / "objects").rglob("*.dcm")]
    assert set(stored) == {bytes(128)}
    assert list((site.data / "incoming").iterdir()) == []


def test_importing_again_changes_nothing_and_is_success(site):
    write(site.folder / "again" / "1", ct(StudyInstanceUID="1.2.41", SOPInstanceUID="1.2.41.1"))
    assert site.run("import", site.folder / "again").counts == {"stored": 1}
    again = site.run("import", site.folder / "again" / "1", site.folder / "again")
    assert (again.status, again.counts) == (0, {"same": 2})


def test_a_file_without_dicom_alone_is_success(site):
    write(site.folder / "notes.txt", b"x" * 1000)
    done = site.run("import", "notes.txt", cwd=site.folder)
    assert (done.status, done.counts, done.errors) == (0, {"not DICOM": 1}, "")
    assert [row[0] for row in done.rows] == [
        *("stored", "same", "aside", "refused", "failed", "not DICOM", "skipped")
    ]


def test_another_object_under_a_stored_uid_is_kept_aside_and_said(site):
    write(site.folder / "conflict" / "1", ct(StudyInstanceUID="1.2.42", SOPInstanceUID="1.2.42.1"))
    assert site.run("import", site.folder / "conflict").counts == {"stored": 1}
    other = ct(StudyInstanceUID="1.2.42", SOPInstanceUID="1.2.42.1", PixelData=bytes(128))
    write(site.folder / "conflict" / "1", other)
    aside = site.run("import", site.folder / "conflict")
    assert (aside.status, aside.counts) == (0, {"aside": 1})
    assert "another object" in aside.errors
    refused = site.run("--set", "dicom.conflict=refuse", "import", site.folder / "conflict")
    assert (refused.status, refused.counts) == (1, {"refused": 1})


def test_links_do_not_lead_out_of_the_folder(site):
    write(site.folder / "outside" / "1", ct(StudyInstanceUID="1.2.43", SOPInstanceUID="1.2.43.1"))
    source = site.folder / "with links"
    source.mkdir()
    (source / "folder").symlink_to(site.folder / "outside")
    (source / "file").symlink_to(site.folder / "outside" / "1")
    (source / "loop").symlink_to(source)
    (source / "nowhere").symlink_to("missing")
    done = site.run("import", source)
    assert (done.status, done.counts) == (0, {"skipped": 4})
    assert site.ask(studies.study, "1.2.43") is None
    given = site.run("import", source / "folder", source / "file")
    assert (given.status, given.counts) == (0, {"stored": 1, "same": 1})


def test_names_of_any_kind(site):
    source = site.folder / "names"
    for number, name in enumerate([b"-dash", b"new\nline", b"\xff\xfe", "ü".encode(), b"$(x)"]):
        path = source / os.fsdecode(name) / "x"
        write(path, ct(StudyInstanceUID="1.2.44", SOPInstanceUID=f"1.2.44.{number}"))
        write(path.with_name("broken"), encoded(ct())[:400])
    done = site.run("import", source)
    assert done.counts == {"stored": 5, "refused": 5}
    assert len(done.errors.splitlines()) == 5


def test_many_files_in_many_folders(site):
    source = site.folder / "many"
    for number in range(300):
        uids = {"StudyInstanceUID": f"1.2.45.{number % 3}", "SOPInstanceUID": f"1.2.45.9.{number}"}
        write(source / f"{number % 7}" / f"{number % 5}" / f"{number}", ct(**uids))
    done = site.run("import", source)
    assert (done.status, done.counts, done.errors) == (0, {"stored": 300}, "")
    assert site.ask(studies.study, "1.2.45.1").instance_count == 100


@pytest.mark.parametrize("path", ["missing", "folder/missing", "/dev/null"])
def test_a_path_with_nothing_to_import_is_refused_before_anything_happens(nowhere, path):
    refused = nowhere.run("import", path)
    assert refused.status == 1
    assert path in one_line(refused)


def test_the_archive_does_not_import_itself(site):
    write(site.folder / "self" / "1", ct(StudyInstanceUID="1.2.46", SOPInstanceUID="1.2.46.1"))
    site.run("import", site.folder / "self")
    for path in (site.data, site.data / "objects"):
        refused = site.run("import", path)
        assert refused.status == 1
        assert "inside the data directory" in one_line(refused)
    around = site.run("import", site.folder)
    assert "data/" not in around.errors


@needs_root
def test_what_cannot_be_read_is_a_failure(of_another):
    """As the owner of the data, who is not root."""
    source = of_another.folder / "source"
    write(source / "closed folder" / "1", ct(SOPInstanceUID="1.2.47.1"))
    write(source / "closed file", ct(SOPInstanceUID="1.2.47.2"))
    write(source / "open file", ct(SOPInstanceUID="1.2.47.3"))
    (source / "closed folder").chmod(0o700)
    (source / "closed file").chmod(0o600)
    done = of_another.run("--set", "server.disk_reserve=1", "import", source)
    assert (done.status, done.counts) == (1, {"stored": 1, "failed": 2})
    assert done.errors.count("Permission denied") == 2


def test_a_full_disk_stops_an_import(site):
    source = site.folder / "too much"
    for number in range(40):
        write(
            source / f"{number}", ct(StudyInstanceUID="1.2.48", SOPInstanceUID=f"1.2.48.{number}")
        )
    done = site.run("--set", "server.disk_reserve=10000000", "import", source)
    assert done.status == 1
    assert set(done.counts) == {"failed"}
    assert 10 <= done.counts["failed"] < 40
    lines = done.errors.splitlines()
    assert "the disk is full" in lines[0]
    assert "stopped" in lines[-1]
    assert site.ask(studies.study, "1.2.48") is None
    assert list((site.data / "incoming").iterdir()) == []


def start(site, *arguments):
    """A command that goes on while we do something."""
    return subprocess.Popen(
        command_line("--data", site.data, *arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SOURCES},
        start_new_session=True,
    )


def finished(process):
    output, errors = process.communicate(timeout=60)
    return Result(process.returncode, output, errors)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_import_ends_cleanly_and_can_be_repeated(site, number):
    study = f"1.2.49.{int(number)}"
    source = site.folder / f"long {int(number)}"
    for file in range(600):
        write(source / f"{file}", ct(StudyInstanceUID=study, SOPInstanceUID=f"{study}.{file}"))
    importing = start(site, "import", source)
    wait_for(lambda: site.ask(studies.study, study) is not None)
    importing.send_signal(number)
    ended = finished(importing)
    assert ended.status == 128 + number
    assert ended.errors == "santepacs: interrupted\n"
    assert 0 < ended.counts["stored"] < 600
    assert list((site.data / "incoming").iterdir()) == []
    again = site.run("import", source)
    assert again.status == 0
    assert sum(again.counts.values()) == 600
    assert site.ask(studies.study, study).instance_count == 600


def test_a_terminal_shows_a_bar(site):
    source = site.folder / "shown"
    for file in range(100):
        write(source / f"{file}", ct(StudyInstanceUID="1.2.51", SOPInstanceUID=f"1.2.51.{file}"))
    with OnTerminal("--data", site.data, "import", source) as terminal:
        ended = terminal.end()
    assert ended.status == 0
    assert re.search(r"\r\x1b\[K\[#*\.*\] [0-9]+ of 100 \(", ended.output)
    assert re.search(r"stored +100\r\n", ended.output)


# --- tokens


@pytest.fixture(scope="module")
def studied(site):
    """The site with two studies of one patient."""
    source = site.folder / "studied"
    for number, (day, text) in enumerate([("20260102", "Thorax  front"), ("", "")], 1):
        write(
            source / f"{number}",
            ct(
                PatientID="TOKEN PATIENT",
                StudyInstanceUID=f"1.2.50.{number}",
                SOPInstanceUID=f"1.2.50.{number}.1",
                StudyDate=day,
                StudyDescription=text,
            ),
        )
    assert site.run("import", source).status == 0
    return site


def token_of(site, study_instance_uid):
    return tokens.token(site.foundation.secret_key, study_instance_uid, 1)


def test_the_token_of_a_study(studied):
    printed = studied.run("token", "1.2.50.1")
    assert (printed.status, printed.output) == (0, token_of(studied, "1.2.50.1") + "\n")


def test_the_tokens_of_a_patient(studied):
    printed = studied.run("token", "--patient", "TOKEN PATIENT")
    assert printed.status == 0
    first, second = (token_of(studied, f"1.2.50.{number}") for number in (1, 2))
    assert [line.split(None, 3) for line in printed.output.splitlines()] == [
        ["1.2.50.2", "-", second, "-"],
        ["1.2.50.1", "20260102", first, "Thorax  front"],
    ]


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("pacs.example.org", "http://pacs.example.org:8042/token?"),
        ("2001:db8::7", "http://[2001:db8::7]:8042/token?"),
    ],
)
def test_the_address_of_a_token(studied, name, address):
    printed = studied.run("--set", f"web.server_name={name}", "token", "1.2.50.1", "--url")
    assert printed.output == f"{address}{token_of(studied, '1.2.50.1')}\n"


def test_the_address_of_a_token_without_a_name_and_at_the_usual_port(studied):
    printed = studied.run("--set", "web.port=80", "token", "--url", "--patient", "TOKEN PATIENT")
    for line in printed.output.splitlines():
        assert re.search(r"  http://[0-9a-z.]+/token\?[A-Za-z0-9]{64}  ", line)


def test_without_a_web_server_there_are_no_addresses(studied):
    printed = studied.run("--set", "web.port=0", "token", "1.2.50.1", "--url")
    assert printed.status == 1
    assert "web.port" in one_line(printed)


@pytest.mark.parametrize(
    "arguments", [["1.2.3.4"], [""], ["nonsense' --"], ["--patient", "X"], ["--patient", ""]]
)
def test_an_unknown_study_or_patient_is_status_1(studied, arguments):
    printed = studied.run("token", *arguments)
    assert printed.status == 1
    assert "there is no study" in one_line(printed)


# --- settings and mapping


def origins(site, *globals_):
    return {row[0]: row[1:] for row in site.run(*globals_, "settings", "get").rows}


def test_settings_say_where_they_come_from(site):
    (site.folder / "pacs.toml").write_text('[hl7]\nport = 2575\nsending_facility = ""\n')
    site.run("settings", "set", "web.department", "Röntgen")
    got = origins(site, "--config", site.folder / "pacs.toml", "--set", "dicom.port=104")
    assert got["dicom.port"] == ["pinned by --set", "104"]
    assert got["web.department"] == ["saved", "Röntgen"]
    assert got["hl7.idle_timeout"] == ["default", "3600"]
    assert got["web.bind"] == ["default", '""']


def test_one_setting_is_its_bare_value(site):
    assert site.run("settings", "get", "hl7.idle_timeout").output == "3600\n"
    (site.folder / "one.toml").write_text("[hl7]\nport = 2575\n")
    got = run("-c", "one.toml", "-d", site.data, "settings", "get", "hl7.port", cwd=site.folder)
    assert got.output == "2575\n"


def test_a_saved_setting_counts(site):
    live = site.run("settings", "set", "hl7.token_rate", "90")
    assert live.output == "hl7.token_rate = 90, in effect within two seconds\n"
    later = site.run("settings", "set", "dicom.port", "4242")
    assert later.output == "dicom.port = 4242, in effect at the next start of the server\n"
    assert site.run("settings", "get", "hl7.token_rate").output == "90\n"
    assert site.ask(facts.saved_settings)["dicom.port"] == "4242"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web.session_length", "2592000"),
        ("web.session_idle", "1234.5"),
        ("server.stop_grace", "0.25"),
    ],
)
def test_numbers_come_back_as_they_were_saved(site, name, value):
    assert site.run("settings", "set", name, value).status == 0
    assert site.run("settings", "get", name).output == f"{value}\n"


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("web.prot", "1", "no setting"),
        ("web", "1", "no setting"),
        ("hl7.port", "70000", "0 to 65535"),
        ("hl7.port", "many", "0 to 65535"),
        ("dicom.ae_title", "TOO LONG FOR AN AE", "AE title"),
        ("dicom.conflict", "overwrite", "aside, refuse"),
        ("database.url", "postgresql://x/y", "configuration file"),
        ("database.connections", "9", "configuration file"),
    ],
)
def test_what_cannot_be_saved_is_refused_before_anything_happens(nowhere, name, value, says):
    refused = nowhere.run("settings", "set", name, value)
    assert refused.status == 1
    assert says in one_line(refused)


def test_a_pinned_setting_cannot_be_saved(site):
    (site.folder / "pins.toml").write_text("[hl7]\nframe_timeout = 7\n")
    for pin, name, where in (
        (("--config", site.folder / "pins.toml"), "hl7.frame_timeout", "pins.toml"),
        (("--set", "hl7.token_timeout=3"), "hl7.token_timeout", "--set"),
        ((), "web.port", "the server's --set"),
    ):
        refused = site.run(*pin, "settings", "set", name, "9")
        assert refused.status == 1
        assert f"{name} is pinned by " in one_line(refused)
        assert where in refused.errors
        assert name not in site.ask(facts.saved_settings)


def test_the_running_server_s_pins_count_unless_the_command_has_its_own(site):
    assert origins(site)["web.port"] == ["pinned by the server's --set", "8042"]
    assert site.run("settings", "get", "web.institution").output == "St. Elsewhere\n"
    got = site.run("--set", "web.port=1", "settings", "get", "web.port")
    assert got.output == "1\n"


def test_settings_go_out_and_come_in_again(site, alone):
    site.run("settings", "set", "worklist.study_uid_ae_titles", "CT1, MR2")
    site.run("settings", "set", "worklist.study_uid_for_all", "no")
    site.run("settings", "set", "hl7.sending_facility", 'quoted "and" \\ slashed Ω')
    out = alone.folder / "out.toml"
    assert site.run("settings", "export", out).status == 0
    text = out.read_text()
    assert text == site.run("settings", "export").output
    content = tomllib.loads(text)
    assert content["worklist"] == {
        "study_uid_ae_titles": ["CT1", "MR2"],
        "study_uid_for_all": False,
    }
    assert content["web"]["port"] == 8042
    assert "database" not in content

    taken = alone.run("settings", "import", out)
    assert taken.status == 0
    assert "settings saved" in taken.output
    assert "web.port" in taken.output
    assert "study_uid" not in taken.output
    assert alone.run("settings", "export").output == text


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[web", "file.toml: Expected"),
        ("[web]\nprot = 1\n", "web.prot"),
        ("[wbe]\nport = 1\n", "[wbe]"),
        ("[hl7]\nport = 1\nframe_timeout = -1\n", "hl7.frame_timeout"),
        ('[hl7]\nport = 1\n[database]\nurl = "postgresql:///x"\n', "database.url"),
        (b"\xff\xfe", "UTF-8"),
        (b"#" * 2_000_000, "larger"),
        (None, "No such file"),
        ("a=" + "[" * 100_000, "nested too deeply"),
    ],
    ids=["no TOML", "key", "section", "value", "start-up", "bytes", "size", "missing", "nested"],
)
def test_a_settings_file_that_is_no_good_changes_nothing(nowhere, content, says):
    file = nowhere.folder / "file.toml"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused = nowhere.run("settings", "import", file)
    assert refused.status == 1
    assert says in one_line(refused)


def test_a_settings_file_against_a_pin_changes_nothing(site):
    file = site.folder / "against.toml"
    file.write_text("[hl7]\nmaximum_connections = 7\n[web]\nport = 9\n")
    refused = site.run("settings", "import", file)
    assert refused.status == 1
    assert "web.port is pinned" in one_line(refused)
    assert "hl7.maximum_connections" not in site.ask(facts.saved_settings)
    file.write_text("[hl7]\nmaximum_connections = 7\n[web]\nport = 8042\n")
    assert site.run("settings", "import", file).status == 0
    assert site.ask(facts.saved_settings)["hl7.maximum_connections"] == "7"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://pacs:se:cr@t@db/x", "postgresql://pacs:***@db/x"),
        ("postgresql://pacs@db/x?password=secret&a=b", "postgresql://pacs@db/x?password=***&a=b"),
        ("host=db password = 'se cret' user=x", "host=db password = *** user=x"),
        ("postgresql://pacs@db:5432/x", "postgresql://pacs@db:5432/x"),
        ("", ""),
    ],
)
def test_the_database_s_password_is_never_shown(url, shown):
    assert without_password(url) == shown


def test_the_field_mapping_goes_out_and_comes_in_again(alone):
    """The default is what there is before anything was imported."""
    file = alone.folder / "mapping.json"
    rows = [{"field": "patient_id", "segment": "PID", "position": 2}]
    file.write_text(json.dumps({"format": 1, "rows": rows}))
    assert alone.run("settings", "set", "hl7.port", "2575").status == 0
    exported = alone.run("mapping", "export")
    assert from_dictionary(json.loads(exported.output)) == Mappings(DEFAULT)
    taken = alone.run("mapping", "import", file)
    assert (taken.status, taken.output) == (0, "field mapping with 1 rows saved\n")
    assert alone.run("mapping", "export", alone.folder / "out.json").status == 0
    content = json.loads((alone.folder / "out.json").read_text())
    assert [row["position"] for row in content["rows"]] == [2]
    assert alone.run("mapping", "default").status == 0
    exported = alone.run("mapping", "export")
    assert from_dictionary(json.loads(exported.output)) == Mappings(DEFAULT)


def test_mappings_of_senders_go_out_and_come_in_again(alone):
    file = alone.folder / "mapping.json"
    rows = [{"field": "patient_id", "segment": "PID", "position": 2}]
    senders = [{"application": "RIS", "facility": "", "rows": rows}]
    file.write_text(json.dumps({"format": 2, "rows": rows, "senders": senders}))
    taken = alone.run("mapping", "import", file)
    assert taken.output == "field mapping with 1 rows and 1 of senders saved\n"
    content = json.loads(alone.run("mapping", "export").output)
    assert [sender["application"] for sender in content["senders"]] == ["RIS"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "field mapping"),
        ('{"format": 1, "rows": []}', "rows"),
        ('{"format": 1, "rows": [{"field": "shoe_size"}]}', "row 1"),
    ],
)
def test_a_mapping_that_is_no_good_changes_nothing(nowhere, content, says):
    file = nowhere.folder / "mapping.json"
    file.write_text(content)
    refused = nowhere.run("mapping", "import", file)
    assert refused.status == 1
    assert says in one_line(refused)


# --- the data directory


def test_reading_makes_no_data_directory(nowhere):
    for arguments in (
        ["user", "list"],
        ["user", "delete", "jane"],
        ["peer", "list"],
        ["node", "delete", "HIS"],
        ["token", "1.2"],
        ["settings", "get"],
        ["settings", "export"],
        ["mapping", "export"],
    ):
        refused = nowhere.run(*arguments)
        assert refused.status == 1
        assert one_line(refused) == f"there is no santepacs data in {nowhere.data}"


def test_alone_a_command_brings_the_database_up_and_down_again(alone):
    added = alone.run("user", "add", "first", "--admin", "--password-stdin", typed=PASSWORD)
    assert (added.status, added.output) == (0, "")
    assert added.errors == f"santepacs: made the data directory {alone.data}\n"
    assert alone.run("user", "list").rows == [["first", "admin,share", "enabled", "never"]]
    last = alone.run("user", "disable", "first")
    assert (last.status, "last administrator" in one_line(last)) == (1, True)
    assert who_holds(alone.data) is None
    assert not (alone.data / "postgres" / "cluster" / "postmaster.pid").exists()


def test_a_data_directory_that_is_a_file_is_refused(nowhere):
    nowhere.data.write_text("")
    for arguments in (["node", "list"], ["node", "add", "HIS", "h"]):
        refused = nowhere.run(*arguments)
        assert refused.status == 1
        assert str(nowhere.data) in one_line(refused)


def test_a_bad_configuration_is_refused(nowhere):
    (nowhere.folder / "bad.toml").write_text("[web]\nport = 'x'\n")
    for option, says in (
        (("--config", nowhere.folder / "bad.toml"), "web.port"),
        (("--config", nowhere.folder / "none.toml"), "none.toml"),
        (("--set", "web.port"), "SECTION.KEY=VALUE"),
        (("--set", "web.port=x"), "web.port"),
    ):
        refused = nowhere.run(*option, "node", "add", "HIS", "h")
        assert refused.status == 1
        assert says in one_line(refused)


# Where the interpreter lies in a place that the account cannot reach, what a command imports late
# has to be there before it becomes that account.
_AS_ACCOUNT = """
import codecs, importlib.resources, os, sys
from santepacs.commands.admin import main
[step.read_text() for step in importlib.resources.files("santepacs.db.schema").iterdir()]
codecs.lookup("ascii"), codecs.lookup("idna")
account = int(sys.argv[1])
if account:
    os.setgroups([])
    os.setgid(account)
    os.setuid(account)
sys.exit(main(sys.argv[2:]))
"""


def run_as(account, *arguments, typed=""):
    """A command of the account with this number."""
    if not can_enter(some_account(), Path(startup.__file__).parent):
        pytest.skip("an account without privileges cannot reach these sources")
    program = [sys.executable, "-c", _AS_ACCOUNT, str(account)]
    return run(*arguments, typed=typed, program=program)


@pytest.fixture
def of_another(alone):
    """An empty data directory of an account without privileges, and a command of root for it."""
    account = some_account()
    alone.data.mkdir()
    os.chown(alone.data, account.pw_uid, account.pw_gid)
    alone.run = partial(run_as, 0, "--data", alone.data)
    return alone


@needs_root
def test_root_acts_as_the_owner_of_the_data(of_another):
    added = of_another.run("user", "add", "first", "--password-stdin", typed=PASSWORD)
    assert added.status == 0
    owners = {path.lstat().st_uid for path in of_another.data.rglob("*")}
    assert owners == {some_account().pw_uid}


@needs_root
def test_another_account_than_the_owner_is_refused(site):
    account = some_account().pw_uid
    refused = run_as(account, "--data", site.data, "user", "list")
    assert refused.status == 1
    assert one_line(refused) == f"{site.data} belongs to root: run this as root"


def test_output_that_nobody_reads_is_no_drama(site):
    process = start(site, "settings", "get")
    process.stdout.close()
    errors = process.stderr.read()
    assert (process.wait(60), errors) == (1, "")
    process.stderr.close()


def test_a_database_that_is_away_is_one_line(alone):
    away = alone.run(
        "--set",
        f"database.url=postgresql://x:{PASSWORD[:7]}@127.0.0.1:1/y",
        "node",
        "add",
        "HIS",
        "h",
    )
    assert away.status == 1
    assert "database" in one_line(away)
    assert PASSWORD[:7] not in away.errors


def test_the_default_data_directory_is_below_the_current_folder(alone):
    refused = run("node", "list", cwd=alone.folder)
    assert one_line(refused) == f"there is no santepacs data in {alone.folder}/var"
