"""Tokens of studies: derived, never stored.

A token is 64 characters ``[A-Za-z0-9]``, the same for ever for one study and version: base 62 of
HMAC-SHA-512 under the site's secret key. Without the key the index reveals none; renewing a token
raises the study's version. 64 characters of base 62 hold 381 bits.
"""

import hashlib
import hmac
import re
import string

_ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits
_TOKEN = re.compile(r"[A-Za-z0-9]{64}")
LENGTH = 64


def token(secret_key: bytes, study_instance_uid: str, version: int) -> str:
    """The token of a study's `version` (1 at first)."""
    message = f"santepacs token\0{study_instance_uid}\0{version}".encode()
    number = int.from_bytes(hmac.digest(secret_key, message, hashlib.sha512))
    characters = []
    for _ in range(LENGTH):
        number, remainder = divmod(number, len(_ALPHABET))
        characters.append(_ALPHABET[remainder])
    return "".join(characters)


def is_token(text: str) -> bool:
    """Whether `text` has the form of a token; all else is refused without asking the index."""
    return _TOKEN.fullmatch(text) is not None


def digest(text: str) -> bytes:
    """What the index keeps for look-up: SHA-256 of the token, from which it cannot be had back."""
    return hashlib.sha256(text.encode("ascii")).digest()


def fingerprint(secret_key: bytes) -> str:
    """What the index keeps of the secret key, to notice a wrong one."""
    return hashlib.sha256(b"santepacs secret key\0" + secret_key).hexdigest()
