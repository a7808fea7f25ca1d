"""Why a record's fields have their values, from the traces of a message."""

from santepacs.model.order import WorklistRecord
from santepacs.web.worklist_why import reasons
from santepacs.worklist.mapping import START, Row, Trace


def trace(field, value, *, used=True, position=1, remark=""):
    return Trace(field, Row(field, "OBR", position), value, value, used, remark)


def test_the_order_that_fits_best_explains_the_record():
    record = WorklistRecord(accession_number="A2", modality="CT")
    orders = [
        [trace("accession_number", "A1"), trace("modality", "CT", position=5)],
        [trace("accession_number", "A2", position=2), trace("modality", "CT", position=6)],
    ]
    found = reasons(orders, record)
    assert found["accession_number"].place == "OBR-2.1"
    assert found["modality"].place == "OBR-6.1"
    assert found["modality"].kept


def test_a_value_that_was_changed_since_shows_what_the_message_said():
    (why,) = reasons([[trace("modality", "MR")]], WorklistRecord(modality="CT")).values()
    assert (why.kept, why.value) == (False, "MR")


def test_one_time_stamp_explains_date_and_time():
    record = WorklistRecord(start_date="20261121", start_time="101500")
    found = reasons([[trace(START, "20261121 101500")]], record)
    assert set(found) == {"start_date", "start_time"}
    assert all(why.kept for why in found.values())


def test_places_that_were_not_used_are_told_with_the_reason():
    traces = [
        trace("modality", "", used=False, remark="not usable"),
        trace("modality", "CT", position=2),
        trace("modality", "MR", used=False, position=3, remark="a row before gave the value"),
    ]
    why = reasons([traces], WorklistRecord(modality="CT"))["modality"]
    assert why.place == "OBR-2.1"
    assert [(other.place, other.remark) for other in why.others] == [
        ("OBR-1.1", "not usable"), ("OBR-3.1", "a row before gave the value")]  # fmt: skip
    assert reasons([traces[:1]], WorklistRecord())["modality"].place == ""


def test_a_message_that_cannot_be_read_explains_nothing():
    assert reasons([], WorklistRecord()) == {}
