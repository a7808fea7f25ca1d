"""Accounts of the portal, their sessions, and the one-time link of the first set-up."""

from dataclasses import dataclass
from datetime import datetime

from santepacs.db.database import Transaction


@dataclass(frozen=True, slots=True)
class AccountRow:
    """A user of the portal, without the password."""

    id: int
    name: str
    real_name: str
    contact: str
    administrator: bool
    may_upload: bool
    may_share: bool
    active: bool
    created_at: datetime
    last_login_at: datetime | None


_ACCOUNT = (
    "SELECT id, name, real_name, contact, administrator, may_upload, may_share, active,"
    " created_at, last_login_at FROM account "
)


# --- accounts ------------------------------------------------------------------------------------


async def add(
    tx: Transaction,
    name: str,
    folded: str,
    password: str,
    *,
    administrator: bool,
    may_upload: bool,
) -> int | None:
    """Add an account; `password` is its hash. None when the name is taken."""
    row = await tx.fetch_one(
        "INSERT INTO account (name, folded, password, administrator, may_upload)"
        " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (folded) DO NOTHING RETURNING id",
        name,
        folded,
        password,
        administrator,
        may_upload,
    )
    return None if row is None else int(row.id)


async def find(tx: Transaction, folded: str, *, lock: bool = False) -> AccountRow | None:
    """The account of this folded name; `lock` keeps it as it is until the transaction ends."""
    row = await tx.fetch_one(
        _ACCOUNT + "WHERE folded = %s" + (" FOR UPDATE" if lock else ""), folded
    )
    return row and AccountRow(*row)


async def password(tx: Transaction, folded: str) -> str | None:
    """The password hash of this folded name."""
    row = await tx.fetch_one("SELECT password FROM account WHERE folded = %s", folded)
    return row and row.password


async def list_all(tx: Transaction, *, limit: int = 10_000) -> list[AccountRow]:
    """Every account, by name."""
    rows = await tx.fetch_all(_ACCOUNT + "ORDER BY folded LIMIT %s", limit)
    return [AccountRow(*row) for row in rows]


async def lock_administrators(tx: Transaction) -> list[int]:
    """The accounts that may administer now, kept so until the transaction ends."""
    rows = await tx.fetch_all(
        "SELECT id FROM account WHERE administrator AND active ORDER BY id FOR UPDATE"
    )
    return [row.id for row in rows]


async def has_administrator(tx: Transaction) -> bool:
    """Whether there is an administrator, active or not."""
    row = await tx.fetch_one("SELECT 1 FROM account WHERE administrator LIMIT 1")
    return row is not None


async def set_password(tx: Transaction, account: int, hashed: str) -> None:
    """Replace the password hash."""
    await tx.execute(
        "UPDATE account SET password = %s, password_changed_at = now() WHERE id = %s",
        hashed,
        account,
    )


async def set_active(tx: Transaction, account: int, active: bool) -> None:
    """Permit or prohibit log-in."""
    await tx.execute("UPDATE account SET active = %s WHERE id = %s", active, account)


async def delete(tx: Transaction, account: int) -> None:
    """Remove an account with its sessions."""
    await tx.execute("DELETE FROM account WHERE id = %s", account)


# --- sessions ------------------------------------------------------------------------------------


async def add_session(
    tx: Transaction, digest: bytes, account: int, address: str, now: datetime
) -> None:
    """Begin a session of an account."""
    await tx.execute(
        "INSERT INTO session (digest, account, address, created_at, used_at)"
        " VALUES (%s, %s, %s, %s, %s)",
        digest,
        account,
        address,
        now,
        now,
    )
    await tx.execute("UPDATE account SET last_login_at = %s WHERE id = %s", now, account)


@dataclass(frozen=True, slots=True)
class SessionRow:
    """A session that is still good, and whose it is."""

    account: AccountRow
    used_at: datetime


async def session(
    tx: Transaction, digest: bytes, *, used_since: datetime, created_since: datetime
) -> SessionRow | None:
    """The session of this digest, unless it is too old or its account is not active."""
    row = await tx.fetch_one(
        "SELECT a.id, a.name, a.real_name, a.contact, a.administrator, a.may_upload,"
        " a.may_share, a.active, a.created_at, a.last_login_at, s.used_at"
        " FROM session s JOIN account a ON a.id = s.account"
        " WHERE s.digest = %s AND s.used_at > %s AND s.created_at > %s AND a.active",
        digest,
        used_since,
        created_since,
    )
    return row and SessionRow(AccountRow(*row[:-1]), row.used_at)


async def touch_session(tx: Transaction, digest: bytes, now: datetime) -> None:
    """Note that a session is in use."""
    await tx.execute("UPDATE session SET used_at = %s WHERE digest = %s", now, digest)


async def end_session(tx: Transaction, digest: bytes) -> None:
    """End one session; that there is none is fine."""
    await tx.execute("DELETE FROM session WHERE digest = %s", digest)


async def end_sessions(tx: Transaction, account: int) -> int:
    """End every session of an account; returns how many."""
    return await tx.execute("DELETE FROM session WHERE account = %s", account)


async def sweep_sessions(tx: Transaction, *, used_since: datetime, created_since: datetime) -> int:
    """Remove sessions that are too old; returns how many."""
    return await tx.execute(
        "DELETE FROM session WHERE used_at <= %s OR created_at <= %s", used_since, created_since
    )


# --- first set-up --------------------------------------------------------------------------------


async def put_setup_link(tx: Transaction, digest: bytes, expires_at: datetime) -> None:
    """Keep the set-up link; an earlier one is dead from now on."""
    await tx.execute(
        "INSERT INTO setup_link (digest, expires_at) VALUES (%s, %s) ON CONFLICT (singleton)"
        " DO UPDATE SET digest = excluded.digest, expires_at = excluded.expires_at",
        digest,
        expires_at,
    )


async def has_setup_link(tx: Transaction, digest: bytes, now: datetime) -> bool:
    """Whether this link is the present one."""
    row = await tx.fetch_one(
        "SELECT 1 FROM setup_link WHERE digest = %s AND expires_at > %s", digest, now
    )
    return row is not None


async def take_setup_link(tx: Transaction, digest: bytes, now: datetime) -> bool:
    """Use the link up; False when it is not the present one (any more)."""
    removed = await tx.execute(
        "DELETE FROM setup_link WHERE digest = %s AND expires_at > %s", digest, now
    )
    return removed == 1
