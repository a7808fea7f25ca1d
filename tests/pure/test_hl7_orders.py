"""Order messages taken apart: groups, shared segments, steps, issuer and allergies."""

import pytest

from santepacs.hl7.commands import commands, mapped_parts
from santepacs.hl7.message import parse
from santepacs.hl7.orders import MAXIMUM_STEPS, orders_of
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import Action, OrderCommand, StepStatus
from santepacs.worklist.mapping import DEFAULT, FieldMapping, Row

PID = "PID|1||ID7^^^CITY&1.2&ISO||Doe^Jane||19700102|F"
IPC = "IPC|{0}|RP1|1.2.{0}|SPS{0}|CT|P1^Protocol|||CT_{0}"


def message(*segments, kind="ORM^O01", version="2.5.1"):
    header = f"MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||{kind}|77|P|{version}"
    return parse("\r".join((header, *segments, "")).encode())


def records(*segments, kind="ORM^O01", rows=DEFAULT):
    found = commands(message(*segments, kind=kind), rows)
    assert all(isinstance(command, OrderCommand) for command in found)
    return [command.record for command in found]


def names(order):
    """The segments that are an order's own."""
    return [segment.name for segment in order]


def test_each_ipc_of_an_omi_is_a_step():
    found = records(
        PID,
        "ORC|NW|A1",
        "TQ1|1||||||202603040930",
        "OBR|1|A1||CT01^CT HEAD",
        IPC.format(1),
        IPC.format(2),
        "ORC|NW|A2",
        "OBR|1|A2||CT02^CT BODY",
        IPC.format(3),
        kind="OMI^O23^OMI_O23",
    )
    assert [record.scheduled_procedure_step_id for record in found] == ["SPS1", "SPS2", "SPS3"]
    assert [record.study_instance_uid for record in found] == ["1.2.1", "1.2.2", "1.2.3"]
    assert [record.scheduled_station_ae_title for record in found] == ["CT_1", "CT_2", "CT_3"]
    assert [record.placer_order_number for record in found] == ["A1", "A1", "A2"]
    assert [record.start_date for record in found] == ["20260304", "20260304", ""]
    assert {record.requested_procedure_description for record in found} == {"CT HEAD", "CT BODY"}


def test_an_ipc_alone_says_what_is_ordered():
    (record,) = records(PID, "ORC|NW|A1", IPC.format(1), kind="OMI^O23")
    assert (record.modality, record.requested_procedure_id) == ("CT", "RP1")


def test_what_stands_between_orc_and_obr_is_shared_by_each_obr_of_it():
    found = records(
        PID,
        "ORC|NW|A1",
        "TQ1|1||||||202603040930",
        "OBR|1|||A^Head",
        "ZDS|1.2.1^^Application^DICOM",
        "OBR|2|||B^Body",
        "ZDS|1.2.2^^Application^DICOM",
    )
    assert [record.start_time for record in found] == ["093000"] * 2
    assert [record.study_instance_uid for record in found] == ["1.2.1", "1.2.2"]


def test_an_order_s_own_segment_goes_before_a_shared_one():
    rows = FieldMapping((*DEFAULT.rows, Row("scheduled_procedure_step_comments", "NTE", 3)))
    segments = [PID, "NTE|1||patient", "ORC|NW|A1", "OBR|1|||A", "NTE|1||order"]
    segments += ["ORC|NW|A2", "OBR|1|||B"]
    comments = [
        record.scheduled_procedure_step_comments for record in records(*segments, rows=rows)
    ]
    assert comments == ["order", "patient"]


def test_the_orders_of_a_message_have_their_own_segments():
    order, other = orders_of(message(PID, "ORC|NW|1", "TQ1|1", "OBR|1", "OBX|1", "ORC|CA|2"))
    assert (names(order), names(other)) == (["ORC", "TQ1", "OBR", "OBX"], ["ORC"])
    assert order.value("PID", 3, 1) == other.value("PID", 3, 1) == "ID7"


@pytest.mark.parametrize("kind", ["ORM^O01", "OMG^O19", "OMI^O23"])
@pytest.mark.parametrize("version", ["2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.7", "2.8"])
def test_every_version_is_taken(kind, version):
    segments = (PID, "ORC|NW|1", "OBR|1|||A^Head")
    (command,) = commands(message(*segments, kind=kind, version=version), DEFAULT)
    assert command.action is Action.PLACE


@pytest.mark.parametrize(
    "pid3, issuer",
    [
        ("ID7^^^CITY&1.2&ISO", "CITY"),
        ("ID7^^^&1.2&ISO", "1.2"),
        ("ID7^^^CITY^MR", "CITY"),
        ('ID7^^^""', ""),
        ("ID7", ""),
        ("ID7^^^" + "x" * 80, "x" * 64),
    ],
)
def test_the_issuer_of_the_patient_id(pid3, issuer):
    (record,) = records(f"PID|1||{pid3}||Doe^Jane", "ORC|NW|1", "OBR|1|||A")
    assert (record.patient_id, record.patient_issuer) == ("ID7", issuer)


def test_the_issuer_is_the_one_beside_the_id_that_was_taken():
    rows = FieldMapping((Row("patient_id", "PID", 3, 1, 2), *DEFAULT.rows))
    pid = "PID|1|ID5^^^FIVE|ID1^^^ONE~ID2^^^TWO||Doe^Jane"
    (record,) = records(pid, "ORC|NW|1", "OBR|1|||A", rows=rows)
    assert (record.patient_id, record.patient_issuer) == ("ID2", "TWO")
    (record,) = records("PID|1|ID5^^^FIVE|||Doe^Jane", "ORC|NW|1", "OBR|1|||A")
    assert (record.patient_id, record.patient_issuer) == ("ID5", "FIVE")


@pytest.mark.parametrize(
    "segments, allergies",
    [
        ([], ""),
        (["AL1|1||PEN^Penicillin^L"], "Penicillin"),
        (["AL1|1||PEN^Penicillin", "AL1|2||LATEX", "AL1|3||^Iodine"], "Penicillin, LATEX, Iodine"),
        (["AL1|1||PEN^Penicillin", "AL1|2||X^Penicillin"], "Penicillin"),
        (["AL1|1||" + "x" * 60, "AL1|2||Latex"], "x" * 60 + ", La"),
        (["AL1|1||"], ""),
    ],
)
def test_every_allergy_is_told(segments, allergies):
    (record,) = records(PID, *segments, "ORC|NW|1", "OBR|1|||A")
    assert record.allergies == allergies


def test_a_deleted_allergy_is_cleared_and_a_mapped_one_goes_first():
    order = ("ORC|NW|1", "OBR|1|||A")
    (command,) = commands(message(PID, 'AL1|1||""', *order), DEFAULT)
    assert command.cleared == {"allergies"}
    rows = FieldMapping((*DEFAULT.rows, Row("allergies", "OBR", 13)))
    segments = (PID, "AL1|1||Latex", "ORC|NW|1", "OBR|1|||A|||||||||Iodine")
    (record,) = records(*segments, rows=rows)
    assert record.allergies == "Iodine"


def test_thousands_of_allergies_and_orders_take_linear_time():
    segments = [PID, *["AL1|1||Latex"] * 3000, *["ORC|NW|1", "OBR|1|||A"] * 500]
    reads = []
    found = message(*segments)
    value_in = found.value_in
    found.value_in = lambda *args: reads.append(args) or value_in(*args)
    assert len(commands(found, DEFAULT)) == 500
    assert len(reads) < 7000  # each allergy is looked at once


@pytest.mark.parametrize("action", ["NW", "XO", "CA", "RF"])
def test_the_number_of_an_order_is_found_where_senders_put_it(action):
    for place in ("ORC|{}|7^HIS\rOBR|1|||A", "ORC|{}\rOBR|1|7||A"):
        (record,) = records(PID, *place.format(action).split("\r"))
        assert record.placer_order_number == "7"


def test_a_number_of_another_field_or_with_a_null_is_none():
    (record,) = records(PID, 'ORC|NW|""|F1', "OBR|1|||A")
    assert (record.placer_order_number, record.filler_order_number) == ("", "F1")


@pytest.mark.parametrize("length, taken", [(199, True), (200, False)])
def test_an_order_number_has_a_limit(length, taken):
    segments = (PID, f"ORC|NW|{'7' * length}", "OBR|1|||A")
    if taken:
        assert len(records(*segments)[0].placer_order_number) == length
    else:
        with pytest.raises(Refusal):
            records(*segments)


@pytest.mark.parametrize(
    "orc1, orc5, action, status",
    [
        *[
            (code, "", Action.PLACE, StepStatus.SCHEDULED)
            for code in ("NW", "SN", "RO", "CH", "PA")
        ],
        *[("NW", text, Action.PLACE, StepStatus.SCHEDULED) for text in ("SC", "IP", "A", "odd")],
        *[(code, "SC", Action.CHANGE, StepStatus.SCHEDULED) for code in ("XO", "XX", "RP", "RU")],
        *[(code, "", Action.MOVE, StepStatus.CANCELED) for code in ("CA", "OC", "CR")],
        *[(code, "", Action.MOVE, StepStatus.DISCONTINUED) for code in ("DC", "OD", "DR")],
        *[(code, "", Action.MOVE, StepStatus.HELD) for code in ("HD", "OH")],
        *[(code, "", Action.MOVE, StepStatus.SCHEDULED) for code in ("RL", "OE")],
        *[
            (code, "", Action.NOTHING, StepStatus.SCHEDULED)
            for code in ("OK", "NA", "RR", "UA", "UC", "UX", "RE", "RF", "KN", "SS", "XR", "OR")
        ],
        ("XO", "CM", Action.MOVE, StepStatus.COMPLETED),
        ("XO", "DC", Action.MOVE, StepStatus.DISCONTINUED),
        ("SC", "CA", Action.MOVE, StepStatus.CANCELED),
        ("nw", "hd", Action.PLACE, StepStatus.HELD),
    ],
)
def test_the_order_control_table(orc1, orc5, action, status):
    (command,) = commands(message(PID, f"ORC|{orc1}|7|||{orc5}", "OBR|1|||A"), DEFAULT)
    assert (command.action, command.record.step_status) == (action, status)
    if action is not Action.NOTHING:
        assert command.record.status == orc5  # as it was sent


def test_what_a_mapping_reads_from_is_shown_for_every_kind():
    order = message(PID, "ORC|NW|1", "OBR|1|||A", "ORC|NW|2", "OBR|1|||B")
    assert [part.value("OBR", 4) for part, _ in mapped_parts(order, DEFAULT)] == ["A", "B"]
    ((part, rows),) = mapped_parts(message(PID, kind="ADT^A08"), DEFAULT)
    assert part.value("PID", 3, 1) == "ID7"
    assert {row.segment for row in rows.rows} == {"PID"}
    appointment = message("SCH|1", PID, "AIS|1||A", "AIS|2||B", kind="SIU^S12")
    assert [part.value("AIS", 3) for part, _ in mapped_parts(appointment, DEFAULT)] == ["A", "B"]


@pytest.mark.parametrize(
    "kind, steps",
    [("ORM^O01", ["OBR|1|A1"]), ("SIU^S12", ["AIS|1"]), ("ADT^A40", [PID, "MRG|ID6"])],
)
def test_more_steps_than_can_be_decided_upon_at_once_are_refused(kind, steps):
    """Ten thousand orders of one message kept every other sender waiting for a minute."""
    before = (PID, "SCH|A1", "RGS|1") if kind.startswith("SIU") else (PID,)
    many = message(*before, *steps * (MAXIMUM_STEPS + 1), kind=kind)
    with pytest.raises(Refusal, match="more than"):
        commands(many, DEFAULT)
