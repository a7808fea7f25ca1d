"""Messages in the log of a real database: kept with their verdict, looked at, run again."""

import secrets
from datetime import UTC, datetime

import pytest

from santepacs.db import messages
from santepacs.db.database import Database
from santepacs.db.messages import MessageFilter
from santepacs.db.worklist_search import find
from santepacs.errors import NotFound, Unavailable
from santepacs.hl7.message import parse
from santepacs.hl7port import hl7_receiver
from santepacs.model.order import WorklistQuery
from santepacs.settings import Settings
from santepacs.worklist.mapping import DEFAULT, Mappings
from santepacs.worklist.worklist import Worklist
from support.receiving import HEADER, ORDER

SIU = (
    b"MSH|^~\\&|RIS|RAD|PACS|RAD|20260102||SIU^S12|91|P|2.5.1\r"
    b"SCH|AP1\rPID|1||ID7||Doe^Jane\rAIS|1||CT01^CT HEAD\r"
)


class Site:
    """A receiver with the real worklist, and what tests ask of them in one word each."""

    def __init__(self, run, database):
        self.run = run
        self.database = database
        settings = Settings()
        self.receiver = hl7_receiver(
            settings,
            database,
            Worklist(database, settings, secrets.randbelow),
            lambda: Mappings(DEFAULT),
            lambda: datetime.now(UTC).astimezone(),
        )

    def send(self, payload):
        """The codes and remarks of the answers."""
        reply = self.run(self.receiver.receive, payload, "192.0.2.1") or b""
        answers = [parse(block[1:]) for block in reply.split(b"\x1c\r")[:-1]]
        return [(answer.value("MSA", 1), answer.value("MSA", 3)) for answer in answers]

    def again(self, key, raw=None):
        return self.run(self.receiver.run_again, key, raw, "nurse")

    def transaction(self, work, *args):
        return self.run(self.database.transaction, "test", lambda tx: work(tx, *args))

    def log(self):
        """The rows of the log, oldest first."""
        return self.transaction(messages.page, MessageFilter(), None, 100)[::-1]

    def records(self):
        found = self.transaction(find, WorklistQuery(), 100, None)
        return [one.record for one in found]


@pytest.fixture
def site(reactor_thread, database_dsn):
    database = Database(reactor_thread.reactor, database_dsn.runtime, connections=3)
    reactor_thread.run(database.start)
    yield Site(reactor_thread.run, database)
    reactor_thread.run(database.stop)


def test_a_message_is_kept_with_what_became_of_it(site):
    assert site.send(ORDER) == [("AA", "")]
    (row,) = site.log()
    assert (row.verdict, row.message_type, row.control_id) == ("AA", "ORM^O01", "77")
    assert (row.patient_id, row.source, row.sending_application) == ("ID7", "192.0.2.1", "HIS")
    assert row.charset == "not declared, read as utf-8"
    assert 0 <= row.milliseconds < 60_000
    assert len(row.records) == 1
    assert site.transaction(messages.message, row.id).raw == ORDER


@pytest.mark.parametrize(
    "payload, verdict, remark",
    [
        (ORDER.replace(b"ID7", b""), "AE", "PID^1^3 no patient identifier"),
        (ORDER.replace(b"ORM^O01", b"ORU^R01"), "AR", "MSH^1^9^1^1 messages of this type"),
        (b"hello", "AE", "MSH^1 the message does not begin with MSH"),
        (HEADER.replace(b"ORM^O01", b"ACK") + b"\rMSA|AA|1\r", "", "an acknowledgement"),
    ],
)
def test_what_is_refused_is_kept_raw_with_its_reason(site, payload, verdict, remark):
    site.send(payload)
    (row,) = site.log()
    assert row.verdict == verdict
    assert row.remark.startswith(remark)
    assert site.transaction(messages.message, row.id).raw == payload
    assert site.records() == []


def test_a_message_that_was_cut_off_is_kept(site):
    site.run(site.receiver.refuse_broken, ORDER[:-9], "192.0.2.1")
    (row,) = site.log()
    assert (row.verdict, row.remark) == ("AR", "the message was cut off before its end")


def test_a_duplicate_is_answered_as_the_first_time_and_does_nothing(site):
    late = ORDER.replace(b"ORC|NW", b"ORC|XO")
    first = site.send(late)
    assert first == [("AA", "the order was not known and is kept as new")]
    assert site.send(late) == first
    assert len(site.records()) == len(site.log()) == 1


def test_a_refused_message_is_corrected_and_run_again(site):
    site.send(ORDER.replace(b"ID7", b""))
    (refused,) = site.log()
    verdict = site.again(refused.id, ORDER)
    assert verdict.code == "AA"
    _, row = site.log()
    assert (row.id, row.origin, row.actor) == (verdict.key, refused.id, "nurse")
    assert row.verdict == "AA"
    assert [record.patient_id for record in site.records()] == ["ID7"]


def test_an_accepted_message_is_processed_anew_when_it_is_run_again(site):
    site.send(ORDER)
    site.send(ORDER.replace(b"|77|", b"|78|").replace(b"Doe^Jane", b"Roe^Jane"))
    assert [record.patient_name for record in site.records()] == ["Roe^Jane"]
    verdict = site.again(site.log()[0].id)
    assert verdict.code == "AA"
    assert [record.patient_name for record in site.records()] == ["Doe^Jane"]
    assert len(site.log()) == 3


def test_what_is_run_again_in_vain_says_why_and_is_kept(site):
    site.send(b"hello")
    verdict = site.again(site.log()[0].id)
    assert (verdict.code, verdict.location) == ("AE", "MSH^1")
    assert verdict.key == site.log()[1].id
    with pytest.raises(NotFound):
        site.again(10**9)


def test_without_a_database_it_is_to_be_sent_again(site):
    site.run(site.database.stop)
    assert site.send(ORDER) == [("AR", "the worklist is not available; send again later")]
    with pytest.raises(Unavailable):
        site.again(1)


def test_orders_appointments_and_patients_go_together(site):
    assert site.send(ORDER) == [("AA", "")]
    assert site.send(SIU)[0][0] == "AA"
    header = b"MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ADT^%s|%d|P|2.5.1\r"
    update = header % (b"A08", 92) + b"PID|1||ID7||Roe^Jane||19700102|F\r"
    assert site.send(update)[0][0] == "AA"
    assert {record.patient_name for record in site.records()} == {"Doe^Jane", "Roe^Jane"}
    merge = header % (b"A40", 93) + b"PID|1||ID8||Roe^Jane\rMRG|ID7\r"
    assert site.send(merge)[0][0] == "AA"
    moved = [record.patient_id for record in site.records()]
    assert "ID8" in moved
    assert site.send(header % (b"A04", 94) + b"PID|1||ID5||Poe^Jane\r")[0][0] == "AA"
    assert len(site.records()) == 2
    assert site.send(header % (b"A40", 95) + b"PID|1||ID8\rMRG|ID8\r")[0][0] == "AR"
