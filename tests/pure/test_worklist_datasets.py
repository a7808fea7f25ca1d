"""Modality Worklist identifiers: odd forms of queries, responses that modalities accept."""

from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from santepacs.errors import Malformed
from santepacs.model.order import StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.settings import Settings
from santepacs.worklist.datasets import query_from_dataset, response_dataset

RECORD = WorklistRecord(
    patient_id="ID7",
    patient_name="Doe^Jane",
    patient_birth_date="19700102",
    patient_sex="F",
    accession_number="P100",
    study_instance_uid="1.2.3",
    requested_procedure_description="CT HEAD",
    modality="CT",
    scheduled_station_ae_title="CT_ONE",
    start_date="20260304",
    start_time="093000",
    technician_name="Tech",
    scheduled_procedure_step_id="S1",
    requested_procedure_id="R1",
)


def step(**keys):
    item = Dataset()
    for keyword, value in keys.items():
        setattr(item, keyword, value)
    return item


def request(*items, **keys):
    ds = step(**keys)
    ds.ScheduledProcedureStepSequence = Sequence(items)
    return ds


def asked(ds, own=False):
    settings = Settings()
    settings.worklist = replace(settings.worklist, station_from_calling_ae=own)
    return query_from_dataset(ds, "CT_ME ", settings)


def encoded(ds):
    """The dataset after a trip over the wire (Implicit VR Little Endian)."""
    buffer = BytesIO()
    dcmwrite(buffer, ds, implicit_vr=True, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


@pytest.mark.parametrize("ds", [Dataset(), request(), request(Dataset())])
def test_an_absent_or_empty_sequence_asks_for_every_step(ds):
    assert asked(ds) == WorklistQuery(steps=(StepQuery(),))


def test_the_matching_keys():
    query = asked(
        request(
            step(
                ScheduledStationAETitle=" CT_ONE ",
                Modality="ct",
                ScheduledProcedureStepStartDate="20260304",
                ScheduledPerformingPhysicianName="Tech*",
                ScheduledProcedureStepID="S1",
                ScheduledProcedureStepStatus="STARTED",
            ),
            PatientName="D*^J?ne",
            PatientID="ID7",
            AccessionNumber="P100 ",
            RequestedProcedureID="R1",
            PatientBirthDate="19700102",
            PatientSex="f",
            StudyInstanceUID=["1.2.3", "1.2.4"],
        )
    )
    assert query == WorklistQuery(
        patient_name="D*^J?ne",
        patient_id="ID7",
        accession_number="P100",
        requested_procedure_id="R1",
        patient_birth_date_from="19700102",
        patient_birth_date_to="19700102",
        patient_sex="F",
        study_instance_uids=("1.2.3", "1.2.4"),
        steps=(
            StepQuery(
                station_ae_titles=("CT_ONE",),
                modalities=("CT",),
                start_date_from="20260304",
                start_date_to="20260304",
                technician_name="Tech*",
                step_id="S1",
                statuses=(StepStatus.STARTED,),
            ),
        ),
    )


def test_several_items_are_alternatives():
    query = asked(request(step(Modality="CT"), step(Modality="MR")))
    assert [one.modalities for one in query.steps] == [("CT",), ("MR",)]


def test_too_many_items_are_refused():
    with pytest.raises(Malformed):
        asked(request(*[Dataset() for _ in range(11)]))


@pytest.mark.parametrize(
    "value, low, high",
    [
        ("20260304", "20260304", "20260304"),
        ("20260304-20260305", "20260304", "20260305"),
        ("20260304-", "20260304", ""),
        ("-20260305", "", "20260305"),
        ("2026.03.04", "20260304", "20260304"),
        ("20260304 - 20260305", "20260304", "20260305"),
        ("-", "", ""),
        ("*", "", ""),
        ("", "", ""),
    ],
)
def test_dates(value, low, high):
    item = Dataset()
    item.add_new(0x00400002, "LO", value)
    (one,) = asked(request(item)).steps
    assert (one.start_date_from, one.start_date_to, one.combined) == (low, high, False)


@pytest.mark.parametrize(
    "value", ["2026", "20260230", "today", "20260304093000", "20260304\\20260305"]
)
def test_impossible_dates_are_refused_by_name(value):
    item = Dataset()
    item.add_new(0x00400002, "LO", value)
    with pytest.raises(Malformed, match="ScheduledProcedureStepStartDate"):
        asked(request(item))


@pytest.mark.parametrize(
    "value, low, high",
    [
        ("093000", "093000", "093000"),
        ("0930", "093000", "093059"),
        ("09", "090000", "095959"),
        ("08-12", "080000", "125959"),
        ("0800-", "080000", ""),
        ("-1200", "", "120059"),
        ("080000.0000-120000.9999", "080000", "120000"),
        ("08:00-12:00", "080000", "120059"),
    ],
)
def test_times(value, low, high):
    item = Dataset()
    item.add_new(0x00400003, "LO", value)
    (one,) = asked(request(item)).steps
    assert (one.start_time_from, one.start_time_to, one.combined) == (low, high, False)


@pytest.mark.parametrize(
    "day, time, combined",
    [
        ("20260304-20260305", "0800-1200", True),
        ("20260304-", "0800-", True),
        ("20260304", "0800-1200", False),
        ("20260304-20260305", "", False),
        ("", "0800-1200", False),
        ("20260304-20260305", "-", False),
    ],
)
def test_ranges_of_date_and_time_are_one_interval(day, time, combined):
    item = Dataset()
    item.add_new(0x00400002, "LO", day)
    item.add_new(0x00400003, "LO", time)
    (one,) = asked(request(item)).steps
    assert one.combined is combined


@pytest.mark.parametrize("station", [None, "", "*"])
def test_the_calling_ae_stands_for_an_empty_station(station):
    ds = request(step(ScheduledStationAETitle=station))
    assert asked(ds, own=True).steps[0].station_ae_titles == ("CT_ME",)
    assert asked(ds).steps[0].station_ae_titles == ()


def test_a_named_station_is_kept():
    ds = request(step(ScheduledStationAETitle="MR1"))
    assert asked(ds, own=True).steps[0].station_ae_titles == ("MR1",)


def test_names_are_read_in_the_request_s_own_set():
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 126"
    ds.PatientName = "Παπαδ*"
    assert asked(encoded(ds)).patient_name == "Παπαδ*"


def test_an_endless_key_is_refused():
    with pytest.raises(Malformed):
        asked(request(PatientID="*" + "x" * 300))


def test_exactly_the_asked_attributes_and_one_step_are_returned():
    ds = request(
        step(Modality="", ScheduledStationAETitle=""),
        PatientName="",
        PatientID="",
        PatientWeight=None,
        PregnancyStatus=None,
        ReferencedStudySequence=[],
        ReferringPhysicianName="",
    )
    response = encoded(response_dataset(RECORD, encoded(ds)))
    assert {element.keyword for element in response} == {
        "PatientName",
        "PatientID",
        "PatientWeight",
        "PregnancyStatus",
        "ReferencedStudySequence",
        "ReferringPhysicianName",
        "ScheduledProcedureStepSequence",
    }
    assert response.PatientName == "Doe^Jane"
    assert response["PregnancyStatus"].is_empty
    (item,) = response.ScheduledProcedureStepSequence
    assert {element.keyword: element.value for element in item} == {
        "Modality": "CT",
        "ScheduledStationAETitle": "CT_ONE",
    }


@pytest.mark.parametrize("ds", [Dataset(), request(), request(Dataset())])
def test_without_keys_of_the_step_all_of_it_is_returned(ds):
    (item,) = response_dataset(RECORD, ds).ScheduledProcedureStepSequence
    assert item.ScheduledProcedureStepStartDate == "20260304"
    assert item.ScheduledProcedureStepStartTime == "093000"
    assert item.ScheduledProcedureStepID == "S1"
    assert item.ScheduledProcedureStepStatus == "SCHEDULED"
    assert item.ScheduledProcedureStepDescription == "CT HEAD"


def test_several_items_still_give_one_step_with_the_keys_of_all():
    ds = request(step(Modality=""), step(ScheduledProcedureStepID=""))
    (item,) = response_dataset(RECORD, ds).ScheduledProcedureStepSequence
    assert {element.keyword for element in item} == {"Modality", "ScheduledProcedureStepID"}


def test_nothing_of_type_1_is_empty():
    bare = WorklistRecord(
        patient_id="ID7", patient_name="Doe", accession_number="P1", start_date="20260304"
    )
    ds = request(RequestedProcedureID="", RequestedProcedureDescription="", StudyInstanceUID="")
    response = response_dataset(bare, ds)
    assert response.RequestedProcedureID == "P1"
    assert response.RequestedProcedureDescription
    assert "StudyInstanceUID" not in response
    (item,) = response.ScheduledProcedureStepSequence
    for keyword in (
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepDescription",
    ):
        assert not item[keyword].is_empty, keyword


def test_code_sequences_are_absent_rather_than_empty():
    ds = request(step(ScheduledProtocolCodeSequence=[]), RequestedProcedureCodeSequence=[])
    response = response_dataset(RECORD, ds)
    assert "RequestedProcedureCodeSequence" not in response
    (item,) = response.ScheduledProcedureStepSequence
    assert "ScheduledProtocolCodeSequence" not in item


@pytest.mark.parametrize(
    "status, term",
    [(StepStatus.STARTED, "STARTED"), (StepStatus.COMPLETED, ""), (StepStatus.HELD, "")],
)
def test_only_the_standard_s_terms_are_returned_as_status(status, term):
    (item,) = response_dataset(
        replace(RECORD, step_status=status), request(step(ScheduledProcedureStepStatus=""))
    ).ScheduledProcedureStepSequence
    assert (item.ScheduledProcedureStepStatus or "") == term


@pytest.mark.parametrize(
    "name, charset",
    [
        ("Doe^Jane", None),
        ("Müller^Jörg", "ISO_IR 100"),
        ("Παπαδοπουλου^Μαρια", "ISO_IR 192"),
        ("山田^太郎", "ISO_IR 192"),
    ],
)
@pytest.mark.parametrize("own", [{}, {"SpecificCharacterSet": ""}])
def test_the_character_set_is_always_told_when_text_is_not_ascii(name, charset, own):
    record = replace(RECORD, patient_name=name, technician_name=name)
    ds = request(step(ScheduledPerformingPhysicianName=""), PatientName="", **own)
    response = encoded(response_dataset(record, ds))
    assert response.get("SpecificCharacterSet") == charset
    assert response.PatientName == name
    (item,) = response.ScheduledProcedureStepSequence
    assert item.ScheduledPerformingPhysicianName == name


def test_text_that_is_not_returned_needs_no_character_set():
    record = replace(RECORD, requested_procedure_description="Κοιλιά")
    response = response_dataset(record, request(step(Modality=""), PatientName=""))
    assert "SpecificCharacterSet" not in response


def test_private_and_unknown_attributes_are_left_out():
    ds = request(step(Modality=""))
    ds.add_new(0x00091010, "LO", "x")
    ds.add_new(0x00100000, "UL", 4)
    assert {element.keyword for element in response_dataset(RECORD, ds)} == {
        "ScheduledProcedureStepSequence"
    }
