"""Patient messages: what is brought up to date, merged, renumbered, and what is only heard."""

import pytest

from santepacs.hl7.commands import commands
from santepacs.hl7.message import parse
from santepacs.hl7.refusal import Refusal
from santepacs.model.order import PatientAction, PatientCommand, WorklistRecord
from santepacs.worklist.mapping import DEFAULT, FieldMapping, Row

PID = "PID|1||ID7^^^CITY||Doe^Jane^Q^^Dr||19700102|F"
MRG = "MRG|ID6^^^CITY"


def message(event, *segments):
    header = f"MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ADT^{event}|77|P|2.5.1"
    return parse("\r".join((header, f"EVN|{event}", *segments, "")).encode())


def told(event, *segments, rows=DEFAULT):
    """The only command of a message."""
    (command,) = commands(message(event, *segments), rows)
    assert isinstance(command, PatientCommand)
    return command


def refused(event, *segments):
    with pytest.raises(Refusal) as caught:
        commands(message(event, *segments), DEFAULT)
    return caught.value.code, caught.value.location


@pytest.mark.parametrize(
    "event", ["A01", "A02", "A03", "A04", "A05", "A06", "A07", "A08", "A28", "A31"]
)
def test_a_patient_is_brought_up_to_date(event):
    command = told(event, PID, "PV1|1|I", "AL1|1||^Latex")
    assert command.action is PatientAction.UPDATE
    assert command.record == WorklistRecord(
        patient_id="ID7",
        patient_issuer="CITY",
        patient_name="Doe^Jane^Q^Dr",
        patient_birth_date="19700102",
        patient_sex="F",
        allergies="Latex",
        sending_application="HIS",
        sending_facility="WARD",
    )


def test_an_old_sender_names_the_event_in_evn_alone():
    header = "MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ADT|77|P|2.2"
    (command,) = commands(parse("\r".join((header, "EVN|A08", PID)).encode()), DEFAULT)
    assert command.action is PatientAction.UPDATE


def test_an_arrival_is_one():
    command = told("A10", PID)
    assert command.action is PatientAction.ARRIVE
    assert command.record.patient_id == "ID7"


@pytest.mark.parametrize("event", ["A11", "A12", "A13", "A38", "A14", "A16", "A17", "A32", "A54"])
def test_cancels_and_what_is_about_beds_change_nothing(event):
    command = told(event, PID, MRG)
    assert command.action is PatientAction.NOTHING
    assert (command.record.patient_id, command.record.patient_issuer) == ("ID7", "CITY")
    assert command.record.patient_name == ""
    assert told(event).record.patient_id == ""


@pytest.mark.parametrize("event", ["A18", "A34", "A36", "A40"])
def test_a_merge_names_who_stays_and_who_was(event):
    command = told(event, PID, MRG)
    assert command.action is PatientAction.MERGE
    assert (command.record.patient_id, command.record.patient_issuer) == ("ID7", "CITY")
    assert (command.prior_patient_id, command.prior_issuer) == ("ID6", "CITY")


def test_a_new_number_is_no_merge():
    command = told("A47", PID, MRG)
    assert command.action is PatientAction.RENUMBER
    assert command.prior_patient_id == "ID6"


@pytest.mark.parametrize(
    "mrg, prior",
    [
        ("MRG|ID6", ("ID6", "")),
        ("MRG|OTHER^^^TOWN~ID6^^^CITY", ("ID6", "CITY")),
        ("MRG|ID5^^^TOWN~ID4^^^LAND", ("ID5", "TOWN")),
        ("MRG|~ID6^^^TOWN", ("ID6", "TOWN")),
        ("MRG|ID7^^^TOWN", ("ID7", "TOWN")),
    ],
)
def test_of_several_prior_identifiers_the_one_of_the_same_issuer_is_meant(mrg, prior):
    command = told("A40", PID, mrg)
    assert (command.prior_patient_id, command.prior_issuer) == prior


def test_a_merge_may_name_several_patients():
    other = PID.replace("ID7", "ID9")
    found = commands(message("A40", PID, MRG, other, "MRG|ID8^^^CITY"), DEFAULT)
    pairs = [(command.record.patient_id, command.prior_patient_id) for command in found]
    assert pairs == [("ID7", "ID6"), ("ID9", "ID8")]


@pytest.mark.parametrize(
    "event, segments, code, location",
    [
        ("A08", [], "100", "PID^1"),
        ("A08", ["PID|1||||Doe^Jane"], "101", "PID^1^3"),
        ("A08", ['PID|1||""||Doe^Jane'], "101", "PID^1^3"),
        ("A08", [PID, PID], "100", "PID^2"),
        ("A08", [f"PID|1||{'7' * 65}"], "102", "PID^1^3"),
        ("A40", [], "100", "PID^1"),
        ("A40", [PID], "100", "MRG^1"),
        ("A40", [PID, "MRG|"], "101", "MRG^1^1"),
        ("A40", [PID, 'MRG|""'], "101", "MRG^1^1"),
        ("A40", [PID, f"MRG|{'7' * 65}"], "102", "MRG^1^1"),
        ("A40", [PID, "MRG|ID7^^^CITY"], "205", "MRG^1^1"),
        ("A40", [PID, "MRG|ID7"], "205", "MRG^1^1"),
        ("A47", [PID, "MRG|ID7^^^CITY"], "205", "MRG^1^1"),
        ("A40", [PID, MRG, PID, "MRG|ID7"], "205", "MRG^2^1"),
        ("A40", [PID, MRG, PID], "100", "MRG^2"),
        ("A24", [PID, PID], "201", "MSH^1^9^1^2"),
        ("A99", [PID], "201", "MSH^1^9^1^2"),
        ("", [PID], "201", "MSH^1^9^1^2"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_place(event, segments, code, location):
    assert refused(event, *segments) == (code, location)


def test_hl7_null_deletes():
    command = told("A31", 'PID|1||ID7||Doe^Jane||""', 'AL1|1||""')
    assert command.cleared == {"patient_birth_date", "allergies"}


def test_the_patient_is_read_as_the_mapping_says():
    rows = FieldMapping((Row("patient_id", "PID", 2), *DEFAULT.rows))
    assert told("A08", "PID|1|OTHER|ID7||Doe^Jane", rows=rows).record.patient_id == "OTHER"


def test_a_start_that_is_unusable_is_no_business_of_a_patient_message():
    assert told("A08", PID, "ORC|NW|1||||||||||||TOMORROW").record.patient_id == "ID7"
