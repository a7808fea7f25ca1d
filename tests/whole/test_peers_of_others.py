"""The programs of others (dcmtk, GDCM, pynetdicom), with the options that sites use.

Objects that a program sends as they are must lie here bit for bit; one that a program encodes anew
must mean the same.
"""

import subprocess
from array import array
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import data_store
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    HEVCMP51,
    HTJ2K,
    JPEG2000,
    MPEG2MPML,
    MPEG4HP41,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from pynetdicom import AE, _config, build_context, build_role, evt

from santepacs.archive.header import read_file_meta
from support.archive import ct, dataset_bytes, encoded
from support.certificates import Authority
from support.dicom import STUDY_GET, identifier_of, wait_for_port
from support.faults import alive
from support.faults_database import index_of
from support.images import storable_files
from support.postgres import reachable_folder
from support.programs import program
from support.raw_dicom import new_uid
from support.server import free_ports, running_server

CALLED = ("-aec", "SANTEPACS")
NATIVE = {ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian}
PADDING = 0xFFFCFFFC
OF_A_KIND = 3  # objects of one SOP class and transfer syntax that are sent


@pytest.fixture(scope="module")
def keys():
    with reachable_folder() as folder:
        authority = Authority(folder)
        yield {
            "ca": authority.path,
            "server": authority.issue("server"),
            "peer": authority.issue("peer"),
        }


@pytest.fixture(scope="module")
def server(keys):
    """A server with a TLS port, at which certificates are wanted if there are any."""
    (port,) = free_ports(1)
    certificate, key = keys["server"]
    settings = [
        f"dicom.tls_port={port}",
        f"dicom.tls_certificate={certificate}",
        f"dicom.tls_private_key={key}",
        f"dicom.tls_ca={keys['ca']}",
        "dicom.tls_client_certificates=if given",
    ]
    with reachable_folder() as folder, running_server(folder / "data", settings) as running:
        running.tls_port = port
        yield running


@pytest.fixture(autouse=True)
def well(server):
    yield
    alive(server)


def run(name, *arguments, cwd="/", status=0):
    """Run a program; its output. It must end with this status (None: with any)."""
    done = subprocess.run(
        [program(name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        text=True,
        errors="replace",
        cwd=cwd,
    )
    assert status in (None, done.returncode), done.stdout
    return done.stdout


def ours(server):
    """Where dcmtk's programs find the server."""
    return (*CALLED, "127.0.0.1", server.dicom_port)


def stored(server, uid):
    """The stored file of an object, or None."""
    digest = index_of(server).objects().get(str(uid))
    if digest is None:
        return None
    (path,) = (server.data / "objects").rglob(f"{digest}.dcm")
    return path


def fresh(name, folder, syntax=None, **changes):
    """A copy of one of pydicom's files as an object of its own: its path, and itself.

    `syntax`: the transfer syntax that it says to be in.
    """
    dataset = dcmread(get_testdata_file(name))
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = new_uid()
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = new_uid(), new_uid()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path)
    return path, dataset


def images(folder, count, **attributes):
    """Small CT images of one new study in `folder`."""
    study = new_uid()
    for number in range(count):
        uids = {"SOPInstanceUID": new_uid(), "SeriesInstanceUID": f"{study}.{number % 2 + 1}"}
        image = ct(StudyInstanceUID=study, InstanceNumber=number, **uids, **attributes)
        (folder / f"{number:03}.dcm").write_bytes(encoded(image))
    return study, sorted(folder.iterdir())


def same(one, other):
    """Whether two datasets mean the same, in whatever uncompressed syntax."""
    first, second = (
        {e.tag: e for e in dataset if e.tag not in (PADDING, 0x7FE00010) and e.tag.element}
        for dataset in (one, other)
    )
    return first == second and _pixels(one) == _pixels(other)


def _pixels(dataset):
    data = bytes(dataset.PixelData) if "PixelData" in dataset else b""
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        words = array("H", data)
        words.byteswap()
        return words.tobytes()
    return data


# --- pynetdicom: every kind of object, bit for bit ------------------------------------------------


def varied_files():
    """Of pydicom's files, those that come with it and those apart, some of each kind.

    One for each SOP Instance UID, the rarer transfer syntax first.
    """
    apart = (Path(data_store.__file__).parent / "data").glob("*.dcm")
    found = [(read_file_meta(path.read_bytes()), path) for path in storable_files()]
    for path in sorted(apart):
        data = path.read_bytes()
        if data[128:132] == b"DICM" and len(data) < 3_000_000:
            found.append((read_file_meta(data), path))
    syntaxes = Counter(meta.transfer_syntax_uid for meta, _ in found)
    found.sort(key=lambda each: (syntaxes[each[0].transfer_syntax_uid], each[1]))
    chosen, kinds = {}, Counter()
    for meta, path in found:
        kind = meta.sop_class_uid, meta.transfer_syntax_uid
        damaged = "too_short" in path.name or "bad_" in path.name
        if meta.sop_instance_uid in chosen or kinds[kind] >= OF_A_KIND or damaged:
            continue
        chosen[meta.sop_instance_uid] = (meta, path)
        kinds[kind] += 1
    return list(chosen.values())


def test_pynetdicom_stores_and_gets_every_kind_of_object_bit_for_bit(server, monkeypatch):
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)  # sent as it lies in the file
    files = varied_files()
    kinds = sorted({(meta.sop_class_uid, meta.transfer_syntax_uid) for meta, _ in files})
    print(f"{len(files)} objects of {len(kinds)} kinds")
    assert len({syntax for _, syntax in kinds}) >= 10 and len(kinds) >= 30
    assert len(kinds) <= 120
    entity = AE("SCU")
    entity.requested_contexts = [build_context(*kind) for kind in kinds]
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
    assert len(association.accepted_contexts) == len(kinds)
    statuses = {path.name: association.send_c_store(path).Status for _, path in files}
    association.release()
    assert {name: hex(status) for name, status in statuses.items() if status} == {}
    originals = {
        meta.sop_instance_uid: (meta.transfer_syntax_uid, dataset_bytes(path.read_bytes()))
        for meta, path in files
    }
    kept = {}
    for uid in originals:
        data = stored(server, uid).read_bytes()
        kept[uid] = (read_file_meta(data).transfer_syntax_uid, dataset_bytes(data))
    assert kept == originals
    studies = {dcmread(path, stop_before_pixels=True).StudyInstanceUID for _, path in files}
    assert gotten(server, kinds, studies) == originals


def gotten(server, kinds, studies):
    """Studies by C-GET: SOP Instance UID -> transfer syntax and data set as they came."""
    got = {}

    def keep(event):
        uid = str(event.request.AffectedSOPInstanceUID)
        got[uid] = (str(event.context.transfer_syntax), event.request.DataSet.getvalue())
        return 0x0000

    entity = AE("GETTER")
    entity.requested_contexts = [
        build_context(STUDY_GET),
        *(build_context(*kind) for kind in kinds),
    ]
    for study in sorted(studies):
        association = entity.associate(
            "127.0.0.1",
            server.dicom_port,
            ae_title="SANTEPACS",
            ext_neg=[build_role(sop_class, scp_role=True) for sop_class, _ in kinds],
            evt_handlers=[(evt.EVT_C_STORE, keep)],
        )
        query = identifier_of(level="STUDY", StudyInstanceUID=study)
        final = [status for status, _ in association.send_c_get(query, STUDY_GET)][-1]
        association.release()
        assert final.Status == 0x0000
    return got


@pytest.mark.parametrize(
    "syntax",
    [HTJ2K, HTJ2KLossless, MPEG2MPML, MPEG4HP41, HEVCMP51, JPEGLSNearLossless, JPEGExtended12Bit],
    ids=lambda uid: uid.keyword,
)
def test_pynetdicom_stores_what_nobody_here_can_decode(server, tmp_path, monkeypatch, syntax):
    """Fragments of anything: what they hold is the business of whoever looks at them."""
    path, image = fresh("JPEG2000.dcm", tmp_path, syntax=syntax)
    entity = AE("SCU")
    entity.requested_contexts = [build_context(image.SOPClassUID, syntax)]
    association = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    assert association.send_c_store(path).Status == 0x0000
    association.release()
    kept = stored(server, image.SOPInstanceUID).read_bytes()
    assert dataset_bytes(kept) == dataset_bytes(path.read_bytes())
    assert read_file_meta(kept).transfer_syntax_uid == syntax


# --- dcmtk: storing -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "name", "syntax"),
    [
        (["-x="], "CT_small.dcm", ExplicitVRLittleEndian),
        (["-xe"], "CT_small.dcm", ExplicitVRLittleEndian),
        (["-xb"], "MR_small_bigendian.dcm", ExplicitVRBigEndian),
        (["-xi"], "CT_small.dcm", ImplicitVRLittleEndian),
        (["-xd"], "CT_small.dcm", ExplicitVRLittleEndian),  # deflated is not taken
        (["-xe", "-R"], "MR_small_implicit.dcm", ExplicitVRLittleEndian),
        (["-xb", "+C"], "MR_small_bigendian.dcm", ExplicitVRBigEndian),
        (["-xs"], "JPGLosslessP14SV1_1s_1f_8b.dcm", JPEGLosslessSV1),
        (["-xs", "-R"], "JPEG-LL.dcm", JPEGLosslessSV1),
        (["-xy"], "SC_rgb_small_odd_jpeg.dcm", JPEGBaseline8Bit),
        (["-xx"], "JPEG-lossy.dcm", JPEGExtended12Bit),
        (["-xv"], "693_J2KR.dcm", JPEG2000Lossless),
        (["-xw"], "JPEG2000.dcm", JPEG2000),
        (["-xt"], "emri_small_jpeg_ls_lossless.dcm", JPEGLSLossless),
        (["-xr"], "MR_small_RLE.dcm", RLELossless),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_storescu_with_each_proposal(server, tmp_path, options, name, syntax):
    path, image = fresh(name, tmp_path)
    run("storescu", *options, *ours(server), path)
    kept = dcmread(stored(server, image.SOPInstanceUID))
    assert kept.file_meta.TransferSyntaxUID == syntax
    assert same(kept, image)


@pytest.mark.parametrize("option", ["--max-pdu", "--max-send-pdu"])
@pytest.mark.parametrize("size", [4096, 16_384, 131_072])
def test_storescu_with_each_size_of_pdu(server, tmp_path, option, size):
    path, image = fresh("693_UNCI.dcm", tmp_path)
    run("storescu", option, size, *ours(server), path)
    assert same(dcmread(stored(server, image.SOPInstanceUID)), image)


def test_storescu_with_a_folder_and_again_and_again(server, tmp_path):
    study, paths = images(tmp_path, 12)
    for more in (["--repeat", 3], ["--required", "-nh"], ["+rn"]):
        run("storescu", "+sd", "+r", *more, *ours(server), tmp_path)
    assert instances(server, study) == len(paths)
    assert {path.suffix for path in tmp_path.iterdir()} == {".done"}


def test_storescu_that_invents_patients_studies_and_series(server, tmp_path):
    _, (path,) = images(tmp_path, 1)
    before = Counter(index_of(server).objects().values())
    invented = ("+IP", 1, "+IS", 1, "+IR", 2, "--repeat", 6)
    run("storescu", *invented, *ours(server), path)
    assert sum(before.values()) + 6 == len(index_of(server).objects())
    assert index_of(server).miscounted() == []


def instances(server, study):
    return index_of(server).value(
        "SELECT instance_count FROM study WHERE study_instance_uid = %s", str(study)
    )


@pytest.mark.parametrize("decompress", ["-dn", "+dls"])
def test_dcmsend_with_all_kinds_at_once(server, tmp_path, decompress):
    names = ("CT_small.dcm", "MR_small_RLE.dcm", "693_J2KR.dcm", "SC_rgb_small_odd_jpeg.dcm")
    sent = [fresh(name, tmp_path)[1] for name in (*names, "rtplan.dcm", "reportsi.dcm")]
    report = tmp_path.with_name(f"{tmp_path.name}.report")
    run("dcmsend", "+sd", decompress, "+ma", "+crf", report, *ours(server), tmp_path)
    assert "with status SUCCESS  : 6" in report.read_text()
    for image in sent:
        kept = dcmread(stored(server, image.SOPInstanceUID))
        was, came = (each.file_meta.TransferSyntaxUID for each in (image, kept))
        assert came == was or {came, was} <= NATIVE
        assert same(kept, image)


# --- dcmtk: echoes and endings --------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["--repeat", 50],
        ["--propose-ts", 38],
        ["--propose-pc", 128],
        ["--propose-pc", 128, "--propose-ts", 38],
        ["--max-pdu", 4096],
        ["-aet", "SIXTEEN LETTERS!"],
    ],
    ids=lambda options: " ".join(map(str, options)),
)
def test_echoscu(server, options):
    run("echoscu", *options, *ours(server))


def test_programs_that_abort_instead_of_releasing(server, tmp_path):
    study, paths = images(tmp_path, 3)
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    run("echoscu", "--abort", *ours(server))
    run("storescu", "--abort", *ours(server), *paths)
    run("findscu", "--abort", "-S", *keys, *ours(server))
    run("getscu", "--abort", "-S", "-od", tmp_path, *keys, *ours(server))
    run("movescu", "--abort", "-S", "-aem", "NOBODY", *keys, *ours(server), status=None)
    assert instances(server, study) == 3


def test_termscu_does_not_shut_the_server_down(server):
    said = run("termscu", *ours(server), status=1)
    assert "No Acceptable Presentation Contexts" in said


# --- dcmtk: finding -------------------------------------------------------------------------------


def find(server, folder, *arguments):
    """The responses of findscu."""
    answers = folder / "answers"
    answers.mkdir()
    run("findscu", "-X", "-od", answers, *arguments, *ours(server))
    return [dcmread(path, force=True) for path in sorted(answers.iterdir())]


@pytest.mark.parametrize("proposal", ["-x=", "-xe", "-xb", "-xi"])
@pytest.mark.parametrize(
    ("model", "level", "count"),
    [("-P", "PATIENT", 1), ("-P", "STUDY", 1), ("-S", "STUDY", 1), ("-S", "SERIES", 2),
     ("-S", "IMAGE", 2)],
)  # fmt: skip
def test_findscu_at_each_level(server, tmp_path, proposal, model, level, count):
    patient = new_uid()[-20:]
    (tmp_path / "images").mkdir()
    study, paths = images(tmp_path / "images", 4, PatientID=patient)
    run("storescu", *ours(server), *paths)
    above = {
        "PATIENT": {"PatientID": patient},
        "STUDY": {"PatientID": patient, "StudyInstanceUID": ""},
        "SERIES": {"StudyInstanceUID": study, "SeriesInstanceUID": ""},
        "IMAGE": {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1"},
    }[level]
    keys = {**above, "PatientName": "", "QueryRetrieveLevel": level, "SOPInstanceUID": ""}
    if level != "IMAGE":
        del keys["SOPInstanceUID"]
    arguments = [part for key, value in keys.items() for part in ("-k", f"{key}={value}")]
    found = find(server, tmp_path, model, proposal, *arguments)
    assert len(found) == count
    for answer in found:
        assert answer.QueryRetrieveLevel.strip() == level
        assert str(answer.get("StudyInstanceUID", study)) == study


@pytest.mark.parametrize(
    ("charset", "name", "asked"),
    [
        ("ISO_IR 100", "Müller^Jörg", "M?ller*"),
        ("ISO_IR 192", "Παπαδοπουλου^Μαρια", "Παπ*"),
        ("ISO_IR 144", "Люкceмбypг", "Лю*"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "*山田*"),
        ("GB18030", "Wang^XiaoDong=王^小东", "*王*"),
    ],
    ids=["latin", "greek", "cyrillic", "japanese", "chinese"],
)
def test_findscu_in_each_script(server, tmp_path, charset, name, asked):
    path, image = fresh(
        "CT_small.dcm", tmp_path, SpecificCharacterSet=charset, PatientName=name, PatientID="SCRIPT"
    )
    run("storescu", *ours(server), path)
    for key in (asked, ""):
        keys = {
            "SpecificCharacterSet": "ISO_IR 192",
            "QueryRetrieveLevel": "STUDY",
            "PatientName": key,
            "StudyInstanceUID": image.StudyInstanceUID,
        }
        arguments = [part for key, value in keys.items() for part in ("-k", f"{key}={value}")]
        folder = tmp_path / f"for {len(key)}"
        folder.mkdir()
        (answer,) = find(server, folder, "-S", *arguments)
        answer.decode()
        assert str(answer.PatientName) == name


def test_findscu_that_cancels_or_asks_again_and_again(server, tmp_path):
    study, paths = images(tmp_path, 60)
    run("storescu", *ours(server), *paths)
    keys = ("-S", "-k", "QueryRetrieveLevel=IMAGE", "-k", f"StudyInstanceUID={study}")
    keys = (*keys, "-k", f"SeriesInstanceUID={study}.1", "-k", "SOPInstanceUID")
    said = run("findscu", "-v", "--cancel", 1, *keys, *ours(server))
    assert "Sending Cancel Request" in said and "Received Final Find Response" in said
    said = run("findscu", "-v", "--max-pdu", 4096, "--repeat", 3, *keys, *ours(server))
    assert said.count("(Pending)") == 3 * 30
    assert said.count("Received Final Find Response (Success)") == 3


# --- dcmtk: retrieving ----------------------------------------------------------------------------


@contextmanager
def listening(server, name, folder, *options, title):
    """dcmtk's storescp or dcmrecv in `folder`, listed as a peer."""
    (port,) = free_ports(1)
    process = subprocess.Popen(
        [program(name), "-od", folder, *map(str, options), str(port)],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_port(port)
        with peer(server, title, port):
            yield
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def peer(server, title, port, *options):
    added = server.command("peer", "add", title, "localhost", str(port), *options)
    assert added.returncode == 0, added.stderr
    try:
        yield
    finally:
        assert server.command("peer", "delete", title).returncode == 0


def move(server, destination, study, *options, status=0, cwd="/"):
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    wanted = ("-v", "-S", "-aem", destination, *options, *keys, *ours(server))
    return run("movescu", *wanted, cwd=cwd, status=status)


def received(folder):
    return {str(image.SOPInstanceUID): image for image in map(dcmread, folder.iterdir())}


def bytes_in(folder):
    """The data sets in a folder, by SOP Instance UID, with their transfer syntax."""
    files = (path.read_bytes() for path in folder.iterdir())
    metas = ((read_file_meta(data), dataset_bytes(data)) for data in files)
    return {m.sop_instance_uid: (m.transfer_syntax_uid, data) for m, data in metas}


MIXED = ("CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "JPEG-LL.dcm",
         "693_J2KR.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd_jpeg.dcm", "rtplan.dcm")  # fmt: skip


@pytest.fixture(scope="module")
def mixed(server, tmp_path_factory):
    """A study of objects in many transfer syntaxes: its UID, and the objects as they are stored."""
    folder, study = tmp_path_factory.mktemp("mixed"), new_uid()
    for name in MIXED:
        fresh(name, folder, StudyInstanceUID=study, PatientID="MIXED")
    assert server.command("import", str(folder)).returncode == 0
    kept = bytes_in(folder)
    assert len(kept) == len(MIXED)
    return study, kept


def by_syntax(kept, *syntaxes):
    return {uid for uid, (syntax, _) in kept.items() if syntax in syntaxes}


@pytest.mark.parametrize("program_name", ["storescp", "dcmrecv"])
def test_movescu_to_a_receiver_that_takes_everything(server, mixed, tmp_path, program_name):
    """Bit for bit, whatever the syntax."""
    study, kept = mixed
    options = {"storescp": ["+B", "+xa"], "dcmrecv": ["+B", *all_syntaxes(tmp_path, kept)]}
    target = tmp_path / "target"
    target.mkdir()
    with listening(server, program_name, target, *options[program_name], title="ALL"):
        move(server, "ALL", study)
    assert bytes_in(target) == kept


def all_syntaxes(folder, kept):
    """A configuration of dcmrecv for the syntaxes and SOP classes of these objects."""
    syntaxes = sorted({syntax for syntax, _ in kept.values()})
    classes = sorted({str(dcmread(get_testdata_file(name)).SOPClassUID) for name in MIXED})
    lines = [
        "[[TransferSyntaxes]]",
        "[Syntaxes]",
        *(f"TransferSyntax{n} = {uid}" for n, uid in enumerate(syntaxes, 1)),
        "[[PresentationContexts]]",
        "[Classes]",
        *(f"PresentationContext{n} = {uid}\\Syntaxes" for n, uid in enumerate(classes, 1)),
        "[[Profiles]]",
        "[Everything]",
        "PresentationContexts = Classes",
        "",
    ]
    path = folder / "dcmrecv.cfg"
    path.write_text("\n".join(lines))
    return ["-xf", path, "Everything"]


@pytest.mark.parametrize("option", ["+x=", "+xe", "+xb", "+xi", "+xs"])
def test_movescu_to_a_storescp_that_prefers_one_syntax(server, mixed, tmp_path, option):
    """Objects come as they are, converted, or are counted as failed: never otherwise."""
    study, kept = mixed
    with listening(server, "storescp", tmp_path, option, title="ONE"):
        said = move(server, "ONE", study, status=None)
    came = received(tmp_path)
    native = by_syntax(kept, *NATIVE)
    assert native <= came.keys() <= kept.keys()
    assert "Received Final Move Response" in said
    originals = {uid: dcmread(stored(server, uid)) for uid in native}
    assert all(same(came[uid], originals[uid]) for uid in native)


@pytest.mark.parametrize(
    "options",
    [["--max-pdu", 4096], ["--max-pdu", 131_072], ["--fork"], ["--ignore"]],
    ids=lambda options: " ".join(map(str, options)),
)
def test_movescu_to_a_storescp_of_its_own_kind(server, tmp_path, options):
    target, source = tmp_path / "target", tmp_path / "source"
    target.mkdir()
    source.mkdir()
    study, paths = images(source, 5)
    run("storescu", *ours(server), *paths)
    with listening(server, "storescp", target, *options, title="KIND"):
        assert "Received Final Move Response (Success)" in move(server, "KIND", study)
    assert len(list(target.iterdir())) == (0 if options == ["--ignore"] else 5)


@pytest.mark.parametrize("option", ["--refuse", "--abort-after", "--abort-during"])
def test_movescu_to_a_storescp_that_fails_is_told_so(server, tmp_path, option):
    target, source = tmp_path / "target", tmp_path / "source"
    target.mkdir()
    source.mkdir()
    study, paths = images(source, 3)
    run("storescu", *ours(server), *paths)
    with listening(server, "storescp", target, option, title="FAILING"):
        said = move(server, "FAILING", study, status=None)
    assert "Received Final Move Response" in said
    assert "(Success)" not in said.partition("Received Final Move Response")[2]


def test_movescu_to_itself(server, mixed, tmp_path):
    """It waits for the objects at a port of its own, on the association's side."""
    study, kept = mixed
    (port,) = free_ports(1)
    with peer(server, "MOVESCU", port):
        options = ("-aet", "MOVESCU", "+P", port, "+xa", "+B")
        move(server, "MOVESCU", study, *options, cwd=tmp_path)
    assert bytes_in(tmp_path) == kept


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
@pytest.mark.parametrize("size", [4096, 131_072])
def test_getscu_preserves_bits_at_each_level(server, tmp_path, level, size):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    patient = new_uid()[-20:]
    study, paths = images(source, 4, PatientID=patient, Rows=256, Columns=256,
                          PixelData=bytes(range(256)) * 512)  # fmt: skip
    assert server.command("import", str(source)).returncode == 0
    first = dcmread(paths[0])
    keys = {
        "PATIENT": {"PatientID": patient},
        "STUDY": {"StudyInstanceUID": study},
        "SERIES": {"StudyInstanceUID": study, "SeriesInstanceUID": f"{study}.1"},
        "IMAGE": {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": f"{study}.1",
            "SOPInstanceUID": first.SOPInstanceUID,
        },
    }[level]
    arguments = [part for key, value in keys.items() for part in ("-k", f"{key}={value}")]
    model = "-P" if level == "PATIENT" else "-S"
    run(
        *("getscu", model, "+B", "--max-pdu", size, "-od", target, *ours(server)),
        *("-k", f"QueryRetrieveLevel={level}", *arguments),
        cwd=target,
    )
    got, sent = bytes_in(target), bytes_in(source)
    assert got.items() <= sent.items()
    assert len(got) == {"PATIENT": 4, "STUDY": 4, "SERIES": 2, "IMAGE": 1}[level]


# --- TLS ------------------------------------------------------------------------------------------


def tls(keys, way):
    """dcmtk's options: without a certificate, with one, without looking at the server's."""
    certificate, key = keys["peer"]
    return {
        "anonymous": ["+tla", "+cf", keys["ca"]],
        "certificate": ["+tls", key, certificate, "+cf", keys["ca"]],
        "careless": ["+tla", "-ic"],
        "old profile": ["+tla", "+cf", keys["ca"], "+px"],
        "strict profile": ["+tla", "+cf", keys["ca"], "+pz"],
    }[way]


@pytest.mark.parametrize(
    "way", ["anonymous", "certificate", "careless", "old profile", "strict profile"]
)
def test_dcmtk_by_tls(server, keys, tmp_path, way):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    study, paths = images(source, 3)
    there = (*tls(keys, way), *CALLED, "127.0.0.1", server.tls_port)
    run("echoscu", *there)
    run("storescu", *there, *paths)
    keys_of = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}")
    assert str(study) in run("findscu", *there, *keys_of)
    assert instances(server, study) == 3


def test_dcmtk_by_tls_sees_an_untrusted_authority(server, tmp_path):
    other = Authority(tmp_path, "another authority")
    there = (*CALLED, "127.0.0.1", server.tls_port)
    assert "certificate" in run("echoscu", "+tla", "+cf", other.path, *there, status=1).lower()
    certificate, key = other.issue("stranger")
    run("echoscu", "+tls", key, certificate, "-ic", *there, status=1)


def test_movescu_to_a_storescp_with_tls(server, keys, tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    study, paths = images(source, 3)
    run("storescu", *ours(server), *paths)
    (port,) = free_ports(1)
    certificate, key = keys["peer"]
    with subprocess.Popen(
        [
            program("storescp"),
            "-od",
            target,
            "+tls",
            key,
            certificate,
            "+cf",
            keys["ca"],
            str(port),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as receiving:
        try:
            wait_for_port(port)
            with peer(server, "SECURE", port, "--tls"):
                assert server.command("peer", "echo", "SECURE").returncode == 0
                assert "Received Final Move Response (Success)" in move(server, "SECURE", study)
            with peer(server, "PLAIN", port):
                assert server.command("peer", "echo", "PLAIN").returncode == 1
        finally:
            receiving.terminate()
    assert len(list(target.iterdir())) == 3


# --- GDCM -----------------------------------------------------------------------------------------


def gdcm(server, *arguments):
    """Run gdcmscu. Its exit status says nothing: some releases crash at the end of an association,
    whoever is at the other end."""
    there = ("--call", "SANTEPACS", "127.0.0.1", server.dicom_port)
    return run("gdcmscu", *arguments, *there, status=None)


def test_gdcmscu_echoes_and_stores_and_finds(server, tmp_path):
    path, image = fresh("CT_small.dcm", tmp_path)
    gdcm(server, "--echo")
    gdcm(server, "--store", "-i", path)
    kept = dcmread(stored(server, image.SOPInstanceUID))
    assert same(kept, image)
    key = f"20,d={image.StudyInstanceUID}"
    gdcm(server, "--find", "--studyroot", "--study", "--key", key, "--key", "10,10=")
