"""The files of the embedded PostgreSQL: whose they are, how they are made, whom they let in.

    <folder>/cluster   PostgreSQL's data directory, complete or not there (initdb, then a rename)
    <folder>/socket    the only door: a Unix socket

The door is `peer` with an ident map: the account that runs santepacs is let in under our three
roles, nobody else is, not even the account that runs PostgreSQL when that is another one.
All changes inside the folder are made by the account that owns it, see `santepacs.host.accounts`.
"""

import os
import pwd
import re
import subprocess
from pathlib import Path

from santepacs.db import binaries, roles
from santepacs.errors import Conflict, Forbidden, Unavailable
from santepacs.host.accounts import (
    account_of,
    can_enter,
    identity,
    run_script,
    unprivileged_account,
)
from santepacs.host.durable import sync_folder

INITDB_TIMEOUT = 600.0  # seconds; a slow disk, once
HBA = "local all all peer map=santepacs\n"

_PREPARE = 'rm -rf -- "$1"/cluster.new-*; mkdir -p -m 700 -- "$1/socket"'
_RENAME = 'mv -- "$1" "$2"'
_WRITE_ACCESS = """
printf '%s' "$2" > "$1/pg_hba.conf.new"; mv -f -- "$1/pg_hba.conf.new" "$1/pg_hba.conf"
printf '%s' "$3" > "$1/pg_ident.conf.new"; mv -f -- "$1/pg_ident.conf.new" "$1/pg_ident.conf"
"""
# Without this, PostgreSQL does not start when the number of a dead server belongs to another
# process of the same account by now.
_FORGET_DEAD = 'rm -f -- "$1/cluster/postmaster.pid" "$1/socket/.s.PGSQL."*'

# Not the answers to those who connect too early.
_REASON = re.compile(r"\b(PANIC|error|FATAL):(?!.*(starting up|not yet accepting connections)$)")


def owner(folder: Path) -> pwd.struct_passwd | None:
    """Who runs PostgreSQL: whoever owns its folder; None when that is us."""
    return account_of(folder) if os.geteuid() == 0 else None


def claim(folder: Path) -> None:
    """Make the folder and give it to the account that runs PostgreSQL.

    An owner that it has already stays. Raises Forbidden, Conflict (root's) or Unavailable.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        account = unprivileged_account()
        if account and folder.stat().st_uid == 0 and not any(folder.iterdir()):
            os.chown(folder, account.pw_uid, account.pw_gid)
    except OSError as error:
        raise Unavailable(f"cannot use {folder}: {error.strerror}") from error
    found = account_of(folder)
    if os.geteuid() not in (0, found.pw_uid):
        raise Forbidden(f"{folder} belongs to {found.pw_name}, not to us")
    if found.pw_uid == 0:
        raise Conflict(f"{folder} belongs to root, as which PostgreSQL does not run")
    if not can_enter(owner(folder), folder):
        raise Unavailable(
            f"the account {found.pw_name}, which runs PostgreSQL, cannot reach {folder}: "
            "let it pass the folders above (chmod o+x), or choose another data directory"
        )


def make_ready(folder: Path, programs: Path) -> None:
    """Make the cluster if there is none and write who may connect; no server runs meanwhile.

    `programs` is the installation that will serve it. Raises Conflict for a cluster of another
    PostgreSQL version, and Unavailable.
    """
    account, cluster = owner(folder), folder / "cluster"
    run_script(account, _PREPARE, folder)
    if cluster.exists():
        _refuse_another_version(cluster)
    else:
        _make(cluster, programs)
    run_script(account, _WRITE_ACCESS, cluster, HBA, ident_map())
    run_script(account, _FORGET_DEAD, folder)


def ident_map() -> str:
    """pg_ident.conf: the account that runs this process, under our roles and no other."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError as error:
        raise Unavailable(
            f"the user number {os.geteuid()} has no account name (/etc/passwd), "
            "by which PostgreSQL recognises who connects"
        ) from error
    quoted = name.replace('"', '""')
    allowed = (roles.SUPERUSER, roles.OWNER, roles.RUNTIME)
    return "".join(f'santepacs "{quoted}" {role}\n' for role in allowed)


def reason(messages: str) -> str:
    """The line of PostgreSQL's output that says why: the last that calls itself an error."""
    lines = messages.strip().splitlines() or ["it gave no reason"]
    errors = [line for line in lines if _REASON.search(line)]
    return (errors or lines)[-1].strip()


def _refuse_another_version(cluster: Path) -> None:
    try:
        found = (cluster / "PG_VERSION").read_text("utf-8")[:10].strip()
    except (OSError, ValueError) as error:
        raise Unavailable(f"{cluster} is not a PostgreSQL database") from error
    if found != binaries.MAJOR:
        raise Conflict(
            f"the database in {cluster} was made by PostgreSQL {found}; "
            f"this santepacs has PostgreSQL {binaries.MAJOR}"
        )


def _make(cluster: Path, programs: Path) -> None:
    """Run initdb in a temporary folder, which is on disk before it gets its name.

    The locale is PostgreSQL's own C.UTF-8: text sorts by code point as with C, but upper and
    lower case of all scripts work, and neither changes with the operating system's libraries.
    """
    account = owner(cluster.parent)
    unfinished = cluster.with_name(f"cluster.new-{os.getpid()}")
    command: list[str | Path] = [
        programs / "bin" / "initdb",
        *("-D", unfinished, "-U", roles.SUPERUSER, "-A", "peer", "--data-checksums"),
        *("--encoding=UTF8", "--locale=C"),
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
    ]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            errors="replace",
            timeout=INITDB_TIMEOUT,
            check=False,
            start_new_session=True,
            **identity(account),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"cannot make the database: {error}") from error
    if done.returncode != 0:
        raise Unavailable(f"cannot make the database: {reason(done.stdout)}")
    run_script(account, _RENAME, unfinished, cluster)
    sync_folder(cluster.parent)
