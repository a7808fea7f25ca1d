"""Which passwords are accepted: by length, never by their mixture."""

import pytest

from santepacs.access.passwords import MAXIMUM_BYTES, check_new_password
from santepacs.errors import Malformed


@pytest.mark.parametrize(
    "password",
    [
        "eightchr", "correct horse battery staple", "x7#kq9!a", "a" * 30 + "b", "        x",
        "ÜÖÄßéèçà", "パスワードは秘密です", "p" * 511 + "q" * 512, "tr0ub4dor&3\0",
    ],
)  # fmt: skip
def test_a_password_of_eight_characters_is_accepted_whatever_it_is_made_of(password):
    check_new_password(password, "jane")


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("", "at least 8"), ("sevench", "at least 8"), ("x" + "y" * MAXIMUM_BYTES, "at most 1024"),
        ("é" * 513, "at most 1024"), ("password1", "first that are guessed"),
        ("PassWord123", "first that are guessed"), ("12345678", "first that are guessed"),
        ("87654321", "first that are guessed"), ("aaaaaaaa", "first that are guessed"),
        ("abcabcabc", "first that are guessed"), ("qwertyuiop", "first that are guessed"),
        ("janedoe1", "first that are guessed"),
    ],
)  # fmt: skip
def test_a_password_is_refused_with_the_reason(password, reason):
    with pytest.raises(Malformed, match=reason):
        check_new_password(password, "JaneDoe1")
