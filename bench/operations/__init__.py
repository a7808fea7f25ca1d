"""Everything that can be measured."""

from bench.operations import finding, hl7, parsing, portal, retrieving, storing, worklist
from bench.trial import Operation

OPERATIONS: dict[str, Operation] = {
    operation.name: operation
    for module in (storing, finding, retrieving, worklist, portal, hl7, parsing)
    for operation in module.OPERATIONS
}
