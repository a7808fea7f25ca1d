"""What the data set of a performed step tells, and which worklist records it stands for."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from pydicom.dataset import Dataset
from pynetdicom.dsutils import encode

from santepacs.archive.walk import Excessive
from santepacs.db.orders import StoredRecord
from santepacs.dicom import performed
from santepacs.dicom.elements import Encoding
from santepacs.dicom.nested import DataSet
from santepacs.dicom.procedure import OF_CREATE, OF_SET, Answer, answer_to
from santepacs.errors import Conflict, Malformed, NotFound, Unavailable
from santepacs.model.order import StepStatus, WorklistRecord
from santepacs.model.performed import ArrivingStudy, PerformedStep, ScheduledItem
from santepacs.worklist import steps
from support.procedures import begun, series

IMPLICIT, EXPLICIT, BIG = Encoding(True, False), Encoding(False, False), Encoding(False, True)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def encoded(data_set, encoding):
    return encode(data_set, encoding.implicit, not encoding.big_endian)


# --- reading


@pytest.mark.parametrize("encoding", [IMPLICIT, EXPLICIT, BIG])
def test_a_new_step_is_read(encoding):
    data_set = begun(PerformedSeriesSequence=series(2, 0, 5), PatientSex="f")
    step = performed.begun(encoded(data_set, encoding), encoding, "1.2.3", "CT1")
    assert step.scheduled == (
        ScheduledItem(
            study_instance_uid="1.2.826.0.1.3680043.8.498.7",
            accession_number="A1",
            requested_procedure_id="R1",
            scheduled_procedure_step_id="S1",
        ),
    )
    assert (step.sop_instance_uid, step.ae_title, step.patient_sex) == ("1.2.3", "CT1", "F")
    assert (step.series_count, step.instance_count) == (3, 7)


def test_a_whole_item_in_implicit_vr_is_read():
    """As some devices write them within Explicit VR."""
    inner = encoded(begun().ScheduledStepAttributesSequence[0], IMPLICIT)
    items = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    sequence = b"\x40\x00\x70\x02SQ\0\0" + len(items).to_bytes(4, "little") + items
    rest = encoded(begun(ScheduledStepAttributesSequence=None), EXPLICIT)
    step = performed.begun(sequence + rest, EXPLICIT, "", "CT1")
    assert step.scheduled[0].accession_number == "A1"


def test_only_what_is_there_is_changed():
    data_set = Dataset()
    data_set.PerformedProcedureStepEndDate = "20261121"
    update = performed.changed(encoded(data_set, IMPLICIT), IMPLICIT, "1.2.3", "CT1", "")
    assert update.state is None and update.changes == {"end_date": "20261121"}


def test_why_it_was_given_up_is_read():
    data_set, reason = Dataset(), Dataset()
    reason.CodeMeaning = "Patient refused"
    data_set.PerformedProcedureStepStatus = "discontinued "
    data_set.PerformedProcedureStepDiscontinuationReasonCodeSequence = [reason]
    update = performed.changed(encoded(data_set, IMPLICIT), IMPLICIT, "1.2.3", "CT1", "")
    assert update.state == "DISCONTINUED"
    assert update.changes == {"discontinuation_reason": "Patient refused"}


def test_too_many_elements_are_refused():
    with pytest.raises(Excessive):
        DataSet(b"\x09\x00\x01\x10\0\0\0\0" * 11, IMPLICIT, 10)


def test_a_value_is_cut_where_the_reader_wants_it():
    data_set = DataSet(encoded(begun(), IMPLICIT), IMPLICIT, 100)
    span = data_set.top[0x00100010]
    assert data_set.value(span, 3) == b"Doe"


@pytest.mark.parametrize(
    ("error", "created", "set_"),
    [
        (performed.MissingAttribute(""), 0x0120, 0x0120),
        (performed.MissingValue(""), 0x0121, 0x0121),
        (performed.InvalidValue(""), 0x0106, 0x0106),
        (Excessive(""), 0x0213, 0x0213),
        (Malformed(""), 0x0110, 0x0110),
        (Conflict(""), 0x0111, 0x0110),
        (NotFound(""), 0x0112, 0x0112),
        (Unavailable(""), 0x0110, 0x0110),
        (RuntimeError(""), 0x0110, 0x0110),
    ],
)
def test_each_error_has_its_status(error, created, set_):
    assert (answer_to(error, OF_CREATE), answer_to(error, OF_SET)) == (created, set_)
    assert isinstance(answer_to(error, OF_CREATE), Answer)


# --- matching a performed step

RECORD = WorklistRecord(
    patient_id="P1",
    accession_number="A1",
    study_instance_uid="1.2.1",
    modality="CT",
    start_date="20261121",
    scheduled_procedure_step_id="S1",
    requested_procedure_id="R1",
)
STEP = PerformedStep(patient_id="P1", modality="CT", start_date="20261121")


def worklist(*changes):
    return [
        StoredRecord(number, replace(RECORD, **change), NOW, NOW)
        for number, change in enumerate(changes)
    ]


def found(item, *changes, step=STEP):
    return [one.id for one in steps.of_item(item, step, worklist(*changes))]


@pytest.mark.parametrize(
    ("item", "changes", "expected"),
    [
        # Study and step ID.
        (("1.2.1", "", "S1"), ({}, {"scheduled_procedure_step_id": "S2"}), [0]),
        (("1.2.1", "", "S2"), ({}, {"scheduled_procedure_step_id": "S2"}), [1]),
        # Two procedures under one step ID: neither vanishes for the other.
        (("1.2.1", "", "S1"), ({}, {}), []),
        # The ID that the worklist gives out for a step that has none.
        (("1.2.1", "", "R1"), ({"scheduled_procedure_step_id": ""}, {}), [0]),
        # Longer than an SH: given out cut.
        (("1.2.1", "", "x" * 16), ({"scheduled_procedure_step_id": "x" * 20}, {}), [0]),
        # The study alone, if that is one record; else the one of this modality.
        (("1.2.1", "", "else"), ({},), [0]),
        (("1.2.1", "", ""), ({}, {"modality": "US"}), [0]),
        (("1.2.1", "", ""), ({}, {}), []),
        (("1.2.1", "", ""), ({"step_status": StepStatus.CANCELED}, {}), [1]),
        # The patient is not looked at: a study is one in the world.
        (("1.2.1", "", "S1"), ({"patient_id": "P2"},), [0]),
        # Accession number and step ID, then the accession number.
        (("1.2.9", "A1", "S1"), ({}, {"scheduled_procedure_step_id": "S2"}), [0]),
        (("1.2.9", "A1", ""), ({},), [0]),
        (("1.2.9", "A1", ""), ({}, {}), []),
        (("1.2.9", "A1", "S1"), ({"patient_id": "P2"},), []),
        (("1.2.9", "A1", "S1"), ({"patient_id": "P2"}, {}), [1]),
        # Nothing names nothing.
        (("", "", ""), ({"study_instance_uid": "", "accession_number": ""},), []),
        (("1.2.9", "A9", "S1"), ({},), []),
        # The study decides, whatever the accession number says.
        (("1.2.1", "A2", "S1"), ({}, {"accession_number": "A2", "study_instance_uid": "9"}), [0]),
    ],
)
def test_what_an_item_stands_for(item, changes, expected):
    study, accession, step_id = item
    asked = ScheduledItem(
        study_instance_uid=study, accession_number=accession, scheduled_procedure_step_id=step_id
    )
    assert found(asked, *changes) == expected


def test_an_accession_number_of_two_patients_is_doubtful_without_a_patient_id():
    asked = ScheduledItem(accession_number="A1", scheduled_procedure_step_id="S1")
    anybody = replace(STEP, patient_id="")
    assert found(asked, {}, step=anybody) == [0]
    assert found(asked, {}, {"patient_id": "P2"}, step=anybody) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (({},), [0]),
        (({}, {}), []),
        (({}, {"step_status": StepStatus.COMPLETED}), [0]),
        (({"accession_number": "A2"},), []),
        (({"accession_number": ""},), [0]),
        (({"patient_issuer": "OTHER"},), []),
    ],
)
def test_a_patient_a_modality_and_a_day_name_one_record_or_none(changes, expected):
    asked = ScheduledItem(study_instance_uid="1.2.9", accession_number="A1")
    step = replace(STEP, patient_issuer="HIS")
    assert [one.id for one in steps.of_day(asked, step, worklist(*changes))] == expected


# --- matching a study that arrives


@pytest.mark.parametrize(
    ("study", "changes", "expected"),
    [
        (("1.2.1", "", "", "CT"), ({},), [0]),
        (("1.2.1", "", "", "SR"), ({},), [0]),
        (("1.2.1", "", "", "CT"), ({}, {"modality": "US"}), [0]),
        (("1.2.1", "", "", "PT"), ({}, {"modality": "US"}), []),
        (("1.2.1", "", "", "CT"), ({}, {}), [0, 1]),
        (("1.2.9", "A1", "P1", "CT"), ({},), [0]),
        (("1.2.9", "A1", "P2", "CT"), ({},), []),
        (("1.2.9", "A1", "", "CT"), ({},), []),
        (("1.2.9", "", "P1", "CT"), ({"accession_number": ""},), []),
        (("1.2.1", "A2", "P1", "CT"), ({}, {"study_instance_uid": "", "accession_number": "A2"}),
         [0]),
    ],
)  # fmt: skip
def test_what_a_study_stands_for(study, changes, expected):
    uid, accession, patient, modality = study
    arriving = ArrivingStudy(uid, accession, patient, frozenset((modality,)))
    assert [one.id for one in steps.of_study(arriving, worklist(*changes))] == expected
