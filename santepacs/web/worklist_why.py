"""Why a record's fields have their values: what the message said, by the field mapping. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from santepacs.model.order import WorklistRecord
from santepacs.worklist.mapping import START, Trace


@dataclass(frozen=True, slots=True)
class Other:
    """A place that did not give the value, and why."""

    place: str
    raw: str
    remark: str


@dataclass(frozen=True, slots=True)
class Why:
    """Where the message has the value of a field.

    `place`: ``PID-5``; empty when nothing in it could be used. `value`: what it gave, `kept`:
    whether the record still has that.
    """

    place: str
    value: str
    kept: bool
    others: tuple[Other, ...]


def reasons(orders: Sequence[Sequence[Trace]], record: WorklistRecord) -> dict[str, Why]:
    """By field, from the traces of a message's orders: those of the order that fits best."""
    best = max(orders, key=lambda traces: _agreement(traces, record), default=())
    fields = dict.fromkeys(name for trace in best for name in _given(trace))
    return {name: _why(name, best, record) for name in fields}


def _given(trace: Trace) -> dict[str, str]:
    """The record fields that a trace speaks of, with their values; a time stamp has two."""
    if trace.field != START:
        return {trace.field: trace.value}
    start_date, _, start_time = trace.value.partition(" ")
    return {"start_date": start_date, "start_time": start_time}


def _agreement(traces: Sequence[Trace], record: WorklistRecord) -> int:
    return sum(
        getattr(record, name) == value
        for trace in traces
        if trace.used
        for name, value in _given(trace).items()
    )


def _why(name: str, traces: Sequence[Trace], record: WorklistRecord) -> Why:
    mine = [trace for trace in traces if name in _given(trace)]
    winner = next((trace for trace in mine if trace.used), None)
    others = tuple(Other(t.row.place, t.raw, t.remark) for t in mine if t is not winner)
    if winner is None:
        return Why("", "", False, others)
    value = _given(winner)[name]
    return Why(winner.row.place, value, getattr(record, name) == value, others)
