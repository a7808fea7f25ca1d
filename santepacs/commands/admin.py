"""``santepacs``: administration from the command line, beside a running server and without one.

Exit status 0: done; 1: failed; 2: bad usage; 128 and the signal's number: interrupted. What is
wrong is one line on stderr; no command prints a password.
"""

import os
import sys
from collections.abc import Sequence

from santepacs.commands import (
    configuration,
    hl7,
    importing,
    mapping,
    nodes,
    peers,
    tokens,
    users,
    worklist,
)
from santepacs.commands.arguments import Commands, Parser, text
from santepacs.commands.interrupts import Interrupted, interrupt, interrupts_call
from santepacs.commands.output import describe_bug, tell
from santepacs.errors import SantepacsError

FAILED = 1
_SUBJECTS = (users, peers, nodes, tokens, importing, configuration, mapping, hl7, worklist)


def parser() -> Parser:
    """The whole command line."""
    whole = Parser(
        prog="santepacs",
        description="Administer santepacs, beside a running server or without one.",
        epilog="`santepacs COMMAND --help` says more about a command.",
    )
    whole.add_argument(
        "-c", "--config", metavar="FILE", type=text, help="the server's configuration file"
    )
    whole.add_argument(
        "-d", "--data", metavar="DIR", help="the data directory (default: as the server's)"
    )
    whole.add_argument(
        "-s",
        "--set",
        metavar="SECTION.KEY=VALUE",
        dest="overrides",
        action="append",
        default=[],
        type=text,
        help="a setting for this command, repeatable",
    )
    commands = Commands(whole)
    for subject in _SUBJECTS:
        subject.declare(commands)
    return whole


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    arguments = parser().parse_args(argv)
    try:
        with interrupts_call(interrupt):
            status: int = arguments.run(arguments) or 0
            sys.stdout.flush()
    except Interrupted as interrupted:
        tell("interrupted")
        return interrupted.exit_status
    except SantepacsError as error:
        tell(str(error))
    except BrokenPipeError:
        # Nobody reads what we print; Python would say so once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        tell(f"{error.filename or 'input or output'}: {error.strerror or type(error).__name__}")
    except Exception as error:  # noqa: BLE001 - a person reads this, not a traceback
        tell(describe_bug(error))
    else:
        return status
    return FAILED


if __name__ == "__main__":
    sys.exit(main())
