"""Order messages to worklist commands: the mapping, legal values, order control, groups."""

from pathlib import Path

import pytest

from santepacs.hl7.commands import commands
from santepacs.hl7.message import parse, split_messages
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import (
    FIELDS,
    Action,
    StepStatus,
    WorklistRecord,
    moved,
    order_control,
    updated,
)
from santepacs.worklist import values
from santepacs.worklist.mapping import DEFAULT, FieldMapping, Row

CORPUS = Path(__file__).parents[3] / "shared" / "data" / "hl7"
MSH = "MSH|^~\\&|HIS|WARD|PACS|RAD|20260102030405||ORM^O01|77|P|2.3.1"
PID = "PID|1||ID7||Doe^Jane||19700102|F"
ORC = "ORC|NW|P100|F100||SC||||||||||202603040930"


def fields(name, **values_by_position):
    """A segment with values at positions, given as p1=..., p2=..."""
    positions = {int(key[1:]): value for key, value in values_by_position.items()}
    return "|".join([name, *(positions.get(i, "") for i in range(1, max(positions) + 1))])


OBR = fields(
    "OBR", p1="1", p4="CT01^CT HEAD", p16="Dr Roe", p18="CT", p21="CT_ONE", p24="ROOM 1",
    p27="S", p34="Tech",
)  # fmt: skip


def order(*segments, header=MSH, rows=DEFAULT):
    """The only command of a message of these segments."""
    (command,) = commands(parse("\r".join((header, *segments, "")).encode()), rows)
    return command


def refused(*segments, header=MSH):
    with pytest.raises(Refusal) as caught:
        order(*segments, header=header)
    return caught.value.code, caught.value.location


def test_the_default_mapping_of_the_seed():
    command = order(PID, ORC, OBR, "ZDS|1.2.3^^Application^DICOM")
    assert command.action is Action.PLACE
    assert command.record == WorklistRecord(
        patient_id="ID7",
        patient_name="Doe^Jane",
        patient_birth_date="19700102",
        patient_sex="F",
        status="SC",
        accession_number="P100",
        requesting_physician_name="Dr Roe",
        requested_procedure_description="CT HEAD",
        modality="CT",
        start_date="20260304",
        start_time="093000",
        technician_name="Tech",
        scheduled_procedure_step_id="CT01",
        scheduled_station_ae_title="CT_ONE",
        scheduled_station_name="ROOM 1",
        requested_procedure_id="CT01",
        requested_procedure_priority="STAT",
        study_instance_uid="1.2.3",
        sending_application="HIS",
        sending_facility="WARD",
        placer_order_number="P100",
        filler_order_number="F100",
    )


@pytest.mark.parametrize(
    "segments, field, expected",
    [
        ([PID, "ORC|NW||F1", OBR], "accession_number", "F1"),
        ([PID, "ORC|NW", fields("OBR", p3="2026-1", p4="X")], "accession_number", "2026-1"),
        ([PID, "ORC|NW|1||||||||||12^Roe^Jane", "OBR|1"], "requesting_physician_name", "Roe^Jane"),
        ([PID, "ORC|NW|1", fields("OBR", p18="A100", p24="MR")], "modality", "MR"),
        ([PID, "ORC|NW|1", fields("OBR", p24="CTROOM", p21="US")], "modality", "US"),
        ([PID, "ORC|NW|1", fields("OBR", p18="XX", p24="MR")], "modality", "XX"),
        ([PID, "ORC|NW|1||||^^^202603040800", OBR], "start_time", ""),
        ([PID, "ORC|NW|1|||||^^^202603040800", OBR], "start_time", "080000"),
        ([PID, "ORC|NW|1", "TQ1|||||||20260304081500", OBR], "start_time", "081500"),
        ([PID, "ORC|NW|1", fields("OBR", p27="1^^^20260304")], "start_date", "20260304"),
        ([PID, "ORC|NW|1", fields("OBR", p36="20260304")], "start_date", "20260304"),
        ([PID, "ORC|NW|1", fields("OBR", p7="20260304")], "start_date", "20260304"),
        ([PID, "ORC|NW|1", fields("OBR", p27="1^^^^^R")], "requested_procedure_priority",
         "ROUTINE"),
        ([PID, "ORC|NW|1", fields("OBR", p44="9^CT SPINE")], "requested_procedure_description",
         "CT SPINE"),
        ([PID, "ORC|NW|1", fields("OBR", p34="7&Roe&Jane")], "technician_name", "Roe^Jane"),
        ([PID, "ORC|NW|1", fields("OBR", p1="1")], "requested_procedure_id", "1"),
        (["PID|1|ID2||||", "ORC|CA|1"], "patient_id", "ID2"),
    ],
)  # fmt: skip
def test_fallbacks_speak_where_the_seed_s_row_is_empty(segments, field, expected):
    assert getattr(order(*segments).record, field) == expected


@pytest.mark.parametrize(
    "wire, name",
    [
        ("Doe^Jane", "Doe^Jane"),
        ("Doe^Jane^Q^Jr^Dr^PhD", "Doe^Jane^Q^Dr^Jr PhD"),
        ("van Doe&van&Doe^Jane", "van Doe^Jane"),
        ("Doe^Jane^^^^^L~Other^Name", "Doe^Jane"),
        ("Doe\\S\\X^Jane", "Doe X^Jane"),
        ("Doe\\X0D\\OBR^Ja\\E\\ne", "Doe OBR^Ja ne"),
        ("DOE JANE", "DOE JANE"),
        ("Παπαδοπουλου^Μαρια", "Παπαδοπουλου^Μαρια"),
        ("x" * 70 + "^Jane", "x" * 64),
        ('Doe^""^Q', "Doe^^Q"),
    ],
)
def test_a_patient_s_name_becomes_a_pn(wire, name):
    assert order(f"PID|1||ID7||{wire}", ORC, OBR).record.patient_name == name


@pytest.mark.parametrize(
    "wire, sex",
    [("M", "M"), ("f", "F"), ("O", "O"), ("A", "O"), ("U", ""), ("W", "F"), ("2", "F"), ("?", "")],
)
def test_sex(wire, sex):
    assert values.sex(wire) == sex


@pytest.mark.parametrize(
    "wire, date, time",
    [
        ("200512301613529400", "20051230", "161352"),
        ("20260304", "20260304", ""),
        ("2026030409", "20260304", "090000"),
        ("202603040930+0200", "20260304", "093000"),
        ("20260304093059.1234", "20260304", "093059"),
        ("20260304093060", "20260304", "093059"),
        ("202603042530", "20260304", ""),
        ("20260230", "", ""),
        ("202603", "", ""),
        ("", "", ""),
        ("TOMORROW", "", ""),
        ("٢٠٢٦٠٣٠٤", "", ""),
    ],
)
def test_time_stamps(wire, date, time):
    assert values.date_of(wire) == date
    assert (values.time_of(wire) if date else "") == time


@pytest.mark.parametrize(
    "wire, vr, legal",
    [
        ("a\\b\r\nc\x00", "LO", "a b c"),
        ("x" * 70, "LO", "x" * 64),
        ("x" * 20, "SH", "x" * 16),
        ("1234^BRAIN", "LO", "1234^BRAIN"),
        ("one\ntwo\x01", "LT", "one\r\ntwo"),
        (" \t ", "LO", ""),
    ],
)
def test_texts_are_made_legal(wire, vr, legal):
    assert values.text(wire, vr) == legal


def test_component_zero_keeps_the_whole_value():
    rows = FieldMapping((*DEFAULT.rows[:2], Row("requested_procedure_id", "OBR", 4, 0)))
    record = order(PID, "ORC|NW|1", "OBR|1|||1234^BRAIN", rows=rows).record
    assert record.requested_procedure_id == "1234^BRAIN"


def test_repetition_and_subcomponent_rows():
    rows = FieldMapping(
        (
            Row("patient_id", "PID", 3, 1, 2),
            DEFAULT.rows[1],
            Row("technician_name", "OBR", 34, 1, 1, 2),
        )
    )
    record = order("PID|1||A~B||Doe", "ORC|NW|1", fields("OBR", p34="7&Roe"), rows=rows).record
    assert (record.patient_id, record.technician_name) == ("B", "Roe")


@pytest.mark.parametrize(
    "uid", ["../../x", "1" * 65, "..", "abc", "1.2.03", "1.2.3; DROP TABLE", "1..2", "^1.2"]
)
def test_an_invalid_study_uid_refuses_the_order(uid):
    assert refused(PID, ORC, OBR, f"ZDS|{uid}") == ("102", "ZDS^1^1")


@pytest.mark.parametrize(
    "segments, code, location",
    [
        ([ORC, OBR], "100", "PID^1"),
        ([PID, PID, ORC, OBR], "100", "PID^2"),
        ([PID], "100", "ORC^1"),
        (["PID|1||||Doe^Jane", ORC, OBR], "101", "PID^1^3"),
        (["PID|1||\"\"||Doe^Jane", ORC, OBR], "101", "PID^1^3"),
        (["PID|1||ID7", ORC, OBR], "101", "PID^1^5"),
        ([PID, "ORC|NW", "OBR|1"], "101", "ORC^1^2"),
        ([PID, "ORC|Q!|1", OBR], "103", "ORC^1^1"),
        ([f"PID|1||{'7' * 65}||Doe", ORC, OBR], "102", "PID^1^3"),
        ([PID, "ORC|NW|1||||||||||||TOMORROW||x", OBR], "102", "ORC^1^15"),
        ([PID, ORC, OBR, "ORC|NW|2", OBR, "ZDS|x"], "102", "ZDS^1^1"),
        ([PID, ORC, OBR, "ORC|Q!|2", OBR], "103", "ORC^2^1"),
        ([PID, ORC, OBR, "ORC|NW|2"], "100", "OBR^2"),
        ([PID, f"ORC|NW|{'7' * 200}", OBR], "102", "ORC^1^2"),
    ],
)  # fmt: skip
def test_unusable_orders_are_refused_with_their_place(segments, code, location):
    if "TOMORROW" in "".join(segments):
        segments[1] = fields("ORC", p1="NW", p2="1", p15="TOMORROW")
    assert refused(*segments) == (code, location)


@pytest.mark.parametrize(
    "kind, code",
    [("ORU^R01", "200"), ("XYZ", "200"), ("ORM^O99", "201"), ("OMG^O01", "201"), ("", "101")],
)
def test_other_message_types_are_refused(kind, code):
    assert refused(PID, ORC, OBR, header=MSH.replace("ORM^O01", kind))[0] == code


@pytest.mark.parametrize(
    "kind", ["ORM", "ORM_O01", "ORM^O01^ORM_O01", "ORM^001", "orm^o01", "OMG^O19", "OMI^O23"]
)
def test_spellings_of_an_order_message(kind):
    assert order(PID, ORC, OBR, header=MSH.replace("ORM^O01", kind)).record.patient_id == "ID7"


@pytest.mark.parametrize(
    "code, status, expected",
    [
        ("NW", "", (Action.PLACE, StepStatus.SCHEDULED)),
        ("NW", "IP", (Action.PLACE, StepStatus.SCHEDULED)),
        ("NW", "Final", (Action.PLACE, StepStatus.SCHEDULED)),
        ("", "IP", (Action.PLACE, StepStatus.SCHEDULED)),
        ("NW", "HD", (Action.PLACE, StepStatus.HELD)),
        ("NW", "CA", (Action.PLACE, StepStatus.CANCELED)),
        ("NW", "CM", (Action.PLACE, StepStatus.COMPLETED)),
        ("SC", "SC", (Action.PLACE, StepStatus.SCHEDULED)),
        ("SC", "IP", (Action.CHANGE, StepStatus.STARTED)),
        ("XO", "IP", (Action.CHANGE, StepStatus.SCHEDULED)),
        ("XO", "", (Action.CHANGE, StepStatus.SCHEDULED)),
        ("XO", "CM", (Action.MOVE, StepStatus.COMPLETED)),
        ("SC", "A", (Action.MOVE, StepStatus.COMPLETED)),
        ("SC", "DC", (Action.MOVE, StepStatus.DISCONTINUED)),
        ("SC", "HD", (Action.MOVE, StepStatus.HELD)),
        ("CA", "", (Action.MOVE, StepStatus.CANCELED)),
        ("OC", "CA", (Action.MOVE, StepStatus.CANCELED)),
        ("DC", "", (Action.MOVE, StepStatus.DISCONTINUED)),
        ("HD", "", (Action.MOVE, StepStatus.HELD)),
        ("RL", "", (Action.MOVE, StepStatus.SCHEDULED)),
        ("RE", "CM", (Action.NOTHING, StepStatus.SCHEDULED)),
        ("RF", "IP", (Action.NOTHING, StepStatus.SCHEDULED)),
        ("OK", "SC", (Action.NOTHING, StepStatus.SCHEDULED)),
        ("ZZ", "", None),
    ],
)
def test_order_control(code, status, expected):
    assert order_control(code, status) == expected


S = StepStatus


@pytest.mark.parametrize(
    "current, wanted, result",
    [
        (S.SCHEDULED, S.HELD, S.HELD),
        (S.HELD, S.SCHEDULED, S.SCHEDULED),
        (S.ARRIVED, S.SCHEDULED, S.ARRIVED),
        (S.ARRIVED, S.HELD, S.HELD),
        (S.STARTED, S.HELD, S.STARTED),
        (S.STARTED, S.ARRIVED, S.STARTED),
        (S.ARRIVED, S.STARTED, S.STARTED),
        (S.STARTED, S.COMPLETED, S.COMPLETED),
        (S.CANCELED, S.SCHEDULED, S.CANCELED),
        (S.COMPLETED, S.CANCELED, S.COMPLETED),
    ],
)
def test_steps_move_forward_only(current, wanted, result):
    assert moved(current, wanted) is result


def test_each_orc_is_an_order_and_shares_the_patient():
    message = parse(
        "\r".join(
            [
                MSH,
                PID,
                "ORC|NW|1",
                "OBR|1|||A^Head",
                "ZDS|1.2.1",
                "ORC|CA|2",
                "OBR|1|||B",
                "NTE|1||note",
            ]
        ).encode()
    )
    one, two = commands(message, DEFAULT)
    assert (one.record.placer_order_number, one.record.study_instance_uid) == ("1", "1.2.1")
    assert (two.record.placer_order_number, two.record.study_instance_uid) == ("2", "")
    assert two.action is Action.MOVE
    assert one.record.patient_id == two.record.patient_id == "ID7"


def test_several_obr_under_one_orc_are_steps_of_one_order():
    message = parse("\r".join([MSH, PID, "ORC|NW|1", "OBR|1|||A", "OBR|2|||B"]).encode())
    records = [command.record for command in commands(message, DEFAULT)]
    assert [record.scheduled_procedure_step_id for record in records] == ["A", "B"]
    assert {record.placer_order_number for record in records} == {"1"}


def test_orders_without_orc_begin_at_their_obr():
    message = parse("\r".join([MSH, PID, "OBR|1|1||A", "OBR|2|2||B"]).encode())
    records = [command.record for command in commands(message, DEFAULT)]
    assert [record.placer_order_number for record in records] == ["1", "2"]


def test_a_query_in_an_order_message_makes_no_record():
    assert order("ORC|RF||sample||IP").action is Action.NOTHING
    assert order(PID, "ORC|RF||sample||IP").action is Action.NOTHING


def test_hl7_null_deletes_and_empty_changes_nothing():
    command = order('PID|1||ID7||Doe^Jane||""|', "ORC|XO|1", 'OBR|1|||CT01^""')
    assert command.record.patient_birth_date == ""
    assert "patient_birth_date" in command.cleared
    old = WorklistRecord(
        patient_id="ID7", patient_name="Roe^Jane", patient_birth_date="19700102", modality="CT"
    )
    new = updated(old, command.record, command.cleared)
    assert (new.patient_name, new.patient_birth_date, new.modality) == ("Doe^Jane", "", "CT")


def test_the_mandatory_is_never_deleted():
    old = WorklistRecord(patient_id="ID7", patient_name="Roe^Jane", requested_procedure_id="1")
    assert updated(old, WorklistRecord(), frozenset(FIELDS)) == old


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the HL7 corpus is not beside the checkout")
def test_the_corpus_is_mapped_or_refused():
    """Nothing but a Refusal, and only legal values."""
    for file in sorted(CORPUS.iterdir()):
        if file.suffix not in (".hl7", ".er7", ".txt"):
            continue
        for raw in split_messages(file.read_bytes()):
            try:
                found = commands(parse(raw), DEFAULT)
            except Refusal as refusal:
                assert refusal.code and str(refusal)
                continue
            for command in found:
                for name, field in FIELDS.items():
                    value = getattr(command.record, name)
                    assert "\r" not in value and "\\" not in value, file.name
                    assert len(value) <= {"SH": 16, "CS": 16, "AE": 16, "DA": 8}.get(field.vr, 200)
