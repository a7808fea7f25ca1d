"""``santepacs user``: who may use the portal."""

import getpass
import sys
import warnings
from argparse import Namespace
from collections.abc import Awaitable, Callable
from typing import TypeVar

from santepacs.access.accounts import Accounts, check_user_name
from santepacs.access.passwords import MAXIMUM_BYTES, Passwords, check_new_password
from santepacs.commands.arguments import Commands, text
from santepacs.commands.output import print_table
from santepacs.commands.site import Running, opened, with_reactor
from santepacs.db import accounts as rows
from santepacs.db import blocking
from santepacs.db.accounts import AccountRow
from santepacs.errors import Malformed

T = TypeVar("T")


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    user = commands.group("user", "users of the portal")

    add = user.command("add", _add, "add a user")
    add.add_argument("name", metavar="NAME", type=text)
    add.add_argument("--admin", action="store_true", help="an administrator, who may do all")
    add.add_argument("--upload", action="store_true", help="may upload")
    _accept_password(add.add_argument)

    user.command("list", _list, "list all users: name, rights, state, last log-in (UTC)")

    password = user.command("password", _password, "give a user another password; logs him out")
    password.add_argument("name", metavar="NAME", type=text)
    _accept_password(password.add_argument)

    for name, run, about in (
        ("enable", _enable, "let a user log in again"),
        ("disable", _disable, "lock a user out at once"),
        ("delete", _delete, "remove a user at once"),
    ):
        user.command(name, run, about).add_argument("name", metavar="NAME", type=text)


def _accept_password(add_argument: Callable[..., object]) -> None:
    add_argument(
        "--password-stdin",
        action="store_true",
        help="read the password from the first line of standard input instead of asking",
    )


def _add(arguments: Namespace) -> None:
    name = check_user_name(arguments.name)
    password = _new_password(arguments, name)
    _with_accounts(
        arguments,
        lambda accounts: accounts.create(
            name, password, administrator=arguments.admin, may_upload=arguments.upload
        ),
        may_create=True,
    )


def _password(arguments: Namespace) -> None:
    password = _new_password(arguments, arguments.name)
    _with_accounts(arguments, lambda accounts: accounts.set_password(arguments.name, password))


def _enable(arguments: Namespace) -> None:
    _with_accounts(arguments, lambda accounts: accounts.enable(arguments.name))


def _disable(arguments: Namespace) -> None:
    _with_accounts(arguments, lambda accounts: accounts.disable(arguments.name))


def _delete(arguments: Namespace) -> None:
    _with_accounts(arguments, lambda accounts: accounts.delete(arguments.name))


def _list(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        print_table(map(_row, blocking.transaction(foundation.dsn, rows.list_all)))


def _row(account: AccountRow) -> tuple[str, ...]:
    rights = {
        "admin": account.administrator,
        "upload": account.may_upload,
        "share": account.may_share,
    }
    seen = account.last_login_at
    return (
        account.name,
        ",".join(right for right, has in rights.items() if has),
        "enabled" if account.active else "disabled",
        "never" if seen is None else f"{seen:%Y-%m-%dT%H:%M:%SZ}",
    )


def _with_accounts(
    arguments: Namespace, work: Callable[[Accounts], Awaitable[T]], *, may_create: bool = False
) -> None:
    async def with_them(running: Running) -> T:
        return await work(Accounts(running.database, Passwords(running.threads)))

    with opened(arguments, may_create=may_create) as foundation:
        with_reactor(foundation, with_them)


def _new_password(arguments: Namespace, name: str) -> str:
    """An acceptable password from where the arguments say, asked for before anything is locked."""
    password = _first_line() if arguments.password_stdin else _typed_twice(name)
    check_new_password(password, name)
    return password


def _first_line() -> str:
    line = sys.stdin.buffer.readline(MAXIMUM_BYTES + 3)
    try:
        password = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise Malformed("the password on standard input is not UTF-8 text") from None
    if not password:
        raise Malformed("there is no password on standard input")
    return password


def _typed_twice(name: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", getpass.GetPassWarning)
            password = getpass.getpass(f"Password for {name}: ")
            again = getpass.getpass("The same again: ")
    except getpass.GetPassWarning:
        raise Malformed(
            "there is no terminal to ask for the password on: use --password-stdin"
        ) from None
    except EOFError:
        print(file=sys.stderr)
        raise Malformed("no password was given") from None
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise
    if password != again:
        raise Malformed("the two passwords are not the same")
    return password
