"""C-FIND of the Query/Retrieve service and of the worklist."""

import time
from itertools import chain

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom.dsutils import encode
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from twisted.logger import formatEvent

from santepacs.db import orders
from santepacs.db.search import Page
from santepacs.dicom import query
from santepacs.dicom.pages import Pages
from santepacs.dicom.query import FUZZY
from santepacs.dicom.session import Session
from santepacs.model.order import WorklistRecord
from support.archive import ct
from support.dicom import (
    PATIENT_FIND,
    STUDY_FIND,
    WORKLIST,
    Raw,
    command,
    eventually,
    identifier_of,
    p_data,
    running_dicom,
)
from support.programs import run


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_dicom(reactor_thread, database_dsn, tmp_path) as running:
        yield running


def add(site, number, **attributes):
    """Store a study of one image."""
    attributes.setdefault("PatientID", f"P{number}")
    site.store(
        ct(
            StudyInstanceUID=f"1.2.{number}",
            SeriesInstanceUID=f"1.2.{number}.1",
            SOPInstanceUID=f"1.2.{number}.1.1",
            **attributes,
        )
    )


def relational(model, options=b"\1\1\0\0"):
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid = model
    item.service_class_application_information = options
    return [item]


def test_an_answer_holds_exactly_what_was_asked_for(site):
    add(site, 1)
    (answer,), status = site.find(
        level="STUDY",
        PatientID="P1",
        PatientName="",
        ModalitiesInStudy="",
        NumberOfStudyRelatedInstances="",
        PatientComments="",
        InstanceAvailability="",
        RequestAttributesSequence=[],
    )
    assert status == 0x0000
    assert {element.keyword for element in answer} == {
        "QueryRetrieveLevel", "RetrieveAETitle", "PatientID", "PatientName", "ModalitiesInStudy",
        "NumberOfStudyRelatedInstances", "PatientComments", "InstanceAvailability",
        "RequestAttributesSequence",
    }  # fmt: skip
    assert answer.QueryRetrieveLevel == "STUDY"
    assert answer.RetrieveAETitle == "SANTEPACS"
    assert answer.PatientName == "Doe^Jane"
    assert answer.NumberOfStudyRelatedInstances == 1
    assert answer.InstanceAvailability == "ONLINE"
    assert not answer.PatientComments
    assert len(answer.RequestAttributesSequence) == 0


def test_all_levels_answer(site):
    add(site, 1)
    keys = {"PatientID": "P1", "StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.1.1"}
    for model, levels in (
        (PATIENT_FIND, ["PATIENT", "STUDY", "SERIES", "IMAGE"]),
        (STUDY_FIND, ["STUDY", "SERIES", "IMAGE"]),
    ):
        for level in levels:
            (answer,), status = site.find(model, level=level, SOPInstanceUID="", Rows=None, **keys)
            assert status == 0x0000
            assert answer.PatientID == "P1"
            assert (answer.SOPInstanceUID == "1.2.1.1.1") is (level == "IMAGE")
            assert (answer.Rows == 8) is (level == "IMAGE")


@pytest.mark.parametrize(
    ("model", "keys"),
    [
        (STUDY_FIND, {}),
        (STUDY_FIND, {"level": ""}),
        (STUDY_FIND, {"level": "FOO"}),
        (STUDY_FIND, {"level": "study"}),
        (STUDY_FIND, {"level": "PATIENT"}),
        (STUDY_FIND, {"level": "SERIES"}),
        (STUDY_FIND, {"level": "IMAGE"}),
        (STUDY_FIND, {"level": "IMAGE", "StudyInstanceUID": "1.2.1"}),
        (STUDY_FIND, {"level": "SERIES", "StudyInstanceUID": "*"}),
        (STUDY_FIND, {"level": "SERIES", "StudyInstanceUID": ["1.2.1", "1.2.2"]}),
        (PATIENT_FIND, {"level": "STUDY", "StudyInstanceUID": "1.2.1"}),
        (PATIENT_FIND, {"level": "STUDY", "PatientID": "P*"}),
        (STUDY_FIND, {"level": "STUDY", "StudyDate": "soon"}),
    ],
)
def test_a_query_that_does_not_fit_its_model_is_refused(site, model, keys):
    add(site, 1)
    identifier = identifier_of()
    for keyword, value in keys.items():
        keyword = "QueryRetrieveLevel" if keyword == "level" else keyword
        setattr(identifier, keyword, value)
    identifier.PatientName = ""
    assert site.find(model, identifier=identifier) == ([], 0xA900)


def test_a_relational_query_needs_no_keys_above_its_level(site):
    add(site, 1)
    arguments = {"level": "IMAGE", "PatientID": "P1", "SOPInstanceUID": ""}
    (answer,), status = site.find(ext_neg=relational(STUDY_FIND), **arguments)
    assert (answer.SOPInstanceUID, status) == ("1.2.1.1.1", 0x0000)
    assert site.find(ext_neg=relational(STUDY_FIND, b"\0"), **arguments) == ([], 0xA900)


def test_date_and_time_are_one_interval_only_when_that_was_agreed(site):
    add(site, 1, StudyDate="20260101", StudyTime="080000")
    add(site, 2, StudyDate="20260102", StudyTime="120000")
    keys = {"level": "STUDY", "StudyDate": "20260101-20260103", "StudyTime": "1000-1100",
            "StudyInstanceUID": ""}  # fmt: skip
    assert site.find(**keys) == ([], 0x0000)
    (answer,), _ = site.find(ext_neg=relational(STUDY_FIND), **keys)
    assert answer.StudyInstanceUID == "1.2.2"


@pytest.mark.parametrize(
    ("name", "charset"),
    [
        ("Doe^Jane", None),
        ("Müller^Jörg", "ISO_IR 100"),
        ("Παπαδοπούλου^Μαρία", "ISO_IR 192"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "ISO_IR 192"),
    ],
)
def test_the_character_set_that_suffices_is_said(site, name, charset):
    add(site, 1, PatientName=name, SpecificCharacterSet="ISO_IR 192")
    (answer,), _ = site.find(level="STUDY", PatientName="", StudyInstanceUID="")
    assert answer.get("SpecificCharacterSet") == charset
    assert str(answer.PatientName) == name


@pytest.mark.parametrize(
    ("charset", "name", "asked"),
    [
        ("ISO_IR 100", "Müller^Jörg", "mül*"),
        ("ISO_IR 126", "Παπαδοπούλου^Μαρία", "παπαδοπουλου*"),
        ("ISO_IR 192", "Παπαδοπούλου^Μαρία", "Παπαδ*"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", "山田*"),
    ],
)
def test_a_query_is_read_in_its_own_character_set(site, charset, name, asked):
    add(site, 1, PatientName=name, SpecificCharacterSet="ISO_IR 192")
    add(site, 2)
    (answer,), _ = site.find(
        level="STUDY", SpecificCharacterSet=charset, PatientName=asked, StudyInstanceUID=""
    )
    assert answer.StudyInstanceUID == "1.2.1"


@pytest.mark.parametrize(
    ("charset", "name", "said"),
    [
        ("ISO_IR 126", "Παπαδοπούλου^Μαρία", "ISO_IR 126"),
        ("ISO_IR 126", "Müller^Jörg", "ISO_IR 192"),
        ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", ["", "ISO 2022 IR 87"]),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
    ],
)
def test_the_answer_is_in_the_character_set_of_the_query(site, charset, name, said):
    add(site, 1, PatientName=name, SpecificCharacterSet="ISO_IR 192")
    (answer,), _ = site.find(
        level="STUDY", SpecificCharacterSet=charset, PatientName="", StudyInstanceUID=""
    )
    assert answer.SpecificCharacterSet == said
    assert str(answer.PatientName) == name


def test_names_are_fuzzy_only_when_that_was_agreed(site, monkeypatch):
    add(site, 1, PatientName="Παπαδοπούλου^Μαρία", SpecificCharacterSet="ISO_IR 192")
    keys = {"level": "STUDY", "PatientName": "maria papadopoulou", "StudyInstanceUID": ""}
    assert site.find(**keys) == ([], 0x0000)
    monkeypatch.setattr(Session, "agreed", lambda self, model, option: option == FUZZY)
    (answer,), _ = site.find(**keys)
    assert answer.StudyInstanceUID == "1.2.1"


HOSTILE = ["' OR 1=1--", "'; DROP TABLE study;--", "%", "_", "\\", "100%_x", "[a-z]", "?" * 200,
           "*a" * 400, "x" * 10_000]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_only_a_name(site, name):
    add(site, 1)
    started = time.monotonic()
    found, status = site.find(level="STUDY", PatientName=name, StudyInstanceUID="")
    assert found == []
    assert status in (0x0000, 0xA900)
    assert time.monotonic() - started < 5
    assert len(site.find(level="STUDY", StudyInstanceUID="")[0]) == 1


def test_bytes_that_are_no_text_are_answered(site):
    add(site, 1)
    for keys in (
        {"SpecificCharacterSet": "\\\\", "PatientName": "x"},
        {"SpecificCharacterSet": "NO_SUCH", "PatientName": "x"},
        {"SpecificCharacterSet": ["ISO 2022 IR 6", "ISO 2022 IR 87"], "PatientName": "\x1b$B\x1b"},
    ):
        found, status = site.find(level="STUDY", StudyInstanceUID="", **keys)
        assert (found, status) in (([], 0x0000), ([], 0xA900))


def test_only_what_belongs_into_an_identifier_is_answered(site):
    add(site, 1)
    identifier = identifier_of(level="STUDY", StudyInstanceUID="")
    identifier.add_new((0x0011, 0x0010), "LO", "ACME 1.0")
    identifier.add_new((0x0011, 0x1001), "LO", "secret")
    identifier.add_new((0x0010, 0x0000), "UL", 8)
    (answer,), _ = site.find(identifier=identifier)
    assert {element.tag for element in answer} == {
        0x00080052, 0x00080054, 0x0020000D, 0x00110010, 0x00111001,
    }  # fmt: skip
    assert not answer[0x0011, 0x1001].value


@pytest.mark.parametrize(
    "keys",
    [
        {"StudyInstanceUID": "1.2.1", "StudyDate": "19000101-99991231"},
        {"StudyInstanceUID": [f"1.2.{n}" for n in range(1000)]},
        {"StudyInstanceUID": "", "PatientName": "?*"},
        {"StudyInstanceUID": "", "PatientName": "*" * 60},
        {"StudyInstanceUID": ""},
    ],
)
def test_a_wide_query_is_answered(site, keys):
    add(site, 1)
    found, status = site.find(level="STUDY", **keys)
    assert ([one.StudyInstanceUID for one in found], status) == (["1.2.1"], 0x0000)


def test_very_many_keys_and_deep_sequences_are_refused_or_answered(site):
    add(site, 1)
    many = identifier_of(level="STUDY", StudyInstanceUID="")
    for number in range(2000):
        many.add_new((0x0011, 0x1000 + number), "LO", "")
    assert site.find(identifier=many)[1] == 0xA900
    deep = Dataset()
    for _ in range(60):
        outer = Dataset()
        outer.RequestAttributesSequence = [deep]
        deep = outer
    deep.QueryRetrieveLevel = "STUDY"
    assert site.find(identifier=deep)[1] in (0x0000, 0xA900)


def test_many_matches_come_page_by_page(site, monkeypatch):
    monkeypatch.setattr("santepacs.db.search.FIRST_PAGE", 2)
    monkeypatch.setattr("santepacs.db.search.PAGE", 3)
    for number in range(1, 10):
        add(site, number, PatientID="P")
    found, status = site.find(level="STUDY", StudyInstanceUID="")
    assert (len(found), len({one.StudyInstanceUID for one in found}), status) == (9, 9, 0x0000)


def test_one_page_is_read_ahead_and_no_more(site):
    reads = []

    async def read(tx, place):
        reads.append(place)
        return [place * 2, place * 2 + 1]

    pages = Pages(site.resources, "test", read, lambda page: page[-1] // 2 + 1, 0)
    matches = chain.from_iterable(pages)
    for taken, read in ((1, 2), (2, 2), (3, 3)):
        assert next(matches) == taken - 1
        eventually(lambda read=read: len(reads) == read)
        time.sleep(0.05)
        assert len(reads) == read, taken


@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_cancel_ends_the_answers_within_a_second(site, monkeypatch, before):
    echo = ((0x0100, b"\x30\0"), (0x0110, b"\x09\0"), (0x0800, b"\1\1"))

    async def page(tx, level, asked, wanted, *, after=()):
        return Page(["1.2.3"] * 1000, ("on",))

    monkeypatch.setattr("santepacs.db.search.find", page)
    peer = Raw(site.port)
    peer.associate(contexts=((STUDY_FIND, ImplicitVRLittleEndian),))
    query = encode(identifier_of(level="STUDY", StudyInstanceUID=""), True, True)
    asked = ((0x0100, b"\x20\0"), (0x0110, b"\7\0"), (0x0700, b"\0\0"), (0x0800, b"\1\0"))
    uid = STUDY_FIND.encode() + b"\0" * (len(STUDY_FIND) % 2)
    peer.send(p_data(3, command((0x0002, uid), *asked)) + p_data(2, query))
    assert pending(peer)
    cancel = ((0x0100, b"\xff\x0f"), (0x0120, b"\7\0"), (0x0800, b"\1\1"))
    # Requests that were sent ahead do not hide it.
    peer.send(before * p_data(3, command(*echo)) + p_data(3, command(*cancel)))
    started = time.monotonic()
    while pending(peer):  # what was on its way
        assert time.monotonic() - started < 10
    peer.close()


def pending(peer):
    """Whether the next PDU is of a pending answer; otherwise it says that it was cancelled."""
    kind, body = peer.receive()
    assert kind == 4
    is_data_set = not body[5] & 1
    if is_data_set or b"\0\0\0\x09\2\0\0\0\0\xff" in body:
        return True
    assert b"\0\0\0\x09\2\0\0\0\0\xfe" in body
    return False


def test_a_peer_that_has_gone_ends_the_answers(site, monkeypatch):
    reads = []

    async def page(tx, level, asked, wanted, *, after=()):
        reads.append(after)
        return Page(["1.2.3"] * 1000, ("on",))

    monkeypatch.setattr("santepacs.db.search.find", page)
    with site.association(STUDY_FIND) as association:
        next(association.send_c_find(identifier_of(level="STUDY", StudyInstanceUID=""), STUDY_FIND))
        association.abort()
    eventually(lambda: site.server.counts()[0] == 0)
    before = len(reads)
    time.sleep(0.2)
    assert len(reads) == before


def test_a_list_that_is_cut_says_so(reactor_thread, database_dsn, tmp_path, monkeypatch):
    events = []
    with running_dicom(reactor_thread, database_dsn, tmp_path, maximum_results=2) as site:
        for number in range(1, 4):
            add(site, number)
        monkeypatch.setattr(query.log, "observer", events.append)
        found, status = site.find(level="STUDY", StudyInstanceUID="")
        assert (len(found), status) == (2, 0xA700)
        (line,) = map(formatEvent, events)
        assert line.startswith("query of TESTER from 127.0.0.1 answered in part (0xA700): only the")
        found, status = site.find(level="STUDY", StudyInstanceUID=["1.2.1", "1.2.2"])
        assert (len(found), status) == (2, 0x0000)


def test_a_search_that_takes_too_long_fails_and_says_so(site, monkeypatch):
    async def slow(tx, *_, **__):
        await tx.execute("SELECT pg_sleep(20)")

    monkeypatch.setattr("santepacs.db.search.find", slow)
    monkeypatch.setattr(site.database, "_statement_timeout", 0.2)
    site.reactor_thread.run(forget_connections, site.database)
    with site.association(STUDY_FIND) as association:
        identifier = identifier_of(level="STUDY", StudyInstanceUID="")
        ((status, answer),) = association.send_c_find(identifier, STUDY_FIND)
    assert (status.Status, answer) == (0xA700, None)
    assert status.ErrorComment == "the database takes too long"


def forget_connections(database):
    """Make the next transaction connect anew."""
    for connection in database._idle:
        if connection.pollable() is not None:
            connection.close()


def test_an_error_of_ours_fails_the_query_and_nothing_else(site, monkeypatch):
    add(site, 1)
    keys = {"level": "STUDY", "StudyInstanceUID": ""}
    with monkeypatch.context() as broken:
        broken.setattr("santepacs.dicom.answers.Answers.encoded", lambda *_: 1 / 0)
        assert site.find(**keys) == ([], 0x0110)
    assert len(site.find(**keys)[0]) == 1


def test_while_the_database_is_away_a_query_fails(site):
    with site.association(STUDY_FIND) as association:
        site.reactor_thread.run(site.database.stop)
        identifier = identifier_of(level="STUDY", StudyInstanceUID="")
        ((status, answer),) = association.send_c_find(identifier, STUDY_FIND)
        assert (status.Status, answer) == (0xA700, None)


def test_dcmtk_finds(site):
    add(site, 1, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    said = run(
        *("findscu", "-S", "-aec", "SANTEPACS", "127.0.0.1", site.port),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P1", "-k", "StudyInstanceUID"),
    )
    assert "1.2.1" in said


# --- worklist -------------------------------------------------------------------------------------


def schedule(site, number, **attributes):
    defaults = {
        "patient_id": f"P{number}",
        "patient_name": "Doe^Jane",
        "requested_procedure_id": f"R{number}",
        "accession_number": f"A{number}",
        "study_instance_uid": f"1.2.{number}",
        "scheduled_station_ae_title": "CT1",
        "modality": "CT",
        "start_date": "20260101",
        "start_time": "100000",
    }
    site.ask(orders.add, WorklistRecord(**(defaults | attributes)))


def test_the_worklist_is_answered(site):
    schedule(site, 1)
    schedule(site, 2, modality="MR", patient_name="Παπαδοπούλου^Μαρία")
    step = Dataset()
    step.Modality = "MR"
    step.ScheduledStationAETitle = ""
    query = Dataset()
    query.PatientName = ""
    query.PatientID = ""
    query.ScheduledProcedureStepSequence = [step]
    (answer,), status = site.find(WORKLIST, identifier=query)
    assert status == 0x0000
    assert answer.PatientID == "P2"
    assert str(answer.PatientName) == "Παπαδοπούλου^Μαρία"
    assert answer.SpecificCharacterSet == "ISO_IR 126"
    assert answer.ScheduledProcedureStepSequence[0].ScheduledStationAETitle == "CT1"


def test_an_impossible_worklist_query_is_refused(site):
    schedule(site, 1)
    step = Dataset()
    step.ScheduledProcedureStepStartDate = "soon"
    query = Dataset()
    query.ScheduledProcedureStepSequence = [step]
    assert site.find(WORKLIST, identifier=query) == ([], 0xA900)


def test_a_long_worklist_comes_page_by_page(site, monkeypatch):
    monkeypatch.setattr("santepacs.dicom.worklist.PAGE", 3)
    for number in range(1, 9):
        schedule(site, number)
    query = Dataset()
    query.PatientID = ""
    found, status = site.find(WORKLIST, identifier=query)
    assert (len({one.PatientID for one in found}), status) == (8, 0x0000)


def test_a_worklist_query_of_very_many_keys_is_refused(site):
    schedule(site, 1)
    step = Dataset()
    for number in range(2000):
        step.add_new((0x0011, 0x1000 + number), "LO", "")
    query = Dataset()
    query.ScheduledProcedureStepSequence = [step]
    assert site.find(WORKLIST, identifier=query) == ([], 0xA900)
