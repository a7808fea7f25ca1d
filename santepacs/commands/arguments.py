"""The command line's grammar: one parser, and what an argument may be.

What is wrong with it is one line on stderr and exit status 2.
"""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any, NoReturn

from santepacs.logs import one_line

Run = Callable[[Namespace], int | None]
"""A command: returns its exit status, None for 0."""

BAD_USAGE = 2


class Parser(ArgumentParser):
    """argparse that says what is wrong in one line."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(allow_abbrev=False, **keywords)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, but what is too much is not repeated: somebody may have typed a password."""
        parsed, rest = self.parse_known_args(args, namespace)
        unknown = [argument.partition("=")[0] for argument in rest if argument.startswith("-")]
        if unknown:
            self.error(f"there is no option {', '.join(unknown)}")
        if rest:
            self.error("there are too many arguments")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Say it and leave."""
        self.exit(BAD_USAGE, f"santepacs: {one_line(message, 500)} (see {self.prog} --help)\n")


class Commands:
    """The commands of the program, or of one group of it."""

    def __init__(self, parser: ArgumentParser) -> None:
        self._commands = parser.add_subparsers(
            metavar="COMMAND", required=True, parser_class=Parser, title="commands"
        )

    def command(self, name: str, run: Run, about: str) -> ArgumentParser:
        """Add a command; its arguments are added to the parser that is returned."""
        parser = self._commands.add_parser(name, help=about, description=about)
        parser.set_defaults(run=run)
        return parser

    def group(self, name: str, about: str) -> "Commands":
        """Add a group of commands."""
        return Commands(self._commands.add_parser(name, help=about, description=about))


def text(argument: str) -> str:
    """Text as it can be kept: a command line may hold any bytes."""
    try:
        argument.encode("utf-8")
    except UnicodeEncodeError:
        raise ArgumentTypeError("is not UTF-8 text") from None
    return argument


def port(argument: str) -> int:
    """A TCP port."""
    if argument.isascii() and argument.isdigit() and len(argument) <= 5:
        number = int(argument)
        if 1 <= number <= 65535:
            return number
    raise ArgumentTypeError("a port is a number from 1 to 65535")


def key(argument: str) -> int:
    """The number of something that is kept."""
    if argument.isascii() and argument.isdigit() and len(argument) <= 18 and int(argument):
        return int(argument)
    raise ArgumentTypeError("is not a number from 1 on")
