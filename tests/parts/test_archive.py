"""Taking objects in: success is said only when it is true."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from santepacs.db import studies
from santepacs.db.statements import StatementFailed
from santepacs.errors import Conflict, Malformed, Unavailable
from santepacs.model import tokens
from santepacs.model.study import Outcome
from support.archive import SECRET_KEY, bundled, ct, encoded, no_space, running_site
from support.postgres import superuser

STUDY = "1.2.826.0.1.3680043.8.498.1"


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with running_site(reactor_thread, database_dsn.runtime, tmp_path / "data") as running:
        yield running


def files_below(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def stored_objects(site, **keys):
    return site.ask(studies.objects, **(keys or {"study_instance_uids": [STUDY]}))


def test_an_object_is_stored_with_its_row_and_its_file(site):
    assert site.store(ct()) is Outcome.STORED
    (found,) = stored_objects(site)
    data = site.files.path(STUDY, found.digest).read_bytes()
    assert data == encoded(ct())
    assert found.bytes == len(data)
    study = site.ask(studies.study, STUDY)
    assert (study.patient_id, study.patient_name, study.patient_birth_date) == (
        "P1",
        "Doe^Jane",
        "19700131",
    )
    assert (study.series_count, study.instance_count, study.modalities) == (1, 1, ("CT",))
    assert files_below(site.directory.incoming) == []


def test_counts_follow_what_is_stored(site):
    for number in range(1, 7):
        site.store(
            ct(
                SOPInstanceUID=f"1.2.3.{number}",
                SeriesInstanceUID=f"1.2.4.{number % 2}",
                Modality="CT" if number % 2 else "SR",
            )
        )
    study = site.ask(studies.study, STUDY)
    assert (study.series_count, study.instance_count, study.modalities) == (2, 6, ("CT", "SR"))
    series = site.ask(studies.series_of_study, study.id)
    assert sorted(s.instance_count for s in series) == [3, 3]
    assert sum(s.bytes for s in series) == study.bytes


def test_the_same_object_again_is_success_and_changes_nothing(site):
    assert site.store(ct()) is Outcome.STORED
    before = files_below(site.directory.objects)
    assert site.store(ct()) is Outcome.SAME
    assert files_below(site.directory.objects) == before
    assert site.ask(studies.study, STUDY).instance_count == 1


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_same_object_in_another_transfer_syntax_is_success(site, syntax):
    assert site.store(ct()) is Outcome.STORED
    again = ct(transfer_syntax=syntax)
    if syntax is ExplicitVRBigEndian:
        pixels = bytearray(again.PixelData)
        pixels[0::2], pixels[1::2] = pixels[1::2], pixels[0::2]
        again.PixelData = bytes(pixels)
    assert site.store(again) is Outcome.SAME
    (kept,) = stored_objects(site)
    assert kept.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert len([n for n in files_below(site.directory.objects) if n.endswith(".dcm")]) == 1
    assert files_below(site.directory.aside) == []


@pytest.mark.parametrize("conflict", ["aside", "refuse"])
def test_many_senders_of_it_in_another_transfer_syntax_have_success(site, conflict):
    site.settings.dicom = replace(site.settings.dicom, conflict=conflict)
    site.store(ct())
    other = encoded(ct(transfer_syntax=ImplicitVRLittleEndian))
    with ThreadPoolExecutor(8) as senders:
        outcomes = set(senders.map(lambda _: site.store(other), range(80)))
    assert outcomes == {Outcome.SAME}
    assert files_below(site.directory.aside) == files_below(site.directory.incoming) == []
    assert len(list(site.directory.objects.rglob("*.dcm"))) == 1


@pytest.mark.parametrize("name", ["CT_small.dcm", "examples_jpeg2k.dcm", "liver_1frame.dcm"])
def test_the_same_object_encoded_anew_in_its_transfer_syntax_is_success(site, name):
    """Toolkits drop padding and write sequences with lengths, or with delimiters."""
    assert site.store(bundled(name)) is Outcome.STORED
    again = dcmread(get_testdata_file(name))
    again.pop(0xFFFCFFFC, None)
    again.add_new(0x00080000, "UL", 1)
    for element in again:
        if element.VR == "SQ":
            element.is_undefined_length = not element.is_undefined_length
    data = encoded(again)
    assert data[128:] != bundled(name)[128:]
    assert site.store(data) is Outcome.SAME
    again.PatientID = "somebody else"
    assert site.store(again) is Outcome.ASIDE


def test_another_object_under_the_same_uid_is_kept_aside(site):
    site.store(ct())
    assert site.store(ct(StudyDescription="Abdomen")) is Outcome.ASIDE
    assert site.store(ct(StudyDescription="Abdomen")) is Outcome.ASIDE
    assert site.ask(studies.study, STUDY).study_description == "Thorax"
    assert len(stored_objects(site)) == 1
    assert len(files_below(site.directory.aside)) == 1
    assert len([n for n in files_below(site.directory.objects) if n.endswith(".dcm")]) == 1


def test_a_conflict_in_another_study_leaves_no_empty_study(site):
    site.store(ct())
    assert site.store(ct(StudyInstanceUID="1.2.3")) is Outcome.ASIDE
    assert site.ask(studies.study, "1.2.3") is None


def test_another_object_under_the_same_uid_is_refused_by_setting(site):
    site.store(ct())
    site.settings.dicom = replace(site.settings.dicom, conflict="refuse")
    assert site.store(ct(PixelData=bytes(128))) is Outcome.REFUSED
    assert files_below(site.directory.aside) == []
    assert len([n for n in files_below(site.directory.objects) if n.endswith(".dcm")]) == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"no DICOM at all",
        encoded(ct())[:-1],
        encoded(ct())[:-145],
        encoded(ct()) + b"\0" * 7,
        encoded(ct(StudyInstanceUID="../../etc")),
        encoded(ct(SOPInstanceUID="..")),
        encoded(ct(SeriesInstanceUID=None)),
    ],
    ids=["empty", "text", "cut", "no pixels", "garbage", "path as UID", "dots", "no series"],
)
def test_what_is_no_complete_object_is_refused_and_leaves_nothing(site, broken):
    with pytest.raises(Malformed):
        site.store(broken)
    assert files_below(site.directory.incoming) == []
    assert files_below(site.directory.objects) == []
    assert stored_objects(site) == []


def test_what_was_announced_must_come(site):
    with pytest.raises(Conflict):
        site.store(ct(), sop_class_uid="1.2.840.10008.5.1.4.1.1.4")
    with pytest.raises(Conflict):
        site.store(ct(), sop_instance_uid="1.2.3")
    assert files_below(site.directory.objects) == []


def test_a_hostile_preamble_is_not_kept(site):
    program = b"MZ" + b"\x90" * 126 + encoded(ct())[128:]
    assert site.store(program) is Outcome.STORED
    (found,) = stored_objects(site)
    assert site.files.path(STUDY, found.digest).read_bytes()[:128] == bytes(128)


def test_a_disk_that_is_nearly_full_refuses_before_anything_is_kept(site):
    site.settings.server = replace(site.settings.server, disk_reserve=10_000_000)
    with pytest.raises(Unavailable, match="full"):
        site.store(ct())
    assert files_below(site.directory.objects) == files_below(site.directory.incoming) == []


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_failing_disk_is_no_success(site, monkeypatch, call):
    path = site.files.receive([encoded(ct())])
    with monkeypatch.context() as broken:
        broken.setattr(os, call, no_space)
        with pytest.raises(Unavailable, match="full"):
            site.archive.store(path, source="TEST")
    assert stored_objects(site) == []
    assert files_below(site.directory.incoming) == []
    assert site.store(ct()) is Outcome.STORED


def test_without_the_database_nothing_is_success_and_a_repeat_mends_it(
    site, database_dsn, postgres, reactor_thread
):
    with superuser(postgres) as cursor:
        cursor.execute(f'ALTER DATABASE "{database_dsn.name}" ALLOW_CONNECTIONS false')
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (database_dsn.name,),
        )
        with pytest.raises(Unavailable):
            site.store(ct())
        cursor.execute(f'ALTER DATABASE "{database_dsn.name}" ALLOW_CONNECTIONS true')
    assert stored_objects(site) == []
    assert site.store(ct()) is Outcome.STORED
    assert len(stored_objects(site)) == 1


def test_what_another_sender_has_linked_is_made_durable_too(site, monkeypatch):
    """He may not have synced the folder yet; he may have been killed before he could."""
    site.store(ct())
    synced = []
    monkeypatch.setattr("santepacs.archive.files.sync_folder", synced.append)
    assert site.store(ct()) is Outcome.SAME
    (found,) = stored_objects(site)
    assert synced == [site.files.path(STUDY, found.digest).parent]


def test_twenty_senders_of_one_object_make_one_object(site):
    data = encoded(ct())
    with ThreadPoolExecutor(20) as senders:
        outcomes = list(senders.map(lambda _: site.store(data), range(20)))
    assert sorted(o.name for o in outcomes) == ["SAME"] * 19 + ["STORED"]
    assert site.ask(studies.study, STUDY).instance_count == 1
    assert len([n for n in files_below(site.directory.objects) if n.endswith(".dcm")]) == 1


def test_one_bad_row_does_not_fail_its_neighbours(site, monkeypatch):
    """A row that PostgreSQL refuses (here: too large a number) shares a batch with good ones."""
    bad = encoded(ct(SOPInstanceUID="1.2.9.99"))
    row = studies.Entry.row

    def poisoned(entry, position):
        made = row(entry, position)
        if entry.record.sop_instance_uid == "1.2.9.99":
            made["bytes"] = 10**30
        return made

    monkeypatch.setattr(studies.Entry, "row", poisoned)

    def store(data):
        try:
            return site.store(data)
        except StatementFailed as error:
            return error

    data = [bad] + [encoded(ct(SOPInstanceUID=f"1.2.9.{n}")) for n in range(1, 12)]
    with ThreadPoolExecutor(12) as senders:
        outcomes = list(senders.map(store, data))
    assert isinstance(outcomes[0], StatementFailed)
    assert outcomes[1:] == [Outcome.STORED] * 11


def test_many_objects_of_one_study_at_once_are_counted_right(site):
    data = [
        encoded(ct(SOPInstanceUID=f"1.2.7.{n}", SeriesInstanceUID=f"1.2.6.{n % 5}"))
        for n in range(60)
    ]
    with ThreadPoolExecutor(12) as senders:
        assert set(senders.map(site.store, data)) == {Outcome.STORED}
    study = site.ask(studies.study, STUDY)
    assert (study.series_count, study.instance_count) == (5, 60)


# --- whose it is


def test_a_patient_is_his_id_and_its_issuer(site):
    site.store(ct())
    site.store(ct(StudyInstanceUID="1.2.5", SOPInstanceUID="1.2.5.1"))
    site.store(
        ct(StudyInstanceUID="1.2.6", SOPInstanceUID="1.2.6.1", IssuerOfPatientID="elsewhere")
    )
    first, second, third = (site.ask(studies.study, uid) for uid in (STUDY, "1.2.5", "1.2.6"))
    assert first.patient == second.patient != third.patient
    assert not any(s.identity_conflict for s in (first, second, third))


@pytest.mark.parametrize(
    ("attributes", "flagged"),
    [
        ({"PatientName": "DOE^JANE^^^"}, False),
        ({"PatientName": "Döe^Jane"}, False),
        ({"PatientBirthDate": ""}, False),
        ({"PatientName": "Roe^Richard"}, True),
        ({"PatientBirthDate": "19991231"}, True),
    ],
)
def test_another_identity_under_the_same_id_is_flagged(site, attributes, flagged):
    site.store(ct())
    site.store(ct(StudyInstanceUID="1.2.5", SOPInstanceUID="1.2.5.1", **attributes))
    study = site.ask(studies.study, "1.2.5")
    assert study.identity_conflict is flagged


def test_an_object_of_another_patient_in_the_same_study_is_flagged(site):
    site.store(ct())
    site.store(ct(SOPInstanceUID="1.2.5.1", PatientID="P2"))
    study = site.ask(studies.study, STUDY)
    assert (study.patient_id, study.identity_conflict, study.instance_count) == ("P1", True, 2)


def test_without_patient_id_each_study_is_its_own_patient(site):
    for uid in ("1.2.5", "1.2.6"):
        site.store(ct(StudyInstanceUID=uid, SOPInstanceUID=f"{uid}.1", PatientID=""))
    first, second = (site.ask(studies.study, uid) for uid in ("1.2.5", "1.2.6"))
    assert first.patient != second.patient
    assert site.ask(studies.studies_of_patient_id, "") == []


# --- tokens


def test_a_study_is_found_by_its_token(site):
    site.store(ct())
    study = site.ask(studies.study, STUDY)
    token = site.archive.token(STUDY, study.token_version)
    assert token == tokens.token(SECRET_KEY, STUDY, 1)
    assert site.ask(studies.study_by_token, tokens.digest(token)) == study
    assert site.ask(studies.study_by_token, tokens.digest(token.swapcase())) is None


def test_the_token_version_beside_the_objects_counts(site):
    site.store(ct())
    (found,) = stored_objects(site)
    version = site.files.path(STUDY, found.digest).parent / "token-version"
    assert version.read_text() == "1\n"
    version.write_text("3\n")
    site.ask(forget_everything)
    site.store(ct())
    study = site.ask(studies.study, STUDY)
    assert study.token_version == 3
    assert site.ask(studies.study_by_token, tokens.digest(tokens.token(SECRET_KEY, STUDY, 3)))


async def forget_everything(tx):
    for table in ("instance", "series", "study", "patient"):
        await tx.execute(f"DELETE FROM {table}")


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "JPEG2000.dcm"])
def test_bundled_objects_are_kept_bit_for_bit(site, name):
    data = bundled(name)
    assert site.store(data) is Outcome.STORED
    (stored,) = site.directory.objects.rglob("*.dcm")
    assert stored.read_bytes() == bytes(128) + data[128:]
