"""Worklist records that images and modalities move, on a real database."""

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from pydicom.uid import generate_uid
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from santepacs.db import orders, performed, progress
from santepacs.errors import Unavailable
from santepacs.model.order import StepStatus
from santepacs.model.performed import ArrivingStudy
from santepacs.settings import Settings
from santepacs.worklist import arriving
from santepacs.worklist.arriving import BATCH, MODALITIES, ImagesArriving
from support.dicom import eventually
from support.procedures import RECORD, STUDY, ProcedureSite, begun, item, running
from support.procedures import settings as dicom_settings

QUIET = 0.4  # seconds
IMAGES = ("images", "STARTED", "", "images arrive")
NO_MORE = ("images", "COMPLETED", "", "no more images arrive")


def after(seconds):
    given = dicom_settings()
    given.worklist = replace(given.worklist, complete_after=seconds)
    return given


class ArrivingSite(ProcedureSite):
    """A site whose archive would tell of what it stores."""

    def start(self):
        super().start()
        self.arriving = ImagesArriving(
            self.reactor_thread.reactor, self.settings, self.progress, interval=0.05
        )
        self.reactor_thread.run(self.arriving.start)

    def stop(self):
        self.reactor_thread.run(self.arriving.stop)
        super().stop()

    def arrive(self, study=STUDY, accession="A1", patient="P1", modality="CT"):
        self.reactor_thread.run(self.arriving.note, study, accession, patient, modality)


@contextmanager
def arriving_site(reactor_thread, dsn, folder, seconds=QUIET):
    one = ArrivingSite(reactor_thread, dsn.runtime, folder, after(seconds))
    one.start()
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture
def site(reactor_thread, database_dsn, tmp_path):
    with arriving_site(reactor_thread, database_dsn, tmp_path) as running_site:
        yield running_site


def becomes(site, key, status):
    eventually(lambda: site.status(key) is status)


# --- images


def test_images_begin_a_record_and_their_end_completes_it(site):
    key = site.add()
    for _ in range(5):
        site.arrive()
    becomes(site, key, StepStatus.STARTED)
    becomes(site, key, StepStatus.COMPLETED)
    assert site.events(key) == [IMAGES, NO_MORE]
    assert site.ask(progress.all_arriving, 10) == []


def test_a_study_is_not_over_while_it_comes(site):
    key = site.add()
    end = time.monotonic() + 2 * QUIET
    while time.monotonic() < end:
        site.arrive()
        time.sleep(QUIET / 10)
        assert site.status(key) is not StepStatus.COMPLETED
    becomes(site, key, StepStatus.COMPLETED)


def test_an_accession_number_counts_for_its_patient(site):
    key, other = site.add(), site.add(replace(RECORD, patient_id="P2", study_instance_uid="1.9"))
    site.arrive(study="1.2.3", patient="P1")
    becomes(site, key, StepStatus.COMPLETED)
    assert site.status(other) is StepStatus.SCHEDULED


def test_of_several_steps_those_of_the_modality_begin(site):
    key = site.add()
    other = site.add(replace(RECORD, modality="US", scheduled_procedure_step_id="S2"))
    site.arrive(modality="CT")
    becomes(site, key, StepStatus.COMPLETED)
    assert site.status(other) is StepStatus.SCHEDULED
    site.arrive(modality="US")
    becomes(site, other, StepStatus.COMPLETED)


def test_a_modality_that_comes_later_begins_its_step(site):
    key = site.add(replace(RECORD, modality="US", scheduled_procedure_step_id="S2"))
    first = site.add()
    site.arrive(modality="CT")
    becomes(site, first, StepStatus.STARTED)
    site.arrive(modality="US")
    becomes(site, key, StepStatus.COMPLETED)
    assert site.events(first) == site.events(key) == [IMAGES, NO_MORE]


@pytest.mark.parametrize("modality", ["DOC", "KO", "PR", "SR"])
def test_documents_begin_nothing(site, modality):
    key = site.add()
    site.arrive(modality=modality)
    time.sleep(2 * QUIET)
    assert site.status(key) is StepStatus.SCHEDULED


@pytest.mark.parametrize("status", ["CANCELED", "DISCONTINUED", "COMPLETED", "DEPARTED"])
def test_what_is_over_stays_so(site, status):
    key = site.add(replace(RECORD, step_status=StepStatus[status]))
    site.arrive()
    time.sleep(2 * QUIET)
    assert (site.status(key), site.events(key)) == (StepStatus[status], [])


def test_an_order_that_comes_later_than_its_images_is_completed(site):
    site.arrive()
    site.reactor_thread.run(site.arriving._look)
    key = site.add()
    becomes(site, key, StepStatus.COMPLETED)
    assert site.events(key) == [NO_MORE]


def test_the_setting_zero_leaves_the_worklist_alone(reactor_thread, database_dsn, tmp_path):
    with arriving_site(reactor_thread, database_dsn, tmp_path, 0) as site:
        key = site.add()
        site.arrive()
        time.sleep(0.3)
        assert site.status(key) is StepStatus.SCHEDULED


def test_a_restart_finishes_what_images_began(reactor_thread, database_dsn, tmp_path):
    with arriving_site(reactor_thread, database_dsn, tmp_path, 600) as site:
        key = site.add()
        site.arrive()
        becomes(site, key, StepStatus.STARTED)
    with arriving_site(reactor_thread, database_dsn, tmp_path) as site:
        becomes(site, key, StepStatus.COMPLETED)
    assert site.settings.worklist.complete_after == QUIET


def test_a_single_image_counts_though_the_server_stops_at_once(
    reactor_thread, database_dsn, tmp_path
):
    with arriving_site(reactor_thread, database_dsn, tmp_path, 600) as site:
        key = site.add()
        site.arrive()
    with arriving_site(reactor_thread, database_dsn, tmp_path) as site:
        becomes(site, key, StepStatus.COMPLETED)


# --- images and modalities


def test_where_a_modality_speaks_images_do_not(site):
    key, uid = site.add(), generate_uid()
    site.create(uid=uid)
    site.arrive()
    time.sleep(2 * QUIET)
    assert site.status(key) is StepStatus.STARTED
    assert site.set(uid, state="COMPLETED").Status == 0x0000
    assert [action for action, *_ in site.events(key)] == ["procedure step"] * 2


def test_a_modality_that_speaks_later_has_the_last_word(site):
    key, uid = site.add(), generate_uid()
    site.arrive()
    becomes(site, key, StepStatus.STARTED)
    site.create(uid=uid)
    time.sleep(2 * QUIET)
    assert site.status(key) is StepStatus.STARTED
    site.set(uid, state="DISCONTINUED")
    assert site.status(key) is StepStatus.DISCONTINUED


def test_images_and_modalities_at_once_lose_nothing(site):
    """Ten records, each begun by two modalities while its images come."""
    keys, answers = [], []
    for number in range(10):
        study = f"{STUDY}.{number}"
        keys.append(site.add(replace(RECORD, study_instance_uid=study, accession_number="")))

    def images():
        for _ in range(3):
            for number in range(10):
                site.arrive(f"{STUDY}.{number}")

    def modality():
        for number in range(10):
            uid = generate_uid()
            named = item(StudyInstanceUID=f"{STUDY}.{number}", AccessionNumber="")
            answers.append(site.create(begun(named), uid).Status)
            answers.append(site.set(uid, state="COMPLETED").Status)

    threads = [threading.Thread(target=work) for work in (images, modality, modality)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [0x0000] * 40
    eventually(lambda: site.ask(progress.all_arriving, 100) == [])
    for key in keys:
        assert site.status(key) is StepStatus.COMPLETED
        reached = [StepStatus[status] for _, status, *_ in site.events(key)]
        assert reached == sorted(reached, key=[StepStatus.STARTED, StepStatus.COMPLETED].index)


# --- noticing, without a database


class Told:
    """Stands for Progress: what it was told, answered when the test wants."""

    def __init__(self):
        self.arrived, self.quiet, self.left, self.answers, self.looks = [], [], [], [], 0

    async def still_arriving(self, limit):
        return self.left

    async def images_arrived(self, studies):
        await self.answer()
        self.looks += 1
        self.arrived += studies

    async def images_are_quiet(self, studies):
        await self.answer()
        self.quiet += studies

    def answer(self):
        return self.answers.pop(0) if self.answers else succeed(None)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def images(clock, told):
    one = ImagesArriving(clock, Settings(), told)
    Deferred.fromCoroutine(one.start())
    return one


def uids(studies):
    return [study.study_instance_uid for study in studies]


def test_a_study_is_looked_for_once_however_many_objects_it_has(images, told, clock):
    for _ in range(10_000):
        images.note("1.2.3", "A1", "P1", "CT")
    clock.pump([1.0] * 10)
    assert told.arrived == [ArrivingStudy("1.2.3", "A1", "P1", frozenset(("CT",)))]
    assert told.quiet == []
    clock.pump([1.0] * 600)
    assert told.quiet == told.arrived


def test_studies_that_come_during_a_look_share_the_next(images, told, clock):
    first = Deferred()
    told.answers = [first]
    images.note("1.2.0", "", "", "CT")
    clock.advance(1.0)
    for number in range(1, BATCH + 1):
        images.note(f"1.2.{number}", "", "", "CT")
    assert told.arrived == []
    first.callback(None)
    clock.advance(1.0)
    assert (len(told.arrived), told.looks) == (BATCH + 1, 2)


def test_what_is_remembered_is_bounded(images, told, clock, monkeypatch):
    monkeypatch.setattr(arriving, "MAXIMUM", 50)
    for number in range(60):
        images.note(f"1.2.{number}", "", "", "CT")
        images.note("1.2.0", "", "", "CT")  # never the quietest
    clock.pump([1.0] * 2)
    assert uids(told.quiet) == [f"1.2.{number}" for number in range(1, 11)]
    assert len(images._studies) == 50


def test_modalities_of_a_study_are_bounded(images, told, clock):
    for number in range(1000):
        images.note("1.2.3", "", "", f"M{number}")
        clock.advance(1.0)
    assert len(told.arrived) == MODALITIES


def test_nothing_is_lost_while_the_database_is_away(images, told, clock):
    failing = [Deferred(), Deferred()]
    told.answers = list(failing)
    images.note("1.2.1", "", "", "CT")
    clock.advance(1.0)
    images.note("1.2.2", "", "", "CT")
    failing[0].errback(Unavailable("away"))
    assert told.arrived == []
    clock.advance(1.0)
    failing[1].errback(Unavailable("away"))
    clock.advance(1.0)
    assert sorted(uids(told.arrived)) == ["1.2.1", "1.2.2"]


def test_a_fault_costs_its_own_batch_alone(images, told, clock):
    failing = Deferred()
    told.answers = [failing]
    images.note("1.2.1", "", "", "CT")
    clock.advance(1.0)
    images.note("1.2.2", "", "", "CT")
    failing.errback(RuntimeError("a mistake"))
    clock.advance(1.0)
    assert uids(told.arrived) == ["1.2.2"]


def test_what_is_left_of_an_earlier_run_is_quiet_in_its_time(clock):
    told = Told()
    told.left = [ArrivingStudy("1.2.3")]
    images = ImagesArriving(clock, Settings(), told)
    Deferred.fromCoroutine(images.start())
    clock.pump([1.0] * 599)
    assert told.quiet == []
    clock.pump([1.0] * 2)
    assert uids(told.quiet) == ["1.2.3"]


def test_an_object_costs_next_to_nothing(images):
    """The archive stores hundreds a second; a tenth of a millisecond each would be felt."""
    began = time.process_time()
    for number in range(20_000):
        images.note(f"1.2.{number % 100}", "A1", "P1", "CT")
    assert (time.process_time() - began) / 20_000 < 0.000_05


# --- telling others


def test_who_is_told_is_told_in_the_same_transaction(reactor_thread, database_dsn, tmp_path):
    said, woken = [], []

    async def announce(tx, record):
        said.append((record.accession_number, record.step_status.value))
        if record.step_status is StepStatus.COMPLETED and len(said) < 3:
            raise Unavailable("the queue is full")

    with running(
        reactor_thread, database_dsn, tmp_path, announce=announce, announced=lambda: woken.append(1)
    ) as site:
        key, uid = site.add(), generate_uid()
        site.create(uid=uid)
        assert (said, len(woken)) == ([("A1", "STARTED")], 1)
        assert site.set(uid, state="COMPLETED").Status == 0x0110
        assert (site.status(key), len(woken)) == (StepStatus.STARTED, 1)
        assert site.set(uid, state="COMPLETED").Status == 0x0000
        assert (said[-1], len(woken)) == (("A1", "COMPLETED"), 2)
        # One that moves nothing is not told.
        site.create()
        assert (len(said), len(woken)) == (3, 2)


# --- keeping


def test_old_steps_are_forgotten_some_at_a_time(site):
    key = site.add()
    for _ in range(3):
        site.create()
    assert site.ask(performed.delete_older, 1, 10) == 0
    assert site.ask(performed.delete_older, 0, 2) == 2
    assert site.ask(performed.delete_older, 0, 2) == 1
    assert (site.steps(), site.ask(performed.of_record, key)) == ([], [])
    assert site.ask(orders.record, key) is not None


def test_a_record_that_is_deleted_leaves_the_step(site):
    key, uid = site.add(), generate_uid()
    site.create(uid=uid)
    site.ask(orders.delete, [key])
    assert site.set(uid, state="COMPLETED").Status == 0x0000
    (row,) = site.steps()
    assert (row.records, row.unmatched, row.step.state) == ((), True, "COMPLETED")


def test_steps_are_listed_page_by_page(site):
    for _ in range(5):
        site.create()
    newest = site.steps(limit=2)
    older = site.steps(before=newest[-1].id, limit=9)
    assert [row.id for row in newest + older] == [5, 4, 3, 2, 1]
