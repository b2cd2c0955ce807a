"""The part of the store's seam that is about the tasks of arrays. All is by position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import datetime

from msgspec import Struct

from ..model.lifecycle import Operation
from ..model.tasks import TaskSet

__all__ = ["TaskControl", "TaskReads", "TaskWrites"]


class TaskControl(Struct, frozen=True, kw_only=True):
    """An operation somebody asked of some tasks, until it is seen to have happened; one an operation."""

    job: str
    operation: Operation
    tasks: TaskSet
    requested_at: datetime
    requested_by: str
    serial: int
    """Grows with every request."""


class TaskReads(ABC):
    """What a snapshot tells of tasks. Letters and figures are packed by `model.chunks`."""

    @abstractmethod
    def task_letters(self, job: str, first: int, last: int) -> dict[int, bytes]:
        """The chunks on record from ``first`` up to and including ``last``."""

    @abstractmethod
    def task_figures(self, job: str, first: int, last: int) -> dict[int, bytes]:
        """The blocks on record from ``first`` up to and including ``last``."""

    @abstractmethod
    def task_metrics(self, job: str, first: int, last: int) -> dict[int, bytes]:
        """JSON by position, from ``first`` up to and including ``last``; only of tasks that wrote any."""

    @abstractmethod
    def task_controls(self, cluster: str | None = None, job: str | None = None) -> list[TaskControl]:
        """Those not yet seen to have happened, oldest first: of a cluster, of a job, or all."""


class TaskWrites(ABC):
    """What a transaction writes down of tasks; each inserts or replaces."""

    @abstractmethod
    def put_task_letters(self, job: str, chunks: Mapping[int, bytes]) -> None: ...

    @abstractmethod
    def put_task_figures(self, job: str, blocks: Mapping[int, bytes]) -> None: ...

    @abstractmethod
    def put_task_metrics(self, job: str, metrics: Mapping[int, bytes]) -> None: ...

    @abstractmethod
    def put_task_control(
        self, job: str, operation: Operation, tasks: TaskSet, by: str, at: datetime
    ) -> TaskControl:
        """With a new serial."""

    @abstractmethod
    def drop_task_control(self, job: str, serial: int | None = None) -> None:
        """It has happened; without ``serial``, all of the job."""
