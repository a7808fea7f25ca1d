"""Hostile MPPS messages: an error status each, in time, and the server goes on."""

import random
import struct
import time

import pytest
from pydicom.uid import generate_uid
from pynetdicom.dsutils import encode
from twisted.logger import LogLevel, capturedLogs

from santepacs.db import performed
from santepacs.dicom.contexts import PERFORMED_PROCEDURE_STEP as MPPS
from santepacs.dicom.message import Command
from santepacs.dicom.messages import LARGEST_IDENTIFIER
from santepacs.model.order import StepStatus
from support import raw_dicom as raw
from support.procedures import begun, item, running, series

SCHEDULED, STATUS, PATIENT_NAME = 0x00400270, 0x00400252, 0x00100010
ITEM, ITEM_END, SEQUENCE_END = (struct.pack("<HHL", 0xFFFE, e, 0) for e in (0xE000, 0xE00D, 0xE0DD))
OPEN_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
OPEN_SEQUENCE = struct.pack("<HHL", 0x0040, 0x0270, 0xFFFFFFFF)
IN_TIME = 5.0  # seconds; the largest message takes less than one


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running(reactor_thread, database_dsn, tmp_path) as running_site:
        yield running_site


def good(**values):
    return encode(begun(**values), True, True)


def creating(uid=None):
    return raw.request(Command.N_CREATE, MPPS, (0x1000, raw.ui(uid or generate_uid())))


def setting(uid):
    return raw.request(Command.N_SET, MPPS, (0x0003, raw.ui(MPPS)), (0x1001, raw.ui(uid)))


BROKEN = {
    "random": random.Random(1).randbytes(5000),
    "zeros": bytes(4096),
    "cut off": good()[:-3],
    "cut within a header": good() + b"\x40\x00\x52",
    "a length beyond the end": good() + struct.pack("<HHL", 0x0040, 0x9999, 0x7FFFFFFF),
    "deep": OPEN_SEQUENCE + (OPEN_ITEM + OPEN_SEQUENCE) * 20_000,
    "a sequence without an end": good()[:0] + OPEN_SEQUENCE + OPEN_ITEM * 3,
    "a delimiter outside": SEQUENCE_END + good(),
    "a delimiter at the end": good() + ITEM_END,
    "no item in the sequence": struct.pack("<HHL", 0x0040, 0x0270, 8) + bytes(8),
    "many elements": struct.pack("<HHL", 0x0009, 0x1001, 0) * 200_000,
    "many items": OPEN_SEQUENCE + ITEM * 300_000 + SEQUENCE_END,
    "a text without an end": struct.pack("<HHL", 0x0010, 0x0010, 0xFFFFFFFF) + b"Doe^Jane",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_refused_in_time(site, name):
    uid = generate_uid()
    with raw.associated(site.port, MPPS) as peer:
        began = time.monotonic()
        answer = peer.ask(creating(uid), BROKEN[name])
        assert answer.status in (0x0110, 0x0120, 0x0213), hex(answer.status)
        assert site.steps() == []
        assert peer.ask(creating(uid), good()).status == 0x0000
        assert peer.ask(setting(uid), BROKEN[name]).status != 0x0112
        assert time.monotonic() - began < IN_TIME
    assert site.steps()[0].step.state == "IN PROGRESS"


def test_a_message_that_is_too_large_ends_the_association(site):
    with raw.Peer(site.port) as peer:
        peer.associate(MPPS)
        sent = raw.p_data(raw.WHOLE_COMMAND, creating())
        piece = raw.p_data(raw.MORE, bytes(16_000))
        peer.push(sent + piece * (LARGEST_IDENTIFIER // 16_000 + 2))
        assert raw.is_abort(peer.farewell())
    assert site.create().Status == 0x0000


def test_many_images_are_counted_in_time(site):
    uid = generate_uid()
    site.create(uid=uid)
    data = encode(begun(PerformedSeriesSequence=series(10_000, 2_000)), True, True)
    began = time.monotonic()
    with raw.associated(site.port, MPPS) as peer:
        assert peer.ask(setting(uid), data).status == 0x0000
    assert time.monotonic() - began < IN_TIME
    assert site.steps()[0].step.instance_count == 12_000


def test_more_scheduled_steps_than_can_be_are_not_looked_at(site):
    key = site.add()
    foreign = [item(StudyInstanceUID=f"1.2.3.{n}", AccessionNumber=f"X{n}") for n in range(2000)]
    assert site.create(begun(*foreign)).Status == 0x0000
    assert site.status(key) is StepStatus.SCHEDULED


@pytest.mark.parametrize(
    "value",
    [
        "'; DROP TABLE performed_step;--", "%", "\\", "x" * 16, b"\xff\xfe\x00\x01", b"\x1b$B!!",
        b"A\0B", b"\xed\xa0\x80", "{1,2}", "$1", "%s",
    ],
    ids=repr,
)  # fmt: skip
def test_strange_values_are_data(site, value):
    key, raw_value = site.add(), value.encode() if isinstance(value, str) else value
    element = raw.implicit(PATIENT_NAME, raw_value + b" " * (len(raw_value) % 2))
    data = good(PatientName=None).split(struct.pack("<HH", 0x0010, 0x0020))
    told = data[0] + element + struct.pack("<HH", 0x0010, 0x0020) + data[1]
    with raw.associated(site.port, MPPS) as peer:
        assert peer.ask(creating(), told).status == 0x0000
    (row,) = site.steps()
    assert row.step.patient_name.isprintable() and "\0" not in row.step.patient_name
    assert site.status(key) is StepStatus.STARTED


def test_a_step_cannot_be_changed_without_end(site, monkeypatch):
    monkeypatch.setattr(performed, "MAXIMUM_DATA_SETS", 5)
    uid = generate_uid()
    site.create(uid=uid)
    statuses = [site.set(uid, PerformedProcedureStepDescription=f"{n}").Status for n in range(6)]
    assert statuses == [0x0000] * 4 + [0x0110] * 2
    assert site.steps()[0].step.description == "3"


def test_changed_bytes_are_refused_or_taken_and_never_a_fault(site):
    """A fuzz test: what comes of it is an answer, whatever it is."""
    chance = random.Random(20261121)
    seed = good(PerformedSeriesSequence=series(2, 1), SpecificCharacterSet="ISO_IR 192")
    with capturedLogs() as logs, raw.associated(site.port, MPPS) as peer:
        for _ in range(300):
            data = bytearray(seed)
            for _ in range(chance.randint(1, 6)):
                at = chance.randrange(len(data))
                if chance.random() < 0.3:
                    del data[at : at + chance.randint(1, 20)]
                elif chance.random() < 0.3:
                    data[at:at] = chance.randbytes(chance.randint(1, 20))
                else:
                    data[at] = chance.randrange(256)
            assert peer.ask(creating(), bytes(data)).status < 0x0300
    assert [log["log_format"] for log in logs if log["log_level"] is LogLevel.error] == []
    assert site.create().Status == 0x0000
