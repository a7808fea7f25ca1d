"""Which account of the operating system does what.

PostgreSQL refuses to run as root, so a santepacs that runs as root starts it as an account
without privileges. No account is ever created and no permission of an existing folder loosened.
Root does nothing itself inside a folder that such an account owns (a planted symbolic link would
be followed with root's power): the account does it, in a child process.
"""

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

from santepacs.errors import Forbidden, Unavailable

PREFERRED_ACCOUNTS = ("santepacs", "nobody")
CHILD_ENVIRONMENT = {"PATH": "/usr/bin:/bin:/usr/local/bin", "LC_ALL": "C", "TZ": "UTC"}
CHILD_TIMEOUT = 60.0  # seconds; these children do next to nothing


def unprivileged_account() -> pwd.struct_passwd | None:
    """The account that runs PostgreSQL for us: None when we are not root and run it ourselves.

    Raises Unavailable when we are root and this system has no such account.
    """
    if os.geteuid() != 0:
        return None
    for name in PREFERRED_ACCOUNTS:
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        if account.pw_uid != 0:
            return account
    raise Unavailable(
        "PostgreSQL does not run as root and this system has no account "
        f"{' or '.join(PREFERRED_ACCOUNTS)}: create one, or start santepacs as an ordinary user"
    )


def account_of(path: Path) -> pwd.struct_passwd:
    """The account that owns `path`, with an invented entry if its number has no name."""
    status = path.stat()
    try:
        return pwd.getpwuid(status.st_uid)
    except KeyError:
        name = str(status.st_uid)
        return pwd.struct_passwd((name, "", status.st_uid, status.st_gid, "", "/", "/bin/sh"))


def identity(account: pwd.struct_passwd | None) -> dict[str, Any]:
    """Arguments for subprocess that make the child `account` (None: as we are), files private.

    The child sees none of our environment: it may hold a password.
    """
    common: dict[str, Any] = {"umask": 0o077, "cwd": "/", "env": CHILD_ENVIRONMENT}
    if account is None:
        return common
    return {**common, "user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def run_as(account: pwd.struct_passwd | None, *command: str | Path) -> tuple[int, str]:
    """Run a short command as `account` and return its exit status and its output and errors.

    Raises Unavailable when it cannot be started or hangs.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            timeout=CHILD_TIMEOUT,
            check=False,
            **identity(account),
        )
    except (OSError, subprocess.SubprocessError) as error:
        who = f" as the account {account.pw_name}" if account else ""
        why = getattr(error, "strerror", None) or error
        raise Unavailable(f"cannot run {command[0]}{who}: {why}") from error
    return done.returncode, done.stdout


def run_script(account: pwd.struct_passwd | None, script: str, *arguments: str | Path) -> str:
    """Run a shell script as `account` with "$1", "$2"... and return its output.

    Raises Unavailable with its last line when it fails.
    """
    status, output = run_as(account, "/bin/sh", "-euc", script, "sh", *arguments)
    if status != 0:
        lines = output.strip().splitlines() or [f"exit status {status}"]
        raise Unavailable(lines[-1])
    return output


def can_enter(account: pwd.struct_passwd | None, folder: Path) -> bool:
    """Whether `account` can really reach `folder`; tried, because mode bits do not tell all.

    Raises Unavailable when we cannot act as `account` at all.
    """
    status, _ = run_as(account, "/bin/sh", "-c", 'cd -- "$1"', "sh", folder)
    return status == 0


def become_owner(path: Path) -> None:
    """Make this whole process the owner of the data directory `path`, for good.

    Nothing happens when it is the owner already or there is no such folder yet. Raises Forbidden
    when we are neither the owner nor root.
    """
    if not path.exists():
        return
    owner = account_of(path)
    if owner.pw_uid == os.geteuid():
        return
    if os.geteuid() != 0:
        raise Forbidden(f"{path} belongs to {owner.pw_name}: run this as {owner.pw_name}")
    os.setgroups(os.getgrouplist(owner.pw_name, owner.pw_gid))
    os.setgid(owner.pw_gid)
    os.setuid(owner.pw_uid)
