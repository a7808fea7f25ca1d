"""The watched folder: complete files are taken once, hostile ones harm nobody."""

import os
import shutil
from dataclasses import replace

import pytest
from twisted.logger import formatEvent, globalLogPublisher

from santepacs.errors import Malformed, Unavailable
from santepacs.settings import Settings
from santepacs.threads import Threads
from santepacs.worklist import folder_files
from santepacs.worklist.folder import WatchedFolder
from support.accounts import needs_root
from support.dicom import eventually

MESSAGE = b"MSH|^~\\&|HIS|WARD|PACS|RAD|20260102||ORM^O01|77|P|2.3.1\rPID|1||ID7\r"


class Drop:
    """A watched folder, and what was received from it."""

    def __init__(self, reactor_thread, path):
        self.run = reactor_thread.run
        self.path = path
        self.settings = Settings()
        self.set(folder=str(path))
        self.threads = Threads(reactor_thread.reactor)
        self.run(self.threads.start)
        self.received = []
        self.problems = []
        self.away = False
        self.logged = []
        self.watched = WatchedFolder(
            reactor_thread.reactor, self.threads, self.settings, self.receive
        )

    def restart(self):
        """As after the death of the server."""
        self.watched = WatchedFolder(
            self.watched._loop.clock, self.threads, self.settings, self.receive
        )

    def set(self, **values):
        self.settings.worklist = replace(self.settings.worklist, **values)

    async def receive(self, content, source):
        assert source == "watched folder"
        if self.away:
            raise Unavailable("the worklist is not available")
        self.received.append(content)
        return self.problems

    def look(self, times=2):
        for _ in range(times):
            self.run(self.watched.look)

    def put(self, name, content=MESSAGE):
        (self.path / name).write_bytes(content)

    @property
    def names(self):
        return sorted(os.listdir(self.path))


@pytest.fixture
def drop(reactor_thread, reachable_tmp_path):
    path = reachable_tmp_path / "drop"
    path.mkdir()
    made = Drop(reactor_thread, path)

    def observe(event):
        if str(event.get("log_namespace")).startswith("santepacs.worklist.folder"):
            made.logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield made
    globalLogPublisher.removeObserver(observe)
    made.threads.stop()


@pytest.mark.parametrize("name", ["a.hl7", "a.txt", "a.HL7", "a.TxT", "a b\n'$(x).hl7", "ä.hl7"])
def test_a_complete_file_is_taken_and_marked(drop, name):
    drop.put(name)
    drop.look(1)
    assert drop.received == [] and drop.names == [name]
    drop.look(1)
    assert drop.received == [MESSAGE]
    assert drop.names == [f"{name}.DON"]
    drop.look(3)
    assert len(drop.received) == 1
    assert drop.logged == ["watched folder: files accepted: 1, refused: 0"]


@pytest.mark.parametrize(
    "name",
    [
        "a.hl7.DON",
        "a.hl7.ERR",
        "a.hl7.ERR.txt",
        "a.dcm",
        "hl7",
        ".a.hl7",
        "a.hl7.tmp",
        "a.processing",
    ],
)
def test_other_files_stay_as_they_are(drop, name):
    drop.put(name)
    drop.look(3)
    assert drop.received == [] and drop.names == [name]


def test_a_name_that_is_no_text_is_a_name(drop):
    with open(os.path.join(os.fsencode(drop.path), b"\xff\xfe.hl7"), "wb") as file:
        file.write(MESSAGE)
    drop.look()
    assert os.listdir(os.fsencode(drop.path)) == [b"\xff\xfe.hl7.DON"]


def test_an_accepted_file_is_erased_if_wanted(drop):
    drop.set(folder_erase=True)
    drop.put("a.hl7")
    drop.look()
    assert drop.received == [MESSAGE] and drop.names == []


@pytest.mark.parametrize("erase", [False, True])
def test_a_refused_file_is_kept_with_the_reason(drop, erase):
    drop.set(folder_erase=erase)
    drop.problems = ["AE PID^1^3 no patient identifier", "AR an unknown type"]
    drop.put("a.hl7")
    drop.look(3)
    assert drop.names == ["a.hl7.ERR", "a.hl7.ERR.txt"]
    assert (drop.path / "a.hl7.ERR").read_bytes() == MESSAGE
    reason = (drop.path / "a.hl7.ERR.txt").read_text()
    assert reason == "AE PID^1^3 no patient identifier\nAR an unknown type\n"
    assert len(drop.received) == 1


def test_a_file_that_grows_is_waited_for(drop):
    drop.put("a.hl7", MESSAGE[:20])
    drop.look(1)
    drop.put("a.hl7", MESSAGE[:40])
    drop.look(1)
    drop.put("a.hl7")
    drop.look(1)
    assert drop.received == []
    drop.look(1)
    assert drop.received == [MESSAGE]


def test_a_file_whose_time_changes_is_waited_for(drop):
    drop.put("a.hl7")
    for second in (1, 2, 3):
        os.utime(drop.path / "a.hl7", (second, second))
        drop.look(1)
    assert drop.received == []


def test_an_empty_file_is_waited_for(drop):
    drop.put("a.hl7", b"")
    drop.look(3)
    assert drop.received == [] and drop.names == ["a.hl7"]


def test_a_file_that_is_written_on_after_it_was_claimed_is_waited_for(drop):
    drop.put("a.hl7", MESSAGE[:30])
    with open(drop.path / "a.hl7", "ab") as writer:
        drop.look(1)
        # It changes between the look and the claim.
        real = folder_files.claim

        def claim(path, file):
            writer.write(MESSAGE[30:])
            writer.flush()
            return real(path, file)

        folder_files.claim = claim
        try:
            drop.look(1)
        finally:
            folder_files.claim = real
    assert drop.received == [] and drop.names == ["a.hl7.processing"]
    drop.look(2)
    assert drop.received == [MESSAGE] and drop.names == ["a.hl7.DON"]


def test_files_are_taken_in_the_order_of_their_times(drop):
    for number, name in enumerate(["c.hl7", "a.hl7", "b.hl7"]):
        drop.put(name, MESSAGE + name.encode())
        os.utime(drop.path / name, (number, number))
    drop.look()
    assert [content[-5:] for content in drop.received] == [b"c.hl7", b"a.hl7", b"b.hl7"]


def test_nothing_is_overwritten(drop):
    for name in ("a.hl7.DON", "a.hl7.processing.DON", "b.hl7.ERR", "c.hl7.ERR.txt"):
        drop.put(name, b"precious")
    drop.put("a.hl7")
    drop.look()
    assert (drop.path / "a.hl7.2.DON").read_bytes() == MESSAGE
    drop.problems = ["no"]
    drop.put("b.hl7")
    drop.put("c.hl7")
    drop.look()
    assert (drop.path / "b.hl7.2.ERR").read_bytes() == MESSAGE
    assert (drop.path / "b.hl7.2.ERR.txt").read_text() == "no\n"
    assert (drop.path / "c.hl7.ERR").read_bytes() == MESSAGE
    for name in ("a.hl7.DON", "b.hl7.ERR", "c.hl7.ERR.txt"):
        assert (drop.path / name).read_bytes() == b"precious"


def test_a_file_that_comes_again_is_taken_again_and_all_are_kept(drop):
    for _ in range(3):
        drop.put("a.hl7")
        drop.look()
    assert len(drop.received) == 3
    assert drop.names == ["a.hl7.2.DON", "a.hl7.3.DON", "a.hl7.DON"]


def test_too_many_of_one_name_are_told_apart_by_their_time(drop, monkeypatch):
    monkeypatch.setattr(folder_files, "_MAXIMUM_NAMES", 2)
    for second in (1, 2, 3):
        drop.put("a.hl7")
        os.utime(drop.path / "a.hl7", (second, second))
        drop.look()
    assert drop.names == ["a.hl7.2000000000.DON", "a.hl7.3000000000.DON", "a.hl7.DON"]


# --- hostile files --------------------------------------------------------------------------------


def test_links_pipes_and_folders_are_left_alone_and_told_once(drop):
    secret = drop.path.parent / "secret.hl7"
    secret.write_bytes(b"secret")
    (drop.path / "link.hl7").symlink_to(secret)
    (drop.path / "dangling.hl7").symlink_to("nowhere")
    (drop.path / "folder.hl7").mkdir()
    os.mkfifo(drop.path / "pipe.hl7")
    drop.put("x" * 246 + ".hl7")
    before = drop.names
    drop.put("good.hl7")
    drop.look(4)
    assert drop.received == [MESSAGE]
    assert drop.names == sorted([*before, "good.hl7.DON"])
    assert sum("5 files in the watched folder are left alone" in line for line in drop.logged) == 1
    assert secret.read_bytes() == b"secret"


def test_a_link_that_takes_a_files_place_is_not_followed(drop):
    secret = drop.path.parent / "secret"
    secret.write_bytes(b"secret")
    drop.put("a.hl7")
    (file,) = folder_files.look(str(drop.path)).files
    (drop.path / "a.hl7").unlink()
    (drop.path / "a.hl7").symlink_to(secret)
    claimed = folder_files.claim(str(drop.path), file)
    with pytest.raises(Malformed, match="cannot be read"):
        folder_files.read(str(drop.path), claimed, 1000)
    os.unlink(drop.path / "a.hl7.processing")
    os.mkfifo(drop.path / "a.hl7.processing")
    with pytest.raises(Malformed, match="regular"):
        folder_files.read(str(drop.path), claimed, 1000)


def test_a_file_that_is_too_large_is_not_read(drop):
    with open(drop.path / "a.hl7", "wb") as file:
        file.truncate(10 * 1000**3)
    drop.look()
    assert drop.received == [] and drop.names == ["a.hl7.ERR", "a.hl7.ERR.txt"]
    assert "more than 16000000 bytes" in (drop.path / "a.hl7.ERR.txt").read_text()


def test_a_file_of_the_largest_size_is_read(drop):
    drop.put("a.hl7", b"A" * 16_000_000)
    drop.look()
    assert len(drop.received[0]) == 16_000_000


def test_no_name_is_logged(drop):
    drop.problems = ["wrong"]
    drop.put("Doe_Jane.hl7")
    (drop.path / "Doe_Jane.txt").symlink_to("x")
    drop.look(3)
    assert drop.logged and "Doe" not in "".join(drop.logged)


# --- faults ---------------------------------------------------------------------------------------


def test_while_the_worklist_is_away_files_wait(drop):
    drop.away = True
    drop.put("a.hl7")
    drop.look(5)
    assert drop.names == ["a.hl7.processing"]
    drop.away = False
    drop.look(1)
    assert drop.names == ["a.hl7.DON"] and drop.received == [MESSAGE]
    assert drop.logged == [
        "the worklist is not available",
        "watched folder: files accepted: 1, refused: 0",
        "the watched folder can be used again",
    ]


def test_what_an_earlier_run_had_claimed_is_taken(drop):
    drop.put("a.hl7.processing")
    drop.look()
    assert drop.received == [MESSAGE] and drop.names == ["a.hl7.DON"]


def test_a_server_that_dies_after_accepting_hands_the_same_bytes_over_again(drop, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    drop.put("a.hl7")
    drop.look(1)
    monkeypatch.setattr(folder_files, "put_aside", dies)
    with pytest.raises(KeyboardInterrupt):
        drop.look(1)
    monkeypatch.undo()
    drop.restart()
    drop.look(2)
    # The log of messages answers the second time.
    assert drop.received == [MESSAGE, MESSAGE] and drop.names == ["a.hl7.DON"]


@pytest.mark.parametrize("problems", [[], ["refused"]])
def test_a_file_that_cannot_be_marked_is_not_taken_again(drop, monkeypatch, problems):
    def full(*_):
        raise Unavailable("the watched folder cannot be used: No space left on device")

    drop.problems = problems
    drop.put("a.hl7")
    drop.look(1)
    monkeypatch.setattr(folder_files, "put_aside", full)
    drop.look(4)
    monkeypatch.undo()
    drop.look(1)
    assert drop.received == [MESSAGE]
    assert drop.names == (["a.hl7.ERR", "a.hl7.ERR.txt"] if problems else ["a.hl7.DON"])
    assert sum("No space" in line for line in drop.logged) == 1


def test_a_file_that_vanishes_is_no_matter(drop):
    drop.put("a.hl7")
    (file,) = folder_files.look(str(drop.path)).files
    drop.look(1)
    (drop.path / "a.hl7").unlink()
    assert folder_files.claim(str(drop.path), file) is None
    folder_files.put_aside(str(drop.path), file)
    folder_files.erase(str(drop.path), file)
    drop.look(2)
    assert drop.names == [] and drop.logged == []


def test_a_folder_that_vanishes_is_told_once_and_when_it_is_back(drop):
    shutil.rmtree(drop.path)
    drop.look(3)
    drop.path.mkdir()
    drop.put("a.hl7")
    drop.look(2)
    assert drop.logged == [
        f"the watched folder {drop.path} is not there",
        "the watched folder can be used again",
        "watched folder: files accepted: 1, refused: 0",
    ]


def test_a_folder_that_is_none_is_told(drop):
    drop.put("a.hl7")
    drop.set(folder=str(drop.path / "a.hl7"))
    drop.look(2)
    assert drop.logged == [f"the watched folder {drop.path}/a.hl7 is no folder"]


@needs_root
@pytest.mark.parametrize(
    ("mode", "complaint"), [(0o300, "may not read"), (0o555, "may not write"), (0o000, "may not")]
)
def test_a_folder_of_somebody_else_is_told(drop, mode, complaint):
    drop.put("a.hl7")
    drop.path.chmod(mode)
    pid = os.fork()
    if not pid:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            folder_files.look(str(drop.path))
        except Unavailable as problem:
            os._exit(0 if complaint in str(problem) else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_no_folder_is_watched_unless_one_is_set(drop):
    drop.put("a.hl7")
    drop.set(folder="")
    drop.look(3)
    assert drop.received == [] and drop.logged == []


def test_only_so_many_are_taken_at_a_look(drop, monkeypatch):
    monkeypatch.setattr(folder_files, "MAXIMUM_FILES", 3)
    for number in range(5):
        drop.put(f"{number}.hl7")
        os.utime(drop.path / f"{number}.hl7", (number, number))
    drop.look(2)
    assert len(drop.received) == 3
    drop.look(2)
    assert len(drop.received) == 5


def test_it_looks_by_itself_and_stops(drop):
    drop.set(folder_interval=0.05)
    drop.put("a.hl7")
    drop.run(drop.watched.start)
    try:
        eventually(lambda: drop.names == ["a.hl7.DON"])
    finally:
        drop.run(drop.watched.stop)
    drop.put("b.hl7")
    assert not drop.watched._loop.running
