"""Sessions of logged-in users: on the server, ended when their time or their right is over.

The browser has 256 random bits in a cookie; the database only their SHA-256. From the same cookie
comes the proof that a form is ours (`form_proof`): who cannot read the cookie cannot make it.
"""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from santepacs.db import accounts as rows
from santepacs.db.accounts import AccountRow
from santepacs.db.database import Database, Transaction
from santepacs.settings import Settings

# The time of last use is written at most so often: a page is no reason for a write.
TOUCH_SECONDS = 30.0


def new_cookie() -> str:
    """A fresh cookie value: 256 random bits, also given to visitors so that forms have a proof."""
    return secrets.token_urlsafe(32)


def form_proof(cookie: str) -> str:
    """What a form of the browser with this cookie carries in a hidden field."""
    return hmac.new(cookie.encode(), b"santepacs form", hashlib.sha256).hexdigest()


def is_form_proof(cookie: str, proof: str) -> bool:
    """Whether `proof` was made for this cookie; in constant time."""
    return bool(cookie) and hmac.compare_digest(form_proof(cookie).encode(), proof.encode())


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode()).digest()


class Sessions:
    """The sessions of this installation."""

    def __init__(self, database: Database, settings: Settings, clock: Any) -> None:
        """`clock`: seconds since 1970 by `seconds()`, as the reactor gives them."""
        self._database = database
        self._settings = settings
        self._clock = clock

    async def begin(self, account: AccountRow, address: str, old_cookie: str) -> str:
        """Start a session of `account`; the cookie is new, and the browser's old one is dead."""
        cookie, now = new_cookie(), self._now()

        async def work(tx: Transaction) -> None:
            await rows.end_session(tx, _digest(old_cookie))
            await rows.sweep_sessions(tx, **self._limits(now))
            await rows.add_session(tx, _digest(cookie), account.id, address, now)

        await self._database.transaction("log in", work)
        return cookie

    async def account(self, cookie: str) -> AccountRow | None:
        """Whose session this cookie is; None if it is none, or over."""
        if not cookie:
            return None
        digest, now = _digest(cookie), self._now()

        async def look(tx: Transaction) -> rows.SessionRow | None:
            return await rows.session(tx, digest, **self._limits(now))

        found = await self._database.transaction("session", look, read_only=True)
        if found is None:
            return None
        if (now - found.used_at).total_seconds() > TOUCH_SECONDS:

            async def touch(tx: Transaction) -> None:
                await rows.touch_session(tx, digest, now)

            await self._database.transaction("session in use", touch)
        return found.account

    async def end(self, cookie: str) -> None:
        """Log out."""

        async def work(tx: Transaction) -> None:
            await rows.end_session(tx, _digest(cookie))

        await self._database.transaction("log out", work)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)

    def _limits(self, now: datetime) -> dict[str, datetime]:
        web = self._settings.web
        return {
            "used_since": now - timedelta(seconds=web.session_idle),
            "created_since": now - timedelta(seconds=web.session_length),
        }
