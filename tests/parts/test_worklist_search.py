"""Finding worklist records: what SQL finds is what the explanations say, and the portal's list."""

import random

import pytest

from santepacs.db import orders, worklist_plan, worklist_search
from santepacs.model.order import (
    VISIBLE,
    ListQuery,
    StepQuery,
    StepStatus,
    WorklistQuery,
    WorklistRecord,
)
from santepacs.worklist.explaining import explain, is_found
from support.archive import running_site

NAMES = ("", "Doe^Jane", "DOE", "Doering^Jim", "Van Doe^Jo", "Müller^Jörg", "Παπάς^Άρης", "Li^An",
         "Yamada^Tarou=山田^太郎=やまだ^たろう", "=山田^太郎", "10%_\\x", "O'Neil^X")  # fmt: skip
NAME_KEYS = ("", "*", "^", "doe", "DOE^J*", "*doe*", "d?e*", "MULLER*", "παπας*", "山田*", "l*",
             "*an*", "li^an", "yamada=山田", "nobody=山田*", "10%*", "＊", "doe^*", "*^*",
             "*o*e*")  # fmt: skip
IDS = ("", "A1", "A12", "B%", "a1", "B_2")
ID_KEYS = ("", "*", "A1", "A*", "?1", "*1*", "B%", "B_*", "ZZZ")
DATES = ("", "20260228", "20260301", "20260302", "20260303")
TIMES = ("", "080000", "093000", "235959")
STATIONS, STATION_KEYS = (
    ("", "CT1", "CT2", "MR1"),
    ((), ("CT1",), ("CT1", ""), ("CT*",), ("XX", "MR1")),
)
MODALITIES, MODALITY_KEYS = ("", "CT", "MR"), ((), ("CT",), ("CT", "MR"), ("?R",), ("US",))
STATUSES = (VISIBLE, VISIBLE, tuple(StepStatus), (StepStatus.CANCELED,), (StepStatus.HELD,), ())


def some_record(choice):
    return WorklistRecord(
        patient_name=choice(NAMES),
        patient_id=choice(IDS),
        patient_issuer=choice(("", "HIS")),
        patient_birth_date=choice(DATES),
        patient_sex=choice(("", "F", "M")),
        accession_number=choice(IDS),
        requested_procedure_id=choice(IDS),
        requested_procedure_description=choice(IDS),
        requested_procedure_priority=choice(("", "STAT")),
        study_instance_uid=choice(("", "1.2", "1.3")),
        modality=choice(MODALITIES),
        scheduled_station_ae_title=choice(STATIONS),
        start_date=choice(DATES),
        start_time=choice(TIMES),
        technician_name=choice(NAMES),
        scheduled_procedure_step_id=choice(IDS),
        scheduled_station_name=choice(IDS),
        scheduled_procedure_step_description=choice(IDS),
        scheduled_procedure_step_location=choice(IDS),
        step_status=choice((*VISIBLE, *StepStatus)),
    )


def some_query(choice):
    """A query of few keys: of many, nothing would be found."""
    query = {
        "patient_name": choice(NAME_KEYS),
        "patient_id": choice(ID_KEYS),
        "patient_issuer": choice(("HIS", "X")),
        "patient_birth_date_from": choice(DATES),
        "patient_birth_date_to": choice(DATES),
        "patient_sex": choice(("F", "?")),
        "accession_number": choice(ID_KEYS),
        "requested_procedure_id": choice(ID_KEYS),
        "requested_procedure_description": choice(ID_KEYS),
        "requested_procedure_priority": "STAT",
        "study_instance_uids": choice((("1.2",), ("1.2", "1.3"), ("1.9",))),
    }
    names = [name for name in query if choice((True, *[False] * 7))]
    steps = tuple(some_step(choice) for _ in range(choice((1, 1, 1, 2, 3))))
    return WorklistQuery(**{name: query[name] for name in names}, steps=steps)


def some_step(choice):
    step = {
        "station_ae_titles": choice(STATION_KEYS),
        "modalities": choice(MODALITY_KEYS),
        "start_date_from": choice(DATES),
        "start_date_to": choice(DATES),
        "start_time_from": choice(TIMES),
        "start_time_to": choice(TIMES),
        "combined": choice((True, False)),
        "technician_name": choice(NAME_KEYS),
        "step_id": choice(ID_KEYS),
        "station_name": choice(ID_KEYS),
        "description": choice(ID_KEYS),
        "location": choice(ID_KEYS),
        "statuses": choice(STATUSES),
    }
    names = [name for name in step if choice((True, False, False, False))]
    return StepQuery(**{name: step[name] for name in names})


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


def add(site, *records):
    async def work(tx):
        return [await orders.add(tx, record) for record in records]

    return site.ask(work)


def find(site, query, limit=1000):
    """All that a query finds, page by page."""
    found, after = [], None
    while page := site.ask(worklist_search.find, query, limit, after):
        found += page
        after = page[-1].place
    return found


@pytest.mark.parametrize("gathered", [worklist_plan.GATHERED, 0], ids=["gathering", "walking"])
def test_what_is_found_is_what_is_explained(site, monkeypatch, gathered):
    """Records and queries at random, and both ways to find."""
    monkeypatch.setattr(worklist_plan, "GATHERED", gathered)
    dice = random.Random(7)
    add(site, *(some_record(dice.choice) for _ in range(300)))
    everything = find(site, WorklistQuery(steps=(StepQuery(statuses=tuple(StepStatus)),)))
    assert len(everything) == 300
    numbers = set()
    for _ in range(300):
        query = some_query(dice.choice)
        expected = [one.id for one in everything if is_found(explain(one.record, query))]
        assert [one.id for one in find(site, query)] == expected, query
        numbers.add(len(expected))
    assert len(numbers) > 20  # most of them find something, and not the same


def test_pages_of_a_query_of_several_steps_hold_every_record_once(site):
    dice = random.Random(11)
    add(site, *(some_record(dice.choice) for _ in range(100)))
    steps = (StepQuery(), StepQuery(modalities=("CT",)), StepQuery(station_ae_titles=("CT1",)))
    found = find(site, WorklistQuery(steps=steps), limit=7)
    assert [one.place for one in found] == sorted({one.place for one in found})
    assert [one.id for one in found] == [one.id for one in find(site, WorklistQuery())]


# --- the portal's list ----------------------------------------------------------------------------


def listed(site, limit=1000, **wanted):
    """Patient IDs in the order of the list, and how many there are said to be."""
    query = ListQuery(**wanted)
    found, after = [], None
    while page := site.ask(worklist_search.page, query, after, limit):
        found += page
        after = page[-1].place
    assert site.ask(worklist_search.count, query, 1000) == len(found)
    return [one.record.patient_id for one in found]


@pytest.fixture
def records(site):
    add(
        site,
        WorklistRecord(patient_id="A1", patient_name="Doe^Jane", accession_number="X1",
                       patient_birth_date="19700102", modality="CT", start_date="20260301",
                       scheduled_station_ae_title="CT1", start_time="080000"),
        WorklistRecord(patient_id="A2", patient_name="Van Doe^Jo", accession_number="X12",
                       modality="MR", start_date="20260302", start_time="080000",
                       step_status=StepStatus.CANCELED),
        WorklistRecord(patient_id="B3", patient_name="Müller^Jörg", modality="CT",
                       start_date="20260302", start_time="090000"),
        WorklistRecord(patient_id="B4", patient_name="Li^An", patient_birth_date="19700102"),
    )  # fmt: skip
    return site


@pytest.mark.parametrize("gathered", [worklist_plan.GATHERED, 0], ids=["gathering", "walking"])
@pytest.mark.parametrize(
    "wanted, found",
    [
        ({}, ["B3", "A2", "A1", "B4"]),
        ({"newest_first": False}, ["B4", "A1", "A2", "B3"]),
        ({"patient_name": "doe"}, ["A2", "A1"]),
        ({"patient_name": "jane doe"}, ["A1"]),
        ({"patient_name": "ULL"}, ["B3"]),
        ({"patient_name": "li"}, ["B4"]),
        ({"patient_name": "jo"}, ["B3", "A2"]),
        ({"patient_name": "ne"}, []),
        ({"patient_name": "do?"}, ["A2", "A1"]),
        ({"patient_id": "A"}, ["A2", "A1"]),
        ({"patient_id": "*3"}, ["B3"]),
        ({"accession_number": "X1"}, ["A2", "A1"]),
        ({"patient_birth_date": "19700102"}, ["A1", "B4"]),
        ({"modality": "CT"}, ["B3", "A1"]),
        ({"station_ae_title": "CT1"}, ["A1"]),
        ({"station_ae_title": "CT1", "modality": "MR"}, []),
        ({"station_ae_title": "C*", "modality": "CT"}, ["A1"]),
        ({"date_from": "20260302"}, ["B3", "A2"]),
        ({"date_to": "20260301"}, ["A1"]),
        ({"statuses": (StepStatus.CANCELED,)}, ["A2"]),
        ({"statuses": VISIBLE, "patient_name": "doe"}, ["A1"]),
        ({"text": "doe"}, ["A2", "A1"]),
        ({"text": "doe jane"}, ["A1"]),
        ({"text": "a1"}, ["A1"]),
        ({"text": "x1 doe"}, ["A2", "A1"]),
        ({"text": "X12"}, ["A2"]),
        ({"text": "müller^jörg"}, ["B3"]),
        ({"text": "nobody"}, []),
        ({"text": "^ %"}, []),
    ],
)
def test_the_list(records, monkeypatch, gathered, wanted, found):
    monkeypatch.setattr(worklist_plan, "GATHERED", gathered)
    assert listed(records, **wanted) == found
    assert listed(records, limit=1, **wanted) == found


def test_a_count_stops_at_its_limit(records):
    assert records.ask(worklist_search.count, ListQuery(), 3) == 3
    assert records.ask(worklist_search.count, ListQuery(patient_name="doe"), 1) == 1
