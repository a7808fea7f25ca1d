"""Accounts of the portal: who there is, and whether a password is right.

Used by the web server and by the admin command. What ends somebody's right to be there (another
password, disabled, deleted) ends all sessions in the same transaction.
"""

import unicodedata

from twisted.logger import Logger

from santepacs.access.passwords import Passwords, check_new_password
from santepacs.db import accounts as rows
from santepacs.db.accounts import AccountRow
from santepacs.db.database import Database, Transaction
from santepacs.errors import Conflict, Malformed, NotFound
from santepacs.model.names import fold

log = Logger()

MAXIMUM_NAME = 64


def check_user_name(name: str) -> str:
    """The user name as it is kept: trimmed, composed. Raises Malformed naming what is wrong."""
    name = unicodedata.normalize("NFC", name).strip()
    if not 1 <= len(name) <= MAXIMUM_NAME or not name.isprintable():
        raise Malformed(f"the user name needs 1 to {MAXIMUM_NAME} printable characters")
    if not fold(name):
        raise Malformed("the user name needs a letter or digit")
    return name


class Accounts:
    """The use cases around accounts."""

    def __init__(self, database: Database, passwords: Passwords) -> None:
        self._database = database
        self._passwords = passwords

    async def create(
        self, name: str, password: str, *, administrator: bool = False, may_upload: bool = False
    ) -> AccountRow:
        """Add a user. Raises Malformed (name, password) or Conflict (the name is taken)."""
        name = check_user_name(name)
        check_new_password(password, name)
        hashed = await self._passwords.hash(password)

        async def work(tx: Transaction) -> AccountRow:
            return await add(tx, name, hashed, administrator=administrator, may_upload=may_upload)

        account = await self._database.transaction("add user", work)
        log.info("user {name} was added", name=name)
        return account

    async def list(self) -> list[AccountRow]:
        """Every user, by name."""
        return await self._database.transaction("list users", rows.list_all, read_only=True)

    async def has_administrator(self) -> bool:
        """Whether the first set-up is over."""
        return await self._database.transaction(
            "has administrator", rows.has_administrator, read_only=True
        )

    async def set_password(self, name: str, password: str) -> None:
        """Give a user another password; ends all sessions. Raises NotFound, Malformed."""
        check_new_password(password, name)
        hashed = await self._passwords.hash(password)

        async def work(tx: Transaction) -> None:
            account = await _existing(tx, name)
            await rows.set_password(tx, account.id, hashed)
            await rows.end_sessions(tx, account.id)

        await self._database.transaction("set password", work)
        log.info("user {name} has a new password", name=name)

    async def enable(self, name: str) -> None:
        """Let a user log in again. Raises NotFound."""

        async def work(tx: Transaction) -> None:
            account = await _existing(tx, name)
            await rows.set_active(tx, account.id, True)

        await self._database.transaction("enable user", work)
        log.info("user {name} was enabled", name=name)

    async def disable(self, name: str) -> None:
        """Lock a user out at once. Raises NotFound; Conflict for the last administrator."""

        async def work(tx: Transaction) -> None:
            account = await _dispensable(tx, name)
            await rows.set_active(tx, account.id, False)
            await rows.end_sessions(tx, account.id)

        await self._database.transaction("disable user", work)
        log.info("user {name} was disabled", name=name)

    async def delete(self, name: str) -> None:
        """Remove a user at once. Raises NotFound; Conflict for the last administrator."""

        async def work(tx: Transaction) -> None:
            account = await _dispensable(tx, name)
            await rows.delete(tx, account.id)

        await self._database.transaction("delete user", work)
        log.info("user {name} was deleted", name=name)

    async def verify(self, name: str, password: str) -> AccountRow | None:
        """The user whose name and password these are, if he may log in; else None.

        Takes the same time whether the name exists or not.
        """
        folded = fold(name[: 4 * MAXIMUM_NAME].replace("\0", " "))

        async def work(tx: Transaction) -> tuple[AccountRow | None, str | None]:
            return await rows.find(tx, folded), await rows.password(tx, folded)

        account, hashed = await self._database.transaction("verify user", work, read_only=True)
        right = await self._passwords.matches(hashed, password)
        return account if right and account is not None and account.active else None


async def add(
    tx: Transaction, name: str, hashed: str, *, administrator: bool, may_upload: bool
) -> AccountRow:
    """Add a checked name with a hashed password within `tx`. Raises Conflict if it is taken."""
    folded = fold(name)
    made = await rows.add(
        tx, name, folded, hashed, administrator=administrator, may_upload=may_upload
    )
    account = await rows.find(tx, folded)
    if made is None or account is None:
        raise Conflict(f"there is a user {name} already")
    return account


async def _existing(tx: Transaction, name: str) -> AccountRow:
    account = await rows.find(tx, fold(name), lock=True)
    if account is None:
        raise NotFound(f"there is no user {name}")
    return account


async def _dispensable(tx: Transaction, name: str) -> AccountRow:
    """The account, unless nobody could administer without it."""
    administrators = await rows.lock_administrators(tx)
    account = await _existing(tx, name)
    if administrators == [account.id]:
        raise Conflict(f"{name} is the last administrator; make another one first")
    return account
