"""The HL7 receiver without a network and a database: a worklist that keeps what it is given."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

from twisted.internet.defer import ensureDeferred
from twisted.python.failure import Failure

from santepacs.hl7.receiver import Receiver
from santepacs.settings import Settings
from santepacs.worklist.mapping import DEFAULT, Mappings
from santepacs.worklist.worklist import Outcome

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEADER = b"MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ORM^O01|77|P|2.5.1"
ORDER = HEADER + b"\rPID|1||ID7||Doe^Jane\rORC|NW|P1\rOBR|1|||CT01^CT\r"


def now(awaitable):
    """The result of a coroutine that waits for nothing."""
    results = []
    ensureDeferred(awaitable).addBoth(results.append)
    (result,) = results
    if isinstance(result, Failure):
        result.raiseException()
    return result


def replaced(settings, **values):
    """Settings with other values in the HL7 section, put in force as a live change is."""
    settings.hl7 = replace(settings.hl7, **values)
    return settings


class FakeWorklist:
    """Keeps what it is given; says what it is told to say."""

    def __init__(self, outcome=None):
        self.outcome = outcome or Outcome()
        self.accepted = []
        self.refused = []

    async def accept(self, arrival, commands):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        self.accepted.append((arrival, commands))
        return self.outcome

    async def keep_refused(self, arrival, verdict, remark):
        self.refused.append((arrival, verdict, remark))
        return 100 + len(self.refused)


async def kept(key):
    """The log: one message, with the key 7."""
    return SimpleNamespace(raw=ORDER, source="192.0.2.9") if key == 7 else None


def receiver(worklist, **settings):
    return Receiver(
        worklist,
        replaced(Settings(), **settings),
        mappings=lambda: Mappings(DEFAULT),
        kept=kept,
        clock=lambda: NOW,
        control_id=lambda: "A1",
    )


def answer(worklist, payload, **settings):
    """What a frame is answered."""
    return now(receiver(worklist, **settings).receive(payload, "192.0.2.1"))
