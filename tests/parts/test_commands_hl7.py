"""``santepacs hl7`` and ``santepacs worklist``, as processes beside a server."""

import os
import subprocess
import sys

import pytest

from santepacs import startup
from santepacs.db import blocking, jobs, nodes, orders, outgoing
from santepacs.db.nodes import Node
from santepacs.hl7.commands import commands
from santepacs.hl7.message import parse
from santepacs.model.order import WorklistRecord
from santepacs.worklist.mapping import DEFAULT
from support.hl7 import acknowledgement, hl7_receiver
from support.postgres import reachable_folder

SOURCES = os.pathsep.join(filter(None, map(os.path.abspath, sys.path)))
ORDER = b"MSH|^~\\&|SANTEPACS|RAD|RIS|WARD|20260102||ORM^O01|77|P|2.3.1\rPID|1||ID7||Doe^Jane\r"
RECORD = WorklistRecord(
    patient_id="ID7",
    patient_name="Παπαδοπουλου^Μαρια",
    requested_procedure_id="P1",
    accession_number="A1",
)


class Site:
    """A data directory that a server uses: we play the server."""

    def __init__(self, folder, foundation):
        self.folder = folder
        self.data = folder / "data"
        self.foundation = foundation

    def run(self, *arguments, module="santepacs.commands.admin", typed=b""):
        """Exit status, stdout, stderr."""
        options = ["--data", str(self.data)] if module.endswith("admin") else []
        done = subprocess.run(
            [sys.executable, "-m", module, *options, *map(str, arguments)],
            input=typed,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": SOURCES},
            cwd="/",
            timeout=60,
            check=False,
        )
        assert b"Traceback" not in done.stderr
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def ask(self, function, *args, **keywords):
        async def work(tx):
            return await function(tx, *args, **keywords)

        return blocking.transaction(self.foundation.dsn, work)

    def file(self, content=ORDER, name="order.hl7"):
        path = self.folder / name
        path.write_bytes(content)
        path.chmod(0o644)
        return path


@pytest.fixture(scope="module")
def running():
    with reachable_folder() as folder:
        foundation = startup.for_server(None, str(folder / "data"), ["hl7.send_timeout=0.5"])
        try:
            yield Site(folder, foundation)
        finally:
            foundation.release()


@pytest.fixture
def site(running):
    yield running

    async def clear(tx):
        for table in ("hl7_outgoing", "hl7_node", "job", "worklist_record"):
            await tx.execute(f"DELETE FROM {table}")

    running.ask(clear)


# --- hl7 send -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [ORDER, ORDER.replace(b"\r", b"\n"), b"\x0b" + ORDER + b"\x1c\r"]
)
def test_a_message_is_sent_and_the_answer_printed(site, content):
    with hl7_receiver() as receiver:
        status, output, errors = site.run(
            "hl7", "send", f"127.0.0.1:{receiver.port}", site.file(content)
        )
    assert (status, errors) == (0, "")
    assert output.splitlines()[1] == "MSA|AA|77|"
    assert receiver.came == [ORDER]


def test_a_message_comes_from_standard_input_to_a_node(site):
    with hl7_receiver() as receiver:
        site.ask(nodes.add, Node("RIS", "127.0.0.1", receiver.port))
        assert site.run("hl7", "send", "RIS", "-", typed=ORDER)[0] == 0
    assert receiver.came == [ORDER]


def test_an_answer_does_nothing_to_the_terminal(site):
    with hl7_receiver(lambda raw: acknowledgement(raw, "AA", "\x1b[2Jgone")) as receiver:
        output = site.run("hl7", "send", f"127.0.0.1:{receiver.port}", site.file())[1]
    assert "\x1b" not in output and "\\x1b[2Jgone" in output


def test_a_refusal_is_a_failure_and_says_why(site):
    with hl7_receiver(lambda raw: acknowledgement(raw, "AE", "no such patient")) as receiver:
        status, output, errors = site.run("hl7", "send", f"localhost:{receiver.port}", site.file())
    assert status == 1 and "MSA|AE|77|no such patient" in output
    assert errors == "santepacs: the receiver answers AE: no such patient\n"


@pytest.mark.parametrize(
    ("receiver", "content", "said"),
    [
        ("127.0.0.1:1", ORDER, "cannot send to 127.0.0.1 port 1: Connection refused"),
        ("x..y:1", ORDER, "cannot send to x..y port 1: there is no such host"),
        ("NOBODY", ORDER, "there is no HL7 node of this name"),
        ("127.0.0.1:1", b"hello", "not an HL7 message"),
        ("127.0.0.1:1", b"", "not an HL7 message"),
    ],
)
def test_what_cannot_be_sent_is_one_line(site, receiver, content, said):
    status, output, errors = site.run("hl7", "send", receiver, site.file(content))
    assert (status, output) == (1, "")
    assert errors.startswith(f"santepacs: {said}") and errors.count("\n") == 1


def test_a_node_that_does_not_answer_is_given_up(site):
    with hl7_receiver(lambda raw: None) as receiver:
        site.ask(nodes.add, Node("RIS", "127.0.0.1", receiver.port))
        status, _, errors = site.run(
            "--set", "hl7.send_timeout=0.3", "hl7", "send", "RIS", "-", typed=ORDER
        )
    assert (status, errors) == (1, "santepacs: the receiver did not answer\n")


def test_a_node_that_receives_nothing_is_said(site):
    site.ask(nodes.add, Node("SENDER", "127.0.0.1"))
    assert "no port" in site.run("hl7", "send", "SENDER", site.file())[2]


def test_the_small_sender_needs_no_data(site):
    with hl7_receiver() as receiver:
        status, output, _ = site.run(
            "127.0.0.1", receiver.port, site.file(), module="santepacs.commands.send_hl7"
        )
    assert status == 0 and "MSA|AA|77" in output
    assert site.run("127.0.0.1", 1, "/nowhere", module="santepacs.commands.send_hl7")[0] == 1


# --- hl7 queue ------------------------------------------------------------------------------------


def test_a_message_is_left_to_the_server(site):
    site.ask(nodes.add, Node("RIS", "127.0.0.1", 1))
    status, output, _ = site.run("hl7", "send", "RIS", site.file(), "--queue")
    key = int(output)
    assert status == 0
    assert site.ask(outgoing.message, key).raw == ORDER
    assert [job.key for job in site.ask(jobs.page)] == ["RIS"]
    (line,) = site.run("hl7", "queue", "list")[1].splitlines()
    assert line.split()[:6] == [str(key), "RIS", "waiting", "0", "ORM^O01", "77"]
    shown = site.run("hl7", "queue", "show", key)[1]
    assert "PID|1||ID7||Doe^Jane" in shown
    assert site.run("hl7", "queue", "cancel", key) == (0, "", "")
    assert site.run("hl7", "queue", "list", "--state", "waiting")[1] == ""
    assert site.run("hl7", "queue", "list", "--state", "cancelled", "--node", "RIS")[1]
    again = int(site.run("hl7", "queue", "again", key)[1])
    assert again != key and site.ask(outgoing.message, again).row.state == "waiting"


def test_mistakes_with_the_queue_are_said(site):
    assert site.run("hl7", "send", "127.0.0.1:1", site.file(), "--queue")[0] == 2
    for command in ("show", "again", "cancel"):
        status, _, errors = site.run("hl7", "queue", command, 4711)
        assert (status, errors) == (1, "santepacs: there is no such message\n")
        assert site.run("hl7", "queue", command, "x")[0] == 2
    site.ask(nodes.add, Node("RIS", "127.0.0.1", 1))
    key = site.ask(outgoing.enqueue, "RIS", ORDER, "")
    site.ask(outgoing.cancel, key)
    assert "does not wait any more" in site.run("hl7", "queue", "cancel", key)[2]


# --- hl7 compare ----------------------------------------------------------------------------------


def test_two_messages_are_compared(site):
    other = site.file(ORDER.replace(b"ID7", b"ID8").replace(b"|77|", b"|78|"), "other.hl7")
    page = site.folder / "page.html"
    status, output, _ = site.run("hl7", "compare", site.file(), other, "--html", page)
    assert status == 0
    assert output.splitlines() == ["PID-3  2  2  ID7  ID8", "1 of 2 segments differ"]
    assert '<td class="different">ID8</td>' in page.read_text()
    output = site.run("hl7", "compare", site.file(), other, "--ignore", "PID-3,MSH-10")[1]
    assert output == "0 of 2 segments differ\n"


def test_what_is_no_message_is_not_compared(site):
    status, _, errors = site.run("hl7", "compare", site.file(b"x", "x"), site.file())
    assert status == 1 and errors.count("\n") == 1
    assert site.run("hl7", "compare", "/nowhere", site.file())[0] == 1


# --- worklist export ------------------------------------------------------------------------------


def test_a_record_is_exported_as_a_message(site):
    key = site.ask(orders.add, RECORD)
    path = site.folder / "out.hl7"
    status, output, _ = site.run("worklist", "export", key, "--application", "RIS")
    assert status == 0
    message = parse(output.replace("\n", "\r").encode())
    assert message.value("MSH", 5) == "RIS"
    (command,) = commands(message, DEFAULT)
    assert command.record.patient_name == RECORD.patient_name
    assert site.run("worklist", "export", key, path, "--charset", "8859/7")[:2] == (0, "")
    message = parse(path.read_bytes())
    assert (message.charset.declared, message.value("PID", 5, 2)) == ("8859/7", "Μαρια")


def test_a_record_that_there_is_not_is_said(site):
    status, _, errors = site.run("worklist", "export", 4711)
    assert (status, errors) == (1, "santepacs: there is no such worklist record\n")
