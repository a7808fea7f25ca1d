"""The main job, end to end, with the clients that a site has: order, worklist, images, link."""

import io
import re
import zipfile

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from support.clients import Browser, mllp, order, token_request
from support.postgres import reachable_folder
from support.programs import program, run
from support.server import running_server

STUDY = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"  # of pydicom's CT_small.dcm


@pytest.fixture(scope="module")
def server():
    with reachable_folder() as folder, running_server(folder / "data") as running:
        yield running


def test_from_the_order_to_the_patient(server, tmp_path):
    for name in ("findscu", "storescu"):
        program(name)

    answer = mllp(server.hl7_port, order(control_id="M1", patient_id="1CT1", accession="A77"))
    assert b"\rMSA|AA|M1" in answer

    found = run(
        *("findscu", "-W", "-aec", "SANTEPACS", "-k", "0010,0010=doe*", "-k", "0010,0020="),
        *("-k", "0008,0050", "-k", "0020,000d"),
        *("-k", "(0040,0100)[0].0008,0060=CT", "-k", "(0040,0100)[0].0040,0002"),
        *("127.0.0.1", str(server.dicom_port)),
    )
    assert "[A77" in found and "[20261121" in found and "1CT1" in found

    image = get_testdata_file("CT_small.dcm")
    run("storescu", "-aec", "SANTEPACS", "127.0.0.1", server.dicom_port, image)

    token = token_request(server.hl7_port, STUDY.encode())
    assert re.fullmatch(rb"\x10[A-Za-z0-9]{64}\r", token)
    token = token[1:-1].decode()
    by_patient = token_request(server.hl7_port, b"1CT1")
    assert by_patient == b"\x10%b\r20040119\re+1\r%b\r\r" % (STUDY.encode(), token.encode())

    patient = Browser(server.web_port)
    page = patient.get(f"/token?{token}")
    assert page.status == 200
    assert "CompressedSamples" in page.text
    download = patient.get(f"/token/zip?{token}")
    assert download.status == 200
    assert int(download.headers["Content-Length"]) == len(download.body)
    with zipfile.ZipFile(io.BytesIO(download.body)) as archive:
        assert archive.testzip() is None
        (member,) = [n for n in archive.namelist() if n.endswith(".dcm")]
        # storescu encodes anew (it drops the trailing padding): compare what it means.
        sent, got = dcmread(image), dcmread(io.BytesIO(archive.read(member)))
        del sent[0xFFFC, 0xFFFC]
        assert got == sent

    assert server.command("token", STUDY).stdout.strip() == token

    assert token not in server.output
    assert "CompressedSamples" not in server.output
    assert "Doe" not in server.output


def test_an_unknown_identifier_has_one_neutral_answer(server):
    for identifier in (b"nobody", b"", b"1.2.3.4.5", b"%", b"' OR 1=1--"):
        assert token_request(server.hl7_port, identifier) == b"\x10\r"
