"""UIDs and transfer syntaxes."""

import pytest

from santepacs.model.transfer_syntaxes import STORAGE_TRANSFER_SYNTAXES
from santepacs.model.uids import is_valid_uid


@pytest.mark.parametrize(
    "uid", ["0", "1", "1.2.840.10008.1.1", "2.25.0", "1.0.3", "1." + "2" * 62, "2.25." + "9" * 39]
)
def test_a_uid_is_numbers_joined_by_dots(uid):
    assert is_valid_uid(uid)


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "...", "1..2", "1.2.", ".1.2", "01.2", "1.02", "1.00"),
        *("1.2\0", "1.2 ", " 1.2", "1.2\n", "\n", "1.2.a", "A.B", "-1.2", "1,2", "1.2\\1.3"),
        *("../../x", "C:\\x", "1.2.3/4", "1." + "2" * 63, "1.٢", "1.²", "1.２"),
    ],
)
def test_anything_else_is_no_uid(text):
    assert not is_valid_uid(text)


def test_a_hostile_text_is_judged_at_once():
    assert not is_valid_uid("1." * 5_000_000)


def test_the_storage_transfer_syntaxes_know_how_they_encode():
    for uid, syntax in STORAGE_TRANSFER_SYNTAXES.items():
        assert syntax.uid == uid
        assert is_valid_uid(uid)
        assert syntax.implicit == (uid == "1.2.840.10008.1.2")
        assert syntax.big_endian == (uid == "1.2.840.10008.1.2.2")
        native = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
        assert syntax.encapsulated == (uid not in native)


@pytest.mark.parametrize("uid", ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.8.1"])
def test_deflated_is_not_offered(uid):
    assert uid not in STORAGE_TRANSFER_SYNTAXES


@pytest.mark.parametrize("number", [50, 51, 57, 70, 80, 81, 90, 91, 92, 93, 201, 202, 203])
def test_every_still_image_compression_is_accepted(number):
    assert f"1.2.840.10008.1.2.4.{number}" in STORAGE_TRANSFER_SYNTAXES
