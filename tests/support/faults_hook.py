"""Faults at the calls by which a running server keeps and reads its objects, armed from outside.

    faults = Faults(folder)
    with running_server(data, environment=faults.environment) as server:
        faults.fail("fsync", "EIO")

The other half runs inside the server: `faults_inside/sitecustomize.py`. It also keeps a journal of
these calls, from which `PowerCut` knows what would be left if the machine lost power.
"""

import json
import os
import shutil
import zlib
from contextlib import contextmanager
from pathlib import Path

INSIDE = Path(__file__).with_name("faults_inside")
DURABLE = ("open", "mkdir", "link", "rename", "replace", "fsync", "fdatasync")
"""The calls by which a store makes an object durable."""


class Faults:
    """The faults of one server."""

    def __init__(self, folder):
        folder.mkdir()
        self._folder = folder
        self.environment = {"PYTHONPATH": str(INSIDE), "SANTEPACS_FAULTS": str(folder)}

    def fail(self, calls, error, *, number=1, times=1, path="", after=0):
        """Let the `number`-th of these calls from now on (and `times` of them) fail.

        `path`: only files with this in their path; `after`: a reading fails beyond so many bytes.
        """
        self._arm(calls, "error", number, times, path, error=error, after=after)

    def kill(self, calls, number):
        """End the server, as by SIGKILL, just before the `number`-th of these calls."""
        self._arm(calls, "kill", number, 1, "")

    def cut_writes(self):
        """Let every write take half of what it is given."""
        self._arm("write", "short", 1, 10**9, "")

    def disarm(self):
        (self._folder / "armed").unlink(missing_ok=True)

    @contextmanager
    def armed(self, *args, **kwargs):
        """`fail` for a block."""
        self.fail(*args, **kwargs)
        try:
            yield
        finally:
            self.disarm()

    def events(self):
        """The calls that were made, in order."""
        lines = (self._folder / "journal").read_bytes().splitlines()
        return [json.loads(line) for line in lines]

    def size(self):
        """How many calls have been made."""
        return (self._folder / "journal").read_bytes().count(b"\n")

    def _arm(self, calls, action, number, times, path, **more):
        calls = [calls] if isinstance(calls, str) else list(calls)
        fault = {"calls": calls, "action": action, "number": number, "times": times, "path": path}
        draft = self._folder / "draft"
        draft.write_text(json.dumps(fault | more))
        draft.rename(self._folder / "armed")


class Disk:
    """What is on the disk for good, after the calls of a journal: names and contents."""

    def __init__(self, events):
        self._synced = {}  # inode -> CRC of the content when it was last synced
        self._names = set()  # that a sync of their folder has made durable
        waiting = {}  # folder -> names in it that no sync has covered yet
        for event in events:
            path = event["path"]
            if "failed" in event:
                continue
            if event["call"] in ("fsync", "fdatasync"):
                if "crc" in event:
                    self._synced[event["inode"]] = event["crc"]
                self._names |= waiting.pop(path, set())
                continue
            waiting.setdefault(os.path.dirname(path), set()).add(path)
            if event["call"] in ("rename", "replace"):
                self._names.discard(event["source"])

    def names(self, path):
        """Whether the file or folder `path` of ``objects`` would still have its name."""
        above = (each for each in path.parents if "objects" in each.parent.parts)
        return all(str(each) in self._names for each in (path, *above))

    def content(self, path):
        """Whether what the file `path` holds would still be in it."""
        return self._synced.get(path.stat().st_ino) == zlib.crc32(path.read_bytes())

    def holds(self, path):
        """Whether the file `path` of ``objects`` would be there, and whole."""
        return self.names(path) and self.content(path)


def cut_power(objects, events, lose):
    """Take from the folder `objects` what a power cut may take; returns how much that was.

    A file system may write names before contents or contents before names, so what was not
    synced is lost in one of two ways: `lose` is ``names`` or ``contents``.
    """
    disk, lost = Disk(events), 0
    for path in sorted(objects.rglob("*"), key=lambda each: len(each.parts)):
        if lose == "contents" and path.is_file() and not disk.content(path):
            os.truncate(path, 0)
        elif lose == "names" and path.exists() and not disk.names(path):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            continue
        lost += 1
    return lost
