"""Passwords: which are accepted, and argon2id (RFC 9106) in a few threads at most.

One hash takes 64 MiB and a tenth of a second, so a flood of log-ins waits here, and beyond a
bound is refused, instead of eating the machine's memory.
"""

import base64
import re
import secrets
from collections.abc import Callable
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.internet.defer import DeferredSemaphore

from santepacs.errors import Malformed, Unavailable
from santepacs.threads import Threads

MINIMUM_CHARACTERS = 8
MAXIMUM_BYTES = 1024
AT_ONCE = 3
MAXIMUM_WAITING = 60

T = TypeVar("T")

# Passwords of eight and more characters that every attacker tries first, folded.
_COMMON_WORDS = """
    password passwort password1 password12 password123 password1234 password! passw0rd p@ssw0rd
    p@ssword pa$$word passwords mypassword passwordpassword changeme changeme1 changeme123
    administrator administrateur adminadmin admin1234 admin12345 admin123456 administrator1
    adminpass adminpassword rootroot toor1234 superuser superadmin welcome1 welcome12 welcome123
    welcome1234 letmein1 letmein123 letmeinnow iloveyou iloveyou1 ilovegod princess princess1
    sunshine sunshine1 football football1 baseball baseball1 basketball superman superman1
    batman123 starwars starwars1 pokemon1 whatever whatever1 trustno1 computer computer1 internet
    internet1 samsung1 qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwerty12345 qwertz123
    qwertzui qwertzuiop azertyui azertyuiop asdfghjk asdfghjkl zxcvbnm1 zxcvbnm123 1q2w3e4r
    1q2w3e4r5t 1qaz2wsx qazwsxedc q1w2e3r4 q1w2e3r4t5 zaq12wsx abcd1234 abc12345 abcd12345
    abcdefg1 abcdefgh a1b2c3d4 aa123456 a1234567 a12345678 asd12345 asdf1234 testtest test1234
    test12345 tester123 testing1 testing123 temptemp temp1234 default1 default123 guest123
    guest1234 user1234 username secret123 topsecret monkey123 dragon123 master123 michelle
    jennifer jonathan victoria alexander elizabeth liverpool arsenal1 chelsea1 barcelona
    realmadrid juventus charlie1 freedom1 mercedes porsche1 corvette mustang1 blink182 linkinpark
    metallica startrek sandiego dallas01 newyork1 december november february hospital hospital1
    hospital123 radiology radiology1 radiology123 radiologie doctor123 medical1 medical123 dicom123
    dicomdicom pacspacs pacs1234 santepacs santepacs1 santepacs123 santesoft orthanc1 nurse123
    clinic123 xray1234 imaging1 11223344 12341234 12344321 13131313 12121212 10203040 147258369
    159753159 31415926 987654321 88888888 0987654321
"""
_COMMON = frozenset(_COMMON_WORDS.split())
_RUNS = ("01234567890123456789", "abcdefghijklmnopqrstuvwxyz", "qwertyuiopasdfghjklzxcvbnm")


def check_new_password(password: str, name: str) -> None:
    """Raise Malformed, naming the reason, unless `password` may be the password of user `name`.

    Any characters in any mixture are welcome; only length counts, and what is guessed first.
    """
    if len(password) < MINIMUM_CHARACTERS:
        raise Malformed(f"the password needs at least {MINIMUM_CHARACTERS} characters")
    if _too_long(password):
        raise Malformed(f"the password may have at most {MAXIMUM_BYTES} bytes")
    folded = password.casefold()
    if folded == name.casefold() or folded in _COMMON or _is_pattern(folded):
        raise Malformed("this password is among the first that are guessed; choose another")


def _is_pattern(folded: str) -> bool:
    if len(folded) <= 16 and re.fullmatch(r"(.{1,3}?)\1+", folded):
        return True
    return any(folded in run or folded[::-1] in run for run in _RUNS)


def _too_long(password: str) -> bool:
    return len(password.encode("utf-8", "surrogatepass")) > MAXIMUM_BYTES


class Passwords:
    """Hashes and verifies passwords off the reactor."""

    def __init__(self, threads: Threads, hasher: PasswordHasher | None = None) -> None:
        """`hasher`: argon2id with RFC 9106's low-memory parameters when it is not given."""
        self._threads = threads
        self._hasher = PasswordHasher() if hasher is None else hasher
        self._turns = DeferredSemaphore(AT_ONCE)
        self._nobody = _hash_of_nobody(self._hasher)

    async def hash(self, password: str) -> str:
        """The PHC string to keep. The password has passed `check_new_password`."""
        return await self._in_turn(self._hasher.hash, password)

    async def matches(self, hashed: str | None, password: str) -> bool:
        """Whether `password` is the one that was hashed; None stands for an unknown user.

        An unknown user costs the same work, so that time does not tell who exists. A password
        that is too long to be one is refused without work.
        """
        if _too_long(password):
            return False
        return await self._in_turn(
            self._verify, self._nobody if hashed is None else hashed, password
        )

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_turn(self, work: Callable[..., T], *args: str) -> T:
        if len(self._turns.waiting) >= MAXIMUM_WAITING:
            raise Unavailable("too many log-ins at once; try again in a moment")
        result: T = await self._turns.run(self._threads.run, work, *args)
        return result


def _hash_of_nobody(hasher: PasswordHasher) -> str:
    """A hash with the same parameters, of a password that nobody knows."""
    salt, digest = secrets.token_bytes(hasher.salt_len), secrets.token_bytes(hasher.hash_len)
    parameters = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${parameters}${_unpadded(salt)}${_unpadded(digest)}"


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii").rstrip("=")
