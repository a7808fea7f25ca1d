"""Programs that some tests need: a test without its program skips, or fails where all must run."""

import os
import shutil
import subprocess

import pytest

TIMEOUT = 60


def program(name):
    """The path of a program; skips (or, with SANTEPACS_REQUIRE_ALL=1, fails) when it is absent."""
    path = shutil.which(name)
    if path is None:
        message = f"needs the program {name}"
        if os.environ.get("SANTEPACS_REQUIRE_ALL") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path


def run(name, *arguments, timeout=TIMEOUT, check=True):
    """Run a program; returns its whole output, and fails the test when the program fails."""
    done = subprocess.run(
        [program(name), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
        text=True,
        errors="replace",
    )
    if check:
        assert done.returncode == 0, done.stdout
    return done.stdout
