"""Finding in an archive of thousands of studies touches little but what is found."""

from contextlib import closing

import psycopg2
import pytest

from bench import fill_index
from santepacs.db import search
from santepacs.db.search import Level
from santepacs.model.matching import Key, criteria
from support.archive import running_site

STUDIES = 6000
NUMBER = 3507  # of a study somewhere in the middle; its surname is written in Latin letters
DAY = fill_index.day(NUMBER, STUDIES)
SURNAME = fill_index.person(NUMBER).split("^")[0]
UID = f"{fill_index.ROOT}.{NUMBER}"
VRS = {"PatientName": "PN", "ReferringPhysicianName": "PN", "StudyDate": "DA", "StudyTime": "TM",
       "StudyInstanceUID": "UI", "SeriesInstanceUID": "UI", "SOPInstanceUID": "UI"}  # fmt: skip

# What is asked at which level, and how many rows may be touched beside those that are found.
ASKED = [
    (Level.STUDY, {"PatientID": fill_index.patient_id(NUMBER)}, 10),
    (Level.STUDY, {"PatientID": fill_index.patient_id(NUMBER), "StudyDate": "19000101-"}, 10),
    (Level.STUDY, {"AccessionNumber": f"A{NUMBER:08d}"}, 10),
    (Level.STUDY, {"AccessionNumber": f"A{NUMBER:08d}"[:-1] + "*"}, 20),
    (Level.STUDY, {"StudyInstanceUID": UID}, 10),
    (Level.STUDY, {"StudyInstanceUID": "\\".join(f"{UID[:-1]}{n}" for n in range(10))}, 20),
    (Level.STUDY, {"StudyID": f"S{NUMBER:05d}"}, 10),
    (Level.STUDY, {"PatientName": SURNAME + "*"}, 10),
    (Level.STUDY, {"PatientName": fill_index.person(NUMBER)}, 10),
    (Level.STUDY, {"PatientName": "山山山田*"}, 10),
    (Level.STUDY, {"PatientName": f"*{SURNAME[1:]}*"}, 100),
    (Level.STUDY, {"PatientName": "*xyzzy*"}, 10),
    (Level.STUDY, {"PatientName": f"john {SURNAME}", "fuzzy": True}, 10),
    (Level.STUDY, {"ReferringPhysicianName": "Bakolija*"}, 10),
    (Level.STUDY, {"ReferringPhysicianName": "*akolij*"}, 100),
    (Level.STUDY, {"StudyDescription": "*Studie 3"}, 100),
    (Level.STUDY, {"StudyDescription": "*Quadrizeps*"}, 10),
    (Level.STUDY, {"StudyDate": DAY}, 10),
    (Level.STUDY, {"StudyDate": DAY, "ModalitiesInStudy": "CT"}, 110),
    (Level.STUDY, {"StudyDate": DAY, "StudyTime": "10-11"}, 110),
    (Level.STUDY, {"ModalitiesInStudy": "ZZ"}, 10),
    (Level.STUDY, {"SOPClassesInStudy": "1.2.3"}, 10),
    (Level.STUDY, {"InstitutionName": "Nowhere"}, 10),
    (Level.STUDY, {}, 10),
    (Level.PATIENT, {"PatientID": fill_index.patient_id(NUMBER)}, 10),
    (Level.PATIENT, {"PatientName": SURNAME + "*"}, 10),
    (Level.PATIENT, {"PatientName": f"*{SURNAME[1:]}*"}, 100),
    (Level.PATIENT, {"PatientName": f"john {SURNAME}", "fuzzy": True}, 10),
    (Level.PATIENT, {}, 10),
    (Level.SERIES, {"StudyInstanceUID": UID}, 10),
    (Level.SERIES, {"SeriesInstanceUID": f"{UID}.0"}, 10),
    (Level.SERIES, {"Modality": "ZZ"}, 10),
    (Level.SERIES, {"SeriesDescription": "*Quadrizeps*"}, 10),
    (Level.SERIES, {"PatientID": fill_index.patient_id(NUMBER), "Modality": "CT"}, 20),
    (Level.IMAGE, {"StudyInstanceUID": UID, "SeriesInstanceUID": f"{UID}.0"}, 10),
    (Level.IMAGE, {"SOPInstanceUID": f"{UID}.0.0"}, 10),
]


class Measured:
    """A transaction that counts the rows that its statements touch."""

    def __init__(self, tx):
        self._tx = tx
        self.touched = 0

    async def fetch_all(self, sql, *parameters):
        (plan,) = await self._tx.fetch_one("EXPLAIN (ANALYZE, FORMAT JSON) " + sql, *parameters)
        self.touched += touched(plan[0]["Plan"])
        return await self._tx.fetch_all(sql, *parameters)


def touched(node):
    """The rows that a plan's scans of study, series, instance or patient looked at."""
    below = sum(touched(child) for child in node.get("Plans", ()))
    if "Relation Name" not in node:
        return below
    kinds = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
    return below + sum(node.get(kind, 0) for kind in kinds) * node["Actual Loops"]


async def measured(tx, level, asked):
    # So few studies are quicker read from one end to the other; in a large archive they are not.
    await tx.execute("SET LOCAL enable_seqscan = off")
    counting = Measured(tx)
    # Nothing of the patient below his own level: a few thousand are joined all at once.
    wanted = ["PatientID" if level is Level.PATIENT else "StudyInstanceUID"]
    page = await search.find(counting, level, asked, wanted)
    return len(page.matches), counting.touched


@pytest.fixture
def filled(reactor_thread, database_dsn, tmp_path):
    with closing(psycopg2.connect(database_dsn.owner)) as connection:
        fill_index.fill(connection, STUDIES)
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


def test_a_search_touches_what_it_finds_and_little_else(filled):
    tables = {Level.PATIENT: 1, Level.STUDY: 2, Level.SERIES: 3, Level.IMAGE: 4}
    wasteful = []
    for level, keys, beside in ASKED:
        keys = dict(keys)
        fuzzy = keys.pop("fuzzy", False)
        asked = criteria((Key(k, VRS.get(k, "LO"), v) for k, v in keys.items()), fuzzy=fuzzy)
        found, rows = filled.ask(measured, level, asked)
        if rows > found * tables[level] + beside:
            wasteful.append((level, keys, found, rows))
    assert wasteful == []


def test_what_most_match_is_found_without_looking_at_all(filled, monkeypatch):
    """More match than are gathered: the walk that follows ends with its page."""
    monkeypatch.setattr(search, "GATHERED", 100)
    for keys in ({"PatientSex": "F"}, {"StudyDescription": "*Thorax*"}, {"PatientName": "?*"}):
        asked = criteria(Key(k, VRS.get(k, "LO"), v) for k, v in keys.items())
        found, rows = filled.ask(measured, Level.STUDY, asked)
        assert found == search.FIRST_PAGE
        assert rows < STUDIES, keys


def test_each_match_is_found_once_however_it_is_found(filled):
    async def every(tx, level, asked):
        found, after = [], ()
        while True:
            page = await search.find(tx, level, asked, ["StudyInstanceUID"], after=after)
            found += page.matches
            after = page.after
            if not after:
                return [match.split(search.SEPARATOR)[0] for match in found]

    found = filled.ask(every, Level.STUDY, [])
    assert len(found) == len(set(found)) == STUDIES
    assert len(filled.ask(every, Level.SERIES, criteria([Key("StudyDate", "DA", DAY)]))) >= 100
