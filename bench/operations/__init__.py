"""Everything that can be measured."""

from bench.operations import finding, hl7, retrieving, storing, worklist
from bench.trial import Operation

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for module in (storing, finding, retrieving, worklist, hl7)
    for operation in module.OPERATIONS
}
