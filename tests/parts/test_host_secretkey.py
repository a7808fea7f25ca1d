"""The site's secret key."""

import os

import pytest

from santepacs.errors import Conflict, Forbidden, Malformed, NotFound, Unavailable
from santepacs.host.secretkey import create_secret_key, secret_key


def test_a_created_key_is_read_back(tmp_path):
    key = create_secret_key(tmp_path)
    assert len(key) == 64
    assert secret_key(tmp_path) == key
    assert (tmp_path / "secret.key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["secret.key"]


def test_two_sites_have_different_keys(tmp_path):
    (tmp_path / "other").mkdir()
    assert create_secret_key(tmp_path) != create_secret_key(tmp_path / "other")


def test_a_key_is_never_replaced(tmp_path):
    key = create_secret_key(tmp_path)
    with pytest.raises(Conflict):
        create_secret_key(tmp_path)
    assert secret_key(tmp_path) == key
    assert os.listdir(tmp_path) == ["secret.key"]


def test_an_interrupted_creation_does_not_matter(tmp_path):
    (tmp_path / "secret.key.new").write_text("12")
    assert create_secret_key(tmp_path) == secret_key(tmp_path)


def test_a_missing_key_is_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"there is no .*secret\.key"):
        secret_key(tmp_path)


def test_a_missing_folder_cannot_hold_a_key(tmp_path):
    with pytest.raises(Unavailable, match="cannot write"):
        create_secret_key(tmp_path / "missing")


@pytest.mark.parametrize(
    "content", ["", "ab" * 63, "ab" * 65, "ab" * 200, "zz" * 64, "é" * 128, "\0" * 128]
)
def test_what_is_not_a_key_is_refused(tmp_path, content):
    file = tmp_path / "secret.key"
    file.write_text(content, "utf-8")
    file.chmod(0o600)
    with pytest.raises(Malformed, match="not a key of 128 hexadecimal digits"):
        secret_key(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_open_to_others_is_refused(tmp_path, mode):
    create_secret_key(tmp_path)
    (tmp_path / "secret.key").chmod(mode)
    with pytest.raises(Forbidden, match="chmod 600"):
        secret_key(tmp_path)


def test_a_link_or_folder_in_the_key_s_place_is_refused(tmp_path):
    (tmp_path / "key").write_text("ab" * 64)
    (tmp_path / "secret.key").symlink_to(tmp_path / "key")
    with pytest.raises(Unavailable):
        secret_key(tmp_path)
    (tmp_path / "secret.key").unlink()
    (tmp_path / "secret.key").mkdir(mode=0o700)
    with pytest.raises((Malformed, Unavailable)):
        secret_key(tmp_path)
