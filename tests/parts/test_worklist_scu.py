"""Other worklist servers are asked: good ones, slow ones and hostile ones."""

import socket
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE, evt

from santepacs.db import orders
from santepacs.dicom.asking import OtherWorklists, find_worklist
from santepacs.dicom.client import Client
from santepacs.errors import Forbidden, Malformed, Unavailable
from santepacs.model.order import StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer
from santepacs.worklist.requests import record_of, request_of
from support.dicom import VERIFICATION, WORKLIST, closing_port, running_dicom, settings

RECORD = WorklistRecord(
    patient_id="P1",
    patient_name="Doe^Jane",
    patient_issuer="HIS",
    patient_birth_date="19700102",
    patient_sex="F",
    accession_number="A1",
    medical_alerts="MRSA",
    allergies="Penicillin",
    study_instance_uid="1.2.3",
    requesting_physician_name="Roe^Richard",
    requested_procedure_description="CT HEAD",
    requested_procedure_id="R1",
    requested_procedure_priority="STAT",
    requested_contrast_agent="none",
    modality="CT",
    scheduled_station_ae_title="CT1",
    start_date="20260101",
    start_time="100000",
    technician_name="Tech^One",
    scheduled_procedure_step_description="HEAD",
    scheduled_procedure_step_id="S1",
    scheduled_station_name="ROOM 1",
    scheduled_procedure_step_location="HALL",
    pre_medication="none",
    scheduled_procedure_step_comments="line one\r\nline two",
    placer_order_number="PL1",
    filler_order_number="FI1",
)


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_dicom(reactor_thread, database_dsn, tmp_path) as running:
        yield running


@pytest.fixture
def client():
    return Client(settings(service_timeout=1.0))


@contextmanager
def worklist_scp(answers, sop_class=WORKLIST):
    """pynetdicom's own SCP; `answers(event)` gives (status, identifier)."""
    ae = AE("OTHER")
    ae.add_supported_context(sop_class)
    server = ae.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, answers)]
    )
    try:
        yield Peer("OTHER", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def answer(**values):
    item = Dataset()
    item.Modality = "CT"
    ds = Dataset()
    ds.ScheduledProcedureStepSequence = Sequence([item])
    for keyword, value in {"PatientID": "P1", "PatientName": "Doe^Jane", **values}.items():
        setattr(ds, keyword, value)
    return ds


# --- good servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["Doe^Jane", "Müller^Jörg", "Παπαδοπούλου^Μαρία", "Yamada^Tarou=山田^太郎=やまだ^たろう"],
)
def test_a_record_comes_over_whole(site, client, name):
    record = replace(RECORD, patient_name=name)
    site.ask(orders.add, record)
    here = Peer("SANTEPACS", "127.0.0.1", site.port)
    found = find_worklist(client, here, WorklistQuery(patient_name=name.partition("^")[0] + "*"), 9)
    assert found.records == [replace(record, status="SCHEDULED")]
    assert not found.is_cut and not found.left_out


def test_the_keys_are_asked_for(site, client):
    site.ask(orders.add, RECORD)
    here = Peer("SANTEPACS", "127.0.0.1", site.port)
    step = StepQuery(
        station_ae_titles=("CT1",), modalities=("CT", "MR"), start_date_from="20260101",
        start_date_to="20260103", start_time_from="090000",
    )  # fmt: skip
    hit = WorklistQuery(
        patient_id="P1", patient_birth_date_from="19700102", patient_birth_date_to="19700102",
        study_instance_uids=("1.2.3", "1.2.4"), steps=(step,),
    )  # fmt: skip
    assert len(find_worklist(client, here, hit, 9).records) == 1
    miss = replace(hit, steps=(replace(step, statuses=(StepStatus.STARTED,)),))
    assert find_worklist(client, here, miss, 9).records == []


def test_no_more_records_are_waited_for_than_are_wanted(site, client):
    for number in range(5):
        site.ask(orders.add, replace(RECORD, patient_id=f"P{number}"))
    here = Peer("SANTEPACS", "127.0.0.1", site.port)
    found = find_worklist(client, here, WorklistQuery(), 3)
    assert (len(found.records), found.is_cut) == (3, True)
    found = find_worklist(client, here, WorklistQuery(), 5)
    assert (len(found.records), found.is_cut) == (5, False)


def test_the_portal_asks_from_the_reactor(site, client):
    site.ask(orders.add, RECORD)
    others = OtherWorklists(site.settings, site.threads, client)
    here = Peer("SANTEPACS", "127.0.0.1", site.port)
    found = site.reactor_thread.run(others.ask, here, WorklistQuery(), 9)
    assert [record.patient_id for record in found] == ["P1"]


def test_what_santepacs_says_for_an_unknown_station_is_none(site, client):
    site.ask(orders.add, replace(RECORD, scheduled_station_ae_title=""))
    here = Peer("SANTEPACS", "127.0.0.1", site.port)
    (record,) = find_worklist(client, here, WorklistQuery(), 9).records
    assert record.scheduled_station_ae_title == ""


def test_o2_our_web_port_is_not_asked(site, client):
    others = OtherWorklists(site.settings, site.threads, client)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        site.settings.web = replace(site.settings.web, port=port)
        with pytest.raises(Malformed, match="another door"):
            site.reactor_thread.run(others.ask, Peer("X", "localhost", port), WorklistQuery(), 9)
        with server.accept()[0] as connection:
            assert connection.recv(1) == b""  # not a word was said


# --- servers that do not answer as wanted ---------------------------------------------------------


def test_who_does_not_answer_is_unavailable(client):
    with closing_port() as port:
        pass
    with pytest.raises(Unavailable, match="OTHER does not answer"):
        find_worklist(client, Peer("OTHER", "127.0.0.1", port), WorklistQuery(), 9)


def test_who_is_no_worklist_server_is_unavailable(client):
    with (
        worklist_scp(None, VERIFICATION) as peer,
        pytest.raises(Unavailable, match="accepts none"),
    ):
        find_worklist(client, peer, WorklistQuery(), 9)


@pytest.mark.parametrize(
    "status, error",
    [(0xA700, Unavailable), (0xA900, Malformed), (0xC001, Unavailable), (0x0124, Forbidden)],
)
def test_a_failure_is_said(client, status, error):
    def fails(event):
        yield 0xFF00, answer()
        yield status, None

    with worklist_scp(fails) as peer, pytest.raises(error, match=f"0x{status:04X}"):
        find_worklist(client, peer, WorklistQuery(), 9)


def test_a_server_that_falls_silent_is_given_up(client):
    def stalls(event):
        yield 0xFF00, answer()
        time.sleep(3)
        yield 0xFF00, answer()

    with worklist_scp(stalls) as peer:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="in time"):
            find_worklist(client, peer, WorklistQuery(), 9)
        assert time.monotonic() - began < 2.5


def test_warnings_of_pending_answers_are_answers(client):
    def warns(event):
        yield 0xFF01, answer()

    with worklist_scp(warns) as peer:
        assert len(find_worklist(client, peer, WorklistQuery(), 9).records) == 1


# --- hostile servers ------------------------------------------------------------------------------


def test_endless_answers_end_at_the_limit(client):
    def endless(event):
        while not event.is_cancelled:
            yield 0xFF00, answer()

    with worklist_scp(endless) as peer:
        assert len(find_worklist(client, peer, WorklistQuery(), 50).records) == 50


def deep(levels):
    ds = Dataset()
    for _ in range(levels):
        outer = Dataset()
        outer.RequestedProcedureCodeSequence = Sequence([ds])
        ds = outer
    return ds


def many(keys):
    ds = answer()
    for number in range(keys):
        ds.add_new((0x0011, 0x1000 + number), "LO", "x")
    return ds


@pytest.mark.parametrize("hostile", [deep(200), many(2000)], ids=["deep", "many"])
def test_what_cannot_be_read_is_left_out(client, hostile):
    def answers(event):
        yield 0xFF00, hostile
        yield 0xFF00, answer()

    with worklist_scp(answers) as peer:
        found = find_worklist(client, peer, WorklistQuery(), 9)
    assert ([record.patient_id for record in found.records], found.left_out) == (["P1"], 1)


@pytest.mark.parametrize(
    "keyword, value, name, kept",
    [
        ("PatientID", "x" * 500, "patient_id", "x" * 64),
        ("PatientID", "a\x00\x1bb\\c", "patient_id", "a b"),
        ("PatientName", "A" * 500, "patient_name", "A" * 64),
        ("PatientBirthDate", "tomorrow", "patient_birth_date", ""),
        ("PatientSex", "<script>", "patient_sex", ""),
        ("StudyInstanceUID", "1.2.x", "study_instance_uid", ""),
        ("RequestedProcedurePriority", "SOON", "requested_procedure_priority", ""),
        ("ScheduledProcedureStepSequence", None, "modality", ""),
    ],
)
def test_values_become_legal_or_none(keyword, value, name, kept):
    ds = answer()
    ds.add_new(ds[keyword].tag if keyword in ds else request_of(WorklistQuery())[keyword].tag,
               request_of(WorklistQuery())[keyword].VR, value)  # fmt: skip
    assert getattr(record_of(ds), name).rstrip() == kept


def test_an_empty_answer_is_an_empty_record():
    assert record_of(Dataset()) == WorklistRecord()


@pytest.mark.parametrize(
    "status, held",
    [("", StepStatus.SCHEDULED), ("ARRIVED", StepStatus.ARRIVED), ("ODD", StepStatus.SCHEDULED)],
)
def test_a_step_without_status_is_scheduled(status, held):
    ds = answer()
    ds.ScheduledProcedureStepSequence[0].ScheduledProcedureStepStatus = status
    assert record_of(ds).step_status is held
