"""The HL7 field mapping as JSON: how it is kept, exported and imported."""

import json

from santepacs.errors import Malformed
from santepacs.worklist.mapping import FieldMapping, from_dictionary


def parsed(content: str, where: str) -> FieldMapping:
    """The mapping that JSON stands for. Raises Malformed naming `where` and what is wrong."""
    try:
        return from_dictionary(json.loads(content))
    except json.JSONDecodeError as problem:
        raise Malformed(f"{where} is not JSON: {problem}") from None
    except (RecursionError, ValueError):
        raise Malformed(f"{where} is not JSON that can be read") from None
    except Malformed as problem:
        raise Malformed(f"{where}: {problem}") from None


def written(mapping: FieldMapping) -> str:
    """The mapping as JSON, one row a line."""
    content = mapping.as_dictionary()
    rows = ",\n".join(f"  {json.dumps(row)}" for row in content["rows"])
    return f'{{\n "format": {content["format"]},\n "rows": [\n{rows}\n ]\n}}\n'
