"""Sets of tasks, kept as spans so that a million of them cost nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec import Struct

__all__ = ["ONE_TASK", "TaskSet"]


class TaskSet(Struct, frozen=True, array_like=True):
    """Positions of tasks inside a job, counted from 0; sorted, disjoint, half-open spans."""

    spans: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, positions: Iterable[int]) -> TaskSet:
        """The smallest spans that hold exactly these positions."""
        spans: list[tuple[int, int]] = []
        for position in sorted(set(positions)):
            if spans and spans[-1][1] == position:
                spans[-1] = (spans[-1][0], position + 1)
            else:
                spans.append((position, position + 1))
        return cls(tuple(spans))

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
        return any(start <= position < stop for start, stop in self.spans)  # type: ignore[operator]


ONE_TASK = TaskSet.first(1)
