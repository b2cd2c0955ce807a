"""Many tasks as one job: their indices, their parameters. Pure, and nothing grows with the number of tasks.

A task has a *position* (0 … count-1, what the store and the clusters count by) and an *index* (the user's
own number, what people, the job's environment and the API say).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate, pairwise
from math import prod

from msgspec import Struct

from .tasks import TaskSet

__all__ = ["MOST_TASKS", "ArraySpec", "Numbering", "Range", "parse_indices", "ranges_of", "spell_indices"]

MOST_TASKS = 1_000_000
"""How many tasks one job may have."""
_MOST_INDEX = (1 << 31) - 1


class Range(Struct, frozen=True, array_like=True, order=True):
    """``first, first+step, …`` up to and including ``last``, which is one of them."""

    first: int
    last: int
    step: int = 1

    def __len__(self) -> int:
        return (self.last - self.first) // self.step + 1


class ArraySpec(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which tasks there are and what tells them apart.

    At most one of ``grid`` and ``rows`` is given; without either, a task is told its index only.
    """

    ranges: tuple[Range, ...]
    """The user's indices, rising and disjoint; see `parse_indices`."""
    max_parallel: int | None = None
    """So many run at a time; None: as many as have room."""
    grid: dict[str, tuple[str, ...]] = {}
    """Values of each parameter. Index i stands for the i-th combination, the last name varying fastest."""
    rows: tuple[str, ...] = ()
    """Digests of the blobs that together are the table of an array file: one JSON object a line,
    ``{"args": [...]}``, ``{"env": {...}}`` or ``{"command": "..."}``; index i stands for line i."""
    row_count: int = 0

    @property
    def count(self) -> int:
        """How many tasks there are."""
        return sum(len(range_) for range_ in self.ranges)

    @property
    def bounds(self) -> tuple[int, int, int]:
        """(lowest index, highest index, step), as ``SLURM_ARRAY_TASK_MIN _MAX _STEP`` say."""
        steps = {range_.step for range_ in self.ranges if len(range_) > 1}
        return self.ranges[0].first, self.ranges[-1].last, steps.pop() if len(steps) == 1 else 1

    def index(self, position: int) -> int:
        """The index at a position. Raises IndexError."""
        left = position
        for range_ in self.ranges:
            if 0 <= left < len(range_):
                return range_.first + left * range_.step
            left -= len(range_)
        raise IndexError(f"there is no task at position {position}")

    def position(self, index: int) -> int | None:
        """The position of an index; None when there is no such task."""
        ends = list(accumulate(map(len, self.ranges), initial=0))
        at = bisect_right([range_.first for range_ in self.ranges], index) - 1
        if at < 0 or index > self.ranges[at].last or (index - self.ranges[at].first) % self.ranges[at].step:
            return None
        return ends[at] + (index - self.ranges[at].first) // self.ranges[at].step

    def indices(self) -> Iterator[int]:
        """All of them, in order of position."""
        for range_ in self.ranges:
            yield from range(range_.first, range_.last + 1, range_.step)

    def only(self, positions: TaskSet) -> tuple[Range, ...]:
        """The ranges of some of the tasks: what a re-run of these has."""
        return ranges_of(map(self.index, positions))

    def combination(self, index: int) -> Mapping[str, str]:
        """What the grid says for an index; empty without a grid. Raises IndexError."""
        if not 0 <= index < prod(map(len, self.grid.values())):
            raise IndexError(f"the grid has no combination {index}")
        chosen = {}
        for name, values in reversed(self.grid.items()):
            index, at = divmod(index, len(values))
            chosen[name] = values[at]
        return dict(reversed(chosen.items()))


class Numbering:
    """Positions and indices of one array; quick however many ranges there are."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self.ranges = tuple(ranges)
        self._firsts = [range_.first for range_ in self.ranges]
        *self._starts, self.count = accumulate(map(len, self.ranges), initial=0)

    def index(self, position: int) -> int:
        """The index at a position. Raises IndexError."""
        if not 0 <= position < self.count:
            raise IndexError(f"there is no task at position {position}")
        at = bisect_right(self._starts, position) - 1
        return self._firsts[at] + (position - self._starts[at]) * self.ranges[at].step

    def positions(self, wanted: Iterable[Range]) -> TaskSet:
        """Those of the tasks whose indices are among the wanted."""
        spans: list[tuple[int, int]] = []
        for one in wanted:
            at = max(bisect_right(self._firsts, one.first) - 1, 0)
            while at < len(self.ranges) and self._firsts[at] <= one.last:
                spans += _common(self.ranges[at], self._starts[at], one)
                at += 1
        return TaskSet.joined(sorted(spans))

    def lacking(self, wanted: Iterable[Range]) -> list[int]:
        """Those named one by one that are no task; a range may reach over gaps and ends."""
        return [one.first for one in wanted if one.first == one.last and not self.positions([one])]


def _common(tasks: Range, start: int, wanted: Range) -> Iterable[tuple[int, int]]:
    """The spans of positions, counted from ``start``, of the tasks of one range that are wanted."""
    low, high = max(tasks.first, wanted.first), min(tasks.last, wanted.last)
    if wanted.step == 1:
        first = start + -(-(low - tasks.first) // tasks.step)
        return [(first, start + (high - tasks.first) // tasks.step + 1)] if low <= high else []
    low += -(low - wanted.first) % wanted.step
    found = (index - tasks.first for index in range(low, high + 1, wanted.step))
    return [
        (start + far // tasks.step, start + far // tasks.step + 1) for far in found if not far % tasks.step
    ]


def ranges_of(indices: Iterable[int]) -> tuple[Range, ...]:
    """Rising, disjoint ranges of these indices; a step other than 1 needs three of them."""
    rising = sorted(set(indices))
    ranges: list[Range] = []
    at = 0
    while at < len(rising):
        first, end = rising[at], at + 1
        step = rising[end] - first if end < len(rising) else 1
        while end < len(rising) and rising[end] - rising[end - 1] == step:
            end += 1
        if step > 1 and end - at < 3:
            end = at + 1
        ranges.append(Range(first, rising[end - 1], step if end - at > 1 else 1))
        at = end
    return tuple(ranges)


def parse_indices(text: str) -> tuple[tuple[Range, ...], int | None]:
    """(ranges, how many at a time) of ``0-99``, ``1-100:2``, ``1,5,9``, ``0-999%10``.

    Raises ValueError with a sentence. Source: sbatch(1), --array.
    """
    words, percent, most = text.partition("%")
    if percent and not (most.isdecimal() and int(most) > 0):
        raise ValueError(f"after % stands how many tasks run at a time, such as 0-99%10; not {most!r}")
    spans = [_one_range(word) for word in words.split(",")]
    count = sum(map(len, spans))
    if count > MOST_TASKS:
        raise ValueError(f"{count:,} tasks are more than one job may have ({MOST_TASKS:,})")
    return _merged(spans), int(most) if percent else None


def spell_indices(ranges: Iterable[Range]) -> str:
    """As a user would have typed them: ``0-9,20-30:5``."""
    return ",".join(map(_spell, ranges))


def _spell(range_: Range) -> str:
    if range_.first == range_.last:
        return str(range_.first)
    return f"{range_.first}-{range_.last}" + (f":{range_.step}" if range_.step > 1 else "")


def _one_range(word: str) -> Range:
    wrong = ValueError(f"{word!r} names no tasks; write 0-99, 1-100:2 or 1,5,9, and %10 for ten at a time")
    span, colon, step = word.partition(":")
    first, dash, last = span.partition("-")
    last = last if dash else first
    if not (_is_index(first) and _is_index(last)) or (colon and not (dash and step.isdecimal())):
        raise wrong
    low, high, by = int(first), int(last), int(step) if colon else 1
    if by == 0:
        raise ValueError(f"in {word!r} the step is 0; it has to be 1 or more")
    if high < low:
        raise ValueError(f"in {word!r} the first index is above the last")
    if high > _MOST_INDEX:
        raise ValueError(f"in {word!r} an index is above {_MOST_INDEX}")
    return Range(low, high - (high - low) % by, by)


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _merged(spans: list[Range]) -> tuple[Range, ...]:
    """As they are when they rise and do not touch each other's ground; else sorted out one by one."""
    spans = sorted(spans)
    if all(before.last < after.first for before, after in pairwise(spans)):
        return tuple(spans)
    return ranges_of(index for span in spans for index in range(span.first, span.last + 1, span.step))
