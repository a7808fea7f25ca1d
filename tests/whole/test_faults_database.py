"""R-13 to R-18: the database away, slow or in the way, and many senders of the same object.

What is not committed is answered 0xA700, C-ECHO goes on meanwhile, and the server finds the
database again by itself.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from support.clients import Browser
from support.dicom import eventually
from support.faults import (
    CONFLICT_REFUSED,
    KEPT_ASIDE,
    OUT_OF_RESOURCES,
    SUCCESS,
    Ledger,
    Vitals,
    alive,
    check,
    fetched,
    orphans,
    site_of_faults,
    stored_files,
    together,
)
from support.faults_database import index_of, running_postgres
from support.faults_sender import Sender, images, study_uid
from support.postgres import reachable_folder
from support.server import running_server

STATEMENT = 3.0  # seconds that a statement may take in these servers
SOON = 1.0  # seconds for a C-ECHO, however busy the machine
MANY = 20  # associations


@pytest.fixture(scope="module")
def server():
    settings = [f"database.timeout={STATEMENT}"]
    with reachable_folder() as folder, running_server(folder / "data", settings) as running:
        yield running


@pytest.fixture(scope="module")
def apart():
    """A server and the PostgreSQL that it uses, which somebody else runs."""
    with reachable_folder() as folder, running_postgres(folder) as postgres:
        settings = [postgres.setting, f"database.timeout={STATEMENT}"]
        with running_server(folder / "data", settings) as running:
            yield running, postgres


def health(server):
    return Browser(server.web_port).get("/health").status


def background(server, ledger, work):
    """Store images from as many associations at once; gives the statuses when called."""
    pool = ThreadPoolExecutor(len(work))
    futures = [pool.submit(ledger.store_all, server.dicom_port, [each]) for each in work]

    def wait():
        pool.shutdown()
        return [status for future in futures for status in future.result()]

    return wait


def echoes_soon(server):
    began = time.monotonic()
    sender = Sender(server.dicom_port)
    assert sender.echo() == SUCCESS
    sender.release()
    assert time.monotonic() - began < SOON


# --- away -----------------------------------------------------------------------------


def test_r13_without_the_database_objects_are_refused_until_it_is_back(apart):
    server, postgres = apart
    ledger, vitals = Ledger(), Vitals(server)
    kept, *work = images(400, 6)
    assert ledger.store_all(server.dicom_port, [kept]) == [SUCCESS]
    postgres.stop(10)
    began = time.monotonic()
    assert ledger.store_all(server.dicom_port, work) == [OUT_OF_RESOURCES] * 5
    assert time.monotonic() - began < 10
    echoes_soon(server)
    eventually(lambda: health(server) == 503)
    postgres.start(60)
    eventually(lambda: health(server) == 200)
    check(server, ledger, postgres.index)
    assert orphans(server, postgres.index) == set()
    vitals.settled()
    alive(server)


@pytest.mark.parametrize("at_commit", [False, True], ids=["before COMMIT", "in COMMIT"])
def test_r14_a_database_that_is_killed_in_a_transaction_leaves_no_doubt(apart, at_commit):
    server, postgres = apart
    ledger, work = Ledger(), images(406 + at_commit, 5)
    with postgres.index.gate(at_commit=at_commit) as gate:
        statuses = background(server, ledger, work)
        gate.reached()
        postgres.kill()
        assert statuses() == [OUT_OF_RESOURCES] * 5
        echoes_soon(server)
        postgres.start(60)
    eventually(lambda: health(server) == 200)
    check(server, ledger, postgres.index)
    assert orphans(server, postgres.index) == set()
    alive(server)


@pytest.mark.parametrize("at_commit", [False, True], ids=["before COMMIT", "in COMMIT"])
def test_r14_a_connection_that_is_cut_in_a_transaction_leaves_no_doubt(server, at_commit):
    """Only this session ends (an administrator, a failing network); PostgreSQL goes on."""
    ledger, work, index = Ledger(), images(402 + at_commit, 5), index_of(server)
    with index.gate(at_commit=at_commit) as gate:
        statuses = background(server, ledger, work)
        gate.reached()
        index.end_waiting()
        gate.open()
        assert set(statuses()) <= {SUCCESS, OUT_OF_RESOURCES}
    check(server, ledger, index)
    alive(server)


def test_r14_after_the_crash_of_a_session_postgresql_and_the_server_recover(server):
    """kill -9 of one of its processes makes PostgreSQL end all sessions and replay its log."""
    ledger, work, index = Ledger(), images(404, 30), index_of(server)
    kept, *rest = work
    assert ledger.store_all(server.dicom_port, [kept]) == [SUCCESS]
    index.kill_session()
    together(*(partial(ledger.store_all, server.dicom_port, rest[n::3]) for n in range(3)))
    answers = {status for statuses in ledger.answers.values() for status in statuses}
    assert answers <= {SUCCESS, OUT_OF_RESOURCES}
    eventually(index.answers, 30)
    check(server, ledger, index)
    alive(server)


# --- slow -----------------------------------------------------------------------------------


def test_r15_a_slow_database_is_waited_for(server):
    ledger, work, index = Ledger(), images(410, MANY), index_of(server)
    with index.trigger("PERFORM pg_sleep(0.05)"):
        statuses = background(server, ledger, work)
        echoes_soon(server)
        assert statuses() == [SUCCESS] * MANY
    check(server, ledger, index)


def test_r15_a_database_that_takes_too_long_is_not_waited_for(server):
    ledger, work, index, vitals = Ledger(), images(411, MANY), index_of(server), Vitals(server)
    before = vitals.threads()
    with index.trigger(f"PERFORM pg_sleep({STATEMENT + 2})"):
        began = time.monotonic()
        statuses = background(server, ledger, work)
        while time.monotonic() - began < STATEMENT:
            echoes_soon(server)
            assert vitals.threads() < before + 3 * MANY
            time.sleep(0.2)
        assert statuses() == [OUT_OF_RESOURCES] * MANY
        assert time.monotonic() - began < 4 * STATEMENT
    check(server, ledger, index)
    vitals.settled()
    alive(server)


def test_r15_a_locked_study_delays_its_own_objects_at_most(server):
    ledger, index, vitals = Ledger(), index_of(server), Vitals(server)
    first, *work = images(412, MANY + 1)
    others = images(413, 5)
    assert ledger.store_all(server.dicom_port, [first]) == [SUCCESS]
    locked = "SELECT FROM study WHERE study_instance_uid = %s FOR UPDATE"
    with index.locked(locked, study_uid(412)):
        statuses = background(server, ledger, work)
        eventually(lambda: index.waiting() > 0)
        echoes_soon(server)
        beside = background(server, ledger, others)
        assert set(statuses()) <= {OUT_OF_RESOURCES}
        assert set(beside()) <= {SUCCESS, OUT_OF_RESOURCES}
    check(server, ledger, index)
    vitals.settled()
    alive(server)


# --- deadlocks ------------------------------------------------------------------------------


def test_r16_many_associations_that_store_studies_in_opposite_orders(server):
    ledger, index = Ledger(), index_of(server)
    work = images(420, 10) + images(421, 10)
    orders = [work if number % 2 else work[::-1] for number in range(MANY)]
    statuses = together(*(partial(ledger.store_all, server.dicom_port, each) for each in orders))
    assert statuses == [[SUCCESS] * len(work)] * MANY
    assert index.value(
        "SELECT count(*) FROM instance i JOIN series s ON s.id = i.series"
        " JOIN study t ON t.id = s.study WHERE t.study_instance_uid = ANY (%s)",
        [study_uid(420), study_uid(421)],
    ) == len(work)
    check(server, ledger, index)
    alive(server)


def test_r16_a_deadlock_with_somebody_else_is_tried_again(server):
    """Who is chosen to give way is PostgreSQL's business: who waits first, here."""
    ledger, index = Ledger(), index_of(server)
    (a, more_a), (b, more_b), (c, more_c) = (images(number, 2) for number in (422, 423, 424))
    assert ledger.store_all(server.dicom_port, [a, b, c]) == [SUCCESS] * 3
    row = "SELECT FROM study WHERE study_instance_uid = %s FOR UPDATE"
    with index.locked(row, b.study) as other:
        other.execute("SET LOCAL deadlock_timeout = '10s'")
        with index.locked(row, c.study):
            # While the index waits for this one, the next two gather for one transaction.
            statuses = [background(server, ledger, [more_c])]
            eventually(lambda: index.waiting() == 1)
            for each in (more_a, more_b):
                statuses.append(background(server, ledger, [each]))
                time.sleep(0.2)
        # It has a's study and waits for b's; now we want a's.
        eventually(lambda: index.waiting() == 1)
        other.execute(row, (a.study,))
    assert [each() for each in statuses] == [[SUCCESS]] * 3
    check(server, ledger, index)
    alive(server)


# --- the same SOP Instance UID --------------------------------------------------------


def test_r17_the_same_object_from_many_associations_is_kept_once(server):
    ledger, (image,), index = Ledger(), images(430, 1, rows=256), index_of(server)
    statuses = together(*[partial(ledger.store_all, server.dicom_port, [image, image])] * MANY)
    assert statuses == [[SUCCESS] * 2] * MANY
    check(server, ledger, index)
    uid = "SELECT count(*) FROM instance WHERE sop_instance_uid = %s"
    assert index.value(uid, image.uid) == 1
    assert len(list((server.data / "objects").rglob(f"{index.objects()[image.uid]}.dcm"))) == 1
    assert index.value("SELECT count(*) FROM aside WHERE sop_instance_uid = %s", image.uid) == 0
    alive(server)


def test_r18_of_many_objects_under_one_uid_one_is_kept_and_the_others_aside(server):
    ledger, index = Ledger(), index_of(server)
    versions = variants(431, MANY)
    statuses = together(
        *(partial(ledger.store_all, server.dicom_port, [each]) for each in versions)
    )
    assert sorted(statuses) == [[SUCCESS]] + [[KEPT_ASIDE]] * (MANY - 1)
    kept = versions[statuses.index([SUCCESS])]
    assert fetched(server, kept.study) == {kept.uid: kept.data}
    rows = index.rows(
        "SELECT encode(digest, 'hex') FROM aside WHERE sop_instance_uid = %s", kept.uid
    )
    assert len(rows) == MANY - 1
    assert {path.stem for path in (server.data / "aside").iterdir()} >= {row[0] for row in rows}
    # Sent again, each has the same answer, and nothing changes.
    assert [ledger.store_all(server.dicom_port, [each]) for each in versions] == statuses
    assert fetched(server, kept.study) == {kept.uid: kept.data}
    assert index.miscounted() == []
    assert orphans(server, index) == set()
    alive(server)


def test_r18_by_setting_the_others_are_refused():
    with site_of_faults() as site:
        server, ledger = site.start(["dicom.conflict=refuse"]), Ledger()
        index, versions = index_of(server), variants(432, MANY)
        statuses = together(
            *(partial(ledger.store_all, server.dicom_port, [each]) for each in versions)
        )
        assert sorted(statuses) == [[SUCCESS]] + [[CONFLICT_REFUSED]] * (MANY - 1)
        kept = versions[statuses.index([SUCCESS])]
        assert fetched(server, kept.study) == {kept.uid: kept.data}
        assert list((server.data / "aside").iterdir()) == []
        assert stored_files(server) == set(index.objects().values())
        assert index.miscounted() == []
        alive(server)


def variants(study, count):
    """Different objects under one SOP Instance UID."""
    (image,) = images(study, 1)
    return [image.altered(number) for number in range(count)]
