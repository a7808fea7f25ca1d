"""The data directory."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from santepacs.errors import Forbidden, Malformed, SantepacsError, Unavailable
from santepacs.host import datadir
from santepacs.host.datadir import FOLDERS, default_data_directory, prepare
from support.accounts import needs_root, run_python, some_account


def mode(path):
    return path.stat().st_mode & 0o7777


def test_a_fresh_directory_gets_its_folders_closed_to_others(tmp_path):
    data = prepare(tmp_path / "var")
    assert sorted(os.listdir(data.root)) == sorted(FOLDERS)
    assert {mode(data.root / name) for name in FOLDERS} == {0o700}
    assert mode(data.root) == (0o711 if os.geteuid() == 0 else 0o700)
    assert os.listdir(data.objects) == os.listdir(data.incoming) == []


def test_who_is_not_root_closes_the_directory_itself(reachable_tmp_path):
    reachable_tmp_path.chmod(0o777)
    run_python("datadir.prepare(Path(sys.argv[1]))", reachable_tmp_path / "v", unprivileged=True)
    assert mode(reachable_tmp_path / "v") == 0o700


def test_missing_parents_are_made_passable_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        data = prepare(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert mode(data.root.parent) == mode(data.root) == (0o711 if os.geteuid() == 0 else 0o700)


def test_an_existing_directory_keeps_its_permissions_and_content(tmp_path):
    tmp_path.chmod(0o750)
    (tmp_path / "objects").mkdir(mode=0o700)
    (tmp_path / "objects" / "kept").touch()
    for _ in range(2):
        data = prepare(tmp_path)
    assert mode(tmp_path) == 0o750
    assert os.listdir(data.objects) == ["kept"]


def test_a_relative_path_stays_right_when_the_process_moves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert prepare(Path("var")).objects == tmp_path / "var" / "objects"


@pytest.mark.parametrize("name", ["file", "file/var", "dangling"])
def test_a_place_that_is_taken_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(Malformed, match=rf"{tmp_path / name} is not a folder"):
        prepare(tmp_path / name)


def test_a_file_in_a_folder_s_place_is_named(tmp_path):
    (tmp_path / "objects").touch()
    with pytest.raises(Malformed, match=r"objects is not a folder"):
        prepare(tmp_path)


def test_a_place_where_nothing_can_be_written_is_named():
    with pytest.raises(Unavailable, match="cannot use /proc/santepacs"):
        prepare(Path("/proc/santepacs"))


@needs_root
def test_a_directory_of_another_account_is_refused(reachable_tmp_path):
    nobody = some_account()
    os.chown(reachable_tmp_path, nobody.pw_uid, nobody.pw_gid)
    with pytest.raises(Forbidden, match="belongs to nobody: start santepacs as nobody"):
        prepare(reachable_tmp_path)
    assert os.listdir(reachable_tmp_path) == []


def test_incoming_on_another_file_system_is_refused(tmp_path):
    elsewhere = Path("/dev/shm")
    if not os.access(elsewhere, os.W_OK) or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no second file system to write to")
    other = Path(tempfile.mkdtemp(dir=elsewhere))
    try:
        (tmp_path / "incoming").symlink_to(other)
        with pytest.raises(Malformed, match="must be on one file system"):
            prepare(tmp_path)
        assert os.listdir(other) == []
    finally:
        shutil.rmtree(other)


def test_errors_are_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SantepacsError) as caught:
        prepare(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_the_default_is_var_where_the_program_is_started(reachable_tmp_path, monkeypatch):
    monkeypatch.chdir(reachable_tmp_path)
    assert default_data_directory() == (reachable_tmp_path / "var", "")


@needs_root
def test_root_takes_another_place_when_the_database_cannot_reach_var(reachable_tmp_path):
    (reachable_tmp_path / "home").mkdir(mode=0o700)
    preferred, fallback = reachable_tmp_path / "home" / "var", reachable_tmp_path / "lib"
    path, note = default_data_directory(preferred, fallback)
    assert path == fallback
    assert note.count(str(fallback)) == 1
    assert str(preferred) in note
    assert "\n" not in note
    assert os.listdir(reachable_tmp_path) == ["home"]


@needs_root
def test_a_var_that_is_in_use_stays_the_default(reachable_tmp_path):
    preferred = reachable_tmp_path / "home" / "var"
    preferred.mkdir(parents=True)
    preferred.parent.chmod(0o700)
    (preferred / "secret.key").touch()
    assert default_data_directory(preferred, reachable_tmp_path / "lib") == (preferred, "")


@needs_root
def test_without_an_account_for_the_database_var_stays_the_default(tmp_path, monkeypatch):
    def missing():
        raise Unavailable("no such account")

    monkeypatch.setattr(datadir, "unprivileged_account", missing)
    assert default_data_directory(tmp_path / "var") == (tmp_path / "var", "")


def test_who_is_not_root_takes_var_anywhere(tmp_path):
    said = run_python("print(datadir.default_data_directory())", unprivileged=True)
    assert said == f"({Path.cwd() / 'var'!r}, '')"
