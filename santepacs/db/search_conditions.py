"""Criteria in SQL: what `santepacs.model.matching.matches` says, said to PostgreSQL.

SQL comes from the table of columns alone; values are always parameters.
"""

import re
from collections.abc import Sequence
from typing import Any

from santepacs.db.search_columns import COLUMNS, Column, Kind, Level
from santepacs.errors import Malformed
from santepacs.model import names
from santepacs.model.matching import (
    Between,
    BetweenMoments,
    Criterion,
    Equals,
    Fuzzy,
    Like,
    OneOf,
)
from santepacs.model.names import asked_words
from santepacs.model.patterns import name_patterns

_TRIGRAMS = 12  # of a pattern that are looked up: enough to find it, and the rest is compared


def where(
    level: Level, criteria: Sequence[Criterion], *, trigrams: bool = True
) -> tuple[str, list[Any]]:
    """`criteria` as an SQL condition with its parameters.

    Criteria on attributes that the level does not match are left out (PS3.4 C.2.2.2: optional
    keys that are not supported). Without `trigrams` their indexes are not used: to look at rows
    one by one they are a burden. Raises Malformed for a value that its column cannot have.
    """
    columns = COLUMNS[level]
    conditions = ["TRUE"]
    parameters: list[Any] = []
    for criterion in criteria:
        for sql, values in (
            _condition(columns, criterion),
            _indexed(columns, criterion) if trigrams else _NOTHING,
        ):
            if sql:
                conditions.append(sql)
                parameters.extend(values)
    return " AND ".join(conditions), parameters


_Sql = tuple[str, list[Any]]
_NOTHING: _Sql = ("", [])
_NEVER: _Sql = ("FALSE", [])


def _condition(columns: dict[str, Column], criterion: Criterion) -> _Sql:
    if isinstance(criterion, BetweenMoments):
        return _moments(columns, criterion)
    column = columns.get(criterion.attribute)
    if column is None or column.kind is Kind.ANSWER:
        return _NOTHING
    if isinstance(criterion, Between):
        return _between(column.value, criterion.low, criterion.high)
    if column.kind is Kind.NAME:
        return _any_name(column, criterion)
    if isinstance(criterion, Fuzzy):
        return _NOTHING
    if column.kind is Kind.NUMBER:
        return _number(column.value, criterion)
    if column.kind is Kind.LIST:
        return _list(column.value, criterion)
    return _text(column, criterion)


def _between(value: str, low: str, high: str) -> _Sql:
    conditions, parameters = [f"{value} <> ''"], []
    for sign, bound in ((">=", low), ("<=", high)):
        if bound:
            conditions.append(f"{value} {sign} %s")
            parameters.append(bound)
    return " AND ".join(conditions), parameters


def _moments(columns: dict[str, Column], criterion: BetweenMoments) -> _Sql:
    date, time = columns.get(criterion.date_attribute), columns.get(criterion.time_attribute)
    if date is None or time is None:
        return _NOTHING
    # The days alone say less than the moments, but have an index.
    days, bounds = _between(date.value, criterion.low[:8], criterion.high[:8])
    moments, more = _between(f"({date.value} || {time.value})", criterion.low, criterion.high)
    return f"{days} AND {moments}", bounds + more


def _text(column: Column, criterion: Equals | OneOf | Like) -> _Sql:
    if isinstance(criterion, OneOf):
        return f"{column.value} = ANY (%s)", [list(criterion.values)]
    if isinstance(criterion, Equals):
        return f"{column.value} = %s", [criterion.value]
    return f"{column.value} LIKE %s", [_like(criterion.pattern)]


def _number(value: str, criterion: Equals | OneOf | Like) -> _Sql:
    wanted = criterion.values if isinstance(criterion, OneOf) else (_single(criterion),)
    try:
        return f"{value} = ANY (%s::numeric[])", [[int(one) for one in wanted]]
    except ValueError:
        raise Malformed(f"{criterion.attribute} is no whole number") from None


def _list(value: str, criterion: Equals | OneOf | Like) -> _Sql:
    if isinstance(criterion, Like):
        return f"EXISTS (SELECT FROM unnest({value}) one WHERE one LIKE %s)", [
            _like(criterion.pattern)
        ]
    wanted = criterion.values if isinstance(criterion, OneOf) else (criterion.value,)
    return f"{value} && %s::text[]", [list(wanted)]


def _any_name(column: Column, criterion: Equals | OneOf | Like | Fuzzy) -> _Sql:
    wanted = criterion.values if isinstance(criterion, OneOf) else (_single(criterion),)
    alternatives = [_name(column, one) for one in wanted]
    if isinstance(criterion, Fuzzy):
        alternatives.append(_words(column, criterion.pattern))
    return _joined(" OR ", alternatives)


def _single(criterion: Equals | OneOf | Like | Fuzzy) -> str:
    if isinstance(criterion, Like | Fuzzy):
        return criterion.pattern
    return criterion.value if isinstance(criterion, Equals) else ""


def _name(column: Column, pattern: str) -> _Sql:
    wanted = name_patterns(pattern)
    if len(wanted) == 1:
        return _any_group(column.groups, wanted[0])
    placed = [
        _any_group([group], patterns)
        for group, patterns in zip(column.groups, wanted, strict=False)
        if patterns
    ]
    return _joined(" AND ", placed)


def _any_group(groups: Sequence[str], patterns: Sequence[str]) -> _Sql:
    """Any of `patterns` matches any of the columns `groups`."""
    return _joined(" OR ", [_group(group, pattern) for pattern in patterns for group in groups])


def _group(group: str, pattern: str) -> _Sql:
    # Only of what is not empty the indexes of the later groups know; PostgreSQL cannot conclude it.
    if not pattern.strip("*"):
        return f"{group} <> ''", []
    if "*" in pattern or "?" in pattern:
        return f"{group} LIKE %s AND {group} <> ''", [_like(pattern)]
    return f"{group} = %s", [pattern]


def _words(column: Column, pattern: str) -> _Sql:
    """A name has each of the words that are asked for, in any order and script."""
    asked = asked_words(pattern)
    if not asked:
        return _NEVER
    lexemes = [
        " | ".join(f"'{word[:-1]}':*" if word.endswith("*") else f"'{word}'" for word in spellings)
        for spellings in asked
    ]
    return f"{column.words} @@ %s::tsquery", [" & ".join(f"({one})" for one in lexemes)]


def _joined(operator: str, conditions: Sequence[_Sql]) -> _Sql:
    if not conditions:
        return _NEVER
    sql = operator.join(f"({one})" for one, _ in conditions)
    return f"({sql})", [value for _, values in conditions for value in values]


def _indexed(columns: dict[str, Column], criterion: Criterion) -> _Sql:
    """What the index of trigrams says of `criterion`: less than it asks for, but quickly.

    Only where a pattern begins with a wildcard: others the index of the column itself finds.
    """
    if not isinstance(criterion, Like) or criterion.attribute not in columns:
        return _NOTHING
    column = columns[criterion.attribute]
    patterns = [criterion.pattern]
    if column.kind is Kind.NAME:
        # The last alternative of a group is the one that asks for least.
        patterns = [group[-1] for group in name_patterns(criterion.pattern) if group]
    if not column.trigrams or not any(pattern.startswith(("*", "?")) for pattern in patterns):
        return _NOTHING
    runs = [run for pattern in patterns for run in re.split(r"[*?]", pattern) if len(run) >= 3]
    found = sorted({one for run in runs for one in names.trigrams(run)})
    step = -(-len(found) // _TRIGRAMS)
    return (f"{column.trigrams} @> %s::text[]", [found[::step]]) if found else _NOTHING


def _like(pattern: str) -> str:
    """`pattern`, where only ``*`` and ``?`` are wildcards, as a pattern of LIKE."""
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
    return escaped.replace("*", "%").replace("?", "_")
