"""Reading HL7 messages: how many a second, in a process that does nothing else."""

import json
import os
import subprocess
from pathlib import Path

from bench.messages import PLACES, messages
from bench.processes import Command
from bench.targets import HERE
from bench.trial import ANY, LeftOut, Operation, Result, Trial

MESSAGES = 10_000


def parse(trial: Trial) -> Result:
    """Read messages and look for some values in each."""
    parser = trial.target.parser
    if not parser:
        raise LeftOut("no parser")
    python = Path(parser["programs"] or "/nowhere") / "python"
    if not os.access(python, os.X_OK):
        raise LeftOut(f"there is no {python}")
    texts = list(messages(trial.amount(MESSAGES)))
    command: Command = [python, HERE / "parsers.py", parser["kind"], json.dumps(PLACES)]
    sent = b"".join(text + b"\x1c\r" for text in texts)
    # Not where the sources lie: what is installed is measured.
    done = subprocess.run(command, input=sent, capture_output=True, cwd="/")
    if done.returncode:
        raise RuntimeError(done.stderr.decode("utf-8", "replace").strip()[-200:])
    said = json.loads(done.stdout)
    if said["count"] != len(texts):
        raise RuntimeError(f"{said['count']} of {len(texts)} messages were read")
    trial.server_cpu = said["cpu"]
    extra = {"found": said["found"] / said["count"]}
    return Result(len(texts), said["wall"], sum(map(len, texts)), extra=extra)


OPERATIONS = (
    Operation("parse", f"{MESSAGES} HL7 messages read, {len(PLACES)} values of each", parse, ANY),
)
