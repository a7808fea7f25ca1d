"""The mapping page's form: what each button does to the mapping that is worked on."""

import pytest

from santepacs.errors import Malformed
from santepacs.web import mapping_form
from santepacs.web.mapping_form import Work
from santepacs.worklist import mapping_json
from santepacs.worklist.mapping import DEFAULT, MAPPED_FIELDS, FieldMapping, Mappings, Row

ROWS = (
    Row("patient_id", "PID", 3),
    Row("modality", "OBR", 18),
    Row("patient_id", "PID", 2),
    Row("patient_id", "PID", 4),
)
WORK = Work(Mappings(FieldMapping(ROWS)))


def pressed(do, work=WORK, **fields):
    return mapping_form.act(work, {"do": do, **fields})


def test_every_field_that_can_be_mapped_is_in_the_table_once():
    names = mapping_form.ordered_fields()
    assert set(names) == set(MAPPED_FIELDS) == set(mapping_form.LABELS)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("PID-5", Row("", "PID", 5, 0)),
        ("PID-3.1", Row("", "PID", 3)),
        ("PID-3(2).1", Row("", "PID", 3, 1, 2)),
        ("OBR-34.1.2", Row("", "OBR", 34, 1, 1, 2)),
    ],
)
def test_a_place_reads_as_it_is_written(text, row):
    assert mapping_form.place(text) == row
    assert row.place == text


@pytest.mark.parametrize("text", ["", "PID", "PID-", "pid-3", "PID-3.", "PID-3()", "PID-1234", "x"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(Malformed):
        mapping_form.place(text)


@pytest.mark.parametrize(
    ("do", "order"),
    [
        ("down:0", (2, 1, 0, 3)),
        ("up:2", (2, 1, 0, 3)),
        ("down:2", (0, 1, 3, 2)),
        ("up:0", (0, 1, 2, 3)),
        ("down:3", (0, 1, 2, 3)),
        ("down:1", (0, 1, 2, 3)),
        ("up:9", (0, 1, 2, 3)),
        ("remove:1", (0, 2, 3)),
    ],
)
def test_rows_move_among_those_of_their_field(do, order):
    assert pressed(do).rows == tuple(ROWS[number] for number in order)


def test_a_row_that_is_there_is_opened_instead_of_added_again():
    work = pressed("feed:patient_id", Work(WORK.mappings, picked="PID-2.1"))
    assert work.rows == ROWS
    assert work.selected == 2


def test_a_new_row_stands_after_those_of_its_field():
    work = pressed("feed:modality", Work(WORK.mappings, picked="OBR-24.1"))
    assert work.rows == (*ROWS[:2], Row("modality", "OBR", 24), *ROWS[2:])
    assert work.selected == 2
    assert work.picked == ""


def test_the_editors_row_is_taken_over_by_any_button_but_its_own_removal():
    work = Work(WORK.mappings, selected=1)
    fields = {"field": "modality", "segment": "IPC", "position": "5"}
    assert pressed("preview", work, **fields).rows[1] == Row("modality", "IPC", 5)
    assert pressed("remove:1", work, **fields).rows == (ROWS[0], *ROWS[2:])


def test_a_wrong_row_stops_everything_else():
    work = Work(WORK.mappings, selected=1)
    after = pressed("default", work, field="modality", segment="?", position="5")
    assert after.problem
    assert after.rows == ROWS


def test_tabs_have_mappings_of_their_own():
    work = pressed("add-sender", new_application="RIS", new_facility="")
    work = pressed("default", work)
    assert work.mappings.by_sender == {("RIS", ""): DEFAULT}
    assert work.mappings.default.rows == ROWS
    assert pressed("tab:\n", work).rows == ROWS
    assert pressed("remove-sender", work).mappings == WORK.mappings
    assert pressed("remove-sender").mappings == WORK.mappings


@pytest.mark.parametrize("selected", ["", "x", "4", "-1", "99999"])
def test_a_form_is_read_as_it_was_made(selected):
    state = mapping_json.written(WORK.mappings)
    fields = {"mapping": state, "selected": selected, "sender": "nobody\n", "picked": "PID-3"}
    assert mapping_form.read(fields) == Work(WORK.mappings, picked="PID-3")


def test_a_form_without_its_mapping_is_refused():
    with pytest.raises(Malformed):
        mapping_form.read({})
