"""The form of a worklist record: what is typed becomes a record, or a reason at its field."""

from dataclasses import replace

import pytest

from santepacs.model.order import FIELDS, WorklistRecord
from santepacs.web import worklist_form
from santepacs.web.worklist_form import GROUPS, filled, label, read, shown_time

FULL = {"patient_id": "P1", "patient_name": "Doe^Jane", "requested_procedure_id": "R1"}


def test_every_field_stands_in_one_group():
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(FIELDS)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("patient_id", "Patient ID"), ("study_instance_uid", "Study Instance UID"),
        ("scheduled_station_ae_title", "Scheduled Station AE Title"),
        ("patient_birth_date", "Patient Birth Date"), ("status", "Status"),
    ],
)  # fmt: skip
def test_fields_have_names_for_people(name, expected):
    assert label(name) == expected


@pytest.mark.parametrize(
    ("name", "typed", "kept"),
    [
        ("patient_name", "Doe, Jane", "Doe^Jane"), ("patient_name", "Doe^Jane", "Doe^Jane"),
        ("patient_name", "O'Neil, A, B", "O'Neil, A, B"),
        ("patient_name", "Yamada^Tarou=山田^太郎", "Yamada^Tarou=山田^太郎"),
        ("patient_birth_date", "1961-03-04", "19610304"), ("patient_birth_date", "19610304",
                                                           "19610304"),
        ("modality", "ct", "CT"), ("accession_number", "  A1 ", "A1"),
        ("requested_procedure_priority", "stat", "STAT"), ("patient_sex", "f", "F"),
    ],
)  # fmt: skip
def test_what_people_write_becomes_what_dicom_has(name, typed, kept):
    form, record = read({**FULL, name: typed}, WorklistRecord())
    assert form.problems == {}
    assert getattr(record, name) == kept


@pytest.mark.parametrize(
    ("typed", "kept"), [("14:30", "143000"), ("14:30:15", "143015"), ("1430", "143000")]
)
def test_times_are_read_with_and_without_seconds(typed, kept):
    _, record = read({**FULL, "start_date": "2026-11-21", "start_time": typed}, WorklistRecord())
    assert record.start_time == kept


@pytest.mark.parametrize(
    ("value", "shown"),
    [("143000", "14:30"), ("143015", "14:30:15"), ("", ""), ("2500", "2500"), ("1430", "14:30")],
)
def test_times_are_shown_as_browsers_have_them(value, shown):
    assert shown_time(value) == shown


def test_a_record_that_was_not_touched_comes_back_as_it_was():
    record = WorklistRecord(
        **FULL, patient_birth_date="19610304", start_date="20261121", start_time="101530",
        study_instance_uid="1.2.3", scheduled_procedure_step_comments="one\r\ntwo",
        placer_order_number="PL1", sending_application="RIS",
    )  # fmt: skip
    form, again = read(filled(record).values, record)
    assert form.problems == {}
    assert again == record


def test_all_that_is_wrong_is_said_at_once_and_kept_as_typed():
    form, record = read({"patient_id": "x" * 70, "start_time": "noon"}, WorklistRecord())
    assert set(form.problems) == {
        "patient_id", "patient_name", "requested_procedure_id", "start_time"}  # fmt: skip
    assert form.values["start_time"] == "noon"
    assert record.patient_id == ""


def test_what_others_stored_is_told_as_the_form_shows_it():
    stored = WorklistRecord(**FULL, start_date="20261121", modality="CT")
    typed = replace(stored, start_date="20261122", modality="CT")
    assert worklist_form.differences(stored, typed) == {"start_date": "2026-11-21"}


def test_what_is_very_long_is_cut_before_it_is_looked_at():
    form, _ = read({"patient_id": "x" * 1_000_000}, WorklistRecord())
    assert len(form.values["patient_id"]) == worklist_form.MAXIMUM_TYPED
