"""Conditions on worklist records in SQL; every value is a parameter.

What is said here of names and texts is what `santepacs.model.worklist_matching` says.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

from santepacs.model.worklist_matching import WILDCARD, is_universal

_TRIGRAMS = 12  # of a pattern that are looked up: enough to find it, and the rest is compared


class Conditions:
    """Conditions that must all hold."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.parameters: list[Any] = []

    def sql(self) -> str:
        """Them all, as one condition."""
        return " AND ".join(self._texts) or "true"

    def add(self, text: str, *parameters: Any) -> None:
        """One in SQL."""
        self._texts.append(text)
        self.parameters.extend(parameters)

    def any_of(self, alternatives: "Iterable[Conditions]") -> None:
        """At least one of `alternatives`, if there are any."""
        alternatives = list(alternatives)
        if alternatives:
            joined = " OR ".join(f"({conditions.sql()})" for conditions in alternatives)
            self.add(f"({joined})", *(p for c in alternatives for p in c.parameters))

    def text(self, column: str, wanted: str) -> None:
        """A text that may hold wildcards."""
        if is_universal(wanted):
            return
        if WILDCARD.search(wanted):
            # Said in this way, so that indexes of what is not empty may be used.
            self.add(f"({column} <> '' AND {column} LIKE %s)", like(wanted))
        else:
            self.add(f"({column} <> '' AND {column} = %s)", wanted)

    def text_of(self, column: str, wanted: Sequence[str]) -> None:
        """Any of several texts; of an empty one the column is empty, too."""
        literal = [one for one in wanted if not WILDCARD.search(one)]
        alternatives = [_text(column, one) for one in wanted if WILDCARD.search(one)]
        if literal:
            conditions = Conditions()
            conditions.add(f"{column} = ANY(%s)", literal)
            alternatives.append(conditions)
        self.any_of(alternatives)

    def name(self, column: str, patterns: Sequence[str]) -> None:
        """A person's name, of which `column` has the folded groups, like any of `patterns`."""
        if patterns:
            alternatives = [like(pattern) for pattern in patterns]
            groups = (f"{column}[{number}] LIKE ANY(%s)" for number in (1, 2, 3))
            self.add(f"({' OR '.join(groups)})", *[alternatives] * 3)

    def trigrams(self, column: str, patterns: Sequence[str]) -> None:
        """What the index of trigrams says of names like `patterns`, if it says anything.

        Less than `name` asks for, but quickly; to look at rows one by one it is a burden.
        """
        if is_rare_name(patterns):
            self.add(f"{column} <> '{{}}'")
            self.any_of(_has(column, trigrams_of(pattern)) for pattern in patterns)

    def between(self, column: str, low: str, high: str) -> None:
        """An inclusive range with open ends where there is no bound."""
        if low or high:
            self.add(f"{column} <> ''")
        if low:
            self.add(f"{column} >= %s", low)
        if high:
            self.add(f"{column} <= %s", high)


def like(wanted: str) -> str:
    """A pattern of ``*`` and ``?`` as one of LIKE."""
    escaped = re.sub(r"([\\%_])", r"\\\1", wanted)
    return escaped.replace("*", "%").replace("?", "_")


def is_rare_name(patterns: Sequence[str]) -> bool:
    """Whether the index of trigrams finds names like these."""
    return bool(patterns) and all(map(trigrams_of, patterns))


def trigrams_of(pattern: str) -> list[str]:
    """Runs of three characters that each group like `pattern` has, with its ends."""
    runs = [run for run in WILDCARD.split(f"  {pattern}=") if len(run) >= 3]
    found = sorted({run[i : i + 3] for run in runs for i in range(len(run) - 2)})
    return found[:: -(-len(found) // _TRIGRAMS)] if found else []


def is_rare_text(wanted: str) -> bool:
    """Whether the index of a column finds its texts like `wanted`: it knows how they begin."""
    return not is_universal(wanted) and not wanted.startswith(("*", "?"))


def _has(column: str, trigrams: list[str]) -> Conditions:
    conditions = Conditions()
    conditions.add(f"name_trigrams({column}) @> %s::text[]", trigrams)
    return conditions


def _text(column: str, wanted: str) -> Conditions:
    conditions = Conditions()
    conditions.text(column, wanted)
    return conditions
