"""What is too old goes, in small steps; all else stays."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from santepacs.db import nodes, orders, outgoing, worklist_age
from santepacs.db.nodes import Node
from santepacs.errors import Unavailable
from santepacs.model.order import StepStatus, WorklistRecord
from santepacs.worklist import housekeeping
from santepacs.worklist.housekeeping import Housekeeping
from support.archive import running_site
from support.dicom import eventually

RAW = b"MSH|^~\\&|S|R|RIS|W|20260102||ORM^O01|1|P|2.3.1\r"


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as running:
        running.keeping = Housekeeping(reactor_thread.reactor, running.database, running.settings)
        yield running


@pytest.fixture
def logged():
    lines = []

    def observe(event):
        if "housekeeping" in str(event.get("log_namespace")):
            lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def set_days(site, auto_delete=0, keep=0):
    site.settings.worklist = replace(site.settings.worklist, auto_delete_days=auto_delete)
    site.settings.hl7 = replace(site.settings.hl7, keep_days=keep)


def day(days_ago):
    return f"{datetime.now(UTC) - timedelta(days=days_ago):%Y%m%d}"


def add_record(site, scheduled, changed, status=StepStatus.SCHEDULED):
    """A record with the ages of both in days; returns its key."""
    record = WorklistRecord(
        patient_id="1",
        start_date=day(scheduled) if scheduled is not None else "",
        step_status=status,
    )
    key = site.ask(orders.add, record)
    site.ask(
        execute,
        "UPDATE worklist_record SET updated_at = now() - %s * interval '1 day' WHERE id = %s",
        changed,
        key,
    )
    return key


async def execute(tx, sql, *parameters):
    return await tx.execute(sql, *parameters)


async def keys(tx, table):
    return [row.id for row in await tx.fetch_all(f"SELECT id FROM {table} ORDER BY id")]


def add_message(site, age):
    site.ask(
        execute,
        "INSERT INTO hl7_message (received_at, digest, raw, verdict)"
        " VALUES (now() - %s * interval '1 day', %s, %s, 'AA')",
        age,
        b"x",
        RAW,
    )


def add_outgoing(site, age, state="sent"):
    key = site.ask(outgoing.enqueue, "RIS", RAW, "")
    site.ask(
        execute,
        "UPDATE hl7_outgoing SET state = %s,"
        " ended_at = CASE WHEN %s <> 'waiting' THEN now() - %s * interval '1 day' END"
        " WHERE id = %s",
        state,
        state,
        age,
        key,
    )
    return key


def test_records_go_when_their_day_and_their_last_change_are_over(site):
    set_days(site, auto_delete=7)
    old = [
        add_record(site, 8, 8),
        add_record(site, None, 8),
        *(add_record(site, 30, 30, status) for status in StepStatus),
    ]
    kept = [
        add_record(site, 6, 8),
        add_record(site, 8, 6),
        add_record(site, -20, 60),  # still to come
        add_record(site, 0, 0),
    ]
    site.reactor_thread.run(site.keeping.run)
    assert site.ask(keys, "worklist_record") == kept
    assert old


def test_nothing_goes_unless_it_is_wanted(site):
    set_days(site, auto_delete=0, keep=0)
    add_record(site, 1000, 1000)
    add_message(site, 10_000)
    site.ask(nodes.add, Node("RIS", "127.0.0.1", 1))
    add_outgoing(site, 10_000)
    site.reactor_thread.run(site.keeping.run)
    for table in ("worklist_record", "hl7_message", "hl7_outgoing"):
        assert len(site.ask(keys, table)) == 1


def test_the_history_goes_with_its_record(site):
    set_days(site, auto_delete=7)
    key = add_record(site, 8, 8)
    site.ask(orders.add_event, key, "edited", StepStatus.SCHEDULED)
    site.reactor_thread.run(site.keeping.run)
    assert site.ask(keys, "worklist_event") == []


def test_a_record_that_somebody_changes_right_now_stays(site):
    set_days(site, auto_delete=7)
    locked, other = add_record(site, 8, 8), add_record(site, 8, 8)

    async def while_locked(tx):
        await orders.record(tx, locked, lock=True)
        await site.keeping.run()

    site.ask(while_locked)
    assert site.ask(keys, "worklist_record") == [locked]
    assert other


def test_messages_received_and_sent_go(site, logged):
    set_days(site, keep=365)
    site.ask(nodes.add, Node("RIS", "127.0.0.1", 1))
    for age in (1, 364, 366, 1000):
        add_message(site, age)
    sent = [add_outgoing(site, age) for age in (1, 366)]
    waiting = add_outgoing(site, 400, "waiting")
    site.reactor_thread.run(site.keeping.run)
    assert len(site.ask(keys, "hl7_message")) == 2
    assert site.ask(keys, "hl7_outgoing") == [sent[0], waiting]
    assert logged == [
        "2 received HL7 messages deleted: older than 365 days",
        "1 sent HL7 messages deleted: older than 365 days",
    ]


def test_it_goes_in_small_steps(site, logged, monkeypatch):
    monkeypatch.setattr(housekeeping, "STEP", 2)
    monkeypatch.setattr(housekeeping, "PAUSE", 0.001)
    set_days(site, auto_delete=14)
    for _ in range(7):
        add_record(site, 20, 20)
    assert site.ask(worklist_age.delete_older, 14, 2) == 2
    site.reactor_thread.run(site.keeping.run)
    assert site.ask(keys, "worklist_record") == []
    assert logged == ["5 worklist records deleted: older than 14 days"]


def test_it_runs_by_itself_and_stops(site):
    set_days(site, auto_delete=7)
    add_record(site, 8, 8)
    site.reactor_thread.run(site.keeping.start)
    eventually(lambda: site.ask(keys, "worklist_record") == [])
    site.reactor_thread.run(site.keeping.stop)
    assert not site.keeping._loop.running


def test_without_a_database_it_waits_for_the_next_time(site, logged, monkeypatch):
    async def away(*_, **__):
        raise Unavailable("the database is not available")

    set_days(site, auto_delete=7)
    monkeypatch.setattr(site.database, "transaction", away)
    site.reactor_thread.run(site.keeping.start)
    eventually(lambda: logged == ["what is too old is deleted when the database is back"])
    assert site.keeping._loop.running
    monkeypatch.undo()
    site.reactor_thread.run(site.keeping.stop)
