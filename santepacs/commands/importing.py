"""``santepacs import``: DICOM files from folders and discs into the archive.

Every file goes the way of a received object: streamed to ``incoming`` with its preamble zeroed,
proven complete, stored durably. So an import that was stopped is simply started again; what is
stored already is recognised. What has no DICM prefix is no DICOM file and only counted.
"""

import errno
import os
import threading
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator
from enum import Enum
from io import BufferedReader

from twisted.internet.defer import gatherResults

from santepacs.archive.archive import Archive
from santepacs.archive.files import ObjectFiles
from santepacs.commands import walking
from santepacs.commands.arguments import Commands
from santepacs.commands.output import describe_bug, print_table
from santepacs.commands.progress import Progress
from santepacs.commands.site import Running, opened, with_reactor
from santepacs.errors import Conflict, Malformed, Unavailable
from santepacs.startup import Foundation

SOURCE = "import"
THREADS = 8
PIECE = 1024 * 1024  # bytes read at once
GIVE_UP = 10  # objects in a row that could not be kept: the disk is full, or the database away
_PREFIX = slice(128, 132)
# Media Storage SOP Class UID (0002,0002): Media Storage Directory Storage (PS3.10 8.6).
_DICOMDIR = b"\x02\x00\x02\x00UI\x14\x001.2.840.10008.1.3.10"
_META = slice(132, 1024)


class Fate(Enum):
    """What became of a file; the first four are those of `santepacs.model.study.Outcome`."""

    STORED = "stored"
    SAME = "same"
    ASIDE = "aside"
    REFUSED = "refused"
    FAILED = "failed"
    """It could not be read, or could not be kept now."""
    FOREIGN = "not DICOM"
    SKIPPED = "skipped"
    """A DICOMDIR or a symbolic link."""


_CONFLICT = "another object is stored under its SOP Instance UID"
_REMARKS = {Fate.ASIDE: f"{_CONFLICT}; this one is kept aside", Fate.REFUSED: _CONFLICT}


def declare(commands: Commands) -> None:
    """Add the command to the parser."""
    command = commands.command(
        "import", _import, "store DICOM files, and all that are in folders and their subfolders"
    )
    command.add_argument("paths", metavar="PATH", nargs="+")


def _import(arguments: Namespace) -> int:
    walking.check_paths(arguments.paths)
    with opened(arguments, may_create=True) as foundation:
        walking.check_outside(arguments.paths, foundation.directory.root)
        run = Import(foundation, arguments.paths)
        try:
            with_reactor(foundation, run.work, threads=THREADS)
        finally:
            run.report()
    return 1 if run.has_failures() else 0


class Import:
    """One run of the command: several threads take from one list of files."""

    def __init__(self, foundation: Foundation, paths: list[str]) -> None:
        self._foundation = foundation
        self._paths = paths
        directory = foundation.directory
        self._objects = ObjectFiles(directory.objects, directory.incoming, directory.aside)
        self._reserve = foundation.settings.server.disk_reserve * 1_000_000
        self._lock = threading.RLock()  # for all below
        self._counts: Counter[Fate] = Counter()
        self._unavailable = 0  # in a row
        self._stopped = self._gave_up = False
        self._files = self._walk()
        self._progress = Progress(self._total())

    async def work(self, running: Running) -> None:
        """Import everything. Raises Unavailable when going on makes no sense."""
        archive = Archive(
            running.database,
            running.threads,
            self._objects,
            self._foundation.secret_key,
            self._foundation.settings,
        )
        try:
            await gatherResults(
                [running.threads.run(self._take_files, archive) for _ in range(THREADS)],
                consumeErrors=True,
            )
        finally:
            self._stopped = True
        if self._gave_up:
            raise Unavailable(
                f"stopped, because {GIVE_UP} objects in a row could not be kept; import the same "
                "again later, what is stored is recognised"
            )

    def report(self) -> None:
        """Print how many files had which fate."""
        self._progress.clear()
        print_table((fate.value, self._counts[fate]) for fate in Fate)

    def has_failures(self) -> bool:
        """Whether a DICOM object, or what may be one, was not kept."""
        return bool(self._counts[Fate.REFUSED] or self._counts[Fate.FAILED])

    def _walk(self) -> Iterator[str]:
        return walking.files(
            self._paths,
            self._foundation.directory.root,
            link=lambda path: self._count(path, Fate.SKIPPED),
            unreadable=lambda path, reason: self._count(path, Fate.FAILED, reason),
        )

    def _total(self) -> int:
        root = self._foundation.directory.root
        return sum(
            1
            for _ in walking.files(
                self._paths, root, link=lambda _: None, unreadable=lambda *_: None
            )
        )

    def _take_files(self, archive: Archive) -> None:
        while True:
            with self._lock:
                path = None if self._stopped else next(self._files, None)
            if path is None:
                return
            try:
                fate, remark = self._import_file(archive, path)
                self._settle(path, fate, remark)
            except Unavailable as error:
                self._settle(path, Fate.FAILED, str(error), unavailable=True)

    def _settle(self, path: str, fate: Fate, remark: str, *, unavailable: bool = False) -> None:
        with self._lock:
            if unavailable and self._stopped:
                return  # because we are stopping: that says nothing about the file
            self._unavailable = self._unavailable + 1 if unavailable else 0
            if self._unavailable >= GIVE_UP:
                self._gave_up = self._stopped = True
            self._count(path, fate, remark)
            self._progress.advance()

    def _count(self, path: str, fate: Fate, remark: str = "") -> None:
        with self._lock:
            self._counts[fate] += 1
            if remark:
                self._progress.say(f"{path}: {remark}")

    def _import_file(self, archive: Archive, path: str) -> tuple[Fate, str]:
        """Import one file. Raises Unavailable when others would fail as well."""
        try:
            with open(walking.open_regular(path), "rb") as file:
                head = file.read(PIECE)
                if head[_PREFIX] != b"DICM":
                    return Fate.FOREIGN, ""
                if os.path.basename(path).upper() == "DICOMDIR" or _DICOMDIR in head[_META]:
                    return Fate.SKIPPED, ""
                self._objects.check_space(self._reserve + os.fstat(file.fileno()).st_size)
                incoming = self._objects.receive(_pieces(head, file))
            fate = Fate(archive.store(incoming, source=SOURCE).value)
            return fate, _REMARKS.get(fate, "")
        except (Malformed, Conflict) as error:
            return Fate.REFUSED, str(error)
        except Unavailable:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise Unavailable("the disk is full") from error
            return Fate.FAILED, error.strerror or type(error).__name__
        except Exception as error:  # noqa: BLE001 - one bad file does not end an import
            return Fate.FAILED, describe_bug(error)


def _pieces(first: bytes, file: BufferedReader) -> Iterator[bytes]:
    yield first
    while piece := file.read(PIECE):
        yield piece
