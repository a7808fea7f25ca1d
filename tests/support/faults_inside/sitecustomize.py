"""Faults inside a running server, for tests alone (`support.faults_hook` arms them).

Python imports this module when its folder is on PYTHONPATH. Calls that make objects durable, or
read them, go through here: each is written down in the folder that SANTEPACS_FAULTS names, and
fails, is cut short or ends the process when the file ``armed`` there says so. Only files below the
archive's own folders count.
"""

import builtins
import errno
import io
import json
import os
import re
import signal
import threading
import time
import zlib

FOLDER = os.environ.get("SANTEPACS_FAULTS", "")
OURS = re.compile(r"/(objects|incoming|aside)(/|$)")
WRITING = ("open", "mkdir", "link", "rename", "replace", "fsync", "fdatasync")


class Plan:
    """What is armed; loaded anew when the test writes it."""

    def __init__(self):
        self.lock = threading.RLock()
        self.seen = None
        self.armed = {}
        self.count = 0
        self.journal = os.open(
            os.path.join(FOLDER, "journal"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600
        )

    def due(self, call, path):
        """What is to happen to this call: the armed fault, or an empty dictionary."""
        with self.lock:
            try:
                found = os.stat(os.path.join(FOLDER, "armed"))
            except OSError:
                return {}
            if (found.st_ino, found.st_mtime_ns) != self.seen:
                self.seen = found.st_ino, found.st_mtime_ns
                with real_open(os.path.join(FOLDER, "armed")) as file:
                    self.armed = json.load(file)
                self.count = 0
            if call not in self.armed["calls"] or self.armed["path"] not in path:
                return {}
            self.count += 1
            first = self.armed["number"]
            return self.armed if first <= self.count < first + self.armed["times"] else {}

    def note(self, **what):
        real_write(self.journal, json.dumps(what).encode() + b"\n")


def strike(fault, path):
    """Fail, or end the process, as the fault says."""
    if fault.get("action") == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    if fault.get("action") == "error":
        number = getattr(errno, fault["error"])
        raise OSError(number, os.strerror(number), path)


def path_of(target):
    """The absolute path of a path or descriptor, if it is one of the archive's; else ''."""
    try:
        if isinstance(target, int):
            path = os.readlink(f"/proc/self/fd/{target}")
        else:
            path = os.path.abspath(os.fsdecode(target))
    except (OSError, TypeError):
        return ""
    return path if OURS.search(path) else ""


def named(name):
    """Wrap a call whose first one or two arguments are paths or a descriptor."""
    real = getattr(os, name)

    def call(*args, **kwargs):
        paths = [path_of(each) for each in args[:2]]
        path = paths[-1] if name in ("link", "rename", "replace") else paths[0]
        if not path or (name == "open" and not _creates(args, kwargs)):
            return real(*args, **kwargs)
        what = _content(args[0]) if name in ("fsync", "fdatasync") else {}
        fault = plan.due(name, path)
        if fault:
            plan.note(call=name, path=path, source=paths[0], failed=True, **what)
        strike(fault, path)
        answer = real(*args, **kwargs)
        if name == "open":
            path = path_of(answer)  # one without a name lies in the folder that was given
        plan.note(call=name, path=path, source=paths[0], at=time.monotonic(), **what)
        return answer

    return call


def _creates(args, kwargs):
    flags = args[1] if len(args) > 1 else kwargs.get("flags", 0)
    return bool(flags & os.O_CREAT) or flags & os.O_TMPFILE == os.O_TMPFILE


def _content(descriptor):
    """What a file holds now, to be compared with what it holds later."""
    found = os.fstat(descriptor)
    what = {"inode": found.st_ino, "size": found.st_size}
    if not os.path.isdir(f"/proc/self/fd/{descriptor}"):
        with real_open(f"/proc/self/fd/{descriptor}", "rb") as file:
            what["crc"] = zlib.crc32(file.read())
    return what


def opened(file, mode="r", *args, **kwargs):
    """`open`: making a file is a call of its own; reading one can be made to fail later."""
    path = path_of(file) if not isinstance(file, int) else ""
    if not path:
        return real_open(file, mode, *args, **kwargs)
    if "r" in mode and "+" not in mode:
        fault = plan.due("read", path)
        if fault and mode == "rb":
            return io.BufferedReader(_Unreadable(file, fault["after"]))
        return real_open(file, mode, *args, **kwargs)
    strike(plan.due("open", path), path)
    answer = real_open(file, mode, *args, **kwargs)
    plan.note(call="open", path=path, source=path, at=time.monotonic())
    return answer


class _Unreadable(io.FileIO):
    """A file that cannot be read beyond a place."""

    def __init__(self, file, after):
        super().__init__(file)
        self._after = after

    def readinto(self, buffer):
        if self.tell() + len(buffer) > self._after:
            raise OSError(errno.EIO, "Input/output error")
        return super().readinto(buffer)

    def readall(self):
        raise OSError(errno.EIO, "Input/output error")


def reading(name, position):
    """Wrap a call that reads from the descriptor at `position` of its arguments."""
    real = getattr(os, name)

    def call(*args, **kwargs):
        path = path_of(args[position])
        if path and plan.due("read", path):
            raise OSError(errno.EIO, "Input/output error", path)
        return real(*args, **kwargs)

    return call


def writing(name):
    """Wrap a call that writes: it can be cut short, as the kernel may."""
    real = getattr(os, name)

    def call(descriptor, data, *args):
        path = path_of(descriptor)
        fault = plan.due("write", path) if path else {}
        strike(fault, path)
        if fault.get("action") == "short":
            data = _half(data)
        return real(descriptor, data, *args)

    return call


def _half(data):
    if isinstance(data, (list, tuple)):  # of os.writev
        data = b"".join(data)
        return [data[: len(data) // 2 or 1]]
    return memoryview(data).cast("B")[: len(data) // 2 or 1]


if FOLDER:
    real_open, real_write = builtins.open, os.write
    plan = Plan()
    for each in ("write", "pwrite", "writev", "pwritev"):
        setattr(os, each, writing(each))
    for each, where in (("read", 0), ("pread", 0), ("readv", 0), ("preadv", 0), ("sendfile", 1)):
        setattr(os, each, reading(each, where))
    for each in WRITING:
        setattr(os, each, named(each))
    builtins.open = io.open = opened
