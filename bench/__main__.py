"""Measure servers side by side, on one machine, with clients that are not ours.

python -m bench list                            the targets and the operations
python -m bench up TARGET...                    start servers
python -m bench down [TARGET...]                stop what was started, by default everything
python -m bench prepare TARGET...               load what is found and retrieved, once
python -m bench run TARGET... [options]         measure; targets take turns, the first is compared
python -m bench report FILE... [--details]      the table again, of files that --out has written
python -m bench short                           all of this in a few minutes, with what is installed
python -m bench machine [FOLDER]                what this machine can do at most

Environment: PERF_WORK (data, logs; default var/bench), PERF_SANTEPACS (the folder of another
santepacs' programs), PERF_SCRATCH (files being sent; default memory), see README.md.
"""

import argparse
import fnmatch
import sys
from pathlib import Path

from bench import machine, processes, rows, table
from bench.operations import OPERATIONS
from bench.prepare import prepare
from bench.run import Plan, run
from bench.servers import up
from bench.short import short
from bench.targets import Bench, Target, load, work_folder
from bench.trial import ANY, NAGLE, NODELAY, Operation


def main() -> int:
    """The command; returns the exit status."""
    arguments = _parser().parse_intermixed_args()
    bench, targets = load()
    try:
        _COMMANDS[arguments.command](arguments, bench, targets)
    except (processes.Absent, RuntimeError, TimeoutError, ValueError, OSError) as error:
        note(f"bench: {error}")
        return 1
    return 0


def note(text: str) -> None:
    """Say what happens, beside the tables."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def say(text: str) -> None:
    """Put out what was asked for."""
    sys.stdout.write(f"{text}\n")


def _list(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    for target in targets.values():
        state = "runs" if processes.running(target) else ""
        say(f"target     {target.name:25s} {state}")
    for operation in OPERATIONS.values():
        modes = "" if operation.modes == ANY else f" ({', '.join(operation.modes)})"
        say(f"operation  {operation.name:18s} {operation.about}{modes}")


def _up(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    for target in _chosen(arguments.names, targets):
        up(target, bench)
        note(f"{target.name} serves; its data is in {target.folder}")


def _down(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    for target in _chosen(arguments.names or list(targets), targets):
        if processes.stop(target):
            note(f"{target.name} stopped")


def _prepare(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    for target in _chosen(arguments.names, targets):
        prepare(target, bench, arguments.studies, arguments.ct_studies, note)


def _run(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    plan = Plan(
        targets=_chosen(arguments.names, targets),
        operations=_operations(arguments.ops),
        modes=(*arguments.modes.split(","), *ANY),
        repetitions=arguments.reps,
        scale=arguments.scale,
        out=arguments.out,
    )
    measured = run(plan, bench, note)
    say(table.details(measured) if arguments.details else table.comparison(measured))


def _report(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    measured = rows.read(map(Path, arguments.names))
    say(table.details(measured) if arguments.details else table.comparison(measured))


def _short(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    say(short(note))


def _machine(arguments: argparse.Namespace, bench: Bench, targets: dict[str, Target]) -> None:
    folder = Path(arguments.names[0]) if arguments.names else work_folder()
    for line in machine.limits(folder):
        say(line)


def _chosen(names: list[str], targets: dict[str, Target]) -> list[Target]:
    """Raises ValueError when there is no such target, or none is named."""
    unknown = [name for name in names if name not in targets]
    if unknown or not names:
        raise ValueError(f"no target {', '.join(unknown)}; there are: {', '.join(targets)}")
    return [targets[name] for name in names]


def _operations(patterns: str) -> list[Operation]:
    """Raises ValueError when nothing fits."""
    wanted = patterns.split(",")
    found = [
        operation
        for name, operation in OPERATIONS.items()
        if any(fnmatch.fnmatch(name, pattern) for pattern in wanted)
    ]
    if not found:
        raise ValueError(f"no operation {patterns}; `list` names them")
    return found


_COMMANDS = {
    "list": _list,
    "up": _up,
    "down": _down,
    "prepare": _prepare,
    "run": _run,
    "report": _report,
    "short": _short,
    "machine": _machine,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=_COMMANDS)
    parser.add_argument("names", nargs="*", metavar="TARGET")
    parser.add_argument("--ops", default="*", metavar="NAME,...", help="operations, with wildcards")
    parser.add_argument("--modes", default=f"{NODELAY},{NAGLE}", help="how clients write")
    parser.add_argument("--reps", type=int, default=3, help="repetitions (%(default)s)")
    parser.add_argument("--scale", type=float, default=1.0, help="of the amounts that are sent")
    parser.add_argument("--studies", type=int, default=20_000, help="prepare: %(default)s")
    parser.add_argument("--ct-studies", type=int, default=4, help="prepare: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append what is measured")
    parser.add_argument("--details", action="store_true", help="a line for each target")
    return parser


if __name__ == "__main__":
    sys.exit(main())
