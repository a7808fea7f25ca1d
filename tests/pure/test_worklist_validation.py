"""What a person may write into a worklist record, and what is said where it is not legal."""

import pytest

from santepacs.errors import Malformed
from santepacs.model.order import FIELDS, MANDATORY, WorklistRecord
from santepacs.worklist.validation import checked

GOOD = {
    "patient_id": "ID7",
    "patient_name": "Παπαδοπουλου^Μαρια",
    "requested_procedure_id": "CT01",
    "start_date": "20260304",
    "start_time": "093000",
}


def test_a_record_with_what_is_mandatory_is_taken_without_spaces_around_its_values():
    record = checked(WorklistRecord(**GOOD | {"patient_id": "  ID7 ", "modality": " CT "}))
    assert (record.patient_id, record.modality) == ("ID7", "CT")


@pytest.mark.parametrize("name", MANDATORY)
@pytest.mark.parametrize("value", ["", "   "])
def test_what_is_mandatory_is_named_when_it_is_missing(name, value):
    with pytest.raises(Malformed) as caught:
        checked(WorklistRecord(**GOOD | {name: value}))
    assert str(caught.value) == f"{FIELDS[name].label} is missing"


@pytest.mark.parametrize(
    "name, value",
    [
        ("patient_id", "x" * 65),
        ("patient_id", "a\\b"),
        ("patient_id", "a\x00b"),
        ("patient_id", "a\nb"),
        ("patient_name", "a^b^c^d^e^f"),
        ("patient_name", "a=b=c=d"),
        ("patient_name", "x" * 65),
        ("patient_name", "Doe\\Jane"),
        ("patient_birth_date", "20260230"),
        ("patient_birth_date", "2026-01-02"),
        ("patient_birth_date", "202601021"),
        ("patient_sex", "W"),
        ("accession_number", "x" * 17),
        ("study_instance_uid", "1.2.03"),
        ("study_instance_uid", "../../x"),
        ("study_instance_uid", "1." + "2" * 64),
        ("modality", "ct"),
        ("modality", "CT\\MR"),
        ("scheduled_station_ae_title", "x" * 17),
        ("scheduled_station_ae_title", "ΑΞΟΝΙΚΟΣ"),
        ("start_date", "today"),
        ("start_time", "0930"),
        ("start_time", "240000"),
        ("start_time", "096000"),
        ("scheduled_procedure_step_comments", "a\x07b"),
        ("scheduled_procedure_step_comments", "x" * 10_241),
        ("requested_procedure_priority", "URGENT"),
    ],
)
def test_a_value_that_dicom_does_not_allow_is_named_by_its_label(name, value):
    with pytest.raises(Malformed) as caught:
        checked(WorklistRecord(**GOOD | {name: value}))
    assert str(caught.value).startswith(FIELDS[name].label + " must")
    assert value not in str(caught.value)


@pytest.mark.parametrize(
    "name, value",
    [
        ("patient_name", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("patient_sex", "O"),
        ("modality", "OT"),
        ("scheduled_procedure_step_comments", "two\r\nlines \\ with anything"),
        ("requested_procedure_priority", "STAT"),
        ("scheduled_station_ae_title", "CT ONE_1"),
        ("study_instance_uid", "2.25.1"),
    ],
)
def test_legal_values_stay_as_they_are(name, value):
    assert getattr(checked(WorklistRecord(**GOOD | {name: value})), name) == value


def test_a_start_time_needs_its_date():
    with pytest.raises(Malformed, match="START DATE is missing"):
        checked(WorklistRecord(**GOOD | {"start_date": ""}))


@pytest.mark.parametrize("value", ["x" * 200, "a\rb"])
def test_numbers_and_senders_are_bounded(value):
    with pytest.raises(Malformed, match="placer order number"):
        checked(WorklistRecord(**GOOD, placer_order_number=value))
