"""Rows of the tasks of arrays: what `SqlSnapshot` and `SqlTransaction` have of `store.tasks`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime

from ...model.errors import NotFound
from ...model.lifecycle import Operation
from ...model.tasks import TaskSet
from ..tasks import TaskControl, TaskReads, TaskWrites
from .rows import Params, Row, micros, task_control_from, tasks_text

__all__ = ["SqlTaskReads", "SqlTaskWrites"]

_PART = "FROM jobs j CROSS JOIN {table} t ON t.job = j.seq WHERE j.id = ? AND t.{key} BETWEEN ? AND ?"

_LETTERS = "SELECT t.chunk, t.states " + _PART.format(table="task_chunks", key="chunk")
_FIGURES = "SELECT t.block, t.figures " + _PART.format(table="task_figures", key="block")
_METRICS = "SELECT t.task, t.metrics " + _PART.format(table="task_metrics", key="task")

_CONTROL_COLUMNS = "j.id, k.operation, k.tasks, k.requested_at, k.requested_by, k.serial"

_CONTROLS = f"""
SELECT {_CONTROL_COLUMNS} FROM task_controls k CROSS JOIN jobs j ON j.seq = k.job
WHERE :cluster IS NULL OR j.cluster = :cluster ORDER BY k.serial
"""  # noqa: S608 - made of the texts above alone

_CONTROLS_OF_JOB = f"""
SELECT {_CONTROL_COLUMNS} FROM jobs j CROSS JOIN task_controls k ON k.job = j.seq
WHERE j.id = :job AND (:cluster IS NULL OR j.cluster = :cluster) ORDER BY k.serial
"""  # noqa: S608 - made of the texts above alone

_PUT_LETTERS = """
INSERT INTO task_chunks (job, chunk, states) SELECT seq, ?, ? FROM jobs WHERE id = ?
ON CONFLICT (job, chunk) DO UPDATE SET states = excluded.states
"""

_PUT_FIGURES = """
INSERT INTO task_figures (job, block, figures) SELECT seq, ?, ? FROM jobs WHERE id = ?
ON CONFLICT (job, block) DO UPDATE SET figures = excluded.figures
"""

_PUT_METRICS = """
INSERT INTO task_metrics (job, task, metrics) SELECT seq, ?, ? FROM jobs WHERE id = ?
ON CONFLICT (job, task) DO UPDATE SET metrics = excluded.metrics
"""

_CLEAR_CONTROL = """
DELETE FROM task_controls WHERE job = (SELECT seq FROM jobs WHERE id = :job) AND operation = :operation
"""

_PUT_CONTROL = """
INSERT INTO task_controls (job, operation, tasks, requested_at, requested_by)
SELECT seq, :operation, :tasks, :at, :by FROM jobs WHERE id = :job
"""

_DROP_CONTROL = """
DELETE FROM task_controls
WHERE job = (SELECT seq FROM jobs WHERE id = :job) AND (:serial IS NULL OR serial = :serial)
"""


class SqlTaskReads(TaskReads):
    """On whatever runs statements."""

    @abstractmethod
    def _run(self, statement: str, params: Params | Sequence[object] = ()) -> list[Row]: ...

    def task_letters(self, job: str, first: int, last: int) -> dict[int, bytes]:
        return dict(self._run(_LETTERS, (job, first, last)))

    def task_figures(self, job: str, first: int, last: int) -> dict[int, bytes]:
        return dict(self._run(_FIGURES, (job, first, last)))

    def task_metrics(self, job: str, first: int, last: int) -> dict[int, bytes]:
        return {task: text.encode() for task, text in self._run(_METRICS, (job, first, last))}

    def task_controls(self, cluster: str | None = None, job: str | None = None) -> list[TaskControl]:
        statement = _CONTROLS if job is None else _CONTROLS_OF_JOB
        params = {"cluster": cluster} if job is None else {"cluster": cluster, "job": job}
        return [task_control_from(row) for row in self._run(statement, params)]


class SqlTaskWrites(SqlTaskReads, TaskWrites):
    """On whatever runs statements and says how many rows they touched."""

    @abstractmethod
    def _change(self, statement: str, params: Params | tuple[object, ...]) -> int: ...

    @abstractmethod
    def _last_row(self) -> int: ...

    def put_task_letters(self, job: str, chunks: Mapping[int, bytes]) -> None:
        for chunk, letters in chunks.items():
            self._put(_PUT_LETTERS, (chunk, letters, job), job)

    def put_task_figures(self, job: str, blocks: Mapping[int, bytes]) -> None:
        for block, figures in blocks.items():
            self._put(_PUT_FIGURES, (block, figures, job), job)

    def put_task_metrics(self, job: str, metrics: Mapping[int, bytes]) -> None:
        for task, text in metrics.items():
            self._put(_PUT_METRICS, (task, text.decode(), job), job)

    def put_task_control(
        self, job: str, operation: Operation, tasks: TaskSet, by: str, at: datetime
    ) -> TaskControl:
        wanted = Operation(operation)
        self._run(_CLEAR_CONTROL, {"job": job, "operation": wanted.value})
        params = {
            "job": job,
            "operation": wanted.value,
            "tasks": tasks_text(tasks),
            "at": micros(at),
            "by": by,
        }
        self._put(_PUT_CONTROL, params, job)
        return TaskControl(
            job=job,
            operation=wanted,
            tasks=tasks,
            requested_at=at,
            requested_by=by,
            serial=self._last_row(),
        )

    def drop_task_control(self, job: str, serial: int | None = None) -> None:
        self._run(_DROP_CONTROL, {"job": job, "serial": serial})

    def _put(self, statement: str, params: Params | tuple[object, ...], job: str) -> None:
        if not self._change(statement, params):
            raise NotFound(f"no job {job}")
