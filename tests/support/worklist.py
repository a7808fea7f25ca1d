"""A worklist on a real PostgreSQL, with what tests ask of it in one word each."""

import secrets
from datetime import UTC, datetime

from santepacs.db import orders, worklist_search
from santepacs.db.database import Database
from santepacs.hl7.commands import commands
from santepacs.hl7.message import parse
from santepacs.model.order import Arrival, StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.settings import Settings
from santepacs.worklist.mapping import DEFAULT
from santepacs.worklist.worklist import Worklist

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALL = tuple(StepStatus)

PID = "PID|1||ID7||Doe^Jane||19700102|F"
ORC = "ORC|NW|P1|||||||||||||202603040930"
OBR = "OBR|1|P1||CT01^CT HEAD||||||||||||||CT|||CT_ONE"


def orc(control, number="P1", status="", start="202603040930"):
    return f"ORC|{control}|{number}|||{status}||||||||||{start}"


class WorklistSite:
    """A worklist, and messages to it."""

    def __init__(self, reactor_thread, dsn):
        self.run = reactor_thread.run
        self.database = Database(reactor_thread.reactor, dsn.runtime, connections=3)
        self.settings = Settings()
        self.worklist = Worklist(self.database, self.settings, secrets.randbelow, lambda: NOW)
        self._control_id = 0

    def start(self):
        self.run(self.database.start)

    def stop(self):
        self.run(self.database.stop)

    def message(self, *segments, sender="HIS", control_id=None, received=NOW, **more):
        """The arrival and commands of an order message."""
        if control_id is None:
            self._control_id += 1
            control_id = f"M{self._control_id}"
        header = f"MSH|^~\\&|{sender}|WARD|PACS|RAD|20260102||ORM^O01|{control_id}|P|2.3.1"
        raw = "\r".join((header, *segments, "")).encode()
        arrival = Arrival(
            raw=raw,
            source="192.0.2.1",
            received=received,
            control_id=control_id,
            message_type="ORM^O01",
            sending_application=sender,
            sending_facility="WARD",
            **more,
        )
        return arrival, commands(parse(raw), DEFAULT)

    def send(self, *segments, **more):
        """Send an order message; returns the outcome."""
        return self.run(self.worklist.accept, *self.message(*segments, **more))

    def find(self, limit=1000, after=None, step=None, **keys):
        """The records that a query finds."""
        query = WorklistQuery(steps=(step,) if step else (StepQuery(),), **keys)
        return [found.record for found in self.find_stored(query, limit, after)]

    def find_stored(self, query, limit=1000, after=None):
        return self.transaction(worklist_search.find, query, limit, after)

    def all(self):
        """Every record, hidden or not."""
        return self.find_stored(WorklistQuery(steps=(StepQuery(statuses=ALL),)))

    def add(self, **values):
        """Keep a record as it is."""
        values = {"patient_id": "ID7", "start_date": "20260304", "start_time": "093000", **values}
        return self.transaction(orders.add, WorklistRecord(**values))

    def statuses(self):
        return [found.record.step_status for found in self.all()]

    def transaction(self, work, *args):
        return self.run(self.database.transaction, "test", lambda tx: work(tx, *args))

    def events(self, key):
        """What happened to a record, oldest first."""
        return self.transaction(orders.events, key)[::-1]

    def count(self, table):
        async def count(tx):
            return (await tx.fetch_one(f"SELECT count(*) AS n FROM {table}")).n

        return self.transaction(count)
