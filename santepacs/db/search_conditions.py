"""Criteria in SQL: what `santepacs.model.matching.matches` says, said to PostgreSQL.

SQL comes from the table of columns alone; values are always parameters.
"""

import re
from collections.abc import Sequence
from typing import Any

from santepacs.db.search_columns import COLUMNS, Column, Kind, Level
from santepacs.errors import Malformed
from santepacs.model.matching import (
    Between,
    BetweenMoments,
    Criterion,
    Equals,
    Like,
    OneOf,
    name_patterns,
)
from santepacs.model.names import trigrams


def where(level: Level, criteria: Sequence[Criterion]) -> tuple[str, list[Any]]:
    """`criteria` as an SQL condition with its parameters.

    Criteria on attributes that the level does not match are left out (PS3.4 C.2.2.2: optional
    keys that are not supported). Raises Malformed for a value that its column cannot have.
    """
    conditions = ["TRUE"]
    parameters: list[Any] = []
    for criterion in criteria:
        sql, values = _condition(COLUMNS[level], criterion)
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
    if column.kind is Kind.NUMBER:
        return _number(column.value, criterion)
    if column.kind is Kind.LIST:
        return _list(column.value, criterion)
    if column.kind in (Kind.NAME, Kind.FOLDED_NAME):
        return _any_name(column, criterion)
    return _text(column.value, criterion)


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


def _text(value: str, criterion: Equals | OneOf | Like) -> _Sql:
    if isinstance(criterion, Like):
        return f"{value} LIKE %s", [_like(criterion.pattern)]
    if isinstance(criterion, OneOf):
        return f"{value} = ANY (%s)", [list(criterion.values)]
    return f"{value} = %s", [criterion.value]


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


def _any_name(column: Column, criterion: Equals | OneOf | Like) -> _Sql:
    wanted = criterion.values if isinstance(criterion, OneOf) else (_single(criterion),)
    single = _name if column.kind is Kind.NAME else _folded_name
    alternatives = [single(column.compared, one) for one in wanted]
    conditions = " OR ".join(f"({sql})" for sql, _ in alternatives)
    return f"({conditions})", [value for _, values in alternatives for value in values]


def _single(criterion: Equals | OneOf | Like) -> str:
    if isinstance(criterion, Like):
        return criterion.pattern
    return criterion.value if isinstance(criterion, Equals) else ""


def _name(table: str, pattern: str) -> _Sql:
    groups = [f"{table}.{group}" for group in ("alphabetic", "ideographic", "phonetic")]
    wanted = name_patterns(pattern)
    if len(wanted) == 1:
        sql, parameters = _one_name(groups, wanted[0])
    else:
        placed = [
            _one_name([group], patterns)
            for group, patterns in zip(groups, wanted, strict=False)
            if patterns
        ]
        if not placed:
            return _NEVER
        sql = " AND ".join(f"({one})" for one, _ in placed)
        parameters = [value for _, values in placed for value in values]
    runs = _inner_runs(wanted) if table == "s" else []
    if runs:
        return f"s.name_trigrams @> %s::text[] AND ({sql})", [runs, *parameters]
    return sql, parameters


def _folded_name(value: str, pattern: str) -> _Sql:
    return _one_name([value], name_patterns(pattern)[0])


def _one_name(groups: Sequence[str], patterns: Sequence[str]) -> _Sql:
    """Any of `patterns` matches any of the columns `groups`."""
    conditions, parameters = [], []
    for pattern in patterns:
        if not pattern.strip("*"):
            conditions += [f"{group} <> ''" for group in groups]
            continue
        wild = "*" in pattern or "?" in pattern
        for group in groups:
            conditions.append(f"{group} LIKE %s" if wild else f"{group} = %s")
            parameters.append(_like(pattern) if wild else pattern)
    return (" OR ".join(conditions), parameters) if conditions else _NEVER


def _inner_runs(wanted: Sequence[Sequence[str]]) -> list[str]:
    """Trigrams that any match has; only for a pattern that begins with a wildcard.

    Where a pattern begins with letters, the index of the column itself finds it.
    """
    # The last alternative of a group is the one that asks for least.
    least = [patterns[-1] for patterns in wanted if patterns]
    if not any(pattern.startswith(("*", "?")) for pattern in least):
        return []
    runs = [run for pattern in least for run in re.split(r"[*?]", pattern) if len(run) >= 3]
    return sorted({one for run in runs for one in trigrams(run)})


def _like(pattern: str) -> str:
    """`pattern`, where only ``*`` and ``?`` are wildcards, as a pattern of LIKE."""
    escaped = re.sub(r"([\\%_])", r"\\\1", pattern)
    return escaped.replace("*", "%").replace("?", "_")
