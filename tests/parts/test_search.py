"""Searching the index: what PostgreSQL finds is what the matching rules say."""

import pytest

from santepacs.db import callers, peers, search
from santepacs.db.search import Level
from santepacs.errors import Conflict, Malformed, NotFound
from santepacs.model.matching import Equals, Fuzzy, Key, Like, OneOf, criteria
from santepacs.model.names import trigrams
from santepacs.model.peers import Peer
from support.archive import ct, running_site
from support.matching import CASES, STUDIES, UID


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


@pytest.fixture
def studies(site):
    """The studies of the table of cases, stored."""
    for attributes in STUDIES:
        values = {k: v for k, v in attributes.items() if k != "ModalitiesInStudy"}
        site.store(ct(SpecificCharacterSet="ISO_IR 192", **values))
    return site


def find(site, level, asked, wanted=(), **arguments):
    """The matches of one page, as values by keyword."""
    return site.ask(search.find, level, asked, wanted, **arguments).values(wanted)


def find_all(site, level, asked, wanted, **arguments):
    """The matches of every page."""
    found, after = [], ()
    while True:
        page = site.ask(search.find, level, asked, wanted, after=after, **arguments)
        found += page.values(wanted)
        after = page.after
        if not after:
            return found


def numbers(found):
    """The numbers of studies that were found; each once."""
    numbers = [int(one["StudyInstanceUID"].removeprefix(UID + ".")) for one in found]
    assert len(numbers) == len(set(numbers))
    return set(numbers)


@pytest.mark.parametrize("gathered", [search.GATHERED, 0])
def test_every_case_of_matching_is_the_same_in_sql(studies, monkeypatch, gathered):
    """With none gathered, every match is found by walking, two at a time."""
    monkeypatch.setattr(search, "GATHERED", gathered)
    wrong = []
    for keys, agreed, expected in CASES:
        asked = criteria(keys, **agreed)
        for level in (Level.STUDY, Level.SERIES, Level.IMAGE):
            found = numbers(find_all(studies, level, asked, ["StudyInstanceUID"], limit=2))
            if found != expected:
                wrong.append((level, asked, found, expected))
    assert wrong == []


def test_patients_are_matched_by_the_same_rules(studies):
    of_patients = ("PatientName", "PatientID", "PatientSex")
    for keys, agreed, expected in CASES:
        if all(key.attribute in of_patients for key in keys):
            found = find(studies, Level.PATIENT, criteria(keys, **agreed), ["PatientID"])
            assert {int(one["PatientID"][1:]) for one in found} == expected, keys


def test_a_study_is_found_by_the_name_it_carries_itself(site):
    site.store(ct(PatientName="Doe^Jane", StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1",
                  SOPInstanceUID="1.1.1.1"))  # fmt: skip
    site.store(ct(PatientName="Roe^Jane", StudyInstanceUID="1.2", SeriesInstanceUID="1.2.1",
                  SOPInstanceUID="1.2.1.1"))  # fmt: skip
    asked = [Like("PatientName", "roe*")]
    (study,) = find(site, Level.STUDY, asked, ["StudyInstanceUID", "PatientName"])
    assert study == {"StudyInstanceUID": "1.2", "PatientName": "Roe^Jane"}
    assert find(site, Level.PATIENT, asked) == []


def test_every_attribute_of_every_level_can_be_returned(site):
    site.store(ct(ReferringPhysicianName="Roe^Richard", InstitutionName="Hospital"))
    site.store(ct(SOPInstanceUID="1.2.3.2", InstanceNumber=2))
    site.store(ct(SOPInstanceUID="1.2.3.3", SeriesInstanceUID="1.2.3", Modality="MR"))
    for level in Level:
        wanted = list(search.attributes(level))
        for match in find(site, level, [], wanted):
            assert list(match) == wanted
    (patient,) = find(site, Level.PATIENT, [], list(search.attributes(Level.PATIENT)))
    assert patient["NumberOfPatientRelatedStudies"] == "1"
    assert patient["NumberOfPatientRelatedSeries"] == "2"
    assert patient["NumberOfPatientRelatedInstances"] == "3"
    (study,) = find(site, Level.STUDY, [], list(search.attributes(Level.STUDY)))
    assert study["NumberOfPatientRelatedInstances"] == "3"
    assert study["NumberOfStudyRelatedSeries"] == "2"
    assert study["NumberOfStudyRelatedInstances"] == "3"
    assert sorted(study["ModalitiesInStudy"].split("\\")) == ["CT", "MR"]
    assert study["SOPClassesInStudy"] == ct().SOPClassUID
    count = "NumberOfSeriesRelatedInstances"
    assert find(site, Level.SERIES, [Equals("Modality", "CT")], [count]) == [{count: "2"}]
    frames = ["NumberOfFrames", "InstanceNumber"]
    assert find(site, Level.IMAGE, [Equals("InstanceNumber", "2")], frames) == [
        {"NumberOfFrames": "", "InstanceNumber": "2"}
    ]


def test_what_a_level_does_not_know_is_not_matched(site):
    site.store(ct())
    (study,) = find(site, Level.STUDY, [Equals("Modality", "XX")], ["PatientID"])
    assert study == {"PatientID": "P1"}


def test_studies_are_found_by_their_sop_classes(site):
    site.store(ct())
    for uid, count in ((str(ct().SOPClassUID), 1), ("1.2.3", 0)):
        assert len(find(site, Level.STUDY, [Equals("SOPClassesInStudy", uid)])) == count


def test_control_characters_of_a_text_do_not_move_the_others(site):
    site.store(ct(StudyDescription="a\x1fb", AccessionNumber="A\x1e\x1f1"))
    wanted = ["StudyDescription", "AccessionNumber", "PatientID"]
    (study,) = find(site, Level.STUDY, [], wanted)
    assert study == {
        "StudyDescription": "a b", "AccessionNumber": "A  1", "PatientID": "P1",
    }  # fmt: skip


def test_numbers_are_matched_as_numbers(site):
    site.store(ct(SeriesNumber=7))
    for asked, count in ((Equals("SeriesNumber", "7"), 1), (Equals("SeriesNumber", "8"), 0),
                         (OneOf("SeriesNumber", ("6", "7")), 1),
                         (Equals("SeriesNumber", "9" * 30), 0)):  # fmt: skip
        assert len(find(site, Level.SERIES, [asked])) == count
    with pytest.raises(Malformed):
        find(site, Level.SERIES, [Equals("SeriesNumber", "7; --")])


def test_pages_are_complete_in_order_and_undisturbed_by_arrivals(site):
    def add(number, date):
        site.store(ct(StudyInstanceUID=f"1.{number}", SeriesInstanceUID=f"1.{number}.1",
                      SOPInstanceUID=f"1.{number}.1.1", StudyDate=date))  # fmt: skip

    for number in range(1, 8):
        add(number, f"2026010{number % 3 + 1}")
    pages, after = [], ()
    wanted = ["StudyInstanceUID", "StudyDate"]
    while True:
        page = site.ask(search.find, Level.STUDY, [], wanted, after=after, limit=2)
        if not pages:
            add(99, "20261231")
        pages.append(page)
        after = page.after
        if not after:
            break
    found = [match for page in pages for match in page.values(wanted)]
    assert [one["StudyDate"] for one in found] == sorted(
        (one["StudyDate"] for one in found), reverse=True
    )
    assert {one["StudyInstanceUID"] for one in found} == {f"1.{n}" for n in range(1, 8)}
    assert len(found) == 7


def test_images_come_study_by_study_in_the_order_of_arrival(site, monkeypatch):
    for number, date in ((1, "20260101"), (2, "20260102")):
        for image in (1, 2, 3):
            site.store(ct(StudyInstanceUID=f"1.{number}", SeriesInstanceUID=f"1.{number}.1",
                          SOPInstanceUID=f"1.{number}.1.{image}", StudyDate=date))  # fmt: skip
    expected = [f"1.{study}.1.{image}" for study in (2, 1) for image in (1, 2, 3)]
    asked = [Equals("PatientID", "P1")]
    for gathered in (search.GATHERED, 0):
        monkeypatch.setattr(search, "GATHERED", gathered)
        found = find_all(site, Level.IMAGE, asked, ["SOPInstanceUID"], limit=2)
        assert [one["SOPInstanceUID"] for one in found] == expected


def test_a_very_long_list_of_uids_is_found(studies):
    uids = (*(f"1.{n}" for n in range(9999)), f"{UID}.3")
    asked = [OneOf("StudyInstanceUID", uids)]
    assert find(studies, Level.STUDY, asked, ["PatientID"]) == [{"PatientID": "P3"}]


def test_an_index_of_trigrams_serves_a_search_in_the_middle_of_a_text():
    for attribute, vr in (("PatientName", "PN"), ("ReferringPhysicianName", "PN"),
                          ("StudyDescription", "LO")):  # fmt: skip
        asked = criteria([Key(attribute, vr, "*ulle*")])
        sql, parameters = search.where(Level.STUDY, asked)
        assert "trigrams" in sql
        assert ["lle", "ull"] in parameters
        short, _ = search.where(Level.STUDY, criteria([Key(attribute, vr, "*ul*")]))
        begun, _ = search.where(Level.STUDY, criteria([Key(attribute, vr, "mull*")]))
        without, _ = search.where(Level.STUDY, asked, trigrams=False)
        assert "trigrams" not in short + begun + without


def test_trigrams_are_the_same_in_sql_and_python(site):
    async def in_sql(tx, text):
        return (await tx.fetch_one("SELECT trigrams(%s)", text))[0]

    for text in ("", "a", "ab", "abc", "müller^jörg=山田^太郎", "aaaa", "x" * 300):
        assert sorted(set(site.ask(in_sql, text))) == trigrams(text)


def test_values_never_become_sql():
    hostile = "'; DROP TABLE study;--"
    for level in Level:
        for attribute in search.attributes(level):
            if attribute in ("SeriesNumber", "InstanceNumber", "Rows", "Columns", "NumberOfFrames"):
                continue
            for criterion in (
                Equals(attribute, hostile),
                Like(attribute, hostile + "*"),
                Like(attribute, "*" + hostile),
                Fuzzy(attribute, hostile),
            ):
                sql, _ = search.where(level, [criterion])
                assert "DROP" not in sql


def test_contents_count_the_kinds_of_objects(site):
    site.store(ct())
    site.store(ct(SOPInstanceUID="1.2.3.2"))
    (kind,) = site.ask(search.contents, [Equals("PatientID", "P1")])
    assert (kind.sop_class_uid, kind.count) == (ct().SOPClassUID, 2)
    assert site.ask(search.contents, [Equals("PatientID", "P2")]) == []


# --- peers and callers ----------------------------------------------------------------------------


def test_peers_are_kept(site):
    peer = Peer("CT1", "192.0.2.7", 104, may_query=False)
    site.ask(peers.add, peer)
    assert site.ask(peers.find, "CT1") == peer
    assert site.ask(peers.find, "ct1") is None
    with pytest.raises(Conflict):
        site.ask(peers.add, peer)
    moved = Peer("CT2", "ct.example", 11112)
    site.ask(peers.change, "CT1", moved)
    assert site.ask(peers.everyone) == [moved]
    with pytest.raises(NotFound):
        site.ask(peers.change, "CT1", peer)
    site.ask(peers.add, peer)
    with pytest.raises(Conflict):
        site.ask(peers.change, "CT1", moved)
    site.ask(peers.delete, "CT1")
    with pytest.raises(NotFound):
        site.ask(peers.delete, "CT1")


@pytest.mark.parametrize(
    ("title", "host", "port"),
    [
        ("", "h", 104),
        ("x" * 17, "h", 104),
        ("A\\B", "h", 104),
        ("ÄE", "h", 104),
        ("A", "", 104),
        ("A", "h/x", 104),
        ("A", "http://h", 104),
        ("A", "h", 0),
        ("A", "h", 65536),
    ],
)
def test_an_impossible_peer_is_refused(site, title, host, port):
    with pytest.raises(Malformed):
        site.ask(peers.add, Peer(title, host, port))


def test_a_caller_is_listed_once_with_its_count_and_last_reason(site):
    for reason in ("first", "second"):
        site.ask(callers.note, "dicom", "EVE\0\n", "192.0.2.1", reason)
    site.ask(callers.note, "hl7", "", "192.0.2.1", "not a node")
    listed = site.ask(callers.everyone)
    assert [(c.protocol, c.title, c.count, c.reason) for c in listed] == [
        ("hl7", "", 1, "not a node"),
        ("dicom", "EVE", 2, "second"),
    ]
    site.ask(callers.forget, listed[0].id)
    assert len(site.ask(callers.everyone)) == 1


def test_only_the_newest_callers_are_kept(site):
    async def flood(tx):
        for number in range(callers.MAXIMUM + 5):
            await callers.note(tx, "dicom", f"T{number}", "192.0.2.1", "unknown")

    site.ask(flood)
    listed = site.ask(callers.everyone)
    assert len(listed) == callers.MAXIMUM
    assert {c.title for c in listed}.isdisjoint({f"T{n}" for n in range(5)})
