"""The worklist's changes on a real PostgreSQL: batches, history, patients, people, the log."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from twisted.internet.defer import Deferred, gatherResults

from santepacs.db import messages, orders, worklist_changes
from santepacs.db.messages import MessageFilter
from santepacs.errors import Conflict, Malformed, NotFound, Unavailable
from santepacs.model.order import (
    FIELDS,
    Action,
    Arrival,
    OrderCommand,
    PatientAction,
    PatientCommand,
    StepStatus,
    WorklistRecord,
)
from support.worklist import NOW, OBR, ORC, PID, WorklistSite, orc

RECORD = WorklistRecord(
    patient_id="ID7",
    patient_name="Doe^Jane",
    requested_procedure_id="CT01",
    scheduled_station_ae_title="CT_ONE",
    modality="CT",
    start_date="20260304",
    start_time="093000",
)


class Site(WorklistSite):
    """A worklist that is sent many things at once."""

    def send_all(self, *arrivals):
        """Send messages at the same moment; returns outcomes, or errors in their place."""

        async def together():
            sent = [Deferred.fromCoroutine(self.worklist.accept(*one)) for one in arrivals]
            for one in sent:
                one.addErrback(lambda failure: failure.value)
            return await gatherResults(sent)

        return self.run(together)

    def tell(self, action, patient_id="ID7", prior="", facility="WARD", **values):
        """Send a message about a patient."""
        record = WorklistRecord(
            patient_id=patient_id, sending_application="ADT", sending_facility=facility, **values
        )
        self._control_id += 1
        raw = f"{action}{self._control_id}".encode()
        arrival = Arrival(raw=raw, source="192.0.2.1", received=NOW, control_id=raw.decode())
        command = PatientCommand(action, record, frozenset(), prior)
        return self.run(self.worklist.accept, arrival, [command])

    def page(self, before=None, limit=50, **wanted):
        return self.transaction(messages.page, MessageFilter(**wanted), before, limit)

    def record(self, key):
        return self.transaction(orders.record, key)

    def doubts(self):
        """What is doubtful, for each record in order."""
        found = self.all()
        reasons = self.transaction(orders.doubtful, found)
        return [reasons.get(one.id, []) for one in sorted(found, key=lambda one: one.id)]


@pytest.fixture
def site(reactor_thread, database_dsn):
    site = Site(reactor_thread, database_dsn)
    site.start()
    yield site
    site.stop()


# --- batches --------------------------------------------------------------------------------------


def test_messages_that_come_at_once_are_all_done_and_logged(site):
    arrivals = [site.message(PID.replace("ID7", f"ID{n}"), ORC, OBR) for n in range(40)]
    outcomes = site.send_all(*arrivals)
    assert len({outcome.message for outcome in outcomes}) == 40
    assert {one.id for one in site.all()} == {outcome.added[0] for outcome in outcomes}
    for outcome, (arrival, _) in zip(outcomes, arrivals, strict=True):
        row = site.transaction(messages.message, outcome.message)
        assert (row.raw, row.records) == (arrival.raw, list(outcome.added))


def test_messages_of_one_patient_at_once_see_each_other_s_effect(site):
    outcomes = site.send_all(
        site.message(PID, ORC, OBR),
        site.message(PID, orc("XO", start="202603051000"), OBR),
        site.message(PID, orc("CA")),
        site.message(PID.replace("Doe^", "Roe^"), ORC, OBR),
    )
    (found,) = site.all()
    assert (found.record.step_status, found.record.start_date) == (StepStatus.CANCELED, "20260305")
    assert found.record.patient_name == "Roe^Jane"
    assert [event.action for event in site.events(found.id)] == [
        "placed", "changed", "status", "changed",
    ]  # fmt: skip
    assert len(outcomes[3].warnings) == 1


def test_the_same_message_at_once_is_done_once(site):
    one = site.message(PID, ORC, OBR)
    outcomes = site.send_all(one, one, one)
    assert [outcome.repeated for outcome in outcomes] == [False, True, True]
    assert (len(site.all()), site.count("hl7_message")) == (1, 1)
    assert site.page()[0].repeats == 2
    site.run(site.worklist.accept, *one)
    (row,) = site.page()
    assert (row.repeats, row.repeated_at) == (3, NOW)


def test_one_bad_message_never_fails_its_neighbours(site):
    """PostgreSQL refuses a NUL, which no reader of messages lets through."""
    good = [site.message(PID.replace("ID7", f"ID{n}"), ORC, OBR) for n in range(3)]
    arrival, (command,) = site.message(PID, ORC, OBR)
    bad = arrival, [replace(command, record=replace(command.record, patient_name="a\0b"))]
    outcomes = site.send_all(good[0], good[1], bad, good[2])
    assert isinstance(outcomes[2], Exception)
    assert len(site.all()) == site.count("hl7_message") == 3


def test_a_message_that_cannot_be_done_is_refused_alone(site):
    site.send(PID, ORC, OBR)
    with pytest.raises(Malformed):
        site.tell(PatientAction.MERGE, prior="ID7")
    assert site.count("hl7_message") == 1


def test_without_the_database_nothing_is_done(site):
    site.stop()
    outcomes = site.send_all(*(site.message(PID, orc("NW", f"P{n}"), OBR) for n in range(3)))
    assert all(isinstance(outcome, Unavailable) for outcome in outcomes)
    with pytest.raises(Unavailable):
        site.run(site.worklist.create, RECORD, "jane")


def test_what_another_changes_between_look_and_write_is_not_overwritten(site, monkeypatch):
    """The modality starts the step while a message is being decided about."""
    site.send(PID, ORC, OBR)
    (found,) = site.all()
    look, looks = worklist_changes.look, []

    async def interrupted(*args):
        seen = await look(*args)
        looks.append(seen)
        if len(looks) == 1:
            await site.database.transaction(
                "start",
                lambda tx: orders.change(
                    tx, found.id, replace(found.record, step_status=StepStatus.STARTED)
                ),
            )
        return seen

    monkeypatch.setattr(worklist_changes, "look", interrupted)
    outcome = site.send(PID, orc("XO", start="202603051000"), OBR)
    assert len(looks) == 2
    assert len(outcome.warnings) == 1
    (found,) = site.all()
    assert (found.record.step_status, found.record.start_date) == (StepStatus.STARTED, "20260304")


@pytest.mark.parametrize("meanwhile", ["deleted", "placed"])
def test_steps_that_come_or_go_between_look_and_write_are_seen(site, monkeypatch, meanwhile):
    if meanwhile == "deleted":
        site.send(PID, ORC, OBR)
    look, looks = worklist_changes.look, []

    async def work(tx):
        if meanwhile == "deleted":
            await orders.delete(tx, [1])
        else:
            _, (command,) = site.message(PID, ORC, OBR)
            await orders.add(tx, command.record)

    async def interrupted(*args):
        seen = await look(*args)
        looks.append(seen)
        if len(looks) == 1:
            await site.database.transaction("meanwhile", work)
        return seen

    monkeypatch.setattr(worklist_changes, "look", interrupted)
    site.send(PID, orc("XO", start="202603051000"), OBR)
    assert len(looks) == 2
    (found,) = site.all()
    assert found.record.start_date == "20260305"


def test_a_worklist_that_never_rests_is_not_available(site, monkeypatch):
    async def never(*args):
        return None

    monkeypatch.setattr(worklist_changes, "write", never)
    with pytest.raises(Unavailable):
        site.send(PID, ORC, OBR)


def test_as_many_steps_as_nobody_has_under_one_number_are_refused(site, monkeypatch):
    monkeypatch.setattr("santepacs.worklist.intake.MAXIMUM_STEPS", 2)
    site.send(PID, *(part for n in range(3) for part in (orc("NW"), f"OBR|{n}|||{n}")))
    with pytest.raises(Malformed):
        site.send(PID, orc("CA"))
    assert not site.send(PID, orc("NW", "P2"), OBR).warnings


def test_every_field_of_a_record_is_written_and_read_again(site):
    values = {name: f"v{n}" for n, name in enumerate(orders.NAMES) if name != "step_status"}
    record = WorklistRecord(**values)
    arrival = Arrival(raw=b"x", source="", received=NOW)
    site.run(site.worklist.accept, arrival, [OrderCommand(Action.PLACE, record)])
    (found,) = site.all()
    assert found.record == record
    same = {"patient_id", "sending_application", "sending_facility", "placer_order_number",
            "scheduled_procedure_step_id", "patient_issuer"}  # fmt: skip
    news = {name: value + "w" for name, value in values.items() if name not in same}
    changed = replace(record, **news)
    site.run(site.worklist.accept, arrival, [OrderCommand(Action.PLACE, changed)])
    (found,) = site.all()
    assert found.record == changed


# --- history --------------------------------------------------------------------------------------


def test_history_says_which_message_did_what(site):
    placed = site.send(PID, ORC, OBR)
    changed = site.send(PID, orc("XO", start="202603051000"), OBR.replace("CT_ONE", "CT_TWO"))
    site.send(PID, orc("XO", start="202603051000"), OBR.replace("CT_ONE", "CT_TWO"))
    cancelled = site.send(PID, orc("CA"), actor="jane")
    (found,) = site.all()
    told = [(e.action, e.step_status, e.message, e.actor, e.remark) for e in site.events(found.id)]
    assert told == [
        ("placed", StepStatus.SCHEDULED, placed.message, "", ""),
        ("changed", StepStatus.SCHEDULED, changed.message, "",
         "SCHEDULED STATION AE TITLE, START DATE, START TIME"),
        ("status", StepStatus.CANCELED, cancelled.message, "jane", ""),
    ]  # fmt: skip
    assert [row.records for row in site.page()] == [[found.id], [], [found.id], [found.id]]


def test_an_old_message_may_go_and_its_record_keeps_its_history(site):
    outcome = site.send(PID, ORC, OBR)
    assert site.transaction(messages.delete_older, 1, 10) == 1
    assert site.transaction(messages.message, outcome.message) is None
    assert [event.message for event in site.events(outcome.added[0])] == [outcome.message]


# --- patients -------------------------------------------------------------------------------------


def test_patients_are_renamed_merged_and_received(site):
    site.send(PID, ORC, OBR)
    site.send(PID.replace("ID7", "OLD"), orc("NW", "P2"), OBR)
    assert site.tell(PatientAction.UPDATE, patient_name="Roe^Jane").warnings == ()
    assert site.tell(PatientAction.MERGE, prior="OLD", patient_name="Roe^Jane").warnings == ()
    assert site.tell(PatientAction.ARRIVE).warnings == ()
    found = [one.record for one in site.all()]
    assert {(r.patient_id, r.patient_name, r.step_status) for r in found} == {
        ("ID7", "Roe^Jane", StepStatus.ARRIVED)
    }
    assert len(site.find(patient_name="ROE*")) == 2
    assert site.tell(PatientAction.UPDATE, patient_id="ID9").warnings


def test_two_patients_that_share_a_number_stay_two(site):
    site.send(PID, ORC, OBR)
    site.send(PID.replace("ID7", "ID8"), ORC, OBR, sender="HIS")
    site.tell(PatientAction.UPDATE, facility="OTHER", patient_name="Roe^Jane")
    site.tell(PatientAction.MERGE, patient_id="ID8", prior="ID7", facility="OTHER")
    site.send(PID.replace("ID7", "ID8"), orc("CA"))
    found = {one.record.patient_id: one.record for one in site.all()}
    assert found["ID7"].patient_name == "Doe^Jane"
    assert found["ID7"].step_status is StepStatus.SCHEDULED
    assert found["ID8"].step_status is StepStatus.CANCELED


# --- people and files -----------------------------------------------------------------------------


def test_a_person_s_record_is_kept_with_a_study_uid_and_its_maker(site):
    key = site.run(site.worklist.create, RECORD, "jane")
    twin = site.run(site.worklist.create, RECORD, "jane")
    assert key != twin
    stored = site.record(key)
    assert stored.record == replace(RECORD, study_instance_uid=stored.record.study_instance_uid)
    assert stored.record.study_instance_uid.startswith("1.2.300")
    assert stored.record.study_instance_uid != site.record(twin).record.study_instance_uid
    assert [(e.action, e.actor) for e in site.events(key)] == [("created", "jane")]


def test_a_record_that_is_not_legal_is_not_kept(site):
    with pytest.raises(Malformed, match="PATIENT NAME is missing"):
        site.run(site.worklist.create, replace(RECORD, patient_name=""), "jane")
    key = site.run(site.worklist.create, RECORD, "jane")
    with pytest.raises(Malformed, match="MODALITY must"):
        site.run(site.worklist.edit, key, replace(RECORD, modality="?"), "jane")
    assert site.count("worklist_record") == 1


def test_an_edit_changes_fields_and_leaves_order_and_status(site):
    outcome = site.send(PID, ORC, OBR)
    before = site.record(outcome.added[0])
    wanted = WorklistRecord(**{**fields_of(before.record), "modality": "MR", "status": ""})
    site.run(site.worklist.edit, before.id, wanted, "jane", before.updated_at)
    after = site.record(before.id)
    assert after.record == replace(before.record, modality="MR", status="")
    last = site.events(before.id)[-1]
    assert (last.action, last.actor, last.remark) == ("edited", "jane", "MODALITY")
    with pytest.raises(Conflict):
        site.run(site.worklist.edit, before.id, wanted, "joe", before.updated_at)
    site.run(site.worklist.edit, before.id, wanted, "joe", after.updated_at)
    assert len(site.events(before.id)) == 2


def test_an_edit_keeps_the_study_uid_that_was_made_once(site):
    key = site.run(site.worklist.create, RECORD, "jane")
    uid = site.record(key).record.study_instance_uid
    site.run(site.worklist.edit, key, replace(RECORD, modality="MR"), "jane")
    assert site.record(key).record.study_instance_uid == uid


def test_what_is_not_there_cannot_be_edited(site):
    with pytest.raises(NotFound):
        site.run(site.worklist.edit, 7, RECORD, "jane")


def test_a_person_may_correct_a_status_and_delete(site):
    keys = [site.run(site.worklist.create, RECORD, "jane") for _ in range(3)]
    over = StepStatus.COMPLETED
    assert site.run(site.worklist.set_status, keys, over, "jane") == 3
    assert site.run(site.worklist.set_status, keys[:1], StepStatus.SCHEDULED, "jane") == 1
    assert site.run(site.worklist.set_status, keys, over, "jane") == 1
    assert [(e.action, e.step_status, e.actor) for e in site.events(keys[1])] == [
        ("created", StepStatus.SCHEDULED, "jane"), ("status", over, "jane"),
    ]  # fmt: skip
    assert site.run(site.worklist.delete, [*keys[:2], 99], "jane") == 2
    assert [one.id for one in site.all()] == keys[2:]
    assert site.count("worklist_event") == 2


def test_imported_records_are_added_or_brought_up_to_date_all_or_none(site):
    first = replace(RECORD, accession_number="A1", scheduled_procedure_step_id="S1")
    other = replace(RECORD, patient_id="ID8", study_instance_uid="1.2.3")
    assert site.run(site.worklist.import_records, [first, other], "RIS_WL") == (2, 0)
    again = [replace(first, modality="MR"), replace(other, patient_name="Roe^Jane")]
    assert site.run(site.worklist.import_records, again, "RIS_WL") == (0, 2)
    assert site.run(site.worklist.import_records, again, "RIS_WL") == (0, 0)
    found = {one.record.patient_id: one for one in site.all()}
    assert (found["ID7"].record.modality, found["ID8"].record.patient_name) == ("MR", "Roe^Jane")
    assert [(e.action, e.actor) for e in site.events(found["ID7"].id)] == [
        ("imported", "RIS_WL")
    ] * 2  # fmt: skip
    with pytest.raises(Malformed, match="record 2: PATIENT ID"):
        site.run(site.worklist.import_records, [first, replace(other, patient_id="")], "x")
    assert len(site.all()) == 2


def fields_of(record):
    """What a form gives: the fields, without order numbers and sender."""
    return {name: getattr(record, name) for name in FIELDS}


# --- doubts ---------------------------------------------------------------------------------------


def test_what_a_modality_lacks_is_named(site):
    site.add(patient_id="")
    site.add(
        patient_name="Doe^Jane", scheduled_station_ae_title="CT", modality="CT",
        requested_procedure_description="CT HEAD",
    )  # fmt: skip
    assert site.doubts() == [
        ["no patient name", "no Patient ID", "no station AE title", "no modality", "no procedure"],
        [],
    ]


WHOLE = {
    "patient_name": "Doe^Jane",
    "patient_birth_date": "19700102",
    "scheduled_station_ae_title": "CT",
    "modality": "CT",
    "requested_procedure_description": "CT HEAD",
}
NAME = "another worklist record has this Patient ID with another name"
BIRTH = "another worklist record has this Patient ID with another birth date"
ACCESSION = "another patient has this accession number"


@pytest.mark.parametrize(
    "one, other, expected",
    [
        ({}, {}, []),
        ({}, {"patient_name": "DOE^JANE^"}, []),
        ({}, {"patient_name": "Roe^Jane"}, [NAME]),
        ({}, {"patient_name": ""}, []),
        ({"patient_name": "Yamada=山田"}, {"patient_name": "山田"}, []),
        ({}, {"patient_birth_date": "19700103"}, [BIRTH]),
        ({}, {"patient_birth_date": ""}, []),
        ({}, {"patient_id": "ID8", "patient_name": "Roe^Jane"}, []),
        ({"patient_issuer": "A"}, {"patient_issuer": "B", "patient_name": "Roe^Jane"}, []),
        ({"patient_issuer": "A"}, {"patient_issuer": "", "patient_name": "Roe^Jane"}, [NAME]),
        ({"accession_number": "A1"}, {"accession_number": "A1", "patient_id": "ID8"}, [ACCESSION]),
        ({"accession_number": "A1"}, {"accession_number": "A1"}, []),
    ],
)
def test_records_that_contradict_each_other_are_named(site, one, other, expected):
    site.add(**WHOLE | one)
    site.add(**WHOLE | other)
    assert site.doubts()[0] == expected


@pytest.mark.parametrize(
    "archived, expected",
    [
        (("Doe^Jane", "doe^jane", "19700102"), 0),
        (("Roe^Jane", "roe^jane", "19700102"), 1),
        (("Roe^Jane", "roe^jane", "19700103"), 2),
        (("", "", ""), 0),
    ],
)
def test_an_archived_patient_who_contradicts_a_record_is_named(site, archived, expected):
    async def archive(tx):
        await tx.execute(
            "INSERT INTO patient (patient_id, name, alphabetic, birth_date)"
            " VALUES ('ID7', %s, %s, %s)",
            *archived,
        )

    site.transaction(archive)
    site.add(**WHOLE)
    (found,) = site.doubts()
    assert len(found) == expected
    assert all(reason.startswith("an archived patient") for reason in found)


# --- the message log ------------------------------------------------------------------------------


@pytest.fixture
def logged(site):
    """Four messages; finds them by a filter, as their control IDs."""
    for number, (patient, name, kind, sender) in enumerate(
        [
            ("ID1", "Doe^Jane", "ORM^O01", "HIS"),
            ("ID2", "Müller^Jörg", "ORM^O01", "RIS"),
            ("ID3", "Παπαδοπουλου^Μαρια", "OMG^O19", "RIS"),
        ],
        1,
    ):
        arrival, commands = site.message(
            f"PID|1||{patient}||{name}", orc("NW", f"P-{number}"), OBR,
            sender=sender, control_id=f"C{number}", received=NOW + timedelta(days=number),
        )  # fmt: skip
        arrival = replace(arrival, message_type=kind)
        site.run(site.worklist.accept, arrival, commands)
    refused = Arrival(raw=b"?", source="192.0.2.9", received=NOW + timedelta(days=4),
                      control_id="C4\0", patient_id="ID4", message_type="ORM")  # fmt: skip
    assert site.run(site.worklist.keep_refused, refused, "AE", "PID^1^3 no") == 4
    return lambda **wanted: "".join(row.control_id[1:] for row in site.page(**wanted))


@pytest.mark.parametrize(
    "wanted, found",
    [
        ({}, "4321"),
        ({"verdict": "AE"}, "4"),
        ({"verdict": "AA"}, "321"),
        ({"sending_application": "RIS"}, "32"),
        ({"sending_facility": "WARD", "sending_application": "HIS"}, "1"),
        ({"message_type": "ORM"}, "421"),
        ({"message_type": "ORM^O01"}, "21"),
        ({"message_type": "OM"}, ""),
        ({"patient_id": "ID2"}, "2"),
        ({"patient_id": "ID4"}, "4"),
        ({"text": "jane"}, "1"),
        ({"text": "JORG muller"}, "2"),
        ({"text": "μαρια"}, "3"),
        ({"text": "P-2"}, "2"),
        ({"text": "c4"}, "4"),
        ({"text": "doe nobody"}, ""),
        ({"received_from": NOW + timedelta(days=2)}, "432"),
        ({"received_to": NOW + timedelta(days=2)}, "1"),
        ({"received_from": NOW + timedelta(days=2), "received_to": NOW + timedelta(days=4)}, "32"),
        ({"text": "'); DROP TABLE hl7_message; --"}, ""),
        ({"patient_id": "' OR ''='"}, ""),
        ({"before": 3, "limit": 1}, "2"),
        ({"limit": 2}, "43"),
    ],
)
def test_messages_are_found(logged, wanted, found):
    assert logged(**wanted) == found


def test_lists_have_no_raw_text_and_one_message_has(site):
    outcome = site.send(PID, ORC, OBR)
    (row,) = site.page()
    assert (row.raw, row.verdict, row.patient_id) == (b"", "AA", "ID7")
    whole = site.transaction(messages.message, outcome.message)
    assert whole.raw.startswith(b"MSH|") and whole.bytes == len(whole.raw)
    assert replace(whole, raw=b"") == row


def test_a_message_run_again_on_purpose_is_processed_and_says_from_which(site):
    arrival, commands = site.message(PID, orc("XO"), OBR)
    first = site.run(site.worklist.accept, arrival, commands)
    again = replace(arrival, origin=first.message, actor="jane")
    second = site.run(site.worklist.accept, again, commands)
    assert not second.repeated
    row = site.page()[0]
    assert (row.id, row.origin, row.actor) == (second.message, first.message, "jane")


def test_how_long_a_message_took_is_logged(site):
    received = datetime.now(UTC) - timedelta(seconds=3)
    site.send(PID, ORC, OBR, received=received)
    assert 3000 <= site.page()[0].milliseconds < 60_000


def test_old_messages_are_deleted_in_steps(site):
    for number in range(5):
        site.send(PID, ORC, OBR, received=datetime.now(UTC) - timedelta(days=30 * number))
    assert site.transaction(messages.delete_older, 45, 2) == 2
    assert site.transaction(messages.delete_older, 45, 2) == 1
    assert site.transaction(messages.delete_older, 45, 2) == 0
    assert len(site.page()) == 2
