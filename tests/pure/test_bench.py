"""The benchmark's own pieces: what it sends is valid, and its tables say what was measured."""

import io
from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.uid import ExplicitVRLittleEndian

from bench import corpus, encoding, fill_worklist, messages, mllp, orders, parsers, table
from bench.operations import OPERATIONS
from bench.operations.finding import RETURNED
from bench.operations.worklist import query
from bench.population import Stored
from bench.rows import Row, append, grouped, median, paired, read, summary
from bench.run import Plan, turns
from bench.targets import load
from bench.trial import quantile


def row(target, rep, rate, op="find_id", cpu=0.1, **more):
    """A repetition with 10 operations."""
    return Row(
        op=op, mode="nodelay", target=target, rep=rep, ops=10, wall=10 / rate, cpu=cpu, **more
    )


# --- what is sent ---------------------------------------------------------------------------------


def test_a_ct_image_is_what_it_says():
    pixels = corpus.with_noise(corpus.phantom(16))
    image = dcmread(io.BytesIO(corpus.ct_image("12345678", 1, 0, 2, 16, pixels)))

    assert image.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
    assert image.file_meta.MediaStorageSOPClassUID == image.SOPClassUID
    assert image.StudyInstanceUID == corpus.study_uid("12345678", 1)
    assert image.SOPInstanceUID == corpus.sop_uid("12345678", 1, 0, 2)
    assert image.PatientID == corpus.patient_id("12345678", 1)
    assert image.PixelData == pixels
    assert len(pixels) == image.Rows * image.Columns * image.BitsAllocated // 8
    assert list(image.keys()) == sorted(image.keys())
    assert all(uid.is_valid for uid in (image.SOPInstanceUID, image.SeriesInstanceUID))


def test_noise_stays_within_the_bits_stored():
    pixels = corpus.with_noise(corpus.phantom(32))
    assert max(memoryview(pixels).cast("H")) < 1 << 12


def test_images_are_spread_over_series_and_studies(tmp_path):
    few = replace(corpus.SMALL, series=2, instances=2, rows=8)
    images = [dcmread(path) for path in few.write(5, "12345678", tmp_path)]

    assert [image.StudyInstanceUID[-1] for image in images] == ["0", "0", "0", "0", "1"]
    assert len({image.SeriesInstanceUID for image in images}) == 3
    assert len({image.SOPInstanceUID for image in images}) == 5


def test_a_fresh_tag_fits_in_its_place():
    tag = corpus.fresh_tag()
    assert len(tag) == 8 and tag.isdigit() and tag not in (corpus.RETRIEVED, corpus.FILL)


def test_the_fill_has_as_many_matches_as_the_population_says():
    fill = [dcmread(io.BytesIO(corpus.fill_object(number))) for number in range(0, 4000, 7)]
    assert all(report.SOPInstanceUID.is_valid and report.StudyDate.isdigit() for report in fill)

    studies = Stored(corpus.EVEN)
    dates = [corpus.fill_date(number) for number in range(corpus.EVEN)]
    names = [corpus.fill_name(number) for number in range(corpus.EVEN)]
    for choice in (0, 3, 12_345):
        first, last = studies.dates(choice, studies.days_with(100)).split("-")
        assert sum(first <= date <= last for date in dates) == 100
        prefix = studies.name_prefix(choice).rstrip("*")
        assert sum(name.startswith(prefix) for name in names) == studies.of_name == 8


def test_a_population_without_such_days_says_so():
    assert Stored(corpus.EVEN).days_with(5000) is None
    assert Stored(corpus.EVEN).days_with(7) is None
    assert Stored(20_000).days_with(5000) == 200


def test_an_order_is_the_same_as_a_file_and_as_a_message():
    item = dcmread(io.BytesIO(orders.worklist_file(3)))
    (step,) = item.ScheduledProcedureStepSequence
    segments = {
        line[:3]: line.split("|") for line in orders.hl7_order(3, "M1").decode().split("\r")
    }

    assert segments["MSH"][9] == "M1"
    assert segments["PID"][3] == item.PatientID
    assert segments["PID"][5] == item.PatientName
    assert segments["ORC"][2] == item.AccessionNumber
    assert segments["ORC"][15] == (
        step.ScheduledProcedureStepStartDate + step.ScheduledProcedureStepStartTime
    )
    assert segments["OBR"][18] == step.Modality
    assert segments["OBR"][21] == step.ScheduledStationAETitle
    assert segments["ZDS"][1].startswith(item.StudyInstanceUID)


def test_as_many_orders_as_promised_are_for_the_station_on_the_day():
    hits = [
        number for number in range(5000) if orders.step(number)[:2] == (orders.STATION, orders.DATE)
    ]
    assert len(hits) == orders.HITS


def test_a_query_is_a_data_set_in_implicit_vr():
    keys = {**RETURNED, 0x00400100: {0x00400001: "CT1"}, 0x00100010: "Doe^Jane"}
    encoded = encoding.identifier(keys)
    read_back = read_dataset(DicomBytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    query = Dataset(read_back)

    assert query.PatientName == "Doe^Jane"
    assert query.QueryRetrieveLevel == "STUDY"
    assert query[0x00400100][0].ScheduledStationAETitle == "CT1"
    assert len(query) == len(keys)


def test_messages_of_a_run_differ():
    assert mllp.messages_of(3, 2)[0] != mllp.messages_of(3, 2)[2]
    assert all(message.startswith(b"\x0bMSH|") for message in mllp.messages_of(3, 2))


def test_a_worklist_query_asks_for_the_step_in_its_sequence():
    encoded = query({0x00100010: "Doe*"}, station="CT1", date="20260102")
    asked = read_dataset(DicomBytesIO(encoded), is_implicit_VR=True, is_little_endian=True)
    (step,) = asked.ScheduledProcedureStepSequence
    assert asked.PatientName == "Doe*"
    assert (step.ScheduledStationAETitle, step.ScheduledProcedureStepStartDate) == (
        "CT1",
        "20260102",
    )
    assert step.Modality == ""


@pytest.mark.parametrize("steps", [20_000, 1_000_000])
def test_the_open_steps_of_a_large_worklist_have_their_patient_and_surname_open(steps):
    chosen = fill_worklist.open_steps(steps)
    first_open = max(0, steps - fill_worklist.OPEN_DAYS * fill_worklist.OF_A_DAY)
    names = [fill_worklist.surname(step) for step in range(first_open, steps)]
    for step in (chosen[0], chosen[-1]):
        assert names.count(fill_worklist.surname(step)) == fill_worklist.OF_A_SURNAME
        same = [fill_worklist.patient_id(n) for n in range(first_open, steps)]
        assert same.count(fill_worklist.patient_id(step)) == fill_worklist.OF_A_PATIENT


def test_both_parsers_find_the_same_in_the_messages():
    ours = parsers.with_santepacs(messages.PLACES)
    other = parsers.with_hl7(messages.PLACES)
    texts = list(messages.messages(50))
    assert [ours(text) for text in texts] == [other(text) for text in texts]
    assert min(map(ours, texts)) > 30
    assert len(set(texts)) == len(texts)


# --- what is said of it ---------------------------------------------------------------------------


def test_ratios_compare_measurements_of_the_same_repetition():
    ours = [row("a", 0, 100.0), row("a", 1, 10.0), row("a", 2, 50.0)]
    theirs = [row("b", 2, 25.0), row("b", 1, 5.0), row("b", 0, 50.0)]
    assert paired(ours, theirs, lambda one: one.rate) == pytest.approx(2.0)


def test_failed_repetitions_are_counted_and_left_out():
    rows = [row("a", 0, 100.0), row("a", 1, 1.0, error="RuntimeError: 3 of 4 matches")]
    found = summary(rows)
    assert (found.count, found.failed, found.rate) == (1, 1, 100.0)
    assert paired(rows, [row("b", 1, 1.0)], lambda one: one.rate) is None


def test_what_failed_altogether_is_no_number():
    found = summary([row("a", 0, 1.0, error="OSError: refused")])
    assert (found.count, found.error) == (0, "OSError: refused")


def test_cpu_time_too_short_to_be_seen_is_not_zero():
    assert row("a", 0, 1.0, cpu=0.0).cpu_each is None
    assert row("a", 0, 1.0, cpu=None).cpu_each is None
    assert median([None, None]) is None


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 3), (0.99, 5)])
def test_quantiles(share, value):
    assert quantile([5, 3, 1, 2, 4], share) == value
    assert quantile([], share) is None


def test_the_table_compares_the_first_target_with_the_others():
    rows = [row("ours", 0, 100.0, cpu=0.1), row("other", 0, 50.0, cpu=0.4)]
    head, line, *_ = table.comparison(rows).splitlines()
    assert head.split()[-4:] == ["ours", "other", "x", "other"]
    assert line.split()[0] == "find_id"
    assert line.endswith("2.00 | 4.00")


def test_operations_of_other_targets_have_a_table_of_their_own():
    rows = [row("ours", 0, 100.0), row("other", 0, 50.0), row("ours", 0, 3.0, op="hl7_1")]
    assert table.comparison(rows).count("CPU ms/op") == 2
    assert table.comparison([]) == "nothing was measured"


def test_details_have_a_line_for_each_target():
    rows = [row("ours", 0, 100.0, extra={"matches": 40.0}), row("other", 0, 1.0, error="it broke")]
    _, ours, other = table.details(rows).splitlines()
    assert "matches=40" in ours
    assert "ERROR it broke" in other


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), (0.123, "0.12"), (12.34, "12.3"), (1234.5, "1234")]
)
def test_numbers_are_short(value, text):
    assert table.number(value) == text


def test_rows_survive_their_file(tmp_path):
    rows = [row("a", 0, 2.0, extra={"matches": 1.0}), row("b", 0, 1.0, error="no")]
    for one in rows:
        append(one, tmp_path / "rows.jsonl")
    assert read([tmp_path / "rows.jsonl"]) == rows
    assert list(grouped(rows)) == [("find_id", "nodelay")]


# --- what is measured when ------------------------------------------------------------------------


def test_targets_take_turns_in_changing_order(tmp_path):
    _, targets = load({"PERF_WORK": str(tmp_path)})
    pair = [targets["santepacs"], targets["orthanc-pg"]]
    plan = Plan(pair, [OPERATIONS["find_name"], OPERATIONS["zip"]], ("nodelay",), 2)
    order = [(operation.name, target.name) for operation, _, _, target in turns(plan)]
    assert order == [
        *(("find_name", "santepacs"), ("find_name", "orthanc-pg")),
        *(("find_name", "orthanc-pg"), ("find_name", "santepacs")),
    ]


def test_every_target_has_its_own_ports_and_folder(tmp_path):
    _, targets = load({"PERF_WORK": str(tmp_path), "PERF_SANTEPACS": "/opt/bin"})
    ports = [
        port
        for target in targets.values()
        for port in {target.dicom_port, target.hl7_port, target.http_port}
        | {worklist.port for worklist in target.worklists}
        if port
    ]
    assert len(ports) == len(set(ports))
    assert targets["santepacs"].folder == tmp_path / "santepacs"
    assert targets["santepacs"].server["programs"] == "/opt/bin"
    assert targets["santepacs-before"].server["programs"] == ""


def test_what_is_loaded_is_remembered_beside_the_data(tmp_path):
    _, targets = load({"PERF_WORK": str(tmp_path)})
    target = targets["santepacs"]
    assert target.loaded.studies == 0
    target.folder.mkdir()
    target.remember(replace(target.loaded, studies=4000))
    assert target.loaded.studies == 4000
