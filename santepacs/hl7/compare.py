"""Two messages side by side: which segments belong together, and which fields differ.

What is compared is what the fields mean: escapes decoded, trailing empty parts left out, each
message by its own delimiters. Segments are put together within the patient's part and within each
order (ORC with what follows it): equal ones first, then those that share most fields, then those
of the same number, then in order. Time is linear in the size of the messages.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from santepacs.hl7.escapes import unescape
from santepacs.hl7.message import Message, Segment

IGNORED = ("MSH-7", "MSH-10")
"""Time and control ID, which always differ."""
_CANDIDATES = 8  # segments with the same field that are looked at
_BEGINNINGS = ("ORC", "RGS")


class Verdict(StrEnum):
    """What a field is in two messages."""

    SAME = "same"
    DIFFERENT = "different"
    ONLY_FIRST = "only first"
    ONLY_SECOND = "only second"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class FieldComparison:
    """One field, numbered as HL7 does, with its text as it stands in each message."""

    number: int
    first: str
    second: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class SegmentComparison:
    """Two segments that belong together, or one that has no counterpart.

    `first` and `second`: the place of the segment in its message, from 1; None: it has none.
    """

    name: str
    first: int | None
    second: int | None
    fields: tuple[FieldComparison, ...]

    @property
    def verdict(self) -> Verdict:
        """Of the segment as a whole."""
        if self.second is None:
            return Verdict.ONLY_FIRST
        if self.first is None:
            return Verdict.ONLY_SECOND
        equal = (Verdict.SAME, Verdict.IGNORED)
        same = all(field.verdict in equal for field in self.fields)
        return Verdict.SAME if same else Verdict.DIFFERENT


def compare(a: Message, b: Message, *, ignore: Sequence[str] = IGNORED) -> list[SegmentComparison]:
    """The segments of both messages, in the order of the first with those of the second between.

    `ignore`: fields such as ``MSH-7`` whose difference does not count.
    """
    ignored = frozenset(name.strip().upper() for name in ignore)
    first, second = (_items(message, ignored) for message in (a, b))
    return [
        _segment(one, other, ignored)
        for group, counterpart in _pairs(_groups(first), _groups(second), _order_rounds)
        for one, other in _pairs(group or [], counterpart or [], _segment_rounds)
    ]


def differences(comparisons: Sequence[SegmentComparison]) -> list[SegmentComparison]:
    """Those that are not the same."""
    return [each for each in comparisons if each.verdict is not Verdict.SAME]


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of one message in a table."""

    text: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Table:
    """A pair of segments as a table: a column for each field, a row for each message."""

    name: str
    verdict: Verdict
    header: tuple[str, ...]
    first: tuple[Cell, ...]
    second: tuple[Cell, ...]


def tables(comparisons: Sequence[SegmentComparison]) -> list[Table]:
    """What a page or a file shows. Text is as in the messages: to be escaped."""
    return [
        Table(
            each.name,
            each.verdict,
            tuple(f"{each.name}-{field.number}" for field in each.fields),
            tuple(Cell(field.first, field.verdict) for field in each.fields),
            tuple(Cell(field.second, field.verdict) for field in each.fields),
        )
        for each in comparisons
    ]


# --- what a segment says --------------------------------------------------------------------------


class _Item:
    """A segment with what its fields mean, by their numbers; empty ones are left out."""

    __slots__ = ("index", "meaning", "number", "segment", "telling")

    def __init__(self, index: int, segment: Segment, message: Message, ignored: frozenset[str]):
        self.index = index
        self.segment = segment
        count = segment.text.count(message.delimiters.field) + (segment.name == "MSH")
        self.meaning: dict[int, Hashable] = {}
        for position in range(1, count + 1):
            text = segment.field(position)
            if segment.name == "MSH" and position <= 2:
                self.meaning[position] = text
            elif text and (meaning := _meaning(text, message)):
                self.meaning[position] = meaning
        set_id = segment.field(1).strip()
        self.number = (
            int(set_id) if set_id.isascii() and set_id.isdigit() and len(set_id) < 6 else 0
        )
        self.telling = {
            position: meaning
            for position, meaning in self.meaning.items()
            if f"{segment.name}-{position}" not in ignored and not (position == 1 and self.number)
        }


def _items(message: Message, ignored: frozenset[str]) -> list[_Item]:
    return [_Item(index, each, message, ignored) for index, each in enumerate(message, 1)]


def _meaning(text: str, message: Message) -> Hashable:
    """Repetitions of components of subcomponents, without trailing empty ones; None for nothing."""
    marks = message.delimiters

    def parts(whole: str, delimiters: Sequence[str]) -> Hashable:
        if not delimiters:
            return unescape(whole, marks, message.codec) or None
        found = [parts(part, delimiters[1:]) for part in whole.split(delimiters[0])]
        while found and found[-1] is None:
            found.pop()
        return tuple(found) or None

    return parts(text, (marks.repetition, marks.component, marks.subcomponent))


def _groups(items: Sequence[_Item]) -> list[list[_Item]]:
    """The part before the first order, then each order."""
    groups: list[list[_Item]] = [[]]
    names: set[str] = set()
    for item in items:
        name = item.segment.name
        if name in _BEGINNINGS or (name == "OBR" and ("OBR" in names or "ORC" not in names)):
            groups.append([])
            names = set()
        groups[-1].append(item)
        names.add(name)
    return groups


# --- what belongs together ------------------------------------------------------------------------

T = TypeVar("T")
_Round = tuple[float, list[set[Hashable]]]
"""How much two things must share, and what each of them has: things that share enough belong
together, in the order in which they come."""


def _order_rounds(groups: Sequence[list[_Item]]) -> Iterator[_Round]:
    """The first group is the patient's; orders go by their numbers, then as they come."""
    yield 1, [{"patient"} if place == 0 else set() for place, _ in enumerate(groups)]
    numbers: list[set[Hashable]] = [
        {
            (position, item.meaning[position])
            for item in group[:8]
            if item.segment.name in ("ORC", "OBR")
            for position in (2, 3)
            if position in item.meaning
        }
        for group in groups
    ]
    yield 1, numbers
    yield 0.5, numbers
    yield 1, [{"order"} if place else set() for place, _ in enumerate(groups)]


def _segment_rounds(items: Sequence[_Item]) -> Iterator[_Round]:
    """Equal ones, then alike ones, then those of the same number, then of the same name."""
    names = [item.segment.name for item in items]
    yield 1, [{(item.segment.name, *item.telling.items())} for item in items]
    fields: list[set[Hashable]] = [
        {(item.segment.name, *field) for field in item.telling.items()} for item in items
    ]
    yield 0.75, fields
    yield 0.5, fields
    yield 1, [{(item.segment.name, item.number)} if item.number else set() for item in items]
    yield 1, [{name} for name in names]


def _pairs(
    first: Sequence[T], second: Sequence[T], rounds: Callable[[Sequence[T]], Iterator[_Round]]
) -> Iterator[tuple[T | None, T | None]]:
    """What belongs together, in the order of `first`; what is only in `second` stands behind what
    precedes it there.
    """
    matched: dict[int, int] = {}
    for (share, keys), (_, others) in zip(rounds(first), rounds(second), strict=True):
        _match(share, keys, others, matched)
    partners = {other: one for one, other in matched.items()}
    behind: dict[int, list[int]] = defaultdict(list)
    place = -1
    for other in range(len(second)):
        place = partners.get(other, place)
        if other not in partners:
            behind[place].append(other)
    yield from ((None, second[other]) for other in behind[-1])
    for one, item in enumerate(first):
        yield item, second[matched[one]] if one in matched else None
        yield from ((None, second[other]) for other in behind[one])


def _match(
    share: float,
    keys: Sequence[set[Hashable]],
    others: Sequence[set[Hashable]],
    matched: dict[int, int],
) -> None:
    """Add to `matched` what has no partner yet and shares enough keys."""
    taken = set(matched.values())
    holders: dict[Hashable, deque[int]] = defaultdict(deque)
    for other, held in enumerate(others):
        if other not in taken:
            for key in held:
                holders[key].append(other)
    for one, held in enumerate(keys):
        if one in matched:
            continue
        votes: Counter[int] = Counter()
        for key in held:
            queue = holders.get(key, deque())
            while queue and queue[0] in taken:
                queue.popleft()
            votes.update(other for other in islice(queue, _CANDIDATES) if other not in taken)
        shares = (
            (count / max(len(held), len(others[other])), -other) for other, count in votes.items()
        )
        best, place = max(shares, default=(0.0, 0))
        if votes and best >= share:
            matched[one] = -place
            taken.add(-place)


# --- field by field -------------------------------------------------------------------------------


def _segment(one: _Item | None, other: _Item | None, ignored: frozenset[str]) -> SegmentComparison:
    present = [item for item in (one, other) if item]
    name = present[0].segment.name
    last = max((max(item.meaning, default=0) for item in present), default=0)
    return SegmentComparison(
        name,
        one.index if one else None,
        other.index if other else None,
        tuple(
            _field(number, one, other, f"{name}-{number}" in ignored)
            for number in range(1, last + 1)
        ),
    )


def _field(number: int, one: _Item | None, other: _Item | None, ignored: bool) -> FieldComparison:
    first, second = (item.meaning.get(number) if item else None for item in (one, other))
    if first == second:
        verdict = Verdict.SAME
    elif ignored:
        verdict = Verdict.IGNORED
    elif second is None:
        verdict = Verdict.ONLY_FIRST
    else:
        verdict = Verdict.ONLY_SECOND if first is None else Verdict.DIFFERENT
    text, counterpart = (item.segment.field(number) if item else "" for item in (one, other))
    return FieldComparison(number, text, counterpart, verdict)
