"""``santepacs settings``: what is set, where it comes from, and saving another value.

What is saved here counts like what is saved in the portal. Pinned values (configuration file,
``--set``) and start-up settings cannot be saved.
"""

import re
from argparse import Namespace
from collections.abc import Mapping

from santepacs import settings as configuration
from santepacs.commands.arguments import Commands, text
from santepacs.commands.output import print_table, read_text, write_text
from santepacs.commands.site import opened
from santepacs.db import blocking, facts
from santepacs.db.database import Transaction
from santepacs.errors import Conflict
from santepacs.options import Option, Value, shown, toml
from santepacs.settings import Settings, find_option, options

_DATABASE_URL = "database.url"


def declare(commands: Commands) -> None:
    """Add the commands to the parser."""
    settings = commands.group("settings", "settings of the site")
    get = settings.command(
        "get", _get, "print the value of a setting; of all: name, where it comes from, value"
    )
    get.add_argument("name", metavar="SECTION.KEY", nargs="?", type=text)
    put = settings.command("set", _set, "save a setting")
    put.add_argument("name", metavar="SECTION.KEY", type=text)
    put.add_argument("value", metavar="VALUE", type=text)
    export = settings.command(
        "export", _export, "write all settings that are saved or pinned, as TOML"
    )
    export.add_argument("file", metavar="FILE", nargs="?", type=text)
    read = settings.command("import", _import, "save all settings of a TOML file")
    read.add_argument("file", metavar="FILE", type=text)


def _get(arguments: Namespace) -> None:
    if arguments.name is not None:
        find_option(arguments.name)
    with opened(arguments) as foundation:
        settings = foundation.settings
        if arguments.name is not None:
            print(_displayed(arguments.name, settings))
            return
        saved = blocking.transaction(foundation.dsn, facts.saved_settings)
        print_table(
            (
                option.name,
                _origin(option, settings, saved),
                _displayed(option.name, settings) or '""',
            )
            for option in options()
        )


def _origin(option: Option, settings: Settings, saved: Mapping[str, str]) -> str:
    if option.name in settings.pinned:
        return f"pinned by {settings.pinned[option.name]}"
    return "saved" if option.name in saved and not option.start_up else "default"


def _displayed(name: str, settings: Settings) -> str:
    value = shown(settings.value(name))
    return without_password(value) if name == _DATABASE_URL else value


def without_password(url: str) -> str:
    """A database's address that may be shown."""
    url = re.sub(r"(//[^:/@]*:)[^/]*@", r"\1***@", url)
    return re.sub(r"(?i)(password\s*=\s*)('[^']*'|[^&\s]*)", r"\1***", url)


def _set(arguments: Namespace) -> None:
    option = find_option(arguments.name)
    value = option.parse(arguments.value, "settings set")
    _check_savable(option)
    with opened(arguments, may_create=True) as foundation:
        _check_free(option, foundation.settings)
        _save(foundation.dsn, {option: value})
    when = "within two seconds" if option.live else "at the next start of the server"
    print(f"{option.name} = {shown(value)}, in effect {when}")


def _export(arguments: Namespace) -> None:
    with opened(arguments) as foundation:
        settings = foundation.settings
        saved = blocking.transaction(foundation.dsn, facts.saved_settings)
        chosen = [
            option
            for option in options()
            if not option.start_up and (option.name in saved or option.name in settings.pinned)
        ]
        write_text(arguments.file, _as_toml(chosen, settings))


def _as_toml(chosen: list[Option], settings: Settings) -> str:
    lines = ["# santepacs settings that are not left to their defaults"]
    section = ""
    for option in chosen:
        if option.section != section:
            section = option.section
            lines += ["", f"[{section}]"]
        lines.append(f"{option.key} = {toml(settings.value(option.name))}")
    return "\n".join(lines) + "\n"


def _import(arguments: Namespace) -> None:
    read = configuration.load(read_text(arguments.file), arguments.file)
    wanted = {find_option(name): read.value(name) for name in read.pinned}
    for option in wanted:
        _check_savable(option)
    with opened(arguments, may_create=True) as foundation:
        settings = foundation.settings
        changes = {
            option: value
            for option, value in wanted.items()
            if option.name not in settings.pinned or settings.value(option.name) != value
        }
        for option in changes:
            _check_free(option, settings)
        _save(foundation.dsn, changes)
    late = [option.name for option in changes if not option.live]
    print(f"{len(changes)} settings saved")
    if late:
        print(f"in effect at the next start of the server: {', '.join(late)}")


def _check_savable(option: Option) -> None:
    if option.start_up:
        raise Conflict(
            f"{option.name} is needed before the database is there: it can only stand in the "
            "configuration file or on the command line"
        )


def _check_free(option: Option, settings: Settings) -> None:
    where = settings.pinned.get(option.name)
    if where is not None:
        raise Conflict(
            f"{option.name} is pinned by {where} to {shown(settings.value(option.name))!r}: "
            "change it there"
        )


def _save(dsn: str, values: Mapping[Option, Value]) -> None:
    async def save(tx: Transaction) -> None:
        for option, value in values.items():
            await facts.save_setting(tx, option.name, shown(value))

    blocking.transaction(dsn, save)
