"""R-1 to R-4, R-19: whatever ends in the middle, what was answered 0x0000 is there, whole.

SANTEPACS_KILLS says how often the server is killed at random; SANTEPACS_SEED repeats a run.
"""

import os
import random
import threading
import time
from functools import partial

import pytest

from support.dicom import eventually
from support.faults import (
    SUCCESS,
    Ledger,
    Vitals,
    alive,
    check,
    orphans,
    site_of_faults,
    stored_files,
    together,
)
from support.faults_database import index_of
from support.faults_hook import DURABLE, Disk, Faults, cut_power
from support.faults_sender import Sender, fragments, images
from support.postgres import reachable_folder
from support.server import end_leftover_postgres, running_server

KILLS = int(os.environ.get("SANTEPACS_KILLS", "12"))
SEED = os.environ.get("SANTEPACS_SEED")
RUNS = 3
RESTART = 10  # seconds that a start after a kill may take
SENDERS = 3


@pytest.fixture
def site():
    with site_of_faults() as site:
        yield site


def dice(run):
    seed = int(SEED) if SEED else random.SystemRandom().randrange(10**6)
    print(f"SANTEPACS_SEED={seed}, run {run}")
    return random.Random(seed * RUNS + run)


def keep_storing(server, ledger, work):
    """Store from several associations until the server dies; gives a function that waits."""
    threads = [
        threading.Thread(target=ledger.store_all, args=(server.dicom_port, work[n::SENDERS]))
        for n in range(SENDERS)
    ]
    for thread in threads:
        thread.start()

    def wait():
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()

    return wait


@pytest.mark.parametrize("run", range(RUNS))
def test_r1_kill_9_at_random_moments(site, run):
    chance, ledger, work = dice(run), Ledger(), images(100 + run, 240)
    site.start().stop()
    for _ in range(-(-KILLS // RUNS)):
        if chance.random() < 0.25:
            server = site.launch()
            time.sleep(chance.uniform(0, 1))
            server.kill()
        began = time.monotonic()
        server = site.start()
        assert time.monotonic() - began < RESTART
        chance.shuffle(work)
        work.sort(key=lambda image: image.uid in ledger.answered())
        wait = keep_storing(server, ledger, work)
        time.sleep(chance.uniform(0, 0.4))
        server.kill()
        if chance.random() < 0.3:
            end_leftover_postgres(site.data)
        wait()
    print(f"{len(ledger.answered())} of {len(ledger.sent)} were answered")
    server = site.start()
    check(server, ledger, index_of(server))
    alive(server)


def test_r2_killed_between_its_file_and_its_commit_an_object_is_not_there(site):
    ledger, (image,) = Ledger(), images(110, 1)
    server = site.start()
    index = index_of(server)
    with index.gate() as gate:
        wait = keep_storing(server, ledger, [image])
        gate.reached()
        assert len(stored_files(server)) == 1
        server.kill()
        wait()
        assert ledger.answered() == set()
        index.end_waiting()
    server = site.start()
    assert index.objects() == {}
    assert len(orphans(server, index)) == 1
    check(server, ledger, index)
    assert orphans(server, index) == set()
    alive(server)


def test_r3_killed_between_its_commit_and_its_answer_an_object_is_there(site):
    ledger, (image,) = Ledger(), images(111, 1)
    server = site.start()
    index = index_of(server)
    with index.gate(at_commit=True) as gate:
        wait = keep_storing(server, ledger, [image])
        gate.reached()
        server.kill()
        wait()
        assert ledger.answered() == set()
        gate.open()
        # PostgreSQL was told to commit, and does.
        eventually(index.objects)
    server = site.start()
    assert index.objects().keys() == {image.uid}
    check(server, ledger, index)
    assert len(stored_files(server)) == 1
    alive(server)


@pytest.mark.parametrize("lose", ["names", "contents"])
def test_r4_after_a_power_cut_at_any_step_of_a_store_nothing_is_half(site, lose):
    faults, ledger = Faults(site.folder / "faults"), Ledger()
    step, status = 0, None
    while status != [SUCCESS]:
        step += 1
        server = site.start(environment=faults.environment)
        faults.kill(DURABLE, step)
        status = ledger.store_all(server.dicom_port, images(120 + step, 1))
        faults.disarm()
        if status != [SUCCESS]:
            assert server.wait() == -9
            cut_power(site.data / "objects", faults.events(), lose)
    print(f"{step - 1} steps")
    assert step > 5
    check(server, ledger, index_of(server))
    alive(server)


@pytest.mark.parametrize("lose", ["names", "contents"])
def test_r4_after_a_power_cut_everything_that_was_answered_is_there(site, lose):
    chance, ledger = dice(0), Ledger()
    faults = Faults(site.folder / "faults")
    lost = 0
    for round_ in range(2):
        server = site.start(environment=faults.environment)
        wait = keep_storing(server, ledger, images(150 + round_, 150))
        time.sleep(chance.uniform(0.05, 0.4))
        server.kill()
        wait()
        lost += cut_power(site.data / "objects", faults.events(), lose)
    print(f"{len(ledger.answered())} were answered, {lost} files and folders were lost")
    server = site.start()
    check(server, ledger, index_of(server))


def test_r4_an_object_is_on_the_disk_before_its_answer(site):
    """To the call: what the journal held when the answer came must be enough."""
    faults, ledger = Faults(site.folder / "faults"), Ledger()
    server = site.start(environment=faults.environment)
    sender = Sender(server.dicom_port)
    answered = []
    for image in images(160, 6) + images(161, 6):
        assert ledger.store(sender, image) == SUCCESS
        answered.append((image.uid, faults.size()))
    sender.release()
    events, digests = faults.events(), index_of(server).objects()
    for uid, size in answered:
        disk = Disk(events[:size])
        (path,) = (site.data / "objects").rglob(f"{digests[uid]}.dcm")
        beside = [each for each in path.parent.iterdir() if each.suffix != ".dcm"]
        assert all(disk.holds(each) for each in (path, *beside))


# --- R-19 -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    with reachable_folder() as folder, running_server(folder / "data") as running:
        yield running


@pytest.mark.parametrize("end", ["abort", "reset", "close"])
def test_r19_of_an_object_cut_off_after_any_fragment_nothing_is_stored(server, end):
    ledger, vitals = Ledger(), Vitals(server)
    kept, *cut = images({"abort": 170, "reset": 171, "close": 172}[end], 12, rows=256)
    assert ledger.store_all(server.dicom_port, [kept]) == [SUCCESS]

    def leave(image, number):
        sender = Sender(server.dicom_port)
        assert sender.store(kept) == SUCCESS
        sender.begin(image, number)
        getattr(sender, end)()
        ledger.sent[image.uid] = image

    most = fragments(kept) - 1
    together(*(partial(leave, image, min(number, most)) for number, image in enumerate(cut)))
    index = index_of(server)
    check(server, ledger, index, again=False)
    assert index.objects().keys() & ledger.sent.keys() == {kept.uid}
    check(server, ledger, index)
    vitals.settled()
    alive(server)
