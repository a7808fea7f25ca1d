"""The first administrator: a one-time link that dies with its work.

The link is printed at the start; the database keeps only its SHA-256. It is good for a day, for
one administrator, and for nothing once there is one.
"""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from twisted.logger import Logger

from santepacs.access import accounts
from santepacs.access.accounts import check_user_name
from santepacs.access.passwords import Passwords, check_new_password
from santepacs.db import accounts as rows
from santepacs.db.accounts import AccountRow
from santepacs.db.database import Database, Transaction
from santepacs.errors import NotFound

log = Logger()

LIFETIME = timedelta(hours=24)
MAXIMUM_LENGTH = 64


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class Setup:
    """Makes the link and lets it be used once."""

    def __init__(self, database: Database, passwords: Passwords, clock: Any) -> None:
        self._database = database
        self._passwords = passwords
        self._clock = clock

    async def new_link(self) -> str | None:
        """The path of a new link (``/setup?...``), or None when there is an administrator.

        An earlier link is dead afterwards.
        """
        secret = secrets.token_urlsafe(32)
        expires_at = self._now() + LIFETIME

        async def work(tx: Transaction) -> bool:
            if await rows.has_administrator(tx):
                return False
            await rows.put_setup_link(tx, _digest(secret), expires_at)
            return True

        made = await self._database.transaction("set-up link", work)
        return f"/setup?{secret}" if made else None

    async def is_open(self, secret: str) -> bool:
        """Whether this link can make the first administrator now."""
        if not 0 < len(secret) <= MAXIMUM_LENGTH:
            return False

        async def work(tx: Transaction) -> bool:
            good = await rows.has_setup_link(tx, _digest(secret), self._now())
            return good and not await rows.has_administrator(tx)

        return await self._database.transaction("set-up", work, read_only=True)

    async def finish(self, secret: str, name: str, password: str) -> AccountRow:
        """Make the first administrator. Raises NotFound (dead link), Malformed (name, password)."""
        name = check_user_name(name)
        check_new_password(password, name)
        if not await self.is_open(secret):
            raise NotFound("this set-up link is not valid any more")
        hashed = await self._passwords.hash(password)

        async def work(tx: Transaction) -> AccountRow:
            taken = await rows.take_setup_link(tx, _digest(secret), self._now())
            if not taken or await rows.has_administrator(tx):
                raise NotFound("this set-up link is not valid any more")
            return await accounts.add(tx, name, hashed, administrator=True, may_upload=True)

        account = await self._database.transaction("first administrator", work)
        log.info("the first administrator, {name}, was made by the set-up link", name=name)
        return account

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)
