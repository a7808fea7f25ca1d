"""R-5 to R-12, R-24: a disk that is full or fails, too few descriptors, too little memory.

What cannot be kept is answered 0xA700, nothing is half, all else goes on, and when the fault is
gone the server is as before by itself.
"""

import http.client
import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt

from support.clients import Browser
from support.dicom import CT, STUDY_GET, STUDY_MOVE, eventually, identifier_of
from support.faults import (
    OUT_OF_RESOURCES,
    SUCCESS,
    Ledger,
    Vitals,
    alive,
    check,
    downloaded,
    fetched,
    site_of_faults,
    stored_files,
    together,
)
from support.faults_database import index_of, running_postgres
from support.faults_disk import fill, limited, read_only, small_disk
from support.faults_hook import DURABLE, Disk, Faults
from support.faults_sender import Sender, fragments, image, images
from support.postgres import reachable_folder
from support.server import free_ports, running_server

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def server():
    with reachable_folder() as folder, running_server(folder / "data") as running:
        yield running


@pytest.fixture(scope="module")
def faulty():
    """A server in which calls can be made to fail: `faulty.faults`."""
    with reachable_folder() as folder:
        faults = Faults(folder / "faults")
        with running_server(folder / "data", environment=faults.environment) as running:
            running.faults = faults
            yield running


@pytest.fixture(scope="module")
def elsewhere():
    """Databases whose files are not on the disk that fills up."""
    with reachable_folder() as folder, running_postgres(folder) as postgres:
        yield postgres


@pytest.fixture
def small(elsewhere):
    """A server whose objects lie on a small disk, and its index elsewhere: `start(settings)`."""
    with (
        elsewhere.database() as (setting, index),
        site_of_faults() as site,
        small_disk(site.data, 24),
    ):
        yield lambda *settings: (site.start([setting, *settings]), index)
        site.end()


def incoming(server):
    return list((server.data / "incoming").iterdir())


def health(server):
    return Browser(server.web_port).get("/health").status


# --- full -------------------------------------------------------------------------------


@pytest.mark.parametrize("reserve", [0, 2])
def test_r5_a_full_disk_refuses_and_recovers_by_itself(small, reserve):
    server, index = small(f"server.disk_reserve={reserve}")
    ledger, work = Ledger(), images(200, 30, rows=512)
    statuses = ledger.store_all(server.dicom_port, work[:4])
    assert statuses == [SUCCESS] * 4
    ballast = fill(server.data, leave=4 * MEGABYTE)
    statuses = ledger.store_all(server.dicom_port, work[4:])
    full = statuses.index(OUT_OF_RESOURCES)
    assert statuses == [SUCCESS] * full + [OUT_OF_RESOURCES] * (len(work) - 4 - full)
    check(server, ledger, index, again=False)
    rest = fill(server.data)
    alive(server)
    eventually(lambda: health(server) == 503)
    ballast.unlink()
    rest.unlink()
    check(server, ledger, index)
    alive(server)
    eventually(lambda: health(server) == 200)


def test_r5_an_object_larger_than_the_disk_is_refused(small):
    server, index = small("server.disk_reserve=0")
    ledger, large = Ledger(), image(201, 1, rows=4096)
    sender = Sender(server.dicom_port)
    assert sender.store(large) == OUT_OF_RESOURCES
    assert ledger.store(sender, image(201, 2)) == SUCCESS
    check(server, ledger, index)
    alive(server)


def test_r6_below_the_reserve_nothing_is_written_and_all_else_goes_on(small):
    server, index = small("server.disk_reserve=10")
    ledger, (kept, large) = Ledger(), images(202, 2, rows=1024)
    assert ledger.store_all(server.dicom_port, [kept]) == [SUCCESS]
    ballast = fill(server.data, leave=8 * MEGABYTE)
    sender = Sender(server.dicom_port)
    sender.begin(large, fragments(large) - 1)
    alive(server)
    assert incoming(server) == []
    sender.close()
    assert ledger.store_all(server.dicom_port, [large]) == [OUT_OF_RESOURCES]
    check(server, ledger, index, again=False)
    alive(server)
    ballast.unlink()
    check(server, ledger, index)


@pytest.mark.parametrize("rows", [256, 1024])
@pytest.mark.parametrize("limit", [0, 1, 200, 70_000, -1])
def test_r5_r10_a_write_that_is_cut_short_and_then_fails_is_no_success(server, limit, rows):
    """The kernel writes up to the limit of a file's size (-1: a byte less) and no byte more."""
    ledger, (like, sent) = Ledger(), images(210 + limit + rows, 2, rows=rows)
    assert ledger.store_all(server.dicom_port, [like]) == [SUCCESS]
    size = index_of(server).value(
        "SELECT bytes FROM instance WHERE sop_instance_uid = %s", like.uid
    )
    with limited(server.process, "RLIMIT_FSIZE", limit if limit >= 0 else size + limit):
        assert ledger.store_all(server.dicom_port, [sent]) == [OUT_OF_RESOURCES]
        assert incoming(server) == []
    with limited(server.process, "RLIMIT_FSIZE", size):
        assert ledger.store_all(server.dicom_port, [sent]) == [SUCCESS]
    check(server, ledger, index_of(server))
    alive(server)


# --- failing calls ----------------------------------------------------------------


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_r5_r8_a_disk_that_fails_at_any_step_of_a_store_is_no_success(faulty, error):
    faults, ledger, first = faulty.faults, Ledger(), 220 if error == "EIO" else 250
    before = len(faults.events())
    assert ledger.store_all(faulty.dicom_port, images(first, 1)) == [SUCCESS]
    steps = sum(event["call"] in DURABLE for event in faults.events()[before:])
    assert steps > 5
    for step in range(1, steps + 1):
        with faults.armed(DURABLE, error, number=step):
            status = ledger.store_all(faulty.dicom_port, images(first + step, 1))
        assert status == [OUT_OF_RESOURCES], faults.events()[-1]
        assert incoming(faulty) == []
    assert index_of(faulty).objects().keys() & ledger.sent.keys() == ledger.answered()
    check(faulty, ledger, index_of(faulty))
    alive(faulty)


def test_r8_a_file_whose_sync_failed_is_never_trusted(faulty):
    faults, ledger, sent = faulty.faults, Ledger(), images(280, 8)
    for number, each in enumerate(sent):
        with faults.armed(("fsync", "fdatasync"), "EIO", number=1 + number % 2):
            ledger.store_all(faulty.dicom_port, [each])
        assert ledger.store_all(faulty.dicom_port, [each]) == [SUCCESS]
    events = faults.events()
    failed = set()
    for event in events:
        if event["call"] == "open":
            failed.discard(event["path"])  # another file, in the place of one that is gone
        elif "crc" in event and "failed" in event:
            failed.add(event["path"])
        elif "crc" in event:
            assert event["path"] not in failed
    disk, digests = Disk(events), index_of(faulty).objects()
    for each in sent:
        (path,) = (faulty.data / "objects").rglob(f"{digests[each.uid]}.dcm")
        assert disk.holds(path)
    check(faulty, ledger, index_of(faulty))


def test_r10_writes_that_take_half_and_signals_all_the_time_do_no_harm(faulty):
    ledger, work = Ledger(), images(281, 40, rows=256)
    quiet = threading.Event()

    def storm():
        while not quiet.is_set():
            os.kill(faulty.process.pid, signal.SIGCHLD)
            time.sleep(0.0005)

    noise = threading.Thread(target=storm)
    faulty.faults.cut_writes()
    noise.start()
    try:
        stored = together(
            *(partial(ledger.store_all, faulty.dicom_port, work[n::4]) for n in range(4))
        )
    finally:
        quiet.set()
        noise.join()
        faulty.faults.disarm()
    assert stored == [[SUCCESS] * 10] * 4
    check(faulty, ledger, index_of(faulty))
    alive(faulty)


# --- reading ---------------------------------------------------------------------------------


def damage(server, digest, how):
    """Do something to one stored file; returns the function that undoes it."""
    (path,) = (server.data / "objects").rglob(f"{digest}.dcm")
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "cut off":
        path.write_bytes(data[: len(data) // 2])
    else:
        server.faults.fail("read", "EIO", times=10**6, path=digest, after=how)

    def undo():
        server.faults.disarm()
        path.write_bytes(data)

    return undo


def retrieved(association, model, answers, got):
    """The final status and its counts of a C-GET or C-MOVE, and which objects came."""
    final = [status for status, _ in answers][-1]
    association.release()
    return (
        final.Status,
        final.NumberOfCompletedSuboperations,
        final.NumberOfFailedSuboperations,
        sorted(got),
    )


def got_by_get(server, study):
    got = []
    entity = AE("GETTER")
    entity.requested_contexts = [
        build_context(STUDY_GET),
        build_context(CT, [ExplicitVRLittleEndian]),
    ]
    association = entity.associate(
        "127.0.0.1",
        server.dicom_port,
        ae_title="SANTEPACS",
        ext_neg=[build_role(CT, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, partial(kept_in, got))],
    )
    query = identifier_of(level="STUDY", StudyInstanceUID=study)
    return retrieved(association, STUDY_GET, association.send_c_get(query, STUDY_GET), got)


def got_by_move(server, study):
    got = []
    (port,) = free_ports(1)
    destination = AE("DESTINATION")
    destination.add_supported_context(CT, [ExplicitVRLittleEndian])
    listening = destination.start_server(
        ("127.0.0.1", port),
        block=False,
        evt_handlers=[(evt.EVT_C_STORE, partial(kept_in, got))],
    )
    try:
        server.command("peer", "delete", "DESTINATION")
        assert server.command("peer", "add", "DESTINATION", "127.0.0.1", str(port)).returncode == 0
        entity = AE("MOVER")
        entity.add_requested_context(STUDY_MOVE)
        association = entity.associate("127.0.0.1", server.dicom_port, ae_title="SANTEPACS")
        query = identifier_of(level="STUDY", StudyInstanceUID=study)
        answers = association.send_c_move(query, "DESTINATION", STUDY_MOVE)
        return retrieved(association, STUDY_MOVE, answers, got)
    finally:
        listening.shutdown()


def kept_in(got, event):
    got.append(str(event.request.AffectedSOPInstanceUID))
    return SUCCESS


def reading_name(reading):
    return f"{reading[0].__name__}-{reading[1]}"


READINGS = [
    (got_by_get, "missing"),
    (got_by_get, "cut off"),
    (got_by_get, 0),
    (got_by_move, "missing"),
    (got_by_move, 0),
    (got_by_move, 70_000),
]


@pytest.mark.parametrize("number", range(len(READINGS)), ids=map(reading_name, READINGS))
def test_r9_one_file_that_cannot_be_read_fails_alone(faulty, number):
    """A number says after how many bytes reading fails."""
    way, how = READINGS[number]
    ledger, study = Ledger(), 290 + number
    *others, bad = images(study, 5, rows=256)
    work = [*others[:2], bad, *others[2:]]
    assert ledger.store_all(faulty.dicom_port, work) == [SUCCESS] * 5
    undo = damage(faulty, index_of(faulty).objects()[bad.uid], how)
    try:
        uids = sorted(image.uid for image in others)
        assert way(faulty, bad.study) == (0xB000, 4, 1, uids)
    finally:
        undo()
    check(faulty, ledger, index_of(faulty))
    alive(faulty)


@pytest.mark.parametrize("how", ["missing", "cut off"])
def test_r9_an_object_that_comes_again_mends_its_file(faulty, how):
    """Success says that the object is kept, also when it is not the first time."""
    ledger, (sent,) = Ledger(), images(287 + (how == "missing"), 1, rows=256)
    assert ledger.store_all(faulty.dicom_port, [sent]) == [SUCCESS]
    undo = damage(faulty, index_of(faulty).objects()[sent.uid], how)
    try:
        if ledger.store_all(faulty.dicom_port, [sent]) == [SUCCESS]:
            assert fetched(faulty, sent.study) == ledger.data()
    finally:
        undo()
    check(faulty, ledger, index_of(faulty))


def test_r9_a_zip_of_it_is_cut_off_never_short(faulty):
    ledger, (first, bad) = Ledger(), images(289, 2, rows=256)
    assert ledger.store_all(faulty.dicom_port, [first, bad]) == [SUCCESS] * 2
    undo = damage(faulty, index_of(faulty).objects()[bad.uid], 0)
    try:
        with pytest.raises((http.client.IncompleteRead, ConnectionError, AssertionError)):
            downloaded(faulty, bad.study)
    finally:
        undo()
    check(faulty, ledger, index_of(faulty))
    alive(faulty)


# --- the index's disk ------------------------------------------------------------------------


def test_r7_when_the_index_s_disk_is_full_nothing_is_half():
    """PostgreSQL may even end for it; an operator makes room and starts it again."""
    with (
        site_of_faults() as site,
        small_disk(site.folder / "elsewhere", 128) as disk,
        running_postgres(disk, max_wal_size="32MB", min_wal_size="32MB") as postgres,
    ):
        server, ledger = site.start([postgres.setting]), Ledger()
        assert ledger.store_all(server.dicom_port, images(300, 5)) == [SUCCESS] * 5
        vitals, ballast = Vitals(server), fill(disk)
        statuses = [SUCCESS]
        while statuses[-1] == SUCCESS:
            work = images(300 + len(statuses), 1)
            statuses += ledger.store_all(server.dicom_port, work)
        assert statuses[-1] == OUT_OF_RESOURCES
        again = ledger.store_all(server.dicom_port, images(1000, 3))
        assert set(again) <= {SUCCESS, OUT_OF_RESOURCES}
        assert Sender(server.dicom_port).echo() == SUCCESS
        ballast.unlink()
        if not postgres.is_running:
            postgres.start(60)
        eventually(lambda: health(server) == 200, 30)
        check(server, ledger, postgres.index)
        vitals.settled()
        alive(server)
        site.end()


# --- read-only ------------------------------------------------------------------------------


def test_r24_a_disk_that_becomes_read_only_still_serves(small):
    server, index = small("server.disk_reserve=0")
    ledger, (kept, late) = Ledger(), images(302, 2)
    assert ledger.store_all(server.dicom_port, [kept]) == [SUCCESS]
    with read_only(server.data):
        assert ledger.store_all(server.dicom_port, [late]) == [OUT_OF_RESOURCES]
        check(server, ledger, index, again=False)
        alive(server)
    check(server, ledger, index)


# --- descriptors and memory -----------------------------------------------------------


def test_r11_without_descriptors_who_is_there_is_served_and_who_comes_waits(server):
    ledger, vitals, work = Ledger(), Vitals(server), images(310, 10)
    early = Sender(server.dicom_port)
    assert ledger.store(early, work[0]) == SUCCESS
    with limited(server.process, "RLIMIT_NOFILE", highest_descriptor(server.process) + 3):
        crowd = []
        for _ in range(8):
            with suppress(OSError):
                crowd.append(Sender(server.dicom_port, timeout=1))
        assert len(crowd) < 8
        assert early.echo() == SUCCESS
        for each in work[1:]:
            assert ledger.store(early, each) in (SUCCESS, OUT_OF_RESOURCES)
        for each in crowd:
            each.close()
    assert ledger.store(early, work[-1]) == SUCCESS
    early.release()
    check(server, ledger, index_of(server))
    vitals.settled()
    alive(server)


def highest_descriptor(process):
    return max(map(int, os.listdir(f"/proc/{process.pid}/fd")))


LARGE = 5  # objects of 50 MB


def test_r12_large_objects_take_no_memory(server):
    """The limit is less than one of the objects, beside 16 MB for the stack of each thread."""
    ledger, vitals = Ledger(), Vitals(server)
    work = [image(311, number, rows=5000) for number in range(LARGE)]
    limit = 1024 * vitals.data() + 40 * MEGABYTE + LARGE * 16 * MEGABYTE
    highest = [0]
    with limited(server.process, "RLIMIT_DATA", limit), watched(vitals.memory, highest):
        stored = together(*(partial(ledger.store_all, server.dicom_port, [each]) for each in work))
        assert stored == [[SUCCESS]] * LARGE
        assert got_by_get(server, work[0].study)[0] == SUCCESS
    assert highest[0] < vitals.memory() + 40 * 1024
    assert set(index_of(server).objects().values()) <= stored_files(server)
    vitals.settled()
    alive(server)


@contextmanager
def watched(measure, highest):
    """Keep the highest of what `measure` gives while the block runs."""
    done = threading.Event()

    def watch():
        while not done.wait(0.02):
            highest[0] = max(highest[0], measure())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def test_r12_without_memory_at_worst_objects_are_refused(server):
    ledger, vitals, work = Ledger(), Vitals(server), images(312, 64, rows=256)
    senders = [Sender(server.dicom_port) for _ in range(8)]

    def store(number):
        for each in work[number::8]:
            if ledger.store(senders[number], each) is None:
                return

    with limited(server.process, "RLIMIT_DATA", 1024 * vitals.data()):
        together(*(partial(store, number) for number in range(8)))
    answers = [status for statuses in ledger.answers.values() for status in statuses]
    print({status: answers.count(status) for status in set(answers)})
    assert set(answers) <= {SUCCESS, OUT_OF_RESOURCES, None}
    check(server, ledger, index_of(server))
    vitals.settled()
    alive(server)
