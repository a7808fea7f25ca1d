"""What associations did is kept, bounded, and never in anybody's way."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from santepacs.activity import Activity
from santepacs.db import activity
from santepacs.db.activity import Record
from santepacs.db.database import Database
from santepacs.errors import Unavailable
from support.dicom import eventually

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
TODAY = NOON.date()
STORED = Record(
    NOON, "CT1", "10.0.0.5", tls=True, seconds=2.5, stored=3, bytes=1000, ending="released"
)
ECHO = Record(NOON, "CHECK", "10.0.0.6", ending="released")


class Log:
    """A database, and the activity that is written to it."""

    def __init__(self, reactor_thread, dsn):
        self.run = reactor_thread.run
        self.reactor = reactor_thread.reactor
        self.database = Database(self.reactor, dsn, connections=2)
        self.run(self.database.start)
        self.activity = None

    def start(self, **arguments):
        self.activity = Activity(self.reactor, self.database, interval=0.02, **arguments)
        self.run(self.activity.start)

    def note(self, *records):
        def note():
            for record in records:
                self.activity.note(record)

        self.run(note)

    def ask(self, function, *args, **arguments):
        async def work(tx):
            return await function(tx, *args, **arguments)

        return self.run(self.database.transaction, "test", work)

    def written(self, *records):
        self.ask(activity.write, records)

    def recent(self, **arguments):
        return self.ask(activity.recent, **arguments)

    def days(self, first=TODAY - timedelta(400), last=TODAY):
        return self.ask(activity.daily, first, last)

    def stop(self):
        if self.activity:
            self.run(self.activity.stop)
        self.run(self.database.stop)


@pytest.fixture
def log(reactor_thread, database_dsn):
    made = Log(reactor_thread, database_dsn.runtime)
    yield made
    made.stop()


def test_what_an_association_did_is_kept_as_it_was(log):
    log.start()
    log.note(STORED)
    eventually(log.recent)
    (kept,) = log.recent()
    assert kept == activity.Association(*(getattr(STORED, f) for f in Record.__slots__), id=kept.id)


def test_each_day_and_peer_has_its_totals(log):
    yesterday = replace(STORED, ended_at=NOON - timedelta(1), stored=7)
    log.written(STORED, replace(STORED, failed=1, refused=2), yesterday)
    log.written(STORED, replace(STORED, title="WS1", stored=0, queries=2, found=9, outgoing=True))
    found = [
        (
            day.day,
            day.title,
            day.associations,
            day.stored,
            day.bytes,
            day.queries,
            day.failed,
            day.refused,
        )
        for day in log.days()
    ]
    assert found == [
        (TODAY, "CT1", 3, 9, 3000, 0, 1, 2),
        (TODAY, "WS1", 1, 0, 1000, 2, 0, 0),
        (TODAY - timedelta(1), "CT1", 1, 7, 1000, 0, 0, 0),
    ]
    assert [day.stored for day in log.days(TODAY - timedelta(1), TODAY - timedelta(1))] == [7]


def test_a_day_is_that_of_the_server_s_place(log):
    late = datetime.fromisoformat("2026-11-20T23:30:00-05:00")
    log.written(replace(STORED, ended_at=late))
    assert [day.day for day in log.days()] == [date(2026, 11, 20)]
    assert log.recent()[0].ended_at == late


def test_health_checks_are_counted_and_do_not_flood_the_list(log):
    log.written(*[ECHO] * 500, STORED)
    assert [one.title for one in log.recent()] == ["CT1"]
    assert [(day.title, day.associations) for day in log.days()] == [("CHECK", 500), ("CT1", 1)]


@pytest.mark.parametrize("word", ["stored", "sent", "queries", "other", "failed", "refused"])
def test_whatever_was_done_makes_a_row(log, word):
    log.written(replace(ECHO, **{word: 1}))
    assert getattr(log.recent()[0], word) == 1


def test_the_list_is_paged_and_narrowed_to_a_peer(log):
    log.written(*[replace(STORED, title=f"CT{n % 2}", stored=n) for n in range(1, 8)])
    first = log.recent(limit=4)
    rest = log.recent(before=first[-1].id, limit=4)
    assert [one.stored for one in first + rest] == [7, 6, 5, 4, 3, 2, 1]
    assert [one.stored for one in log.recent(title="CT0")] == [6, 4, 2]


def test_strangers_cannot_fill_the_totals_with_names(log, monkeypatch):
    monkeypatch.setattr(activity, "MAXIMUM_TITLES", 3)
    log.written(*[replace(ECHO, title=f"T{n}") for n in range(3)])
    log.written(*[replace(ECHO, title=f"T{n}") for n in range(2, 10)])
    assert [(day.title, day.associations) for day in log.days()] == [
        ("", 7),
        ("T0", 1),
        ("T1", 1),
        ("T2", 2),
    ]


def test_hostile_names_are_kept_harmless(log):
    log.written(replace(STORED, title="A\0B\n\x1b[31m" + "x" * 500))
    assert log.recent()[0].title == "AB[31m" + "x" * 55


def test_an_age_limit_and_a_number_limit_hold(log):
    old = replace(STORED, ended_at=datetime.now(UTC) - timedelta(91), title="OLD")
    log.written(old, *[replace(STORED, ended_at=datetime.now(UTC), stored=n + 1) for n in range(9)])
    log.start(keep_days=90, keep_rows=5)
    eventually(lambda: [one.stored for one in log.recent()] == [9, 8, 7, 6, 5])


def test_purging_takes_small_steps(log):
    log.written(*[STORED] * 10)
    assert log.ask(activity.purge, 36500, 4, 5) == 5
    assert log.ask(activity.purge, 36500, 4, 5) == 1
    assert log.ask(activity.purge, 36500, 4, 5) == 0


def test_old_totals_are_forgotten_at_last(log):
    log.written(replace(STORED, ended_at=NOON - timedelta(activity.TOTALS_DAYS + 400)), STORED)
    log.ask(activity.purge, 36500, 100, 5)
    assert len(log.days(date(2000, 1, 1))) == 1


def test_what_was_noted_is_written_when_the_server_stops(log):
    log.activity = Activity(log.reactor, log.database, interval=3600)
    log.run(log.activity.start)
    log.note(*[STORED] * 1200)
    log.run(log.activity.stop)
    assert log.days()[0].associations == 1200


def test_records_wait_while_the_database_is_away_and_then_are_dropped(log, monkeypatch):
    monkeypatch.setattr("santepacs.activity.MAXIMUM_WAITING", 10)
    original, refused = log.database.transaction, []

    async def away(*_args, **_named):
        refused.append(1)
        raise Unavailable("the database is not available")

    log.database.transaction = away
    log.start()
    log.note(*[STORED] * 25)
    eventually(lambda: len(refused) > 3)
    assert log.activity.dropped == 15
    log.database.transaction = original
    eventually(lambda: len(log.recent()) == 10)
    assert log.days()[0].associations == 10


def test_a_record_that_cannot_be_written_does_not_stop_the_others(log):
    log.start()
    log.note(replace(STORED, stored=10**15))
    eventually(lambda: log.activity.dropped == 1)
    log.note(STORED)
    eventually(log.recent)
