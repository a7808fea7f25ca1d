"""The field mapping as a table: senders, presets, JSON, and what people are told of it."""

import json

import pytest

from santepacs.errors import Malformed
from santepacs.hl7.message import parse
from santepacs.hl7.orders import orders_of
from santepacs.model.order import FIELDS
from santepacs.worklist import preview, values
from santepacs.worklist.mapping import (
    DEFAULT,
    MAPPED_FIELDS,
    PRESETS,
    FieldMapping,
    Mappings,
    Row,
    UnusableValue,
    explain,
    read,
)
from santepacs.worklist.mapping_json import from_dictionary, parsed, written

OTHER = FieldMapping((Row("patient_id", "PID", 2), Row("modality", "OBR", 24)))


class Values(dict):
    """A source of values given by place, as `PID-3.1` (component 0: `PID-5`)."""

    def value(self, segment, field, component=0, repetition=1, subcomponent=0):
        return self.get(Row("", segment, field, component, repetition, subcomponent).place, "")


def order(*segments):
    """The only order of a message."""
    header = "MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ORM^O01|1|P|2.3.1"
    (found,) = orders_of(parse("\r".join((header, *segments, "")).encode()))
    return found


# --- senders --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sender, expected",
    [
        (("RIS", "NORTH"), "both"),
        (("RIS", "SOUTH"), "application"),
        (("HIS", "NORTH"), "facility"),
        (("HIS", "SOUTH"), "default"),
        (("", ""), "default"),
    ],
)
def test_a_sender_has_its_own_mapping_or_that_of_everybody(sender, expected):
    named = {
        name: FieldMapping((Row("patient_id", "PID", number),))
        for number, name in enumerate(("both", "application", "facility", "default"), 1)
    }
    mappings = Mappings(
        named["default"],
        {
            ("RIS", "NORTH"): named["both"],
            ("RIS", ""): named["application"],
            ("", "NORTH"): named["facility"],
        },
    )
    assert mappings.of(*sender) is named[expected]


# --- presets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fill_what_is_mandatory_and_name_fields_that_exist(name):
    rows = PRESETS[name].rows
    assert {row.field for row in rows} <= MAPPED_FIELDS
    assert {"patient_id", "patient_name", "requested_procedure_id"} <= {r.field for r in rows}
    assert len(set(rows)) == len(rows)


def test_every_field_of_a_record_can_be_mapped():
    rows = tuple(Row(name, "ZZZ", number) for number, name in enumerate(FIELDS, 1))
    mappings = Mappings(FieldMapping(rows))
    assert parsed(written(mappings), "it") == mappings


def test_ihe_orm_reads_what_appendix_b_says():
    obr = ["OBR"] + [""] * 50
    places = {4: "CT01^CT HEAD^L^^HEAD NATIVE", 13: "pacemaker", 16: "7^Roe^Jane", 18: "ACC1",
              19: "RP1", 20: "SPS1", 24: "CT", 34: "9&Smith&Jim", 44: "C^Head CT"}  # fmt: skip
    for place, value in places.items():
        obr[place] = value
    found = read(
        PRESETS["IHE ORM 2.3.1"],
        order(
            "PID|1||ID7||Doe^Jane||19700102|F",
            "ORC|NW|P1|F1||SC||^^^202603040930^^A",
            "|".join(obr),
            "ZDS|1.2.3^^Application^DICOM",
        ),
    ).values
    assert found == {
        "patient_id": "ID7",
        "patient_name": "Doe^Jane",
        "patient_birth_date": "19700102",
        "patient_sex": "F",
        "medical_alerts": "pacemaker",
        "accession_number": "ACC1",
        "requested_procedure_id": "RP1",
        "scheduled_procedure_step_id": "SPS1",
        "scheduled_procedure_step_description": "HEAD NATIVE",
        "study_instance_uid": "1.2.3",
        "modality": "CT",
        "status": "SC",
        "requesting_physician_name": "Roe^Jane",
        "requested_procedure_description": "Head CT",
        "technician_name": "Smith^Jim",
        "requested_procedure_priority": "HIGH",
        "start_date": "20260304",
        "start_time": "093000",
    }


@pytest.mark.parametrize("name", ["Sante default", "IHE OMI 2.5.1"])
def test_an_ipc_segment_says_which_step(name):
    found = read(
        PRESETS[name],
        order(
            "PID|1||ID7||Doe^Jane",
            "ORC|NW|P1",
            "TQ1|||||||20260304081500||S",
            "OBR|1|P1||CT01^CT HEAD",
            "IPC|ACC1|RP1|1.2.3^^App^DICOM|SPS1|CT|P5^Head native|ROOM 1|WING B|CT_ONE",
        ),
    ).values
    assert {name: value for name, value in found.items() if not name.startswith("patient")} == {
        "accession_number": "ACC1",
        "requested_procedure_id": "RP1",
        "study_instance_uid": "1.2.3",
        "scheduled_procedure_step_id": "SPS1",
        "modality": "CT",
        "scheduled_procedure_step_description": "Head native",
        "scheduled_station_name": "ROOM 1",
        "scheduled_procedure_step_location": "WING B",
        "scheduled_station_ae_title": "CT_ONE",
        "requested_procedure_description": "CT HEAD",
        "start_date": "20260304",
        "start_time": "081500",
        "requested_procedure_priority": "STAT",
    }


# --- reading --------------------------------------------------------------------------------------


def test_the_first_usable_row_wins_and_a_null_before_it_deletes_nothing():
    rows = tuple(Row("patient_sex", "PID", position) for position in (1, 2, 3, 4))
    found = read(
        FieldMapping(rows),
        Values({"PID-1.1": '""', "PID-2.1": "?", "PID-3.1": "F", "PID-4.1": "M"}),
    )
    assert (found.values, found.cleared) == ({"patient_sex": "F"}, frozenset())


def test_date_and_time_may_have_rows_of_their_own():
    mapping = FieldMapping(
        (Row("start_date", "ZZZ", 1), Row("start_time", "ZZZ", 2), Row("start", "ORC", 15))
    )
    source = Values({"ZZZ-1.1": "20260304", "ZZZ-2.1": "0930", "ORC-15.1": "202605060700"})
    assert read(mapping, source).values == {"start_date": "20260304", "start_time": "093000"}
    del source["ZZZ-2.1"]
    assert read(mapping, source).values == {"start_date": "20260304"}
    del source["ZZZ-1.1"]
    assert read(mapping, source).values == {"start_date": "20260506", "start_time": "070000"}
    with pytest.raises(UnusableValue):
        read(mapping, Values({"ZZZ-1.1": "TOMORROW"}))


@pytest.mark.parametrize(
    "wire, time",
    [
        ("0930", "093000"),
        ("09", "090000"),
        ("09:30", "093000"),
        ("093015.5+0200", "093015"),
        ("202603040930", "093000"),
        ("2530", ""),
        ("soon", ""),
        ("", ""),
    ],
)
def test_times_that_stand_alone(wire, time):
    assert values.time_alone(wire) == time


def test_a_place_shared_with_the_station_gives_a_modality_only_by_a_known_code():
    shared = FieldMapping((Row("modality", "OBR", 24), Row("scheduled_station_name", "OBR", 24)))
    alone = FieldMapping((Row("modality", "OBR", 24),))
    assert "modality" not in read(shared, Values({"OBR-24.1": "ROOM"})).values
    assert read(shared, Values({"OBR-24.1": "MR"})).values["modality"] == "MR"
    assert read(alone, Values({"OBR-24.1": "ROOM"})).values["modality"] == "ROOM"


@pytest.mark.parametrize(
    "row, place",
    [
        (Row("modality", "PID", 3), "PID-3.1"),
        (Row("modality", "PID", 5, 0), "PID-5"),
        (Row("modality", "PID", 3, 1, 2), "PID-3(2).1"),
        (Row("modality", "OBR", 34, 1, 1, 2), "OBR-34.1.2"),
    ],
)
def test_a_row_is_written_as_people_write_it(row, place):
    assert row.place == place


# --- explaining -----------------------------------------------------------------------------------


def test_every_row_that_found_something_is_explained_and_the_winner_marked():
    found = order("PID|1|ID2|ID3||Doe^Jane||19700102|F", "ORC|NW|P1|F1", "OBR|1|P1||CT01")
    traces = {(trace.field, trace.row.place): trace for trace in explain(DEFAULT, found)}
    assert traces["patient_id", "PID-3.1"].used
    second = traces["patient_id", "PID-2.1"]
    assert (second.raw, second.value, second.used) == ("ID2", "ID2", False)
    assert second.remark == "a row before gave the value"
    assert [t.value for t in traces.values() if t.used and t.field == "accession_number"] == ["P1"]
    assert ("patient_id", "PID-4.1") not in traces


def test_the_winners_of_an_explanation_are_what_is_read():
    found = order(
        "PID|1||ID7||Doe^Jane^^Jr^Dr||19700102|W",
        "ORC|NW|P1|F1||||^^^202603040930^^R",
        "OBR|1|P1||CT01^CT HEAD||||||||||||Roe|||||CTROOM||||CT",
        "ZDS|1.2.3^^App^DICOM",
    )
    used = {trace.field: trace.value for trace in explain(DEFAULT, found) if trace.used}
    mapped = dict(read(DEFAULT, found).values)
    start = used.pop("start")
    assert start == f"{mapped.pop('start_date')} {mapped.pop('start_time')}"
    assert used == mapped


@pytest.mark.parametrize(
    "field, wire, remark",
    [
        ("study_instance_uid", "1..2", "not a valid UID; the message is refused"),
        ("patient_id", "7" * 65, "more than 64 characters; the message is refused"),
        ("start", "TOMORROW", "not a date or time stamp; the message is refused"),
        ("patient_sex", "?", "not usable as PATIENT SEX"),
        ("patient_sex", "W", "made legal for DICOM"),
        ("study_instance_uid", "1.2.3^^Application^DICOM", "its first component"),
        ("patient_sex", '""', "the sender deletes the value"),
    ],
)
def test_an_explanation_says_what_becomes_of_a_value(field, wire, remark):
    (trace,) = explain(FieldMapping((Row(field, "ZZZ", 1),)), Values({"ZZZ-1.1": wire}))
    assert trace.remark.endswith(remark)


def test_a_preview_names_what_would_be_read_differently():
    orders = [
        Values({"PID-3.1": "A", "PID-2.1": "A"}),
        Values({"PID-3.1": "A", "PID-2.1": "B", "OBR-24.1": "MR"}),
        Values({"PID-3.1": "A", "PID-2.1": "B" * 65}),
    ]
    before = FieldMapping((Row("patient_id", "PID", 3),))
    found = preview.differences(orders, before, OTHER)
    assert [(one.order, one.field, one.before, one.after) for one in found[:2]] == [
        (2, "patient_id", "A", "B"),
        (2, "modality", "", "MR"),
    ]
    assert (3, preview.REFUSED) in [(one.order, one.field) for one in found]
    assert preview.differences(orders, before, before) == []


# --- JSON -----------------------------------------------------------------------------------------


def test_mappings_survive_export_and_import():
    mappings = Mappings(DEFAULT, {("RIS", "Κλινική"): OTHER, ("", "NORTH"): DEFAULT})
    assert parsed(written(mappings), "it") == mappings
    assert from_dictionary(json.loads(written(mappings))) == mappings


GOOD = {"field": "modality", "segment": "OBR", "position": 18}
SENDER = {"application": "RIS", "facility": "", "rows": [GOOD]}


def test_a_file_of_the_first_format_is_one_mapping_for_everybody():
    found = from_dictionary({"format": 1, "rows": [GOOD]})
    assert found == Mappings(FieldMapping((Row("modality", "OBR", 18),)))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    "rows",
    [
        None,
        [],
        {"a": 1},
        [GOOD] * 501,
        ["x"],
        [{**GOOD, "segment": "__class__"}],
        [{**GOOD, "segment": "OB\n"}],
        [{**GOOD, "segment": ["OBR"]}],
        [{**GOOD, "field": "__dict__"}],
        [{**GOOD, "field": ["modality"]}],
        [{**GOOD, "field": "step_status"}],
        [{**GOOD, "position": -1}],
        [{**GOOD, "position": 0}],
        [{**GOOD, "position": 10**9}],
        [{**GOOD, "component": 10**9}],
        [{**GOOD, "position": "18"}],
        [{**GOOD, "position": True}],
        [{**GOOD, "position": 1.5}],
        [{**GOOD, "extra": "!!python/object"}],
        [{"field": "modality", "segment": "OBR"}],
    ],
)
def test_rows_with_anything_else_are_refused(rows, version):
    with pytest.raises(Malformed):
        from_dictionary({"format": version, "rows": rows})


@pytest.mark.parametrize(
    "content",
    [
        None,
        [],
        {},
        "!!python/object/apply:os.system [id]",
        {"format": 3, "rows": [GOOD]},
        {"format": [2], "rows": [GOOD]},
        {"format": True, "rows": [GOOD]},
        {"format": 2, "rows": [GOOD], "__init__": 1},
        {"format": 1, "rows": [GOOD], "senders": [SENDER]},
        {"format": 2, "rows": [GOOD], "senders": SENDER},
        {"format": 2, "rows": [GOOD], "senders": [SENDER, SENDER]},
        {"format": 2, "rows": [GOOD], "senders": [7]},
        {"format": 2, "rows": [GOOD], "senders": [{**SENDER, "application": ""}]},
        {"format": 2, "rows": [GOOD], "senders": [{**SENDER, "application": 7}]},
        {"format": 2, "rows": [GOOD], "senders": [{**SENDER, "facility": "x" * 201}]},
        {"format": 2, "rows": [GOOD], "senders": [{**SENDER, "facility": "a\nb"}]},
        {"format": 2, "rows": [GOOD], "senders": [{**SENDER, "rows": []}]},
        {"format": 2, "rows": [GOOD], "senders": [{**SENDER, "more": 1}]},
        {"format": 2, "rows": [GOOD], "senders": [
            {**SENDER, "application": str(n)} for n in range(201)]},
    ],
)  # fmt: skip
def test_a_mapping_file_with_anything_else_is_refused(content):
    with pytest.raises(Malformed):
        from_dictionary(content)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"format": ' + "9" * 10_000 + "}", "\x00"])
def test_what_is_no_json_is_named_with_its_file(text):
    with pytest.raises(Malformed, match=r"site\.json"):
        parsed(text, "site.json")


def test_a_complaint_names_sender_and_row():
    content = {"format": 2, "rows": [GOOD], "senders": [
        SENDER, {**SENDER, "application": "X", "rows": [GOOD, {**GOOD, "position": 0}]}
    ]}  # fmt: skip
    with pytest.raises(Malformed, match="sender 2, row 2: position must be 1 to 999"):
        from_dictionary(content)
