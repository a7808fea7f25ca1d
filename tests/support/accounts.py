"""Running a piece of a test as root or as an account without privileges."""

import os
import pwd
import subprocess
import sys

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another account")

# Everything is imported first: the interpreter may lie where the account cannot reach it.
_BECOME_UNPRIVILEGED = """
import os, sys, pwd, time, signal
from pathlib import Path
import psycopg2
from santepacs.host import accounts as osaccounts, datadir, lock as datalock, secretkey
from santepacs.db import binaries, embedded, roles
from santepacs.errors import *
def become(account):
    os.setgroups([])
    os.setgid(account.pw_gid)
    os.setuid(account.pw_uid)
"""


def some_account():
    """An account without privileges: ourselves, or nobody."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())


def start_python(code, *arguments, unprivileged=False):
    """Start a Python process, with our modules imported, that runs `code`."""
    become = ""
    if unprivileged and os.geteuid() == 0:
        become = f"become(pwd.getpwnam({some_account().pw_name!r}))\n"
    return subprocess.Popen(
        [sys.executable, "-c", _BECOME_UNPRIVILEGED + become + code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(code, *arguments, unprivileged=False):
    """What `code` printed; its traceback fails the test."""
    process = start_python(code, *arguments, unprivileged=unprivileged)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output.strip()
