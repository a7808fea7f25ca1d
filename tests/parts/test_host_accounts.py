"""Which account of the operating system does what."""

import os
import pwd
import shutil

import pytest

from santepacs.errors import Unavailable
from santepacs.host import accounts as osaccounts
from santepacs.host.accounts import (
    account_of,
    become_owner,
    can_enter,
    run_as,
    run_script,
    unprivileged_account,
)
from support.accounts import needs_root, run_python, some_account

BECOME = """
try:
    osaccounts.become_owner(Path(sys.argv[1]))
except SantepacsError as error:
    print(type(error).__name__, error)
else:
    print(os.getresuid(), os.getresgid(), os.getgroups())
    try:
        os.setuid(0)
    except PermissionError:
        print("for good")
"""


@needs_root
def test_root_runs_postgresql_as_an_account_without_privileges(monkeypatch):
    assert unprivileged_account().pw_uid != 0
    known = {"nobody": pwd.getpwnam("nobody")}
    monkeypatch.setattr(osaccounts.pwd, "getpwnam", known.__getitem__)
    assert unprivileged_account().pw_name == "nobody"
    known["santepacs"] = pwd.struct_passwd(("santepacs", "", 990, 990, "", "/", ""))
    assert unprivileged_account().pw_name == "santepacs"
    known["santepacs"] = pwd.struct_passwd(("santepacs", "", 0, 0, "", "/", ""))
    assert unprivileged_account().pw_name == "nobody"
    known.clear()
    with pytest.raises(Unavailable, match="no account santepacs or nobody"):
        unprivileged_account()


def test_who_is_not_root_runs_postgresql_itself():
    assert run_python("print(osaccounts.unprivileged_account())", unprivileged=True) == "None"


@needs_root
def test_a_child_is_the_account_with_no_group_and_no_environment_of_ours(monkeypatch):
    monkeypatch.setenv("SANTEPACS_ADMIN_PASSWORD", "secret")
    nobody = pwd.getpwnam("nobody")
    output = run_script(nobody, "id -u; id -g; id -G; env; umask; pwd")
    assert output.split()[:3] == [str(nobody.pw_uid), str(nobody.pw_gid), str(nobody.pw_gid)]
    assert "SANTEPACS" not in output
    assert output.endswith("0077\n/\n")


def test_a_failing_script_tells_its_last_line():
    with pytest.raises(Unavailable, match=r"^no such luck$"):
        run_script(None, "echo first; echo no such luck >&2; exit 3")
    with pytest.raises(Unavailable, match=r"^exit status 3$"):
        run_script(None, "exit 3")


def test_a_missing_program_is_named():
    with pytest.raises(Unavailable, match="cannot run /missing"):
        run_as(None, "/missing")


@pytest.mark.parametrize("name", ["plain", "with space", "-dash", "$(id)", "quote'\"", "ü"])
def test_a_folder_is_entered_whatever_its_name(reachable_tmp_path, name):
    folder = reachable_tmp_path / name
    folder.mkdir(mode=0o755)
    assert can_enter(some_account() if os.geteuid() == 0 else None, folder)
    assert not can_enter(None, folder / "missing")


@needs_root
def test_a_closed_folder_is_not_entered_by_another_account(reachable_tmp_path):
    (reachable_tmp_path / "closed" / "open").mkdir(parents=True, mode=0o755)
    assert can_enter(some_account(), reachable_tmp_path / "closed" / "open")
    (reachable_tmp_path / "closed").chmod(0o700)
    assert not can_enter(some_account(), reachable_tmp_path / "closed" / "open")
    assert can_enter(None, reachable_tmp_path / "closed" / "open")


def test_an_account_that_we_cannot_become_is_told():
    code = "try: osaccounts.can_enter(pwd.struct_passwd(('other', '', 1, 1, '', '/', '')), '/')\n"
    code += "except Unavailable as error: print(error)"
    said = run_python(code, unprivileged=True)
    assert said == "cannot run /bin/sh as the account other: Operation not permitted"


def test_one_s_own_directory_changes_nothing(tmp_path):
    before = os.getresuid(), os.getgroups()
    become_owner(tmp_path)
    become_owner(tmp_path / "missing")
    assert (os.getresuid(), os.getgroups()) == before


@needs_root
def test_root_becomes_the_owner_for_good(reachable_tmp_path):
    nobody = some_account()
    os.chown(reachable_tmp_path, nobody.pw_uid, nobody.pw_gid)
    ids = (nobody.pw_uid,) * 3, (nobody.pw_gid,) * 3, [nobody.pw_gid]
    assert run_python(BECOME, reachable_tmp_path) == f"{ids[0]} {ids[1]} {ids[2]}\nfor good"


@needs_root
def test_root_becomes_an_owner_without_a_name(reachable_tmp_path):
    os.chown(reachable_tmp_path, 54321, 54322)
    assert account_of(reachable_tmp_path).pw_name == "54321"
    expected = f"{(54321,) * 3} {(54322,) * 3} [54322]\nfor good"
    assert run_python(BECOME, reachable_tmp_path) == expected


@needs_root
def test_another_account_than_the_owner_is_refused(reachable_tmp_path):
    reachable_tmp_path.chmod(0o755)
    said = run_python(BECOME, reachable_tmp_path, unprivileged=True)
    assert said == f"Forbidden {reachable_tmp_path} belongs to root: run this as root"


def test_the_shell_is_there():
    assert shutil.which("sh", path=osaccounts.CHILD_ENVIRONMENT["PATH"])
