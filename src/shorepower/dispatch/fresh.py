"""Submissions that were just recorded, on their way to the loop that hands them over.

Whoever recorded one has all of it in hand: so the store is not asked again. What does not fit in here, or
became due in another way, is found in the store.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from ..model.job import Job, JobSpec, Submission
from .news import Waiter

__all__ = ["Fresh", "Known"]

Known: TypeAlias = tuple[Job, JobSpec, Submission]

_LIMIT = 1024


class Fresh(Waiter):
    """Of one cluster, oldest first; bounded. Its one reader is the loop."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: dict[str, Known] = {}
        self.missed = True
        """The store may hold some that are not in here."""

    def wake(self) -> None:
        """Something is due that nobody offers."""
        self.missed = True
        self.nudge()

    def nudge(self) -> None:
        """There is something to do, but nothing new in the store."""
        super().wake()

    def offer(self, job: Job, spec: JobSpec, submission: Submission) -> None:
        """It is on record, and due."""
        if self.missed or len(self._waiting) >= _LIMIT:
            self.missed = True  # what comes later must not be handed over earlier
        else:
            self._waiting[submission.id] = (job, spec, submission)
        self.nudge()

    def take(self, most: int) -> list[Known]:
        """The oldest."""
        names = [name for name, _ in zip(self._waiting, range(most), strict=False)]
        return [self._waiting.pop(name) for name in names]

    def forget(self, names: Iterable[str]) -> None:
        """They were found in the store."""
        for name in names:
            self._waiting.pop(name, None)
