"""A department's worklist through the whole server: orders, scanners, modalities, images, people.

The clients are those of a site: MLLP, DCMTK's findscu and storescu, pynetdicom, a web client.
"""

import re
import socket
import threading
import time
from contextlib import closing, suppress

import pytest
from pydicom.uid import generate_uid

from santepacs.hl7.message import parse, split_messages
from santepacs.hl7.refusal import Refusal
from santepacs.wire.framing import FrameSplitter
from support.archive import ct
from support.clients import exchange, mllp
from support.department import ROOT, Department, acknowledged, message, order
from support.dicom import eventually
from support.faults_database import running_postgres
from support.hl7 import hl7_receiver
from support.hl7_corpus import files, frames, needs_corpus
from support.hl7_pages import MappingForm
from support.postgres import reachable_folder
from support.procedures import begun, change, create, item, series
from support.programs import run
from support.server import ADMIN_PASSWORD, free_ports, running_server
from support.web import Browser

GREEK, CYRILLIC = "Παπαδοπούλου^Μαρία", "Петрова^Анна"
JAPANESE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


@pytest.fixture(scope="module")
def department(tmp_path_factory):
    """A running server, told of a watched folder and of a node that hears of every status."""
    (port,) = free_ports(1)
    with reachable_folder() as folder:
        (folder / "drop").mkdir()
        settings = [
            *("worklist.complete_after=1", "worklist.status_node=RIS"),
            *(f"worklist.folder={folder / 'drop'}", "worklist.folder_interval=0.1"),
            *("hl7.keep_days=30", "worklist.auto_delete_days=30"),
        ]
        with running_server(folder / "data", settings) as server:
            added = server.command("node", "add", "RIS", "127.0.0.1", str(port))
            assert added.returncode == 0, added.stderr
            made = Department(server, tmp_path_factory.mktemp("department"))
            made.ris_port, made.drop = port, folder / "drop"
            yield made
            written = server.output
        logs = [path.read_text("utf-8", "replace") for path in (folder / "data/log").iterdir()]
        for name in ("Παπαδοπο", "Петрова", "Yamada", "山田", "Doe^"):
            assert not any(name in text for text in (written, *logs)), name


@pytest.fixture
def site(department):
    """The department; afterwards the server still answers, and nothing waits for the node."""
    yield department
    assert department.server.healthy()
    department.rows("DELETE FROM hl7_outgoing")


@pytest.fixture
def ris(site):
    """The node of that name listens; what came."""
    with hl7_receiver(port=site.ris_port) as listening:
        yield listening.came


@pytest.fixture
def browser(department):
    logged_in = Browser(department.server.web_port)
    assert logged_in.log_in("admin", ADMIN_PASSWORD).status == 303
    return logged_in


def heard(came, number):
    """The statuses (ORC-5) that a node was told of an order, in their order."""
    told = [parse(raw) for raw in came]
    return [one.value("ORC", 5) for one in told if one.value("ORC", 2) == number]


# --- orders in, scanners --------------------------------------------------------------------------


def step_of(answer):
    """The scheduled procedure step of a worklist answer."""
    (step,) = answer.ScheduledProcedureStepSequence
    return step


@pytest.mark.parametrize(
    ("name", "charset", "encoding", "asked_in", "answered_in"),
    [
        (GREEK, "8859/7", "iso8859-7", "", "ISO_IR 126"),
        (GREEK, "8859/7", "iso8859-7", "ISO_IR 192", "ISO_IR 192"),
        (CYRILLIC, "8859/5", "iso8859-5", "", "ISO_IR 144"),
        (CYRILLIC, "UNICODE UTF-8", "utf-8", "ISO_IR 144", "ISO_IR 144"),
        ("Doe^Jane", "8859/1", "iso8859-1", "ISO_IR 100", ""),
    ],
)
def test_a_name_reaches_the_scanner_in_a_character_set_that_it_is_told(
    site, name, charset, encoding, asked_in, answered_in
):
    number = f"N{charset[-3:]}{asked_in[-3:]}".replace("/", "")
    told = order(number, name, charset=charset, encoding=encoding)
    assert site.send(told) == "AA"
    (answer,) = site.scanner(f"0010,0020=ID{number}", character_set=asked_in)
    assert answer.PatientName == name
    assert answer.get("SpecificCharacterSet", "") == answered_in
    step = step_of(answer)
    assert (step.ScheduledStationAETitle, step.Modality) == ("CT_ONE", "CT")
    assert (step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime) == (
        "20261121",
        "093000",
    )
    assert answer.RequestedProcedureDescription == "Thorax"
    assert answer.StudyInstanceUID.startswith("1.2.300.0.7230010.3.1.3.")


def test_an_order_of_two_steps_is_a_step_at_each_scanner(site):
    alphabetic, ideographic, phonetic = JAPANESE.split("=")
    name = f"{alphabetic}^^^^^L^A~{ideographic}^^^^^L^I~{phonetic}^^^^^L^P"
    steps = [f"IPC|OMI1|RP1|{ROOT}.1|SPS{n}|CT|P1^Protocol|||CT_{n}" for n in (1, 2)]
    told = message(
        "OMI^O23^OMI_O23",
        f"PID|1||JP1||{name}||19700131|M",
        *("ORC|NW|OMI1", "TQ1|1||||||20261121093000", "OBR|1|OMI1||CT01^Thorax", *steps),
    )
    assert site.send(told) == "AA"
    for n in (1, 2):
        (answer,) = site.scanner("0010,0020=JP1", f"(0040,0100)[0].0040,0001=CT_{n}")
        assert step_of(answer).ScheduledProcedureStepID == f"SPS{n}"
        assert answer.StudyInstanceUID == f"{ROOT}.1"
        assert answer.PatientName == JAPANESE
        assert answer.SpecificCharacterSet == "ISO_IR 192"
    (answer,) = site.scanner(
        "0010,0020=JP1", "(0040,0100)[0].0040,0001=CT_1", character_set="\\ISO 2022 IR 87"
    )
    assert answer.PatientName == JAPANESE
    assert list(answer.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]


def test_an_appointment_is_scheduled_moved_and_cancelled(site):
    def appointment(event, start):
        return message(
            f"SIU^{event}",
            f"SCH|AP1^HIS||||||||||^^30^{start}",
            f"PID|1||RU1||{CYRILLIC}||19700131|F",
            *("RGS|1|A", "AIS|1|A|CT01^Thorax^L", "AIL|1|A|ROOM 1"),
        )

    def starts():
        steps = [
            answer.ScheduledProcedureStepSequence[0] for answer in site.scanner("0010,0020=RU1")
        ]
        return [step.ScheduledProcedureStepStartTime for step in steps]

    assert site.send(appointment("S12", "202611210930")) == "AA"
    assert starts() == ["093000"]
    assert site.send(appointment("S13", "202611211100")) == "AA"
    assert starts() == ["110000"]
    assert site.send(appointment("S15", "202611211100")) == "AA"
    assert starts() == []


def test_what_came_before_is_brought_up_to_date(site):
    told = order("U1")
    assert [site.send(told), site.send(told)] == ["AA", "AA"]
    assert site.sees("IDU1") == ["U1"]
    assert site.send(order("U1", control="XO", start="20261122101500")) == "AA"
    (answer,) = site.scanner("0010,0020=IDU1")
    assert step_of(answer).ScheduledProcedureStepStartTime == "101500"

    renamed = message("ADT^A08", "EVN|A08", f"PID|1||IDU1||{GREEK}||19700131|F")
    assert site.send(renamed) == "AA"
    (answer,) = site.scanner("0010,0020=IDU1")
    assert answer.PatientName == GREEK
    merged = message("ADT^A40", "EVN|A40", f"PID|1||IDU9||{GREEK}||19700131|F", "MRG|IDU1")
    assert site.send(merged) == "AA"
    assert (site.sees("IDU1"), site.sees("IDU9")) == ([], ["U1"])

    assert site.send(message("ORM^O01", "PID|1||IDU9", "ORC|CA|U1")) == "AA"
    assert site.sees("IDU9") == []
    canceled = "(0040,0100)[0].0040,0020=CANCELED"
    assert len(site.scanner("0010,0020=IDU9", canceled)) == len(site.status("U1")) == 1


def test_files_of_the_watched_folder_are_taken_and_marked(site):
    raw, _ = order("F1")
    (site.drop / "good.hl7").write_bytes(raw)
    (site.drop / "bad.hl7").write_bytes(raw.replace(b"|IDF1|", b"||"))
    eventually(lambda: {path.suffix for path in site.drop.iterdir()} == {".DON", ".ERR", ".txt"})
    assert sorted(path.name for path in site.drop.iterdir()) == [
        *("bad.hl7.ERR", "bad.hl7.ERR.txt", "good.hl7.DON")
    ]
    assert "no patient identifier" in (site.drop / "bad.hl7.ERR.txt").read_text()
    assert site.sees("IDF1") == ["F1"]


# --- work that is done ----------------------------------------------------------------------------


def performed(number, study):
    """What a modality says when it begins the order of that number."""
    named = {"RequestedProcedureID": "CT01", "ScheduledProcedureStepID": "CT01"}
    scheduled = item(StudyInstanceUID=study, AccessionNumber=number, **named)
    return begun(scheduled, PatientID=f"ID{number}")


def test_a_modality_that_says_what_it_does_moves_the_step(site, ris):
    assert site.send(order("M1", study=f"{ROOT}.2")) == "AA"
    uid = generate_uid()
    step = performed("M1", f"{ROOT}.2")
    assert site.modality(lambda peer: create(peer, step, uid)).Status == 0x0000
    assert site.status("M1") == ["STARTED"]
    assert site.sees("IDM1") == []
    done = {"PerformedSeriesSequence": series(3), "PerformedProcedureStepEndDate": "20261121"}
    status = site.modality(
        lambda peer: change(peer, uid, "COMPLETED", PerformedProcedureStepEndTime="1000", **done)
    )
    assert status.Status == 0x0000
    assert site.status("M1") == ["COMPLETED"]
    eventually(lambda: heard(ris, "M1") == ["IP", "CM"])


def test_images_move_the_step_of_a_modality_that_says_nothing(site, ris, tmp_path):
    assert site.send(order("I1", study=f"{ROOT}.3")) == "AA"
    uids = {"SeriesInstanceUID": f"{ROOT}.3.1", "SOPInstanceUID": f"{ROOT}.3.1.1"}
    image = ct(StudyInstanceUID=f"{ROOT}.3", PatientID="IDI1", AccessionNumber="I1", **uids)
    image.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    port = site.server.dicom_port
    run("storescu", "-aec", "SANTEPACS", "127.0.0.1", port, tmp_path / "image.dcm")
    eventually(lambda: site.status("I1") == ["COMPLETED"])
    eventually(lambda: heard(ris, "I1") == ["IP", "CM"])
    actions = site.rows(
        "SELECT e.step_status FROM worklist_event e JOIN worklist_record r ON r.id = e.record"
        " WHERE r.accession_number = 'I1' ORDER BY e.id"
    )
    assert [row[0] for row in actions] == ["SCHEDULED", "STARTED", "COMPLETED"]


# --- people ---------------------------------------------------------------------------------------


def key_of(page, kind):
    """The first record (or message) that a page links to."""
    return re.search(rf'href="/{kind}/([0-9]+)', page.text)[1]


def test_the_portal_shows_the_record_why_it_is_so_and_the_message(site, browser):
    told = order("W1", GREEK)
    assert site.send(told) == "AA"
    listed = browser.get("/worklist?accession_number=W1")
    record = browser.get(f"/worklist/{key_of(listed, 'worklist')}").text
    assert "Παπαδοπούλου" in record
    assert "<code>PID-5</code>" in record and "<code>ORC-15.1</code>" in record
    log = browser.get("/hl7?patient_id=IDW1")
    assert re.findall(r'id="m[0-9]+"', log.text) == [f'id="m{key_of(log, "hl7/messages")}"']
    key = key_of(log, "hl7/messages")
    assert f'href="/hl7/messages/{key}"' in record
    assert GREEK in browser.get(f"/hl7/messages/{key}").text
    assert browser.get(f"/hl7/messages/{key}.hl7").body == told[0]


def test_a_refused_message_is_corrected_and_run_again(site, browser):
    raw, control_id = order("C1")
    assert site.send((raw.replace(b"|IDC1|", b"||"), control_id)) == "AE"
    refused = key_of(browser.get(f"/hl7?verdict=AE&text={control_id}"), "hl7/messages")
    path = f"/hl7/messages/{refused}/correct"
    run_again = {"text": raw.decode().replace("\r", "\n"), "do": "run"}
    again = browser.submit(path, path, run_again)
    assert again.headers["Location"].startswith("/hl7/messages/")
    assert site.sees("IDC1") == ["C1"]


def test_a_mapping_that_is_changed_in_the_portal_is_that_of_the_next_orders(site, browser):
    def described(number):
        raw, control_id = order(number)
        assert site.send((raw.replace(b"||CT|||CT_ONE", b"||CT|||CT_ONE|Head first"), control_id))
        (answer,) = site.scanner(f"0010,0020=ID{number}", "(0040,0100)[0].0040,0007")
        return step_of(answer).ScheduledProcedureStepDescription

    before = described("P1")
    form = MappingForm(browser).press("pick:OBR-22.1")
    form.press("feed:scheduled_procedure_step_description").press("save")
    assert form.answer.headers["Location"].startswith("/hl7/mapping?saved")
    numbers = iter(range(2, 100))
    eventually(lambda: described(f"P{next(numbers)}") == "Head first")
    MappingForm(browser).press("default").press("save")
    eventually(lambda: described(f"P{next(numbers)}") == before)


# --- restarts -------------------------------------------------------------------------------------


def test_a_status_message_survives_a_restart_and_is_sent_once(site):
    """The node is away when the step begins, and there when the server is back."""
    assert site.send(order("R1", study=f"{ROOT}.4")) == "AA"
    step = performed("R1", f"{ROOT}.4")
    assert site.modality(lambda peer: create(peer, step)).Status == 0x0000
    eventually(lambda: site.rows("SELECT id FROM hl7_outgoing WHERE attempts > 0"))
    site.server.stop()
    with hl7_receiver(port=site.ris_port) as listening:
        site.server.start()
        eventually(lambda: heard(listening.came, "R1") == ["IP"], 20)
        sent = "SELECT state FROM hl7_outgoing"
        eventually(lambda: site.rows(sent) == [("sent",)])
        site.server.stop()
        site.server.start()
        assert site.send(order("R2", study=f"{ROOT}.5")) == "AA"
        step = performed("R2", f"{ROOT}.5")
        assert site.modality(lambda peer: create(peer, step)).Status == 0x0000
        # What a node gets, it gets in turn: R1 would come before.
        eventually(lambda: heard(listening.came, "R2") == ["IP"])
        assert heard(listening.came, "R1") == ["IP"]


def test_what_is_too_old_is_gone_after_the_next_start(site):
    for number in ("OLD", "NEW"):
        start = "20200101093000" if number == "OLD" else "20991231093000"
        assert site.send(order(number, start=start)) == "AA"
    past = "now() - interval '31 days'"
    site.rows(
        f"UPDATE hl7_message SET received_at = {past} WHERE patient_id = 'IDOLD';"
        f"UPDATE worklist_record SET updated_at = {past} WHERE accession_number = 'OLD'"
    )
    site.server.stop()
    site.server.start()
    kept = "SELECT patient_id FROM hl7_message WHERE patient_id IN ('IDOLD', 'IDNEW')"
    eventually(lambda: site.rows(kept) == [("IDNEW",)])
    eventually(lambda: (site.status("OLD"), site.status("NEW")) == ([], ["SCHEDULED"]))


SENDERS, BEFORE_THE_KILL = 4, 120


class Sender:
    """Sends orders over one connection until it breaks, and notes what was accepted."""

    def __init__(self, port, sender):
        self._port = port
        self.orders = [order(f"K{sender}X{number}") for number in range(1000)]
        self.accepted = 0
        self.thread = threading.Thread(target=self._send)

    def _send(self):
        with suppress(OSError, AssertionError), closing(Connection(self._port)) as connection:
            for raw, control_id in self.orders:
                if acknowledged(connection.ask(raw), control_id) != "AA":
                    return
                self.accepted += 1


class Connection:
    """MLLP, message after message."""

    def __init__(self, port):
        self._socket = socket.create_connection(("127.0.0.1", port), 20)
        self._frames = FrameSplitter(1 << 24)

    def ask(self, raw):
        self._socket.sendall(b"\x0b" + raw + b"\x1c\r")
        while (frame := self._frames.next_frame()) is None:
            received = self._socket.recv(65536)
            assert received, "closed"
            self._frames.feed(received)
        return frame.payload

    def close(self):
        self._socket.close()


def test_what_was_accepted_survives_kill_9_once(site):
    senders = [Sender(site.server.hl7_port, number) for number in range(SENDERS)]
    for sender in senders:
        sender.thread.start()
    eventually(lambda: sum(sender.accepted for sender in senders) >= BEFORE_THE_KILL)
    site.server.kill()
    for sender in senders:
        sender.thread.join()
    assert all(0 < sender.accepted < len(sender.orders) for sender in senders)
    site.server.start()

    def kept():
        orders = "SELECT accession_number FROM worklist_record WHERE accession_number ~ '^K.X'"
        return [row[0] for row in site.rows(orders)]

    accepted = {f"K{n}X{k}" for n, sender in enumerate(senders) for k in range(sender.accepted)}
    found = kept()
    assert len(found) == len(set(found))
    assert accepted <= set(found)
    # One message of each sender was under way: it happened as a whole or not at all.
    assert len(found) <= len(accepted) + SENDERS
    logged = site.rows("SELECT patient_id FROM hl7_message WHERE verdict = 'AA'")
    assert {f"ID{number}" for number in found} <= {row[0] for row in logged}

    with closing(Connection(site.server.hl7_port)) as connection:
        for sender in senders:
            for raw, control_id in sender.orders[: sender.accepted + 1]:
                assert acknowledged(connection.ask(raw), control_id) == "AA"
    again = kept()
    assert len(again) == len(set(again)) == len(accepted) + SENDERS


# --- the database away ----------------------------------------------------------------------------


def test_without_the_database_messages_are_to_be_sent_again(tmp_path):
    with (
        reachable_folder() as folder,
        running_postgres(folder) as postgres,
        running_server(folder / "data", [postgres.setting]) as server,
    ):
        site = Department(server, tmp_path)
        kept, told = order("D1"), order("D2")
        assert site.send(kept) == "AA"
        postgres.stop(10)
        began = time.monotonic()
        assert [site.send(kept), site.send(told)] == ["AR", "AR"]
        assert time.monotonic() - began < 10
        postgres.start(60)
        eventually(lambda: site.send(told) == "AA")
        assert [site.send(kept), site.send(told)] == ["AA", "AA"]
        assert [site.sees(f"ID{number}") for number in ("D1", "D2")] == [["D1"], ["D2"]]


# --- messages of many senders ---------------------------------------------------------------------


def is_answered(raw):
    """Whether a message is one that is answered: all are, but acknowledgements."""
    with suppress(Refusal):
        return not parse(raw).is_acknowledgement
    return True


def acknowledgements(data):
    """The messages in what came back."""
    splitter = FrameSplitter(1 << 24)
    splitter.feed(data)
    found = []
    while frame := splitter.next_frame():
        found.append(parse(frame.payload))
    return found


def answers_of(payload):
    """How many acknowledgements a frame has."""
    try:
        return sum(map(is_answered, split_messages(payload)))
    except Refusal:
        return 1


@needs_corpus
def test_each_message_of_many_senders_has_one_answer(site):
    for path in files():
        sent = [payload for payload in frames(path) if payload]  # an empty block is none
        data = b"".join(b"\x0b" + payload + b"\x1c\r" for payload in sent)
        answers = acknowledgements(exchange(site.server.hl7_port, data))
        assert len(answers) == sum(map(answers_of, sent)), path.name
        assert {answer.value("MSA", 1) for answer in answers} <= {"AA", "AE", "AR"}, path.name
    assert b"\rMSA|AA|" in mllp(site.server.hl7_port, order("Z1")[0])
    assert site.server.process.poll() is None
