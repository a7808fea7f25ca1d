"""Modality Performed Procedure Step over the network: pynetdicom as SCU, the real server."""

import threading
from dataclasses import replace

import pytest
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom.dsutils import encode

from santepacs.db import peers, performed
from santepacs.dicom.contexts import PERFORMED_PROCEDURE_STEP as MPPS
from santepacs.dicom.message import Command
from santepacs.model.order import StepStatus
from santepacs.model.peers import Peer
from support import raw_dicom as raw
from support.dicom import VERIFICATION, eventually
from support.procedures import RECORD, STUDY, begun, change, create, item, running, series

N_CREATE, N_SET = Command.N_CREATE, Command.N_SET
OVER = "Performed Procedure Step Object may no longer be updated"


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running(reactor_thread, database_dsn, tmp_path) as running_site:
        yield running_site


# --- the way of a step


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]
)
@pytest.mark.parametrize("end", ["COMPLETED", "DISCONTINUED"])
def test_a_step_begins_and_ends(site, syntax, end):
    key, uid = site.add(), generate_uid()
    with site.modality(syntax) as modality:
        assert create(modality, uid=uid).Status == 0x0000
        assert site.status(key) is StepStatus.STARTED
        status = change(
            modality,
            uid,
            end,
            PerformedProcedureStepEndDate="20261121",
            PerformedProcedureStepEndTime="093000",
            PerformedSeriesSequence=series(3, 4),
        )
        assert status.Status == 0x0000
    assert site.status(key) is StepStatus[end]
    assert site.events(key) == [
        ("procedure step", "STARTED", "TESTER", "in progress"),
        ("procedure step", end, "TESTER", end.lower()),
    ]
    (row,) = site.steps()
    assert (row.step.sop_instance_uid, row.step.state) == (uid, end)
    assert (row.step.end_date, row.step.end_time) == ("20261121", "093000")
    assert (row.step.series_count, row.step.instance_count) == (2, 7)
    assert (row.step.patient_name, row.step.station_name) == ("Doe^Jane", "CT room 1")
    assert (row.records, row.unmatched, row.step.ae_title) == ((key,), False, "TESTER")
    assert site.ask(performed.of_record, key) == [row]


def test_data_sets_are_kept_as_they_came(site):
    uid = generate_uid()
    site.create(begun(CommentsOnThePerformedProcedureStep="kept too"), uid)
    site.set(uid, PerformedProcedureStepDescription="Thorax")
    (row,) = site.steps()
    first, second = site.ask(performed.data_sets, row.id)
    assert b"kept too" in first.content and b"Thorax" in second.content
    assert first.transfer_syntax_uid == ImplicitVRLittleEndian
    assert row.step.description == "Thorax" and row.step.state == "IN PROGRESS"


def test_text_is_read_by_the_character_set_of_the_step(site):
    uid = generate_uid()
    site.create(begun(SpecificCharacterSet="ISO_IR 126", PatientName="Παπαδοπουλου^Μαρια"), uid)
    # The standard gives an N-SET no character set of its own.
    description = "Θώρακας".encode("iso8859-7")
    assert site.set(uid, PerformedProcedureStepDescription=description).Status == 0x0000
    (row,) = site.steps()
    assert row.step.patient_name == "Παπαδοπουλου^Μαρια"
    assert row.step.description == "Θώρακας"


def test_a_step_without_a_name_is_given_one(site):
    with raw.associated(site.port, MPPS) as peer:
        answer = peer.ask(raw.request(N_CREATE, MPPS), encode(begun(), True, True))
    assert answer.status == 0x0000
    (row,) = site.steps()
    assert row.step.sop_instance_uid.startswith("1.2.300.0.7230010.3.1.3.")
    assert answer.command[0x1000].rstrip(b"\0").decode() == row.step.sop_instance_uid


def test_a_second_step_of_the_same_record_is_normal(site):
    key = site.add()
    first, second = generate_uid(), generate_uid()
    site.create(uid=first)
    site.set(first, state="COMPLETED")
    assert site.create(uid=second).Status == 0x0000
    assert site.status(key) is StepStatus.COMPLETED
    assert site.set(second, state="COMPLETED").Status == 0x0000
    assert [row.records for row in site.steps()] == [(key,), (key,)]


def test_what_was_begun_again_is_not_given_up(site):
    key = site.add()
    first, second = generate_uid(), generate_uid()
    site.create(uid=first)
    site.create(uid=second)
    site.set(first, state="DISCONTINUED")
    assert site.status(key) is StepStatus.STARTED
    site.set(second, state="COMPLETED")
    assert site.status(key) is StepStatus.COMPLETED


def test_all_steps_given_up_give_up_the_record(site):
    key = site.add()
    uids = [generate_uid() for _ in range(3)]
    for uid in uids:
        site.create(uid=uid)
    for uid in uids:
        site.set(uid, state="DISCONTINUED")
    assert site.status(key) is StepStatus.DISCONTINUED


def test_one_step_for_several_scheduled_ones(site):
    keys = [site.add()]
    other = {"scheduled_procedure_step_id": "S2", "accession_number": "A2"}
    keys.append(site.add(replace(RECORD, **other, study_instance_uid=STUDY + ".2")))
    group = item(StudyInstanceUID=STUDY + ".2", AccessionNumber="A2", ScheduledProcedureStepID="S2")
    uid = generate_uid()
    site.create(begun(item(), group), uid)
    assert [site.status(key) for key in keys] == [StepStatus.STARTED] * 2
    site.set(uid, state="COMPLETED")
    assert [site.status(key) for key in keys] == [StepStatus.COMPLETED] * 2


def test_what_is_not_scheduled_is_kept_and_listed(site):
    site.add()
    unknown = item(StudyInstanceUID=STUDY + ".9", AccessionNumber="", ScheduledProcedureStepID="")
    assert site.create(begun(unknown, PatientID="P9")).Status == 0x0000
    site.create()
    (row,) = site.steps(unmatched=True)
    assert (row.step.patient_id, row.records) == ("P9", ())
    assert len(site.steps()) == 2


def test_an_order_that_comes_late_is_found_when_the_step_ends(site):
    uid = generate_uid()
    site.create(uid=uid)
    assert len(site.steps(unmatched=True)) == 1
    key = site.add()
    site.set(uid, state="COMPLETED")
    assert site.status(key) is StepStatus.COMPLETED
    assert site.steps(unmatched=True) == []


# --- what is refused


@pytest.mark.parametrize(
    ("missing", "status"),
    [
        ("ScheduledStepAttributesSequence", 0x0120),
        ("PerformedProcedureStepStatus", 0x0120),
        ("PerformedProcedureStepID", 0x0120),
        ("PerformedStationAETitle", 0x0120),
        ("PerformedProcedureStepStartDate", 0x0120),
        ("PerformedProcedureStepStartTime", 0x0120),
        ("Modality", 0x0120),
    ],
)
def test_an_attribute_that_is_required_is_missing(site, missing, status):
    answer = site.create(begun(**{missing: None}))
    assert (answer.Status, answer.ErrorComment) == (status, f"{missing} is missing")
    assert site.steps() == []


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"Modality": ""}, 0x0121),
        ({"ScheduledStepAttributesSequence": []}, 0x0121),
        ({"ScheduledStepAttributesSequence": [item(StudyInstanceUID=None)]}, 0x0120),
        ({"ScheduledStepAttributesSequence": [item(StudyInstanceUID="")]}, 0x0121),
        ({"PerformedProcedureStepStatus": ""}, 0x0121),
        ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        ({"PerformedProcedureStepStatus": "DISCONTINUED"}, 0x0106),
        ({"PerformedProcedureStepStatus": "STARTED"}, 0x0106),
        ({"PerformedProcedureStepStartDate": "20261341"}, 0x0106),
        ({"PerformedProcedureStepStartTime": "256161"}, 0x0106),
        ({"PerformedProcedureStepEndDate": "yesterday"}, 0x0106),
    ],
)
def test_a_value_that_cannot_be_is_refused(site, values, status):
    key = site.add()
    assert site.create(begun(**values)).Status == status
    assert site.status(key) is StepStatus.SCHEDULED


def test_an_empty_create_lacks_what_is_required(site):
    with site.modality() as modality:
        assert modality.send_n_create(None, MPPS, generate_uid())[0].Status == 0x0120


@pytest.mark.parametrize("end", ["COMPLETED", "DISCONTINUED"])
@pytest.mark.parametrize("late", ["IN PROGRESS", "COMPLETED", "DISCONTINUED", None])
def test_a_step_that_is_over_may_no_longer_be_updated(site, end, late):
    key, uid = site.add(), generate_uid()
    site.create(uid=uid)
    site.set(uid, state=end)
    answer = site.set(uid, state=late, PerformedProcedureStepDescription="late")
    assert (answer.Status, answer.ErrorID, answer.ErrorComment) == (0x0110, 0xA710, OVER)
    assert site.status(key) is StepStatus[end]
    assert site.steps()[0].step.description == ""


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"state": "ENDED"}, 0x0106),
        ({"PerformedProcedureStepStatus": ""}, 0x0121),
        ({"state": "COMPLETED", "PerformedProcedureStepEndDate": "20261341"}, 0x0106),
    ],
)
def test_a_change_that_cannot_be_is_refused(site, values, status):
    key, uid = site.add(), generate_uid()
    site.create(uid=uid)
    assert site.set(uid, **values).Status == status
    assert site.status(key) is StepStatus.STARTED
    assert site.set(uid, state="COMPLETED").Status == 0x0000


def test_a_step_that_was_never_begun_is_not_found(site):
    assert site.set("1.2.3.4", state="COMPLETED").Status == 0x0112
    assert site.steps() == []


def test_a_step_begins_once(site):
    uid = generate_uid()
    assert site.create(uid=uid).Status == 0x0000
    assert site.create(uid=uid).Status == 0x0111
    assert len(site.steps()) == 1


def test_what_may_not_be_changed_is_left_as_it_was(site):
    uid = generate_uid()
    site.create(uid=uid)
    site.set(uid, PatientID="P2", Modality="MR", PerformedProcedureStepStartDate="20200101")
    (row,) = site.steps()
    assert (row.step.patient_id, row.step.modality) == ("P1", "CT")
    assert row.step.start_date == "20261121"


# --- who may


@pytest.mark.parametrize(
    ("may", "accepted"), [("store", True), ("worklist", True), ("query", False), ("", False)]
)
def test_peers_that_store_or_ask_for_the_worklist_are_heard(
    reactor_thread, database_dsn, tmp_path, may, accepted
):
    with running(reactor_thread, database_dsn, tmp_path, trust_loopback=False) as site:
        allowed = {f"may_{one}": one == may for one in ("store", "query", "retrieve", "worklist")}
        site.ask(peers.add, Peer("TESTER", "127.0.0.1", 104, **allowed))
        with site.association(MPPS, VERIFICATION) as association:
            found = [context.abstract_syntax for context in association.accepted_contexts]
            assert (MPPS in found) == accepted


def test_strangers_are_not_heard(reactor_thread, database_dsn, tmp_path):
    with (
        running(reactor_thread, database_dsn, tmp_path, trust_loopback=False) as site,
        site.association(MPPS, VERIFICATION) as association,
    ):
        assert [c.abstract_syntax for c in association.accepted_contexts] == [VERIFICATION]


@pytest.mark.parametrize("command", [N_CREATE, N_SET])
def test_in_another_context_there_is_no_such_class(site, command):
    with raw.associated(site.port, VERIFICATION) as peer:
        assert peer.ask(asking(command, "1.2.3"), encode(begun(), True, True)).status == 0x0118
    assert site.steps() == []


@pytest.mark.parametrize("command", [N_CREATE, N_SET])
@pytest.mark.parametrize("name", ["1.2.x", "1" * 65, "1.2 3"])
def test_a_name_that_is_no_uid_is_refused(site, command, name):
    with raw.associated(site.port, MPPS) as peer:
        assert peer.ask(asking(command, name), encode(begun(), True, True)).status == 0x0117
    assert site.steps() == []


def asking(command, uid=""):
    """The command set of a request about this SOP instance."""
    named = {N_CREATE: 0x1000, N_SET: 0x1001}[command]
    return raw.request(command, MPPS, (0x0003, raw.ui(MPPS)), (named, raw.ui(uid)))


# --- many at once, and again


def test_twenty_modalities_at_once_on_one_record(site):
    key = site.add()
    statuses, uids = [], [generate_uid() for _ in range(20)]
    gate = threading.Barrier(20)

    def work(uid):
        with site.modality() as modality:
            gate.wait(20)
            statuses.append(create(modality, uid=uid).Status)
            statuses.append(change(modality, uid, "COMPLETED").Status)

    threads = [threading.Thread(target=work, args=(uid,)) for uid in uids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert statuses == [0x0000] * 40
    assert site.status(key) is StepStatus.COMPLETED
    assert len(site.events(key)) == 40
    assert [row.step.state for row in site.steps()] == ["COMPLETED"] * 20


def test_of_one_name_begun_at_once_one_begins(site):
    statuses, uid = [], generate_uid()
    gate = threading.Barrier(10)

    def work():
        with site.modality() as modality:
            gate.wait(20)
            statuses.append(create(modality, uid=uid).Status)

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [0x0000] + [0x0111] * 9


def test_a_step_goes_on_after_a_restart(reactor_thread, database_dsn, tmp_path):
    uid = generate_uid()
    with running(reactor_thread, database_dsn, tmp_path) as site:
        key = site.add()
        site.create(uid=uid)
    with running(reactor_thread, database_dsn, tmp_path) as site:
        assert site.create(uid=uid).Status == 0x0111
        assert site.set(uid, state="COMPLETED").Status == 0x0000
        assert site.status(key) is StepStatus.COMPLETED


def test_without_a_database_nothing_is_promised(site):
    uid = generate_uid()
    with site.modality() as modality:
        site.reactor_thread.run(site.database.stop)
        assert create(modality, uid=uid).Status == 0x0110


# --- the history of the association


def test_steps_are_counted_for_the_activity_log(site):
    sessions = []
    ended = site.server._ended
    site.server._ended = lambda association: (
        sessions.append(site.server._associations.session(association)),
        ended(association),
    )
    site.create()
    eventually(lambda: sessions)
    assert sessions[0].done["procedure steps"] == 1
