"""The worklist on a real PostgreSQL: what messages change, what queries find."""

from dataclasses import replace
from datetime import timedelta

import pytest

from santepacs.db import nodes
from santepacs.errors import Conflict, Malformed, NotFound
from santepacs.model.order import Arrival, StepQuery, StepStatus, WorklistQuery
from santepacs.model.uids import is_valid_uid
from santepacs.worklist.study_uids import new_uid
from support.worklist import ALL, NOW, OBR, ORC, PID, WorklistSite, orc


@pytest.fixture
def site(reactor_thread, database_dsn):
    site = WorklistSite(reactor_thread, database_dsn)
    site.start()
    yield site
    site.stop()


def test_a_new_order_is_kept_whole(site):
    assert site.send(PID, ORC, OBR).warnings == ()
    (record,) = site.find()
    assert record.patient_name == "Doe^Jane"
    assert (record.modality, record.scheduled_station_ae_title) == ("CT", "CT_ONE")
    assert (record.start_date, record.start_time) == ("20260304", "093000")
    assert record.study_instance_uid.startswith("1.2.300.0.7230010.3.1.3.")
    assert is_valid_uid(record.study_instance_uid)
    assert site.count("hl7_message") == 1


def test_an_order_sent_again_is_the_same_step(site):
    site.send(PID, ORC, OBR)
    (before,) = site.find()
    site.send(PID.replace("Doe^Jane", "Roe^Jane"), ORC, OBR)
    (after,) = site.find()
    assert after == replace(before, patient_name="Roe^Jane")


def test_a_repeated_message_changes_nothing_and_has_the_same_outcome(site):
    site.send(PID, orc("XO"), OBR, control_id="7")
    site.send(PID, orc("CA"), OBR)
    outcome = site.send(PID, orc("XO"), OBR, control_id="7")
    assert outcome.repeated
    assert outcome.warnings == ("the order was not known and is kept as new",)
    assert site.statuses() == [StepStatus.CANCELED]
    assert site.count("hl7_message") == 2


def test_a_message_is_no_repetition_after_a_week_or_without_control_id(site):
    site.send(PID, ORC, OBR, control_id="7")
    late = NOW + timedelta(days=8)
    assert not site.send(PID, ORC, OBR, control_id="7", received=late).repeated
    site.send(PID, ORC, OBR, control_id="")
    assert not site.send(PID, ORC, OBR, control_id="").repeated


def test_another_body_under_the_same_control_id_is_another_message(site):
    site.send(PID, orc("NW", "P1"), OBR.replace("P1", "P1"), control_id="7")
    assert not site.send(PID, orc("NW", "P2"), OBR, control_id="7").repeated
    assert len(site.find()) == 2


def test_a_refused_message_is_kept_and_looked_at_again(site):
    arrival = Arrival(raw=b"MSH|x", source="192.0.2.1", received=NOW, control_id="7")
    site.run(site.worklist.keep_refused, arrival, "AE", "PID^1^3 no patient identifier")
    assert site.count("hl7_message") == 1
    assert not site.run(site.worklist.accept, arrival, []).repeated


@pytest.mark.parametrize(
    "control, status, expected",
    [
        ("CA", "", StepStatus.CANCELED),
        ("DC", "", StepStatus.DISCONTINUED),
        ("XO", "CM", StepStatus.COMPLETED),
        ("HD", "", StepStatus.HELD),
    ],
)
def test_a_step_that_is_over_or_held_is_hidden_and_kept(site, control, status, expected):
    site.send(PID, ORC, OBR)
    assert site.send(PID, orc(control, status=status), OBR).warnings == ()
    assert site.find() == []
    assert site.statuses() == [expected]


def test_a_cancel_takes_every_step_of_its_order_and_no_other(site):
    site.send(PID, orc("NW"), "OBR|1|||A", "OBR|2|||B", orc("NW", "P2"), "OBR|1|||A")
    assert len(site.find()) == 3
    site.send(PID, orc("CA"))
    assert [record.placer_order_number for record in site.find()] == ["P2"]


@pytest.mark.parametrize("control", ["CA", "DC", "HD", "RL"])
def test_an_unknown_order_is_not_made_by_a_cancel(site, control):
    assert site.send(PID, orc(control), OBR).warnings == (
        "the order is not known; nothing was changed",
    )
    assert site.count("worklist_record") == 0


def test_a_held_step_is_released(site):
    site.send(PID, ORC, OBR)
    site.send(PID, orc("HD"))
    site.send(PID, orc("RL"))
    assert site.statuses() == [StepStatus.SCHEDULED]


@pytest.mark.parametrize("control", ["NW", "XO", "RL"])
def test_a_late_message_revives_nothing(site, control):
    site.send(PID, ORC, OBR)
    site.send(PID, orc("CA"))
    renamed = PID.replace("Doe^Jane", "Roe^Jane")
    outcome = site.send(renamed, orc(control, start="20270101"), OBR)
    assert len(outcome.warnings) == 1
    assert site.find() == []
    (record,) = site.find(step=StepQuery(statuses=ALL))
    assert (record.step_status, record.start_date) == (StepStatus.CANCELED, "20260304")


def test_a_begun_step_is_not_set_back(site):
    site.add(
        patient_name="Doe^Jane",
        placer_order_number="P1",
        scheduled_procedure_step_id="CT01",
        sending_application="HIS",
        sending_facility="WARD",
        step_status=StepStatus.STARTED,
    )
    site.send(PID.replace("Doe^Jane", "Roe^Jane"), ORC, OBR)
    (record,) = site.find(step=StepQuery(statuses=ALL))
    assert (record.step_status, record.patient_name) == (StepStatus.STARTED, "Roe^Jane")


def test_a_change_keeps_what_it_does_not_say_and_deletes_what_it_nulls(site):
    site.send(PID, ORC, OBR, "ZDS|1.2.3^^Application^DICOM")
    site.send('PID|1||ID7||Doe^Jane||""', orc("XO", start="202603051000"), "OBR|1|P1||CT01")
    (record,) = site.find()
    assert (record.start_date, record.modality) == ("20260305", "CT")
    assert (record.patient_birth_date, record.patient_sex) == ("", "F")
    assert record.study_instance_uid == "1.2.3"


def test_a_change_of_the_procedure_leaves_no_second_step(site):
    site.send(PID, ORC, OBR)
    site.send(PID, orc("XO"), OBR.replace("CT01^CT HEAD", "CT02^CT SPINE"))
    (record,) = site.find()
    assert record.scheduled_procedure_step_id == "CT02"


def test_a_generated_study_uid_stays(site):
    site.send(PID, ORC, OBR)
    first = site.find()[0].study_instance_uid
    site.send(PID, orc("XO"), OBR)
    site.send(PID, ORC, OBR)
    assert site.find()[0].study_instance_uid == first


def test_steps_of_one_requested_procedure_share_their_study(site):
    site.add(
        placer_order_number="P1",
        scheduled_procedure_step_id="OTHER",
        requested_procedure_id="CT01",
        study_instance_uid="1.2.3",
        sending_application="HIS",
        sending_facility="WARD",
    )
    site.send(PID, ORC, OBR)
    assert [record.study_instance_uid for record in site.find()] == ["1.2.3"] * 2


@pytest.mark.parametrize("titles, made", [(("CT_ONE",), True), (("MR",), False)])
def test_study_uids_are_made_for_the_listed_stations_only(site, titles, made):
    site.settings.worklist = replace(
        site.settings.worklist, study_uid_for_all=False, study_uid_ae_titles=titles
    )
    site.send(PID, ORC, OBR)
    assert bool(site.find()[0].study_instance_uid) is made


@pytest.mark.parametrize("root", ["1.2", "1.2.300.0.7230010.3.1.3", "1." + "2" * 36])
@pytest.mark.parametrize("number", [0, -1])
def test_made_uids_are_valid(root, number):
    uid = new_uid(root, lambda n: number % n)
    assert is_valid_uid(uid) and uid.startswith(root + ".")


def test_without_a_start_the_order_is_due_when_it_came(site):
    site.send(PID, "ORC|NW|P1", OBR)
    (record,) = site.find()
    assert (record.start_date, record.start_time) == ("20260102", "030405")


def test_numbers_are_a_patient_s_and_a_sender_s(site):
    site.send(PID, ORC, OBR)
    site.send(PID.replace("ID7", "ID8"), ORC, OBR)
    site.send(PID, ORC, OBR, sender="OTHER")
    assert len(site.find()) == 3
    site.send(PID.replace("ID7", "ID9"), orc("CA"))
    site.send(PID.replace("ID7", "ID8"), orc("CA"))
    assert len(site.find()) == 2


def test_orders_are_matched_by_filler_number_where_a_placer_number_is_missing(site):
    site.send(PID, "ORC|NW|P1|F1", OBR)
    site.send(PID, "ORC|CA||F1")
    assert site.statuses() == [StepStatus.CANCELED]


def test_a_result_or_query_changes_nothing_but_the_log(site):
    site.send(PID, "ORC|RE|P1|||CM", OBR)
    assert (site.count("worklist_record"), site.count("hl7_message")) == (0, 1)


def test_text_with_sql_is_text(site):
    hostile = "'); DROP TABLE worklist_record; --%s"
    site.send(PID.replace("Doe^Jane", hostile), ORC, OBR)
    assert site.find()[0].patient_name == hostile.strip()
    assert site.find(patient_id="' OR ''='") == []


# --- queries --------------------------------------------------------------------------------------


@pytest.fixture
def names(site):
    for number, name in enumerate(
        [
            "Doe^Jane",
            "DOE",
            "Doering^Jim",
            "Müller^Jörg",
            "Παπαδόπουλος^Άρης",
            "Yamada=山田^太郎",
            "10%_\\x",
        ]
    ):
        site.add(patient_id=str(number), patient_name=name)
    return lambda pattern: [r.patient_id for r in site.find(patient_name=pattern)]


@pytest.mark.parametrize(
    "pattern, found",
    [
        ("Doe^Jane", "0"),
        ("doe^jane^^", "0"),
        ("DOE", "1"),
        ("doe*", "012"),
        ("doe^*", "01"),
        ("D?E^J*", "0"),
        ("*jim", "2"),
        ("MULLER*", "3"),
        ("Müller^Jörg", "3"),
        ("ΠΑΠΑΔΟΠΟΥΛΟΣ*", "4"),
        ("山田*", "5"),
        ("Yamada", "5"),
        ("nobody=山田*", "5"),
        ("10%*", "6"),
        ("10?_*", "6"),
        ("%", ""),
        ("1_*", ""),
        ("\\*", ""),
        ("*", "0123456"),
        ("*^*", "0123456"),
        ("", "0123456"),
        ("＊", ""),
    ],
)
def test_names_match_without_case_and_accents_and_only_two_wildcards(names, pattern, found):
    assert names(pattern) == list(found)


@pytest.mark.parametrize(
    "step, found",
    [
        (StepQuery(station_ae_titles=("CT1",)), "ab"),
        (StepQuery(station_ae_titles=("CT1", "MR1")), "abc"),
        (StepQuery(station_ae_titles=("CT*",)), "ab"),
        (StepQuery(station_ae_titles=("ct1",)), ""),
        (StepQuery(modalities=("CT", "MR")), "abc"),
        (StepQuery(start_date_from="20260302", start_date_to="20260302"), "b"),
        (StepQuery(start_date_from="20260302"), "bcd"),
        (StepQuery(start_date_to="20260302"), "ab"),
        (StepQuery(start_time_from="090000", start_time_to="100000"), "ac"),
        (
            StepQuery(
                start_date_from="20260301",
                start_time_from="120000",
                start_date_to="20260303",
                start_time_to="090000",
                combined=True,
            ),
            "bc",
        ),
        (StepQuery(start_date_to="20260303", start_time_to="085959", combined=True), "ab"),
        (StepQuery(technician_name="tech*"), "a"),
        (StepQuery(step_id="S1"), "a"),
        (StepQuery(statuses=(StepStatus.CANCELED,)), "e"),
        (StepQuery(statuses=(StepStatus.SCHEDULED, StepStatus.CANCELED)), "abcde"),
    ],
)
def test_keys_of_the_step(site, step, found):
    site.add(
        patient_id="a",
        scheduled_station_ae_title="CT1",
        modality="CT",
        start_date="20260301",
        start_time="100000",
        technician_name="Tech^One",
        scheduled_procedure_step_id="S1",
    )
    site.add(
        patient_id="b",
        scheduled_station_ae_title="CT1",
        modality="CT",
        start_date="20260302",
        start_time="080000",
    )
    site.add(
        patient_id="c",
        scheduled_station_ae_title="MR1",
        modality="MR",
        start_date="20260303",
        start_time="090000",
    )
    site.add(patient_id="d", modality="US", start_date="20260304", start_time="110000")
    site.add(patient_id="e", start_date="20260305", step_status=StepStatus.CANCELED)
    assert "".join(record.patient_id for record in site.find(step=step)) == found


@pytest.mark.parametrize(
    "keys, found",
    [
        ({"patient_id": "A1"}, "1"),
        ({"patient_id": "a1"}, ""),
        ({"patient_id": "A*"}, "12"),
        ({"patient_id": "A%"}, ""),
        ({"accession_number": "X?"}, "1"),
        ({"requested_procedure_id": "R"}, "1"),
        ({"study_instance_uids": ("1.2", "1.3")}, "1"),
        ({"patient_sex": "F"}, "1"),
        ({"patient_birth_date_from": "19700101", "patient_birth_date_to": "19701231"}, "1"),
        ({"patient_id": "A*", "patient_sex": "F"}, "1"),
    ],
)
def test_keys_of_patient_and_order(site, keys, found):
    site.add(
        patient_id="A1",
        accession_number="X1",
        requested_procedure_id="R",
        study_instance_uid="1.2",
        patient_sex="F",
        patient_birth_date="19700601",
    )
    site.add(patient_id="A2")
    assert "".join(record.patient_id[1:] for record in site.find(**keys)) == found


def test_any_of_several_steps(site):
    for modality in ("CT", "MR", "US"):
        site.add(modality=modality)
    query = WorklistQuery(steps=(StepQuery(modalities=("CT",)), StepQuery(modalities=("US",))))
    assert [found.record.modality for found in site.find_stored(query)] == ["CT", "US"]


def test_pages_follow_each_other_without_gap_or_repetition(site):
    for day in ("20260303", "20260301", "20260302"):
        for _ in range(3):
            site.add(start_date=day)
    found, after = [], None
    while page := site.find_stored(WorklistQuery(), 2, after):
        found += page
        after = page[-1].place
    assert len(found) == 9
    assert [one.place for one in found] == sorted(one.place for one in found)


# --- nodes ----------------------------------------------------------------------------------------


def test_nodes_are_added_listed_and_deleted(site):
    site.transaction(nodes.add, nodes.Node("HIS", "192.0.2.1", 3001))
    site.transaction(nodes.add, nodes.Node("OLD", "192.0.2.2", enabled=False))
    assert [node.name for node in site.transaction(nodes.list_all)] == ["HIS", "OLD"]
    assert site.transaction(nodes.enabled_hosts) == ["192.0.2.1"]
    with pytest.raises(Conflict):
        site.transaction(nodes.add, nodes.Node("HIS", "192.0.2.9"))
    site.transaction(nodes.delete, "HIS")
    with pytest.raises(NotFound):
        site.transaction(nodes.delete, "HIS")


@pytest.mark.parametrize(
    "values",
    [("", "192.0.2.1"), ("x" * 65, "h"), ("a\nb", "h"), ("A", ""), ("A", "a b"), ("A", "h", 70000)],
)
def test_impossible_nodes_are_refused(values):
    with pytest.raises(Malformed):
        nodes.Node(*values)
