"""Small disks that fill up, and limits of the kernel for a running process."""

import os
import resource
import subprocess
from contextlib import contextmanager

import pytest


@contextmanager
def small_disk(folder, megabytes):
    """A file system of its own at `folder`; skips where it cannot be mounted."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder.mkdir(parents=True, exist_ok=True)
    mounted = _mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=711", "none", folder)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@contextmanager
def read_only(folder):
    """A folder in which nothing can be opened for writing any more, for a block."""
    for arguments in (("--bind", folder, folder), ("-o", "remount,bind,ro", folder)):
        assert _mount(*arguments).returncode == 0
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder, leave=0):
    """Fill a small disk but for `leave` bytes; returns the file to remove."""
    ballast = folder / f"ballast-{leave}"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - leave, 1))
    return ballast


@contextmanager
def limited(process, kind, limit):
    """A running process with a resource limit, such as ``RLIMIT_FSIZE``, for a block."""
    number = getattr(resource, kind)
    before = resource.prlimit(process.pid, number)
    resource.prlimit(process.pid, number, (limit, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, number, before)


def _mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
