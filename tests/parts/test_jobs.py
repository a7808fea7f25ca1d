"""The queue: work is done at least once, later if it must be, and never forgotten."""

import threading

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from santepacs.db import jobs
from santepacs.db.database import Database
from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, Unavailable
from santepacs.jobs import Interrupted, Queue, Retries
from santepacs.threads import Threads
from support.dicom import eventually

QUICK = Retries(delays=(0.01,), maximum_attempts=3)


class Line:
    """A database and the queues on it."""

    def __init__(self, reactor_thread, dsn):
        self.run = reactor_thread.run
        self.reactor = reactor_thread.reactor
        self.database = Database(self.reactor, dsn, connections=4)
        self.run(self.database.start)
        self.queues = []

    def queue(self, name="run 1", *, reactor=None, **arguments):
        queue = Queue(reactor or self.reactor, self.database, lambda: 0.5, name, **arguments)
        self.queues.append(queue)
        return queue

    def started(self, kind, handler, name="run 1", *, reactor=None, poll=10.0, **arguments):
        queue = self.queue(name, reactor=reactor, poll=poll)
        self.run(queue.handle, kind, handler, **arguments)
        self.run(queue.start)
        return queue

    def ask(self, function, *args, **arguments):
        async def work(tx):
            return await function(tx, *args, **arguments)

        return self.run(self.database.transaction, "test", work)

    def add(self, kind="try", payload=None, **arguments):
        job = self.ask(jobs.add, kind, payload or {}, **arguments)
        for queue in self.queues:
            self.run(queue.wake)
        return job

    def job(self, job_id):
        return self.ask(jobs.find, job_id)

    def states(self):
        return sorted(job.state for job in self.ask(jobs.page))

    def until(self, state, job_id):
        eventually(lambda: self.job(job_id).state == state)
        return self.job(job_id)

    def execute(self, sql, *parameters):
        async def work(tx):
            return await tx.execute(sql, *parameters)

        return self.run(self.database.transaction, "test", work)

    def stop(self):
        for queue in self.queues:
            if queue._started and not queue._stopping and not isinstance(queue._reactor, Clock):
                self.run(queue.stop, 0)
        self.run(self.database.stop)


@pytest.fixture
def line(reactor_thread, database_dsn):
    made = Line(reactor_thread, database_dsn.runtime)
    yield made
    made.stop()


class Recorder:
    """A handler that remembers its jobs, and fails as often as it is told."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.jobs = []

    async def __call__(self, job):
        self.jobs.append(job)
        if self.errors:
            raise self.errors.pop(0)


class Gate:
    """A handler whose jobs wait until they are let go or told to end."""

    def __init__(self):
        self.jobs = {}
        self.doors = {}

    async def __call__(self, job):
        self.jobs[job.id] = job
        self.doors[job.id] = Deferred()
        await self.doors[job.id]
        job.check()

    def open(self, line, job_id):
        line.run(self.doors[job_id].callback, None)


def test_a_job_is_done_with_its_payload(line):
    handler = Recorder()
    line.started("try", handler)
    job = line.until("done", line.add(payload={"peer": "CT1", "uids": ["1.2", "1.3"]}))
    assert [one.payload for one in handler.jobs] == [{"peer": "CT1", "uids": ["1.2", "1.3"]}]
    assert (job.attempts, job.error) == (1, "")
    assert job.ended_at >= job.started_at >= job.created_at


def test_a_job_that_nobody_woke_the_queue_for_is_found_by_the_poll(line):
    line.started("try", Recorder(), poll=0.05)
    line.until("done", line.ask(jobs.add, "try", {}))


def test_what_was_written_before_the_start_is_done_after_it(line):
    job_id = line.add()
    line.started("try", Recorder())
    line.until("done", job_id)


def test_a_job_of_a_transaction_that_fails_never_was(line):
    async def caused(tx):
        await jobs.add(tx, "try", {})
        raise Conflict("not so")

    with pytest.raises(Conflict):
        line.run(line.database.transaction, "test", caused)
    assert line.states() == []


def test_a_kind_without_a_handler_waits(line):
    line.started("try", Recorder())
    line.until("done", line.add())
    job_id = line.add("another kind")
    line.until("done", line.add())
    assert line.job(job_id).state == "waiting"


def test_the_same_work_asked_twice_is_one_job(line):
    first = line.add(key="1.2.3", delay=60)
    assert line.add(key="1.2.3", priority=5) == first
    assert line.add(key="1.2.4") != first
    assert line.add("another kind", key="1.2.3") != first
    assert line.job(first).priority == 5
    line.started("try", Recorder())
    line.until("done", first)  # due as soon as the second would be
    assert line.add(key="1.2.3") != first


def test_jobs_without_a_key_are_jobs_of_their_own(line):
    assert line.add() != line.add()


def test_work_asked_for_again_while_it_runs_is_done_once_more(line):
    """It may have begun before what it was asked for the second time for."""
    gate = Gate()
    line.started("try", gate)
    job_id = line.add(key="k")
    eventually(lambda: job_id in gate.doors)
    assert line.add(key="k") == job_id
    first = gate.doors.pop(job_id)
    line.run(first.callback, None)
    eventually(lambda: job_id in gate.doors)
    assert line.job(job_id).state == "running"
    gate.open(line, job_id)
    line.until("done", job_id)


def test_the_highest_priority_goes_first(line):
    line.add(payload={"n": 1})
    line.add(payload={"n": 2}, priority=1)
    last = line.add(payload={"n": 3}, priority=-1)
    handler = Recorder()
    line.started("try", handler)
    line.until("done", last)
    assert [job.payload["n"] for job in handler.jobs] == [2, 1, 3]


def test_so_many_run_at_once_and_no_more(line):
    gate = Gate()
    line.started("try", gate, at_once=2)
    ids = [line.add() for _ in range(5)]
    done = 0
    while done < 5:
        expected = min(2, 5 - done)
        eventually(lambda expected=expected: len(gate.doors) == expected)
        assert line.states().count("running") <= 2
        for job_id in list(gate.doors):
            gate.open(line, job_id)
            del gate.doors[job_id]
            done += 1
            line.until("done", job_id)
    assert sorted(gate.jobs) == ids


def test_one_kind_does_not_hold_up_another(line):
    gate = Gate()
    queue = line.started("slow", gate)
    line.run(queue.handle, "try", Recorder())
    slow = line.add("slow")
    line.until("done", line.add("try"))
    assert line.job(slow).state == "running"


# --- failing


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("the peer does not answer"),
        ValueError("Doe^Jane"),
        CancelledError(),
        SystemExit(1),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_fails_for_now_is_tried_again(line, error):
    handler = Recorder(error)
    line.started("try", handler, retries=QUICK)
    job = line.until("done", line.add())
    assert [each.attempts for each in handler.jobs] == [1, 2]
    assert (job.attempts, job.error) == (2, "")


@pytest.mark.parametrize("error", [Malformed, NotFound, Forbidden, Conflict])
def test_what_can_never_be_done_is_given_up_at_once(line, error):
    line.started("try", Recorder(error("no such peer\nX")), retries=QUICK)
    job = line.until("failed", line.add())
    assert (job.attempts, job.error) == (1, "no such peer\\x0aX")


def test_a_job_is_given_up_after_so_many_attempts(line):
    handler = Recorder(*[Unavailable("the peer does not answer")] * 9)
    line.started("try", handler, retries=QUICK)
    job = line.until("failed", line.add())
    assert (job.attempts, job.error) == (3, "the peer does not answer")


def test_a_job_is_given_up_at_its_maximum_age(line):
    handler = Recorder(Unavailable("the peer does not answer"))
    line.started("try", handler, retries=Retries(maximum_age=60))
    job_id = line.ask(jobs.add, "try", {})
    line.execute("UPDATE job SET created_at = now() - interval '61 seconds'")
    line.run(line.queues[0].wake)
    assert line.until("failed", job_id).attempts == 1


def test_the_message_of_a_foreign_error_is_kept_nowhere(line):
    line.started("try", Recorder(*[ValueError("Doe^Jane")] * 3), retries=QUICK)
    assert line.until("failed", line.add()).error == "ValueError"


def test_a_failing_job_does_not_keep_the_next_one_waiting(line):
    line.started("try", Recorder(Unavailable("not now")), retries=Retries(delays=(60,)))
    failed = line.add()
    line.until("done", line.add())
    assert line.job(failed).state == "waiting"


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 10), (2, 30), (3, 120), (5, 3600), (99, 3600)]
)
def test_pauses_grow_and_are_spread(attempts, seconds):
    retries = Retries()
    assert retries.delay(attempts, 0.5) == pytest.approx(seconds)
    assert retries.delay(attempts, 0.0) == pytest.approx(0.8 * seconds)
    assert retries.delay(attempts, 1.0) == pytest.approx(1.2 * seconds)


def test_the_queue_looks_again_when_the_pause_is_over(line):
    """The pause is the database's business; the queue sets its clock by it."""
    clock = Clock()
    line.started("try", Recorder(Unavailable("not now")), reactor=clock, poll=3600.0)
    job_id = line.add()
    eventually(lambda: "not now" in line.job(job_id).error)
    job = line.job(job_id)
    assert 9 < (job.due_at - job.started_at).total_seconds() < 15

    def next_look():
        calls = clock.getDelayedCalls()
        return [call.getTime() for call in calls if call.func == line.queues[0].wake]

    eventually(next_look)
    (at,) = next_look()
    assert 5 < at < 11
    line.execute("UPDATE job SET due_at = now()")
    line.run(clock.advance, at)
    line.until("done", job_id)


def test_work_asked_for_again_begins_its_pauses_anew(line):
    """Whoever asks often does not wait for an hour in the end, and does not cause haste."""
    line.started("try", Recorder(*[Unavailable("not now")] * 9))
    job_id = line.add(key="k")
    eventually(lambda: "not now" in line.job(job_id).error)
    line.execute("UPDATE job SET attempts = 5, due_at = now() + interval '1 hour'")
    for _ in range(3):
        assert line.add(key="k") == job_id
        job = line.job(job_id)
        assert (job.state, job.attempts) == ("waiting", 0)
        assert (job.due_at - job.started_at).total_seconds() == pytest.approx(jobs.SPACING)
    line.execute("UPDATE job SET due_at = now()")
    line.run(line.queues[0].wake)
    eventually(lambda: line.job(job_id).attempts == 1)
    eventually(lambda: line.job(job_id).state == "waiting")
    job = line.job(job_id)
    assert (job.due_at - job.started_at).total_seconds() == pytest.approx(10, abs=2)


def test_work_asked_for_while_it_fails_begins_its_pauses_anew(line):
    opened = Deferred()

    async def fail(_job):
        await opened
        raise Unavailable("not now")

    line.started("try", fail)
    job_id = line.add(key="k")
    eventually(lambda: line.job(job_id).state == "running")
    line.add(key="k")
    line.run(opened.callback, None)
    eventually(lambda: line.job(job_id).state == "waiting")
    job = line.job(job_id)
    assert job.attempts == 0
    assert (job.due_at - job.started_at).total_seconds() == pytest.approx(jobs.SPACING, abs=0.01)


# --- cancelling, progress


def test_a_waiting_job_is_cancelled_at_once(line):
    queue = line.started("try", Recorder())
    job_id = line.add(delay=60)
    assert line.run(queue.cancel, job_id)
    assert line.job(job_id).state == "cancelled"
    assert not line.run(queue.cancel, job_id)
    assert not line.run(queue.cancel, job_id + 1)


@pytest.mark.parametrize("here", [True, False])
def test_a_running_job_is_told_to_end(line, here):
    """Also when it was cancelled by another process, a second later."""
    gate = Gate()
    queue = line.started("try", gate, retries=QUICK)
    job_id = line.add()
    eventually(lambda: job_id in gate.doors)
    if here:
        line.run(queue.cancel, job_id)
    else:
        line.ask(jobs.cancel, job_id)
    eventually(gate.jobs[job_id].is_cancelled)
    gate.open(line, job_id)
    assert line.until("cancelled", job_id).error == ""


def test_a_job_that_was_done_before_it_noticed_is_done(line):
    gate = Gate()
    queue = line.started("try", gate)
    gate.__class__ = type("Deaf", (Gate,), {"__call__": _deaf})
    job_id = line.add()
    eventually(lambda: job_id in gate.doors)
    line.run(queue.cancel, job_id)
    gate.open(line, job_id)
    line.until("done", job_id)


async def _deaf(gate, job):
    gate.doors[job.id] = Deferred()
    await gate.doors[job.id]


def test_progress_is_seen_while_it_runs_and_after(line):
    gate = Gate()
    line.started("try", gate)
    job_id = line.add()
    eventually(lambda: job_id in gate.jobs)
    gate.jobs[job_id].progress(3, 10)
    eventually(lambda: (line.job(job_id).done, line.job(job_id).total) == (3, 10))
    gate.jobs[job_id].progress(10, 10)
    gate.open(line, job_id)
    assert line.until("done", job_id).done == 10


def test_a_job_in_a_thread_reports_and_is_told(line, reactor_thread):
    threads = Threads(line.reactor, size=1, deadline=5)
    line.run(threads.start)
    told = threading.Event()

    def work(job):
        job.progress(1, 2)
        while not job.is_cancelled():
            told.wait(0.01)
        raise Interrupted

    async def handler(job):
        await threads.run(work, job)

    queue = line.started("try", handler)
    job_id = line.add()
    eventually(lambda: line.job(job_id).done == 1)
    line.run(queue.cancel, job_id)
    line.until("cancelled", job_id)
    threads.stop()


# --- starting and stopping


def test_two_queues_never_do_the_same_job(line):
    handlers = [Recorder(), Recorder()]
    for n, handler in enumerate(handlers):
        line.started("try", handler, f"run {n}", at_once=3)
    ids = [line.add() for _ in range(60)]
    eventually(lambda: line.states() == ["done"] * 50)  # the newest page
    done = sorted(job.id for handler in handlers for job in handler.jobs)
    assert done == ids


def test_a_job_of_a_killed_server_begins_again(line):
    gate = Gate()
    line.started("try", gate, "killed")
    job_id = line.add()
    eventually(lambda: job_id in gate.doors)
    handler = Recorder()
    line.started("try", handler, "next run")
    line.until("done", job_id)
    assert handler.jobs[0].attempts == 2
    # What the killed one would still say does not count.
    gate.open(line, job_id)
    assert line.job(job_id).attempts == 2


def test_a_job_that_servers_die_of_waits_longer_each_time(line):
    job_id = line.add()
    line.execute("UPDATE job SET state = 'running', run = 'killed', attempts = 4")
    line.started("try", Recorder())
    job = line.job(job_id)
    assert job.state == "waiting"
    assert 25 < (job.due_at - job.created_at).total_seconds() < 35


@pytest.mark.parametrize(("attempts", "state"), [(2, "waiting"), (3, "failed")])
def test_a_job_that_servers_die_of_is_given_up_at_its_last_attempt(line, attempts, state):
    job_id, other = line.add(key="k"), line.add("another kind")
    line.execute("UPDATE job SET state = 'running', run = 'killed', attempts = %s", attempts)
    line.started("try", Recorder(), retries=QUICK)
    job = line.job(job_id)
    assert (job.state, job.error != "", job.ended_at is not None) == (
        state,
        *[state == "failed"] * 2,
    )
    assert line.job(other).state == "waiting"


def test_stopping_tells_what_runs_and_leaves_it_to_the_next_start(line):
    gate = Gate()
    queue = line.started("try", gate)
    job_id, waiting = line.add(), line.add()
    eventually(lambda: job_id in gate.doors)

    async def let_go():
        stopped = Deferred.fromCoroutine(queue.stop(10))
        assert gate.jobs[job_id].is_cancelled()
        gate.doors[job_id].callback(None)
        await stopped

    line.run(let_go)
    job = line.job(job_id)
    assert (job.state, job.attempts, job.error) == ("waiting", 0, "")
    assert line.job(waiting).state == "waiting"
    line.started("try", Recorder(), "next run")
    line.until("done", job_id)
    line.until("done", waiting)


def test_stopping_does_not_wait_longer_than_its_grace(line):
    gate = Gate()
    queue = line.started("try", gate)
    job_id = line.add()
    eventually(lambda: job_id in gate.doors)
    line.run(queue.stop, 0.1)
    assert line.job(job_id).state == "waiting"
    gate.open(line, job_id)


def test_a_job_done_while_the_database_is_away_is_not_done_twice(line, monkeypatch):
    monkeypatch.setattr("santepacs.jobs._SOON", 0.05)
    gate = Gate()
    line.started("try", gate)
    job_id = line.add()
    eventually(lambda: job_id in gate.doors)
    original, refused = line.database.transaction, []

    def away(name, work, **arguments):
        if len(refused) < 5 and name == "end job":
            refused.append(name)
            raise Unavailable("the database is not available")
        return original(name, work, **arguments)

    line.database.transaction = away
    gate.open(line, job_id)
    job = line.until("done", job_id)
    assert (job.attempts, len(refused)) == (1, 5)


def test_a_claim_whose_answer_was_lost_is_not_lost(line, monkeypatch):
    """The commit happened, and nobody heard of it."""
    monkeypatch.setattr("santepacs.jobs._SOON", 0.05)
    original, lost = line.database.transaction, []

    async def unheard(name, work, **arguments):
        result = await original(name, work, **arguments)
        if name == "claim jobs" and result[0] and not lost:
            lost.extend(result[0])
            raise Unavailable("the database is not available")
        return result

    line.database.transaction = unheard
    handler = Recorder()
    line.started("try", handler)
    job = line.until("done", line.add())
    assert len(lost) == 1
    assert (len(handler.jobs), job.attempts) == (1, 1)


# --- keeping


def test_what_ended_long_ago_is_purged_in_steps(line, monkeypatch):
    monkeypatch.setattr("santepacs.jobs.PURGE_STEP", 2)
    ids = [line.add() for _ in range(7)]
    line.execute(
        "UPDATE job SET state = 'done', ended_at = now() - interval '8 days' WHERE id < %s", ids[5]
    )
    line.execute("UPDATE job SET state = 'failed', ended_at = now() WHERE id = %s", ids[5])
    line.run(line.queue(keep_days=7).start)
    eventually(lambda: line.states() == ["failed", "waiting"])


def test_jobs_are_listed_page_by_page(line):
    ids = [line.add(key=str(n)) for n in range(5)]
    line.ask(jobs.cancel, ids[1])
    first = line.ask(jobs.page, limit=3)
    rest = line.ask(jobs.page, before=first[-1].id, limit=3)
    assert [job.id for job in first + rest] == ids[::-1]
    assert [job.id for job in line.ask(jobs.page, "cancelled")] == [ids[1]]
    assert line.ask(jobs.counts) == {"try": {"waiting": 4}}


@pytest.mark.parametrize("payload", [{"text": "a\0b"}, {"text": "x" * jobs.LARGEST_PAYLOAD}])
def test_an_impossible_payload_is_refused(line, payload):
    with pytest.raises(Malformed):
        line.add(payload=payload)
