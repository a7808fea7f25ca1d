"""What messages do to the steps that are known: pure decisions in memory, one message after the
other, so that each sees what those before it did. The rules stand in `order_rules` and
`patient_rules`; which records a message may touch at all, in `identity`.
"""

from collections import Counter
from collections.abc import Sequence

from santepacs.model.order import Command, OrderCommand, PatientCommand
from santepacs.worklist import patient_rules
from santepacs.worklist.board import Board, Origin
from santepacs.worklist.identity import Taken, order_numbers
from santepacs.worklist.order_rules import OrderRules


def decide(
    board: Board, rules: OrderRules, commands: Sequence[Command], origin: Origin
) -> list[str]:
    """Do what a message asks; returns remarks for its sender.

    Raises Malformed for what cannot be done; then nothing of it was.
    """
    for command in commands:
        if isinstance(command, PatientCommand):
            patient_rules.check_merge(command)
    orders = [command for command in commands if isinstance(command, OrderCommand)]
    with_number = Counter(order_numbers(command.record) for command in orders)
    taken: Taken = {}
    remarks = [
        patient_rules.take(board, command, origin)
        if isinstance(command, PatientCommand)
        else rules.take(
            command, origin, alone=with_number[order_numbers(command.record)] == 1, taken=taken
        )
        for command in commands
    ]
    rules.supersede(orders, origin)
    return [*dict.fromkeys(filter(None, remarks))]
