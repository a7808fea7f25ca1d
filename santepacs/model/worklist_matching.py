"""How texts and names of worklist queries match (PS3.4 C.2.2.2), for SQL and for explanations.

A text matches as it is written; a name without regard to case and accents, by any of its component
groups. Only ``*`` and ``?`` are wildcards, and what matches everything asks for nothing.
"""

import re

from santepacs.model.names import fold, fold_person_name
from santepacs.model.patterns import glob

WILDCARD = re.compile(r"([*?])")
LAST_TIME = "235959"
"""Of a day: where a range of date and time has no time at its end."""
_NEVER = "\ufffd"  # no stored name has it


def is_universal(wanted: str) -> bool:
    """Whether a key asks for nothing."""
    return not wanted.strip("*")


def text_matches(wanted: str, text: str) -> bool:
    """Whether a text that is known matches a key. One that is empty is not known."""
    if is_universal(wanted):
        return True
    return bool(text) and glob(wanted, text)


def name_patterns(wanted: str) -> list[str]:
    """Patterns for folded component groups, any of which may match; none: everybody matches.

    An absent component is an empty one, so that ``DOE^*`` is also ``DOE``.
    """
    return [
        pattern
        for group in wanted.split("=")
        if group.strip("*^ ")
        for pattern in _with_components_absent(_folded(group))
    ]


def name_matches(wanted: str, name: str) -> bool:
    """Whether a PN value matches a key."""
    patterns = name_patterns(wanted)
    groups = [group for group in fold_person_name(name) if group]
    return not patterns or any(glob(one, group) for one in patterns for group in groups)


def _folded(group: str) -> str:
    """What is literal folded; other characters that fold to wildcards are none."""
    parts = WILDCARD.split(group)
    for place in range(0, len(parts), 2):
        components = (fold(component) for component in parts[place].split("^"))
        parts[place] = WILDCARD.sub(_NEVER, "^".join(components))
    return "".join(parts).rstrip("^")


def _with_components_absent(pattern: str) -> list[str]:
    patterns = [pattern]
    while pattern.endswith("^*"):
        pattern = pattern[:-2].rstrip("^")
        if pattern.strip("*"):
            patterns.append(pattern)
    return patterns
