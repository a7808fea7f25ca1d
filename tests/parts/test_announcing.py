"""An HL7 node is told how far its orders are."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydicom.uid import generate_uid

from santepacs.db import nodes, outgoing
from santepacs.db.nodes import Node
from santepacs.hl7.announcing import StatusMessages
from santepacs.hl7.message import parse
from santepacs.model.order import StepStatus
from santepacs.settings import Settings
from support.procedures import RECORD, running

ORDER = replace(
    RECORD,
    sending_application="HIS",
    sending_facility="HOSPITAL",
    placer_order_number="O1",
    status="NW",
    patient_name="Παπαδοπουλου^Μαρια",
)


@pytest.fixture
def settings():
    return Settings()


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path, settings):
    messages = StatusMessages(settings, lambda: datetime(2026, 11, 21, 9, tzinfo=UTC), lambda: "C1")
    with running(
        reactor_thread, database_dsn, tmp_path, announce=messages.announce
    ) as running_site:
        yield running_site


def told(site):
    """ORC-1, ORC-2 and ORC-5 of what waits to be sent, oldest first."""
    found = []
    for row in reversed(site.ask(outgoing.page)):
        raw = site.ask(outgoing.message, row.id).raw
        (order,) = [s.split("|") for s in raw.decode().split("\r") if s.startswith("ORC")]
        found.append((row.node, order[1], order[2], order[5]))
    return found


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", "CM"), ("DISCONTINUED", "DC")])
def test_beginning_and_end_are_told(site, settings, state, code):
    settings.worklist = replace(settings.worklist, status_node="HIS")
    site.ask(nodes.add, Node("HIS", "127.0.0.1", 2575, True))
    key, uid = site.add(ORDER), generate_uid()
    site.create(uid=uid)
    site.set(uid, PerformedProcedureStepDescription="Thorax")
    site.set(uid, state=state)
    assert told(site) == [("HIS", "SC", "O1", "IP"), ("HIS", "SC", "O1", code)]
    message = parse(site.ask(outgoing.message, 1).raw)
    assert message is not None
    assert site.status(key) is StepStatus[state]


def test_without_a_node_nobody_is_told(site):
    site.add(ORDER)
    assert site.create().Status == 0x0000
    assert site.ask(outgoing.page) == []


@pytest.mark.parametrize("node", [None, Node("HIS", "127.0.0.1", 0, True)])
def test_a_node_that_cannot_be_told_holds_up_nothing(site, settings, node):
    settings.worklist = replace(settings.worklist, status_node="HIS")
    if node is not None:
        site.ask(nodes.add, node)
    key = site.add(ORDER)
    assert site.create().Status == 0x0000
    assert (site.status(key), told(site)) == (StepStatus.STARTED, [])
