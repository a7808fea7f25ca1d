"""A real series of 384 images, by the programs of the field, on an external database."""

import io
import zipfile

import pytest
from pydicom import dcmread

from santepacs.db import roles
from support.clients import Browser
from support.images import mr_series_files
from support.postgres import reachable_folder, running_postgres
from support.programs import run
from support.server import ADMIN_PASSWORD, running_server


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return mr_series_files(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def server():
    """A server whose index is in a PostgreSQL that somebody else runs (`database.url`)."""
    with running_postgres() as postgres, reachable_folder() as folder:
        url = postgres.dsn(roles.OWNER)
        with running_server(folder / "data", [f"database.url={url}"]) as running:
            assert not (folder / "data/postgres").exists()
            yield running


def meanings(files):
    """SOP Instance UID -> the object's attributes as JSON: the same in any uncompressed syntax."""
    images = (dcmread(io.BytesIO(data)) for data in files)
    return {image.SOPInstanceUID: image.to_json_dict() for image in images}


def test_a_real_series_goes_in_and_comes_out_whole(server, series, tmp_path):
    originals = meanings(path.read_bytes() for path in series)
    assert len(originals) == 384
    run("storescu", "-aec", "SANTEPACS", "127.0.0.1", server.dicom_port, *series, timeout=300)

    found = run(
        *("findscu", "-S", "-aec", "SANTEPACS", "-k", "QueryRetrieveLevel=STUDY"),
        *("-k", "StudyInstanceUID", "-k", "NumberOfStudyRelatedInstances"),
        *("127.0.0.1", server.dicom_port),
    )
    assert "[384 ]" in found
    (study,) = {
        line.partition("[")[2].partition("]")[0].rstrip("\0 ")
        for line in found.splitlines()
        if "(0020,000d)" in line and "[" in line
    }

    run(
        *("getscu", "-S", "-aec", "SANTEPACS", "+B", "-od", tmp_path),
        *("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"),
        *("127.0.0.1", server.dicom_port),
        timeout=300,
    )
    assert meanings(path.read_bytes() for path in tmp_path.iterdir()) == originals

    browser = Browser(server.web_port)
    assert browser.log_in("admin", ADMIN_PASSWORD).status == 303
    answer = browser.get(f"/download/study/{study}.zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        assert meanings(archive.read(name) for name in archive.namelist()) == originals
