"""Sets of tasks, kept as spans so that a million of them cost nothing."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from msgspec import Struct

__all__ = ["ONE_TASK", "TaskSet"]

_Span = tuple[int, int]


class TaskSet(Struct, frozen=True, array_like=True):
    """Positions of tasks inside a job, counted from 0; sorted, disjoint, half-open spans."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, positions: Iterable[int]) -> TaskSet:
        """The smallest spans that hold exactly these positions."""
        return cls.joined((position, position + 1) for position in sorted(set(positions)))

    @classmethod
    def joined(cls, spans: Iterable[tuple[int, int]]) -> TaskSet:
        """The smallest spans that hold what these hold. They come in order of their starts; they may touch
        or overlap."""
        found: list[_Span] = []
        for start, stop in spans:
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(found[-1][1], stop))
            elif start < stop:
                found.append((start, stop))
        return cls(tuple(found))

    @classmethod
    def first(cls, count: int) -> TaskSet:
        """The positions 0 … count-1."""
        return cls(((0, count),))

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.spans:
            yield from range(start, stop)

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.spans)

    def __contains__(self, position: object) -> bool:
        if not isinstance(position, int):
            return False
        at = bisect_right(self.spans, position, key=_start) - 1
        return at >= 0 and position < self.spans[at][1]

    def __or__(self, other: TaskSet) -> TaskSet:
        return TaskSet.joined(sorted((*self.spans, *other.spans)))

    def __and__(self, other: TaskSet) -> TaskSet:
        return TaskSet(tuple(part for start, stop in other.spans for part in self.within(start, stop)))

    def __sub__(self, other: TaskSet) -> TaskSet:
        return TaskSet(tuple(part for start, stop in self.spans for part in other.outside(start, stop)))

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The spans of those from ``start`` up to, not including, ``stop``."""
        at = max(bisect_right(self.spans, start, key=_start) - 1, 0)
        while at < len(self.spans) and self.spans[at][0] < stop:
            first, end = max(self.spans[at][0], start), min(self.spans[at][1], stop)
            if first < end:
                yield first, end
            at += 1

    def outside(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """The spans of what is missing from ``start`` up to, not including, ``stop``."""
        for first, end in self.within(start, stop):
            if start < first:
                yield start, first
            start = end
        if start < stop:
            yield start, stop


def _start(span: _Span) -> int:
    return span[0]


ONE_TASK = TaskSet.first(1)
