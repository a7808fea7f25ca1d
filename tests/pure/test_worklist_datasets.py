"""Modality Worklist identifiers: odd forms of queries, responses that modalities accept."""

from dataclasses import replace
from io import BytesIO

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from santepacs.archive import charset
from santepacs.dicom.elements import Encoding
from santepacs.dicom.worklist_writing import Writer
from santepacs.errors import Malformed
from santepacs.model.order import VISIBLE, StepQuery, StepStatus, WorklistQuery, WorklistRecord
from santepacs.model.peers import Peer, checked
from santepacs.settings import Settings
from santepacs.worklist.datasets import AnswerForm, Asker, lacking
from santepacs.worklist.keys import query_from_dataset

RECORD = WorklistRecord(
    patient_id="ID7",
    patient_name="Doe^Jane",
    patient_birth_date="19700102",
    patient_sex="F",
    accession_number="P100",
    study_instance_uid="1.2.3",
    requested_procedure_description="CT HEAD",
    modality="CT",
    scheduled_station_ae_title="CT_ONE",
    start_date="20260304",
    start_time="093000",
    technician_name="Tech",
    scheduled_procedure_step_id="S1",
    requested_procedure_id="R1",
)


def step(**keys):
    item = Dataset()
    for keyword, value in keys.items():
        setattr(item, keyword, value)
    return item


def request(*items, **keys):
    ds = step(**keys)
    ds.ScheduledProcedureStepSequence = Sequence(items)
    return ds


def asked(ds, own=False):
    settings = Settings()
    settings.worklist = replace(settings.worklist, station_from_calling_ae=own)
    return query_from_dataset(ds, "CT_ME ", settings)


def answered(record, ds, asker=None, **writing):
    """The answer to a query, as it is read at the other end."""
    encoding = Encoding(implicit=True, big_endian=False)
    data = Writer(AnswerForm(ds, asker or Asker()), encoding, **writing).encoded(record)
    return dcmread(BytesIO(data), force=True)


def encoded(ds):
    """The dataset after a trip over the wire (Implicit VR Little Endian)."""
    buffer = BytesIO()
    dcmwrite(buffer, ds, implicit_vr=True, little_endian=True)
    buffer.seek(0)
    return dcmread(buffer, force=True)


@pytest.mark.parametrize("ds", [Dataset(), request(), request(Dataset())])
def test_an_absent_or_empty_sequence_asks_for_every_step(ds):
    assert asked(ds) == WorklistQuery(steps=(StepQuery(),))


def test_the_matching_keys():
    query = asked(
        request(
            step(
                ScheduledStationAETitle=" CT_ONE ",
                Modality="ct",
                ScheduledProcedureStepStartDate="20260304",
                ScheduledPerformingPhysicianName="Tech*",
                ScheduledProcedureStepID="S1",
                ScheduledProcedureStepStatus="STARTED",
            ),
            PatientName="D*^J?ne",
            PatientID="ID7",
            AccessionNumber="P100 ",
            RequestedProcedureID="R1",
            PatientBirthDate="19700102",
            PatientSex="f",
            StudyInstanceUID=["1.2.3", "1.2.4"],
        )
    )
    assert query == WorklistQuery(
        patient_name="D*^J?ne",
        patient_id="ID7",
        accession_number="P100",
        requested_procedure_id="R1",
        patient_birth_date_from="19700102",
        patient_birth_date_to="19700102",
        patient_sex="F",
        study_instance_uids=("1.2.3", "1.2.4"),
        steps=(
            StepQuery(
                station_ae_titles=("CT_ONE",),
                modalities=("CT",),
                start_date_from="20260304",
                start_date_to="20260304",
                technician_name="Tech*",
                step_id="S1",
                statuses=(StepStatus.STARTED,),
            ),
        ),
    )


def test_several_items_are_alternatives():
    query = asked(request(step(Modality="CT"), step(Modality="MR")))
    assert [one.modalities for one in query.steps] == [("CT",), ("MR",)]


def test_too_many_items_are_refused():
    with pytest.raises(Malformed):
        asked(request(*[Dataset() for _ in range(11)]))


@pytest.mark.parametrize(
    "value, low, high",
    [
        ("20260304", "20260304", "20260304"),
        ("20260304-20260305", "20260304", "20260305"),
        ("20260304-", "20260304", ""),
        ("-20260305", "", "20260305"),
        ("2026.03.04", "20260304", "20260304"),
        ("20260304 - 20260305", "20260304", "20260305"),
        ("-", "", ""),
        ("*", "", ""),
        ("", "", ""),
    ],
)
def test_dates(value, low, high):
    item = Dataset()
    item.add_new(0x00400002, "LO", value)
    (one,) = asked(request(item)).steps
    assert (one.start_date_from, one.start_date_to, one.combined) == (low, high, False)


@pytest.mark.parametrize(
    "value", ["2026", "20260230", "today", "20260304093000", "20260304\\20260305"]
)
def test_impossible_dates_are_refused_by_name(value):
    item = Dataset()
    item.add_new(0x00400002, "LO", value)
    with pytest.raises(Malformed, match="ScheduledProcedureStepStartDate"):
        asked(request(item))


@pytest.mark.parametrize(
    "value, low, high",
    [
        ("093000", "093000", "093000"),
        ("0930", "093000", "093059"),
        ("09", "090000", "095959"),
        ("08-12", "080000", "125959"),
        ("0800-", "080000", ""),
        ("-1200", "", "120059"),
        ("080000.0000-120000.9999", "080000", "120000"),
        ("08:00-12:00", "080000", "120059"),
    ],
)
def test_times(value, low, high):
    item = Dataset()
    item.add_new(0x00400003, "LO", value)
    (one,) = asked(request(item)).steps
    assert (one.start_time_from, one.start_time_to, one.combined) == (low, high, False)


@pytest.mark.parametrize(
    "day, time, combined",
    [
        ("20260304-20260305", "0800-1200", True),
        ("20260304-", "0800-", True),
        ("20260304", "0800-1200", False),
        ("20260304-20260305", "", False),
        ("", "0800-1200", False),
        ("20260304-20260305", "-", False),
    ],
)
def test_ranges_of_date_and_time_are_one_interval(day, time, combined):
    item = Dataset()
    item.add_new(0x00400002, "LO", day)
    item.add_new(0x00400003, "LO", time)
    (one,) = asked(request(item)).steps
    assert one.combined is combined


@pytest.mark.parametrize("station", [None, "", "*"])
def test_the_calling_ae_stands_for_an_empty_station(station):
    ds = request(step(ScheduledStationAETitle=station))
    assert asked(ds, own=True).steps[0].station_ae_titles == ("CT_ME",)
    assert asked(ds).steps[0].station_ae_titles == ()


def test_a_named_station_is_kept():
    ds = request(step(ScheduledStationAETitle="MR1"))
    assert asked(ds, own=True).steps[0].station_ae_titles == ("MR1",)


def test_names_are_read_in_the_request_s_own_set():
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 126"
    ds.PatientName = "Παπαδ*"
    assert asked(encoded(ds)).patient_name == "Παπαδ*"


def test_an_endless_key_is_refused():
    with pytest.raises(Malformed):
        asked(request(PatientID="*" + "x" * 300))


def test_exactly_the_asked_attributes_and_one_step_are_returned():
    ds = request(
        step(Modality="", ScheduledStationAETitle=""),
        PatientName="",
        PatientID="",
        PatientWeight=None,
        PregnancyStatus=None,
        ReferencedStudySequence=[],
        ReferringPhysicianName="",
    )
    response = answered(RECORD, encoded(ds))
    assert {element.keyword for element in response} == {
        "PatientName",
        "PatientID",
        "PatientWeight",
        "PregnancyStatus",
        "ReferencedStudySequence",
        "ReferringPhysicianName",
        "ScheduledProcedureStepSequence",
    }
    assert response.PatientName == "Doe^Jane"
    assert response["PregnancyStatus"].is_empty
    (item,) = response.ScheduledProcedureStepSequence
    assert {element.keyword: element.value for element in item} == {
        "Modality": "CT",
        "ScheduledStationAETitle": "CT_ONE",
    }


@pytest.mark.parametrize("ds", [Dataset(), request(), request(Dataset())])
def test_without_keys_of_the_step_all_of_it_is_returned(ds):
    (item,) = answered(RECORD, ds).ScheduledProcedureStepSequence
    assert item.ScheduledProcedureStepStartDate == "20260304"
    assert item.ScheduledProcedureStepStartTime == "093000"
    assert item.ScheduledProcedureStepID == "S1"
    assert item.ScheduledProcedureStepStatus == "SCHEDULED"
    assert item.ScheduledProcedureStepDescription == "CT HEAD"


def test_several_items_still_give_one_step_with_the_keys_of_all():
    ds = request(step(Modality=""), step(ScheduledProcedureStepID=""))
    (item,) = answered(RECORD, ds).ScheduledProcedureStepSequence
    assert {element.keyword for element in item} == {"Modality", "ScheduledProcedureStepID"}


def test_nothing_of_type_1_is_empty():
    bare = WorklistRecord(
        patient_id="ID7", patient_name="Doe", accession_number="P1", start_date="20260304"
    )
    ds = request(RequestedProcedureID="", RequestedProcedureDescription="", StudyInstanceUID="")
    response = answered(bare, ds)
    assert response.RequestedProcedureID == "P1"
    assert response.RequestedProcedureDescription
    assert "StudyInstanceUID" not in response
    (item,) = response.ScheduledProcedureStepSequence
    for keyword in (
        "Modality",
        "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate",
        "ScheduledProcedureStepStartTime",
        "ScheduledProcedureStepID",
        "ScheduledProcedureStepDescription",
    ):
        assert not item[keyword].is_empty, keyword


def test_code_sequences_are_absent_rather_than_empty():
    ds = request(step(ScheduledProtocolCodeSequence=[]), RequestedProcedureCodeSequence=[])
    response = answered(RECORD, ds)
    assert "RequestedProcedureCodeSequence" not in response
    (item,) = response.ScheduledProcedureStepSequence
    assert "ScheduledProtocolCodeSequence" not in item


@pytest.mark.parametrize(
    "status, term",
    [(StepStatus.STARTED, "STARTED"), (StepStatus.COMPLETED, ""), (StepStatus.HELD, "")],
)
def test_only_the_standard_s_terms_are_returned_as_status(status, term):
    (item,) = answered(
        replace(RECORD, step_status=status), request(step(ScheduledProcedureStepStatus=""))
    ).ScheduledProcedureStepSequence
    assert (item.ScheduledProcedureStepStatus or "") == term


@pytest.mark.parametrize(
    "name, told",
    [
        ("Doe^Jane", None),
        ("Müller^Jörg", "ISO_IR 100"),
        ("Παπαδοπουλου^Μαρια", "ISO_IR 126"),
        ("山田^太郎", "ISO_IR 192"),
    ],
)
@pytest.mark.parametrize("own", [{}, {"SpecificCharacterSet": ""}])
def test_the_character_set_is_always_told_when_text_is_not_ascii(name, told, own):
    record = replace(RECORD, patient_name=name, technician_name=name)
    ds = request(step(ScheduledPerformingPhysicianName=""), PatientName="", **own)
    response = answered(record, ds)
    assert response.get("SpecificCharacterSet") == told
    assert response.PatientName == name
    (item,) = response.ScheduledProcedureStepSequence
    assert item.ScheduledPerformingPhysicianName == name


def test_text_that_is_not_returned_needs_no_character_set():
    record = replace(RECORD, requested_procedure_description="Κοιλιά")
    response = answered(record, request(step(Modality=""), PatientName=""))
    assert "SpecificCharacterSet" not in response


def test_private_and_unknown_attributes_are_left_out():
    ds = request(step(Modality=""))
    ds.add_new(0x00091010, "LO", "x")
    ds.add_new(0x00100000, "UL", 4)
    assert {element.keyword for element in answered(RECORD, ds)} == {
        "ScheduledProcedureStepSequence"
    }


# --- values that modalities take ------------------------------------------------------------------


def test_a_station_is_only_named_to_who_asks_for_it():
    record = replace(RECORD, scheduled_station_ae_title="")
    ds = request(step(ScheduledStationAETitle=""))
    for asker, title in ((Asker(), "UNKNOWN"), (Asker(station="CT_ME"), "CT_ME")):
        (item,) = answered(record, ds, asker).ScheduledProcedureStepSequence
        assert item.ScheduledStationAETitle == title


def test_a_step_without_start_is_due_today():
    record = replace(RECORD, start_date="", start_time="")
    ds = request(step(ScheduledProcedureStepStartDate="", ScheduledProcedureStepStartTime=""))
    (item,) = answered(record, ds, Asker(today="20260102")).ScheduledProcedureStepSequence
    assert item.ScheduledProcedureStepStartDate == "20260102"
    assert item.ScheduledProcedureStepStartTime == "000000"


def test_codes_are_given_where_they_are_asked_for():
    ds = request(step(ScheduledProtocolCodeSequence=[]), RequestedProcedureCodeSequence=[])
    response = answered(RECORD, ds, Asker(code_scheme="L"))
    (item,) = response.ScheduledProcedureStepSequence
    for codes, value in (
        (response.RequestedProcedureCodeSequence, "R1"),
        (item.ScheduledProtocolCodeSequence, "S1"),
    ):
        (code,) = codes
        assert (code.CodeValue, code.CodingSchemeDesignator) == (value, "L")
        assert code.CodeMeaning == "CT HEAD"


@pytest.mark.parametrize(
    "field, keyword, value, sent",
    [
        ("accession_number", "AccessionNumber", "A\\1\x1b\n2" + "3" * 30, "A 1 2" + "3" * 11),
        ("requested_procedure_description", "RequestedProcedureDescription", "x" * 99, "x" * 64),
        ("patient_name", "PatientName", "A" * 70 + "^B=" + "C" * 70, "A" * 64 + "=" + "C" * 64),
        ("patient_name", "PatientName", "Doe\\^Jane^^^", "Doe^Jane"),
        ("patient_birth_date", "PatientBirthDate", "1970", ""),
        ("patient_birth_date", "PatientBirthDate", "19700231", ""),
        ("patient_sex", "PatientSex", "f", "F"),
        ("study_instance_uid", "StudyInstanceUID", "1.02.3", None),
        ("patient_issuer", "IssuerOfPatientID", "HIS", "HIS"),
    ],
)
def test_values_are_legal_for_their_vr(field, keyword, value, sent):
    response = answered(replace(RECORD, **{field: value}), request(**{keyword: ""}))
    assert (str(response[keyword].value or "") if keyword in response else None) == sent


@pytest.mark.parametrize(
    "field, keyword, value, sent",
    [
        ("scheduled_station_ae_title", "ScheduledStationAETitle", "ΑΞΟΝΙΚΟΣ", "UNKNOWN"),
        ("start_time", "ScheduledProcedureStepStartTime", "noon", "000000"),
        ("start_date", "ScheduledProcedureStepStartDate", "20261345", "20260102"),
        ("modality", "Modality", "\\", "OT"),
        ("scheduled_procedure_step_id", "ScheduledProcedureStepID", "S" * 20, "S" * 16),
    ],
)
def test_what_must_not_be_empty_is_not_when_the_record_s_value_is_illegal(
    field, keyword, value, sent
):
    record = replace(RECORD, **{field: value})
    asker = Asker(today="20260102")
    (item,) = answered(record, request(step(**{keyword: ""})), asker).ScheduledProcedureStepSequence
    assert str(item[keyword].value) == sent


@pytest.mark.parametrize(
    "changes, lacks",
    [
        ({}, ""),
        ({"patient_id": ""}, "PATIENT ID"),
        ({"patient_id": "\\"}, "PATIENT ID"),
        ({"patient_name": "^^="}, "PATIENT NAME"),
    ],
)
def test_who_the_patient_is_cannot_be_made_up(changes, lacks):
    assert lacking(replace(RECORD, **changes)) == lacks


# --- character sets -------------------------------------------------------------------------------

WHOLE = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def named(name, **writing):
    """The answer about a patient of that name, its name and its character set."""
    record = replace(RECORD, patient_name=name, requested_procedure_description=name[:30])
    ds = request(step(Modality=""), PatientName="", RequestedProcedureDescription="")
    response = answered(record, ds, **writing)
    return str(response.PatientName), response.get("SpecificCharacterSet"), response


@pytest.mark.parametrize(
    "name, told",
    [
        ("Doe^Jane", None),
        ("Müller^Jörg", "ISO_IR 100"),
        ("Łukasz^Święty", "ISO_IR 101"),
        ("Παπαδοπούλου^Μαρία", "ISO_IR 126"),
        ("Щукина^Юлия", "ISO_IR 144"),
        ("Çağlar^İpek", "ISO_IR 148"),
        ("محمد^احمد", "ISO_IR 127"),
        ("כהן^דוד", "ISO_IR 138"),
        ("Müller^Μαρία", "ISO_IR 192"),
        (WHOLE, "ISO_IR 192"),
    ],
)
def test_the_smallest_set_that_suffices_is_taken(name, told):
    assert named(name)[:2] == (name, told)


@pytest.mark.parametrize(
    "name, query, told",
    [
        ("Müller^Jörg", "ISO_IR 148", "ISO_IR 148"),
        ("Müller^Jörg", "ISO_IR 192", "ISO_IR 192"),
        ("Παπαδοπούλου^Μαρία", "ISO_IR 100", "ISO_IR 126"),
        ("Παπαδοπούλου^Μαρία", "NO SUCH", "ISO_IR 126"),
        ("王^小东", "GB18030", "GB18030"),
        ("洪^吉洞", "\\ISO 2022 IR 149", ["", "ISO 2022 IR 149"]),
        ("Doe^Jane", "ISO_IR 192", None),
    ],
)
def test_the_set_of_the_query_is_a_hint(name, query, told):
    assert named(name, query_charset=query)[:2] == (name, told)


def test_the_set_of_the_site_is_a_hint():
    assert named("Ayşe^Şahin")[1] == "ISO_IR 101"
    assert named("Ayşe^Şahin", site_charset="8859/9")[:2] == ("Ayşe^Şahin", "ISO_IR 148")


@pytest.mark.parametrize(
    "chosen, name, read",
    [
        ("ISO_IR 192", "Müller^Jörg", "Müller^Jörg"),
        ("ISO_IR 126", "Παπαδοπούλου^Μαρία", "Παπαδοπούλου^Μαρία"),
        ("ISO_IR 126", "Müller^Jörg", "Muller^Jorg"),
        ("ISO_IR 100", "Παπαδοπούλου^Μαρία", "Papadopoulou^Maria"),
        ("ISO_IR 100", WHOLE, "Yamada^Tarou"),
        ("\\ISO 2022 IR 87", WHOLE, WHOLE),
        ("\\ISO 2022 IR 87\\ISO 2022 IR 159", "=丂^太郎", "=丂^太郎"),
        ("ISO_IR 13\\ISO 2022 IR 87", "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
         "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "Hong^Gildong=洪^吉洞=홍^길동"),
        ("GB18030", "Wang^XiaoDong=王^小东=", "Wang^XiaoDong=王^小东"),
        ("GBK", "Wang^XiaoDong=王^小东=", "Wang^XiaoDong=王^小东"),
        ("transliterated", "Παπαδοπούλου^Μαρία", "Papadopoulou^Maria"),
        ("transliterated", WHOLE, "Yamada^Tarou"),
    ],
)  # fmt: skip
def test_a_chosen_set_is_never_left(chosen, name, read):
    found, told, response = named(name, chosen=chosen)
    assert found == read
    said = "" if told is None else told if isinstance(told, str) else "\\".join(told)
    is_ascii = read.isascii() and response.RequestedProcedureDescription.isascii()
    assert said == ("" if is_ascii else chosen)


def test_simplified_chinese_with_code_extensions():
    # pydicom leaves its escape sequences in the text.
    raw = named("Zhang^XiaoDong=张^小东", chosen="\\ISO 2022 IR 58")[2].PatientName.original_string
    decoded = charset.decode(raw, charset.encodings(b"\\ISO 2022 IR 58"), is_name=True)
    assert decoded.rstrip() == "Zhang^XiaoDong=张^小东"


@pytest.mark.parametrize("chosen", ["ISO_IR 126", "transliterated", "\\ISO 2022 IR 87", "GB18030"])
def test_transliterated_text_is_cut_to_its_length(chosen):
    record = replace(RECORD, accession_number="Θ" * 16, patient_name="Ψ" * 64, allergies="щ" * 64)
    response = answered(
        record, request(AccessionNumber="", PatientName="", Allergies=""), chosen=chosen
    )
    lengths = (len(response.AccessionNumber), len(str(response.PatientName)))
    assert lengths == (16, 64) and len(response.Allergies) == 64


@pytest.mark.parametrize("encoding", [Encoding(True, False), Encoding(False, False),
                                      Encoding(False, True)])  # fmt: skip
@pytest.mark.parametrize("name", ["Doe^Jane", "Müller^Jörg", WHOLE])
def test_answers_are_encoded_as_pydicom_does_it(encoding, name):
    record = replace(RECORD, patient_name=name, accession_number="")
    keys = dict.fromkeys(("PatientName", "StudyInstanceUID", "AccessionNumber"), "")
    ds = request(step(Modality="", ScheduledProcedureStepStartDate=""), **keys)
    data = Writer(AnswerForm(ds, Asker()), encoding).encoded(record)
    read = read_dataset(BytesIO(data), encoding.implicit, not encoding.big_endian)
    assert str(read.PatientName) == name
    again = BytesIO()
    dcmwrite(again, read, implicit_vr=encoding.implicit, little_endian=not encoding.big_endian)
    assert again.getvalue() == data


# --- queries that modalities write ----------------------------------------------------------------


@pytest.mark.parametrize(
    "asked_for, found",
    [
        ("STARTED", (StepStatus.STARTED,)),
        ("started", (StepStatus.STARTED,)),
        (["SCHEDULED", "STARTED"], (StepStatus.SCHEDULED, StepStatus.STARTED)),
        ("S*", (StepStatus.SCHEDULED, StepStatus.STARTED)),
        ("CANCELLED", (StepStatus.CANCELED,)),
        ("NONE SUCH", ()),
        ("", VISIBLE),
        ("*", VISIBLE),
    ],
)
def test_statuses(asked_for, found):
    (one,) = asked(request(step(ScheduledProcedureStepStatus=asked_for))).steps
    assert one.statuses == found


@pytest.mark.parametrize(
    "name, found",
    [
        ("DOE", "DOE*"),
        ("DOE^J", "DOE^J*"),
        ("DOE*", "DOE*"),
        ("D?E", "D?E"),
        ("", ""),
        ("Yamada=山田", "Yamada*=山田*"),
        ("^", "^"),
    ],
)
def test_a_wildcard_is_appended_where_the_peer_means_it(name, found):
    query = query_from_dataset(request(PatientName=name), "CT", Settings(), append_wildcard=True)
    assert query.patient_name == found
    assert asked(request(PatientName=name)).patient_name == name


def test_steps_of_no_station_are_asked_for_by_setting():
    settings = Settings()
    settings.worklist = replace(settings.worklist, station_or_none=True)
    for station, found in (("MR1", ("MR1", "")), ("", ())):
        ds = request(step(ScheduledStationAETitle=station))
        assert query_from_dataset(ds, "CT", settings).steps[0].station_ae_titles == found


@pytest.mark.parametrize(
    "charset, is_one",
    [
        ("", True),
        ("ISO_IR 126", True),
        ("GB18030", True),
        ("\\ISO 2022 IR 87", True),
        ("ISO_IR 13\\ISO 2022 IR 87", True),
        ("ISO 2022 IR 6\\ISO 2022 IR 149", True),
        ("transliterated", True),
        ("Transliterated", False),
        ("UTF-8", False),
        ("ISO_IR 126\\", False),
        ("ISO_IR 126; DROP TABLE peer", False),
    ],
)
def test_a_peer_s_character_set_is_one(charset, is_one):
    peer = Peer("CT1", "192.0.2.1", 104, worklist_charset=charset)
    if is_one:
        assert checked(peer) == peer
    else:
        with pytest.raises(Malformed):
            checked(peer)
