"""C-GET, C-MOVE and zip of a study of 250 CT; every file is counted."""

import hashlib
import http.client
import socket
import time
from pathlib import Path

from bench import clients
from bench.corpus import CT, RETRIEVED, ct_image, patient_id, study_uid
from bench.procstat import PeakMemory
from bench.targets import HOST, Target
from bench.trial import ANY, LeftOut, Operation, Result, Trial

TIMEOUT = 60  # seconds without a byte from the server


def get(trial: Trial) -> Result:
    """C-GET with getscu."""
    peer, study = trial.peer, _study(trial)
    with trial.folder() as folder:
        command = clients.getscu(peer, study_uid(RETRIEVED, study), folder)
        with trial.watched():
            wall = clients.run_together([command], trial.nodelay)
        return _received(folder, wall)


def move(trial: Trial) -> Result:
    """C-MOVE with movescu to a storescp."""
    peer, study, bench = trial.peer, _study(trial), trial.bench
    command = clients.movescu(peer, study_uid(RETRIEVED, study), bench.move_ae)
    with trial.folder() as folder:
        with (
            clients.storescp(bench.move_ae, bench.move_port, folder, trial.nodelay),
            trial.watched(),
        ):
            wall = clients.run_together([command], trial.nodelay)
        return _received(folder, wall)


def zip_study(trial: Trial) -> Result:
    """Download; also the time to the first byte, and how far the server's memory grew."""
    if not trial.target.zip:
        raise LeftOut("no zip")
    path = _zip_path(trial.target, _study(trial))
    size = 0
    with trial.watched(), PeakMemory(trial.pids) as memory:
        start = time.perf_counter()
        connection = http.client.HTTPConnection(HOST, trial.target.http_port, timeout=TIMEOUT)
        connection.request("GET", path)
        answer = connection.getresponse()
        first_byte = time.perf_counter() - start
        while piece := answer.read(1 << 20):
            size += len(piece)
        wall = time.perf_counter() - start
        connection.close()
    if answer.status != http.client.OK or size < 50_000_000:
        raise RuntimeError(f"zip: status {answer.status}, {size} bytes")
    source = CT.of_study * len(ct_image(RETRIEVED, 0, 0, 0, CT.rows, bytes(2 * CT.rows**2)))
    extra = {"ttfb_ms": first_byte * 1e3, "zip_mb": size / 1e6, "grown_mb": memory.growth / 1e6}
    return Result(CT.of_study, wall, source, extra=extra)


def _study(trial: Trial) -> int:
    if not trial.target.find:
        raise LeftOut("no retrieve service")
    if not trial.loaded.ct_studies:
        raise LeftOut("not prepared")
    return trial.choose(trial.loaded.ct_studies)


def _received(folder: Path, wall: float) -> Result:
    sizes = [path.stat().st_size for path in folder.iterdir()]
    if len(sizes) != CT.of_study:
        raise RuntimeError(f"{len(sizes)} of {CT.of_study} files came")
    return Result(len(sizes), wall, sum(sizes))


def _zip_path(target: Target, study: int) -> str:
    uid = study_uid(RETRIEVED, study)
    digest = hashlib.sha1(f"{patient_id(RETRIEVED, study)}|{uid}".encode()).hexdigest()
    orthanc = "-".join(digest[start : start + 8] for start in range(0, 40, 8))
    token = _token(target, uid) if "{token}" in target.zip else ""
    return target.zip.format(study_uid=uid, orthanc_study=orthanc, token=token)


def _token(target: Target, uid: str) -> str:
    """The study's token, asked by the token dialogue: 0x10 request 0x0D."""
    with socket.create_connection((HOST, target.hl7_port), TIMEOUT) as connection:
        connection.sendall(b"\x10" + uid.encode() + b"\r")
        answer = b""
        while not answer.endswith(b"\r"):
            answer += connection.recv(4096)
    return answer[1:-1].decode()


OPERATIONS = (
    Operation("get", "C-GET of a study of 250 CT", get),
    Operation("move", "C-MOVE of a study of 250 CT to a storescp", move),
    Operation("zip", "zip of a study of 250 CT", zip_study, modes=ANY),
)
