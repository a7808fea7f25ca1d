"""The worklist for scanners: DCMTK's findscu and others ask the real server."""

from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from twisted.logger import formatEvent

from santepacs.db import orders, peers
from santepacs.dicom import worklist
from santepacs.dicom.worklist_writing import Writer
from santepacs.model.order import StepStatus, WorklistRecord
from santepacs.model.peers import Peer
from support.dicom import WORKLIST, eventually, running_dicom
from support.programs import run

GREEK = "Παπαδοπούλου^Μαρία"


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_dicom(reactor_thread, database_dsn, tmp_path / "data") as running:
        yield running


def schedule(site, number, **values):
    """Keep a step; returns its key."""
    defaults = {
        "patient_id": f"P{number}",
        "patient_name": "Doe^Jane",
        "requested_procedure_id": f"R{number}",
        "study_instance_uid": f"1.2.{number}",
        "scheduled_station_ae_title": "CT1",
        "modality": "CT",
        "start_date": "20260101",
        "start_time": "100000",
    }
    return site.ask(orders.add, WorklistRecord(**(defaults | values)))


def set_worklist(site, **values):
    site.settings.worklist = replace(site.settings.worklist, **values)


def step(**keys):
    item = Dataset()
    for keyword, value in keys.items():
        setattr(item, keyword, value)
    return item


def query(*items, **keys):
    ds = step(PatientID="", **keys)
    ds.ScheduledProcedureStepSequence = Sequence(items)
    return ds


def patients(site, ds, title="CT1"):
    """The Patient IDs of all answers, which must come to a good end."""
    found, status = site.find(WORKLIST, identifier=ds, title=title)
    assert status == 0x0000
    return [answer.PatientID for answer in found]


# --- DCMTK ----------------------------------------------------------------------------------------


class Findscu:
    """Asks with DCMTK's findscu, from a file or from keys."""

    def __init__(self, site, folder):
        self._site, self._folder = site, folder

    def __call__(self, *options, ds=None, explicit=True, title="CT1"):
        files = []
        if ds is not None:
            files = [self._folder / "query.dcm"]
            ds.save_as(files[0], implicit_vr=not explicit, little_endian=True)
        out = self._folder / "answers"
        out.mkdir(exist_ok=True)
        said = run(
            *("findscu", "-v", "-W", "-X", "-od", out, "-aet", title, "-aec", "SANTEPACS"),
            *("127.0.0.1", self._site.port, *options, *files),
        )
        assert "0x0000" in said or "Success" in said, said
        return [dcmread(path, force=True) for path in sorted(out.glob("rsp*.dcm"))]


@pytest.fixture
def findscu(site, tmp_path):
    return Findscu(site, tmp_path)


def raw_sequence(value):
    """A query whose Scheduled Procedure Step Sequence has exactly this value."""
    ds = step(PatientID="", PatientName="")
    ds.add_new(0x00400100, "SQ", value)
    return ds


def everything():
    """Keys of every attribute of PS3.4 table K.6-1, without a value."""
    top = """AccessionNumber RequestingPhysician ReferringPhysicianName AdmissionID PatientName
        CurrentPatientLocation PatientID IssuerOfPatientID PatientBirthDate PatientSex PatientWeight
        ConfidentialityConstraintOnPatientDataDescription PatientState PregnancyStatus MedicalAlerts
        Allergies SpecialNeeds StudyInstanceUID RequestedProcedureDescription RequestedProcedureID
        RequestedProcedurePriority PatientTransportArrangements StudyDate StudyTime"""
    sequences = """ReferencedStudySequence ReferencedPatientSequence RequestedProcedureCodeSequence
        OtherPatientIDsSequence"""
    of_step = """ScheduledStationAETitle ScheduledProcedureStepStartDate Modality
        ScheduledProcedureStepStartTime ScheduledPerformingPhysicianName RequestedContrastAgent
        ScheduledProcedureStepDescription ScheduledStationName ScheduledProcedureStepLocation
        PreMedication ScheduledProcedureStepID ScheduledProcedureStepStatus"""
    item = step(**dict.fromkeys(of_step.split(), ""), ScheduledProtocolCodeSequence=[])
    ds = step(**dict.fromkeys(top.split(), None), **{name: [] for name in sequences.split()})
    ds.ScheduledProcedureStepSequence = [item]
    return ds


FORMS = {
    "without sequence": step(PatientID="", PatientName=""),
    "zero-length sequence": raw_sequence([]),
    "empty item": raw_sequence([Dataset()]),
    "without station": query(step(Modality="CT", ScheduledProcedureStepStartDate="20260101")),
    "empty station": query(step(ScheduledStationAETitle="", Modality="CT")),
    "station with blanks": query(step(ScheduledStationAETitle=" CT1 ")),
    "station with wildcard": query(step(ScheduledStationAETitle="CT*")),
    "everything, universal": everything(),
    "asterisks": query(
        step(ScheduledStationAETitle="*", Modality="*", ScheduledPerformingPhysicianName="*"),
        PatientName="*",
        AccessionNumber="*",
    ),
    "a date of ACR-NEMA": query(step(ScheduledProcedureStepStartDate="2026.01.01")),
    "ranges of date and time": query(
        step(
            ScheduledProcedureStepStartDate="20251231-20260101",
            ScheduledProcedureStepStartTime="080000.000000-120000.999999",
        )
    ),
    "a dash for a date": query(step(ScheduledProcedureStepStartDate="-")),
    "several items": query(step(Modality="MR"), step(Modality="CT")),
    "several modalities": query(step(Modality=["MR", "CT"])),
    "wrong character set": query(SpecificCharacterSet="ISO_IR 999", PatientName="D*"),
    "empty character set": query(SpecificCharacterSet="", PatientName="DOE*"),
    "a level of Query/Retrieve": query(QueryRetrieveLevel="WORKLIST"),
}


@pytest.mark.parametrize("explicit", [True, False], ids=["explicit", "implicit"])
@pytest.mark.parametrize("ds", FORMS.values(), ids=FORMS)
def test_every_form_of_query_finds_the_step(site, findscu, ds, explicit):
    schedule(site, 1)
    schedule(site, 2, modality="US", scheduled_station_ae_title="US1",
             step_status=StepStatus.COMPLETED)  # fmt: skip
    (answer,) = findscu(ds=ds, explicit=explicit)
    assert answer.PatientID == "P1"
    assert len(answer.ScheduledProcedureStepSequence) == 1


def test_all_return_keys_are_there_and_none_of_type_1_is_empty(site, findscu):
    schedule(site, 1, scheduled_procedure_step_id="S1")
    ds = everything()
    (answer,) = findscu(ds=ds)
    asked = {element.keyword for element in ds}
    assert asked - {element.keyword for element in answer} == set()
    (item,) = answer.ScheduledProcedureStepSequence
    asked = {element.keyword for element in ds.ScheduledProcedureStepSequence[0]}
    assert asked - {element.keyword for element in item} == set()
    must = ("PatientName", "PatientID", "StudyInstanceUID", "RequestedProcedureID",
            "RequestedProcedureDescription")  # fmt: skip
    must_of_step = ("ScheduledStationAETitle", "ScheduledProcedureStepStartDate", "Modality",
                    "ScheduledProcedureStepStartTime", "ScheduledProcedureStepDescription",
                    "ScheduledProcedureStepID")  # fmt: skip
    assert not any(answer[keyword].is_empty for keyword in must)
    assert not any(item[keyword].is_empty for keyword in must_of_step)
    assert answer.RequestedProcedureCodeSequence[0].CodeValue == "R1"
    assert item.ScheduledProtocolCodeSequence[0].CodeValue == "S1"


def test_keys_on_the_command_line(site, findscu):
    schedule(site, 1)
    schedule(site, 2, patient_name=GREEK, modality="MR")
    (answer,) = findscu("-k", "PatientName", "-k", "PatientID",
                        "-k", "ScheduledProcedureStepSequence[0].Modality=MR")  # fmt: skip
    assert (answer.PatientID, str(answer.PatientName)) == ("P2", GREEK)


# --- peers ----------------------------------------------------------------------------------------


def name_and_set(site, title):
    (answer,), status = site.find(WORKLIST, identifier=query(PatientName=""), title=title)
    assert status == 0x0000
    return str(answer.PatientName), answer.get("SpecificCharacterSet")


@pytest.mark.parametrize(
    "worklist_charset, name, charset",
    [
        ("", GREEK, "ISO_IR 126"),
        ("ISO_IR 192", GREEK, "ISO_IR 192"),
        ("ISO_IR 100", "Papadopoulou^Maria", None),
        ("transliterated", "Papadopoulou^Maria", None),
    ],
)
def test_each_scanner_gets_its_character_set(site, worklist_charset, name, charset):
    schedule(site, 1, patient_name=GREEK)
    site.ask(peers.add, Peer("CT1", "192.0.2.1", 104, worklist_charset=worklist_charset))
    assert name_and_set(site, "CT1") == (name, charset)
    assert name_and_set(site, "OTHER") == (GREEK, "ISO_IR 126")


@pytest.mark.parametrize(
    "worklist_charset, name",
    [
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
    ],
)
def test_sets_of_several_bytes_are_read_by_others(site, findscu, worklist_charset, name):
    schedule(site, 1, patient_name=name)
    site.ask(peers.add, Peer("CT1", "192.0.2.1", 104, worklist_charset=worklist_charset))
    (answer,) = findscu(ds=query(PatientName=""))
    assert str(answer.PatientName) == name
    assert name_and_set(site, "CT2") == (name, "ISO_IR 192")


def test_a_scanner_s_name_is_a_beginning_where_it_means_that(site):
    schedule(site, 1)
    ds = query(PatientName="DOE")
    site.ask(peers.add, Peer("CT1", "192.0.2.1", 104, append_wildcard=True))
    assert patients(site, ds, "CT1") == ["P1"]
    assert patients(site, ds, "CT2") == []


# --- settings -------------------------------------------------------------------------------------


@pytest.fixture
def stations(site):
    schedule(site, 1)
    schedule(site, 2, scheduled_station_ae_title="MR1")
    schedule(site, 3, scheduled_station_ae_title="")
    return site


@pytest.mark.parametrize(
    "station, own, or_none, found",
    [
        ("", False, False, ["P1", "P2", "P3"]),
        ("", True, False, ["P1"]),
        ("*", True, False, ["P1"]),
        ("", True, True, ["P1", "P3"]),
        ("", False, True, ["P1", "P2", "P3"]),
        ("MR1", True, False, ["P2"]),
        ("MR1", True, True, ["P2", "P3"]),
    ],
)
def test_the_calling_title_stands_for_a_station(stations, station, own, or_none, found):
    set_worklist(stations, station_from_calling_ae=own, station_or_none=or_none)
    assert patients(stations, query(step(ScheduledStationAETitle=station))) == found


def test_a_step_of_no_station_is_the_station_s_that_asks_for_it(stations):
    set_worklist(stations, station_from_calling_ae=True, station_or_none=True)
    found, _ = stations.find(WORKLIST, identifier=query(step(Modality="")), title="CT1")
    items = [answer.ScheduledProcedureStepSequence[0] for answer in found]
    assert all("ScheduledStationAETitle" not in item for item in items)
    found, _ = stations.find(
        WORKLIST, identifier=query(step(ScheduledStationAETitle="")), title="CT1"
    )
    titles = [one.ScheduledProcedureStepSequence[0].ScheduledStationAETitle for one in found]
    assert titles == ["CT1", "CT1"]


@pytest.mark.parametrize("maximum, sent", [(0, 7), (3, 3), (6, 6), (7, 7), (100, 7)])
def test_at_most_so_many_steps_are_sent(site, monkeypatch, maximum, sent):
    monkeypatch.setattr(worklist, "PAGE", 3)
    for number in range(7):
        schedule(site, number)
    set_worklist(site, maximum_results=maximum)
    assert patients(site, query()) == [f"P{number}" for number in range(sent)]


# --- what is wrong --------------------------------------------------------------------------------


def test_a_record_that_cannot_be_sent_does_not_keep_back_the_others(site, monkeypatch, caplog):
    schedule(site, 1)
    schedule(site, 2, patient_id="", patient_name="Secret^Anna")
    schedule(site, 3, patient_name="Secret^Bella")
    schedule(site, 4)
    encoded = Writer.encoded

    def fails(self, record):
        if record.patient_id == "P3":
            raise ValueError(record.patient_name)
        return encoded(self, record)

    monkeypatch.setattr(Writer, "encoded", fails)
    said = []
    monkeypatch.setattr(worklist.log, "observer", said.append)
    assert patients(site, query()) == ["P1", "P4"]
    (line,) = [formatEvent(event) for event in said]
    assert "2 records cannot be sent" in line and "PATIENT ID" in line
    assert "Secret" not in line and "Secret" not in caplog.text


@pytest.mark.parametrize(
    "ds",
    [
        query(step(ScheduledProcedureStepStartDate="20261345")),
        query(step(ScheduledProcedureStepStartTime="noon")),
        query(*[Dataset() for _ in range(11)]),
        query(PatientName="x" * 300),
        query(PatientBirthDate="19700101-19700102-19700103"),
    ],
)
def test_what_cannot_be_matched_is_refused(site, ds):
    schedule(site, 1)
    assert site.find(WORKLIST, identifier=ds) == ([], 0xA900)


def test_only_what_is_switched_on_is_logged(site, monkeypatch):
    said = []
    monkeypatch.setattr(worklist.log, "observer", said.append)
    schedule(site, 1)
    ds = query(step(ScheduledStationAETitle="CT1", ScheduledProcedureStepStartDate="20260101"),
               PatientName="DOE*")  # fmt: skip
    patients(site, ds)
    assert said == []
    set_worklist(site, query_log=True)
    patients(site, ds)
    (line,) = map(formatEvent, said)
    assert "CT1 got 1 steps" in line and "20260101" in line and "patient_name" in line
    assert "DOE" not in line


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_cancelled_query_ends(site, syntax):
    for number in range(30):
        schedule(site, number)
    found, status = site.find(WORKLIST, identifier=query(), cancel_after=1)
    assert status in (0xFE00, 0x0000) and found
    eventually(lambda: site.server.counts()[0] == 0)
