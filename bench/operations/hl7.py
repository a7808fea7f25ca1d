"""Orders by HL7: how many are placed and acknowledged; servers named hl7-* keep nothing."""

from functools import partial

from bench import mllp
from bench.targets import HOST
from bench.trial import ANY, LeftOut, Operation, Result, Trial

MESSAGES = 2000


def send(trial: Trial, connections: int) -> Result:
    """Send orders that were sent before, as new messages."""
    if not trial.target.hl7_port:
        raise LeftOut("no HL7 port")
    count = trial.amount(MESSAGES)
    with trial.watched():
        sent = mllp.send_orders((HOST, trial.target.hl7_port), count, connections)
    return Result(count, sent.wall, sent.bytes, sent.latencies)


OPERATIONS = (
    Operation(
        "hl7_1", f"{MESSAGES} orders by HL7, 1 connection", partial(send, connections=1), ANY
    ),
    Operation("hl7_16", "the same, 16 connections", partial(send, connections=16), ANY),
)
