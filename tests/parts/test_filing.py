"""Files of the watched folder through the real receiver and worklist."""

import os
import secrets
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from santepacs.errors import Unavailable
from santepacs.hl7.filing import take_file
from santepacs.hl7.receiver import Receiver
from santepacs.worklist import folder_files
from santepacs.worklist.folder import WatchedFolder
from santepacs.worklist.mapping import DEFAULT, Mappings
from santepacs.worklist.worklist import Worklist
from support.archive import running_site

HEADER = "MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ORM^O01|{}|P|2.3.1\r"


def order(number, patient="ID7", control_id=None):
    header = HEADER.format(number if control_id is None else control_id)
    return (
        f"{header}PID|1||{patient}||Doe^Jane\rORC|NW|A{number}|||SC|||||||||20260103093000\r"
        f"OBR|1|||P1^CT||||||||||||||CT\r"
    ).encode()


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as running:
        folder = tmp_path / "drop"
        folder.mkdir()
        settings = running.settings
        settings.worklist = replace(settings.worklist, folder=str(folder))
        receiver = Receiver(
            Worklist(running.database, settings, secrets.randbelow),
            settings,
            lambda: Mappings(DEFAULT),
            None,
            lambda: datetime.now(UTC),
            lambda: "C1",
        )

        async def receive(content, source):
            return await take_file(receiver, content, source)

        running.folder = folder
        running.receive = receive
        running.watched = WatchedFolder(reactor_thread.reactor, running.threads, settings, receive)
        yield running


def take(site, content):
    return site.reactor_thread.run(site.receive, content, "watched folder")


def look(site, times=2):
    for _ in range(times):
        site.reactor_thread.run(site.watched.look)
    return sorted(os.listdir(site.folder))


async def rows(tx, table):
    return await tx.fetch_all(f"SELECT * FROM {table} ORDER BY id")


def test_an_order_in_a_file_is_in_the_worklist_and_in_the_log(site):
    (site.folder / "a.hl7").write_bytes(order(1))
    assert look(site) == ["a.hl7.DON"]
    (record,) = site.ask(rows, "worklist_record")
    assert (record.patient_id, record.accession_number) == ("ID7", "A1")
    (message,) = site.ask(rows, "hl7_message")
    assert (message.source, message.verdict) == ("watched folder", "AA")


def test_a_file_that_is_taken_twice_is_inserted_once(site, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    (site.folder / "a.hl7").write_bytes(order(1) + order(2))
    look(site, 1)
    monkeypatch.setattr(folder_files, "put_aside", dies)
    with pytest.raises(KeyboardInterrupt):
        look(site, 1)
    monkeypatch.undo()
    site.watched = WatchedFolder(
        site.watched._loop.clock, site.threads, site.settings, site.receive
    )
    assert look(site) == ["a.hl7.DON"]
    assert len(site.ask(rows, "worklist_record")) == 2
    assert len(site.ask(rows, "hl7_message")) == 2


def test_without_control_id_the_same_order_is_still_one_record(site):
    for _ in range(2):
        assert take(site, order(1, control_id="")) == []
    assert len(site.ask(rows, "worklist_record")) == 1


def test_a_refused_file_says_where_and_why(site):
    (site.folder / "a.hl7").write_bytes(order(1, patient=""))
    assert look(site) == ["a.hl7.ERR", "a.hl7.ERR.txt"]
    reason = (site.folder / "a.hl7.ERR.txt").read_text()
    assert reason == "AE PID^1^3 no patient identifier\n"


def test_of_several_messages_each_refused_one_is_named(site):
    content = order(1) + order(2, patient="") + order(3)
    (reason,) = take(site, content)
    assert reason.startswith("message 2: AE PID^") and reason.endswith("no patient identifier")
    assert len(site.ask(rows, "worklist_record")) == 2


@pytest.mark.parametrize("content", [b"no message", b"\xff\xfe\x00", b"secret" * 1000, b"\0"])
def test_what_is_no_message_is_refused_without_quoting_it(site, content):
    (reason,) = take(site, content)
    assert "secret" not in reason and reason.startswith("A")


def test_more_messages_than_a_file_may_have_are_refused(site):
    (reason,) = take(site, order(1) * 1001)
    assert "more than 1000 messages" in reason


def test_a_file_with_mllp_delimiters_is_read(site):
    assert take(site, b"\x0b" + order(1) + b"\x1c\r\x0b" + order(2) + b"\x1c\r") == []
    assert len(site.ask(rows, "worklist_record")) == 2


def test_line_ends_and_byte_order_marks_of_editors_are_read(site):
    assert take(site, b"\xef\xbb\xbf" + order(1).replace(b"\r", b"\r\n")) == []
    assert take(site, order(2).decode().replace("\r", "\n").encode("utf-16")) == []


def test_an_acknowledgement_is_not_inserted(site):
    ack = HEADER.format(5).replace("ORM^O01", "ACK") + "MSA|AA|1\r"
    (reason,) = take(site, ack.encode())
    assert "acknowledgement" in reason


def test_while_the_database_is_away_the_file_waits(site):
    (site.folder / "a.hl7").write_bytes(order(1))
    look(site, 1)
    real = site.database.transaction

    async def away(*_, **__):
        raise Unavailable("the database is not available")

    site.database.transaction = away
    assert look(site, 3) == ["a.hl7.processing"]
    site.database.transaction = real
    assert look(site, 1) == ["a.hl7.DON"]
