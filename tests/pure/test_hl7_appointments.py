"""Scheduling messages: numbers, start, services, resources, cancellation."""

import pytest

from santepacs.hl7.commands import commands
from santepacs.hl7.message import parse
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import Action, StepStatus, WorklistRecord
from santepacs.worklist.mapping import DEFAULT

PID = "PID|1||ID7^^^CITY||Doe^Jane||19700102|F"
SCH = "SCH|AP1^RIS|AF1^RIS|||||||||^^30^202603040930^202603041000" + "|" * 14 + "Booked"
RGS = "RGS|1|A"
AIS = "AIS|1|A|CT01^CT HEAD^L"
AIL = "AIL|1|A|ROOM 1^^^CITY"
AIP = "AIP|1|A|7^Roe^Rita^^^Dr|TECH"


def message(event, *segments):
    header = f"MSH|^~\\&|RIS|RAD|PACS|RAD|20260102||SIU^{event}|77|P|2.5.1"
    return parse("\r".join((header, *segments, "")).encode())


def steps(event, *segments):
    return commands(message(event, *segments), DEFAULT)


def refused(event, *segments):
    with pytest.raises(Refusal) as caught:
        steps(event, *segments)
    return caught.value.code, caught.value.location


def test_an_appointment_is_a_scheduled_step():
    (command,) = steps("S12", SCH, PID, RGS, AIS, AIL, AIP)
    assert command.action is Action.PLACE
    assert command.record == WorklistRecord(
        patient_id="ID7",
        patient_issuer="CITY",
        patient_name="Doe^Jane",
        patient_birth_date="19700102",
        patient_sex="F",
        accession_number="AP1",
        status="Booked",
        requested_procedure_description="CT HEAD",
        requested_procedure_id="CT01",
        scheduled_procedure_step_id="CT01",
        scheduled_procedure_step_location="ROOM 1",
        technician_name="Roe^Rita^^Dr",
        start_date="20260304",
        start_time="093000",
        sending_application="RIS",
        sending_facility="RAD",
        placer_order_number="AP1",
        filler_order_number="AF1",
    )


@pytest.mark.parametrize(
    "event, action, status",
    [
        ("S12", Action.PLACE, StepStatus.SCHEDULED),
        ("S13", Action.CHANGE, StepStatus.SCHEDULED),
        ("S14", Action.CHANGE, StepStatus.SCHEDULED),
        ("S15", Action.MOVE, StepStatus.CANCELED),
        ("S16", Action.MOVE, StepStatus.DISCONTINUED),
        ("S17", Action.MOVE, StepStatus.CANCELED),
        ("S26", Action.MOVE, StepStatus.CANCELED),
    ],
)
def test_what_each_event_does(event, action, status):
    (command,) = steps(event, SCH, PID, RGS, AIS)
    assert (command.action, command.record.step_status) == (action, status)
    assert command.record.placer_order_number == "AP1"


def test_a_cancellation_is_one_command_however_many_services_there_are():
    (command,) = steps("S15", SCH, PID, RGS, AIS, AIS)
    assert command.action is Action.MOVE


def test_each_service_is_a_step_with_the_resources_of_its_group():
    found = steps(
        "S12",
        SCH,
        PID,
        *("RGS|1", "AIS|1||A^Head", "AIS|2||B^Body", "AIL|1||ROOM 1"),
        *("RGS|2", "AIS|1||C^Leg|202603051100", "AIL|1||ROOM 2"),
    )
    records = [command.record for command in found]
    assert [record.scheduled_procedure_step_id for record in records] == ["A", "B", "C"]
    rooms = [record.scheduled_procedure_step_location for record in records]
    assert rooms == ["ROOM 1", "ROOM 1", "ROOM 2"]
    assert {record.placer_order_number for record in records} == {"AP1"}


@pytest.mark.parametrize(
    "segments, date, time",
    [
        ([SCH, PID, "AIS|1||A|202603051100"], "20260304", "093000"),
        (["SCH|AP1", PID, "AIS|1||A|202603051100"], "20260305", "110000"),
        (["SCH|AP1", "TQ1|1||||||202603061200", PID, "AIS|1||A"], "20260306", "120000"),
        (["SCH|AP1", PID, "AIS|1||A", "AIL|1||R|||202603071300"], "20260307", "130000"),
        (["SCH|AP1", PID, "AIP|1||7^Roe|||202603081400"], "20260308", "140000"),
        (["SCH|AP1", PID, "OBR|1|||A||20260309"], "", ""),
    ],
)
def test_the_start_is_found_where_senders_put_it(segments, date, time):
    record = steps("S12", *segments)[0].record
    assert (record.start_date, record.start_time) == (date, time)


def test_a_request_that_a_site_sends_with_it_is_read_by_the_mapping():
    obr = "OBR|1|P5||CT05^CT BODY||||||||||||Dr Roe||CT|||CT_ONE"
    for segments in ((SCH, PID, obr, RGS, AIL), (SCH, PID, RGS, AIL, obr)):
        (command,) = steps("S12", *segments)
        record = command.record
        assert (record.modality, record.scheduled_station_ae_title) == ("CT", "CT_ONE")
        assert record.requested_procedure_description == "CT BODY"
        assert record.scheduled_procedure_step_location == "ROOM 1"
        assert (record.accession_number, record.placer_order_number) == ("P5", "AP1")
    both = (SCH, PID, obr, RGS, AIS)
    assert [c.record.modality for c in steps("S12", *both)] == ["CT"]


def test_each_request_is_a_step_where_there_is_no_service():
    found = steps("S12", SCH, PID, "OBR|1|||A^Head", "OBR|2|||B^Body", RGS, AIL)
    assert [c.record.scheduled_procedure_step_id for c in found] == ["A", "B"]
    assert {c.record.scheduled_procedure_step_location for c in found} == {"ROOM 1"}


def test_an_appointment_for_an_order_has_the_numbers_of_the_order():
    sch = SCH + "|P9^HIS|F9^RIS"
    (command,) = steps("S12", sch, PID, AIS)
    numbers = command.record.placer_order_number, command.record.filler_order_number
    assert numbers == ("P9", "F9")


def test_an_appointment_of_one_step_needs_no_resources():
    (command,) = steps("S12", "SCH||AF1|||||Checkup|||^^^202603040930", PID)
    record = command.record
    assert (record.accession_number, record.filler_order_number) == ("AF1", "AF1")
    assert record.requested_procedure_description == "Checkup"
    assert record.requested_procedure_id == "AF1"


@pytest.mark.parametrize("number, accession", [("7" * 16, "7" * 16), ("7" * 17, "")])
def test_a_number_that_does_not_fit_is_no_accession_number(number, accession):
    (command,) = steps("S12", f"SCH|{number}", PID, AIS)
    assert command.record.accession_number == accession


@pytest.mark.parametrize(
    "event, segments, code, location",
    [
        ("S12", [PID, AIS], "100", "SCH^1"),
        ("S12", ["SCH|", PID, AIS], "101", "SCH^1^1"),
        ("S12", [SCH, AIS], "100", "PID^1"),
        ("S15", [SCH], "100", "PID^1"),
        ("S12", [SCH, "PID|1||||Doe^Jane", AIS], "101", "PID^1^3"),
        ("S12", [SCH, "PID|1||ID7", AIS], "101", "PID^1^5"),
        ("S12", [SCH, PID, PID, AIS], "100", "PID^2"),
        ("S12", [f"SCH|{'7' * 200}", PID, AIS], "102", "SCH^1^1"),
        ("S12", ["SCH|AP1", PID, "AIS|1||A|TOMORROW"], "102", "AIS^1^4"),
        ("S23", [SCH, PID], "201", "MSH^1^9^1^2"),
        ("", [SCH, PID], "201", "MSH^1^9^1^2"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_place(event, segments, code, location):
    assert refused(event, *segments) == (code, location)


def test_a_cancellation_needs_no_name():
    (command,) = steps("S15", SCH, "PID|1||ID7")
    assert command.record.patient_id == "ID7"
