"""The tasks of an array, as a backend starts and clears them one by one.

::

    work/project/               the staged project, shared and read-only
    work/tasks/<index>/         where a task starts, and what it writes: its results
    work/inputs/<index>.json    its parameters
    work/values/<index>         SHOREPOWER_RESULT
    work/metrics/<index>        SHOREPOWER_METRICS
    work/progress/<index>       SHOREPOWER_PROGRESS
    work/rows                   the table of an array file
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path

from ..clusters.contract import Each, Order, TaskPlan
from ..files.mirror import Mirror
from ..model.array import ArraySpec, Numbering
from ..model.errors import InvalidRequest
from ..model.job import JobSpec
from .parameters import Parameters
from .prepare import judged

__all__ = ["SBATCH", "Tasks", "mirror_of"]

SBATCH = "SLURM_SUBMIT_DIR"
"""Set for every script that has ``#SBATCH`` lines; what else such a script finds is known only here."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def mirror_of(spec: JobSpec, work: Path) -> Mirror:
    """How the folders of an array's tasks are laid out."""
    if spec.in_place:
        return Mirror(None, work / "tasks")
    return Mirror(work / "project", work / "tasks", spec.workdir)


class Tasks(Each):
    """What tells the tasks of one submission apart. Nothing in it grows with their number."""

    def __init__(self, spec: JobSpec, array: ArraySpec, work: Path, order: Order) -> None:
        """``order`` is what they have in common."""
        self._spec, self._array, self._work, self._order = spec, array, work, order
        self._parameters = Parameters(array, work / "rows")

    @cached_property
    def _numbering(self) -> Numbering:
        return Numbering(self._array.ranges)

    @cached_property
    def _mirror(self) -> Mirror:
        return mirror_of(self._spec, self._work)

    def plan(self, task: int) -> TaskPlan:
        try:
            return self._plan(self.index(task))
        except OSError as error:
            raise judged(error) from error

    def clear(self, task: int) -> None:
        index = self.index(task)
        self._mirror.clear(index)
        for folder, name, only_empty in (
            ("inputs", f"{index}.json", False),
            ("progress", str(index), False),
            ("metrics", str(index), True),
            ("values", str(index), True),
        ):
            _drop(self._work / folder, name, only_empty)

    def index(self, task: int) -> int:
        try:
            return self._numbering.index(task)
        except IndexError as error:
            raise InvalidRequest(str(error)) from None

    def _plan(self, index: int) -> TaskPlan:
        given = self._parameters.of(index)
        folder = self._mirror.lay_out(index)
        env = {**self._order.env, **given.env, **self._facts(index, folder)}
        if document := given.document:
            env["SHOREPOWER_INPUT"] = _write(self._work / "inputs", f"{index}.json", document)
        return TaskPlan(
            argv=given.argv(self._order.argv),
            env=env,
            cwd=self._order.cwd if self._spec.in_place else str(folder / self._spec.workdir),
            progress_file=env["SHOREPOWER_PROGRESS"],
        )

    def _facts(self, index: int, folder: Path) -> dict[str, str]:
        """What a task is told beside what all are. Source: the contract, §3."""
        told = {
            "SHOREPOWER_TASK_INDEX": str(index),
            "SHOREPOWER_RESULTS_DIR": str(folder),
            "SHOREPOWER_PROGRESS": str(self._work / "progress" / str(index)),
            "SHOREPOWER_METRICS": str(self._work / "metrics" / str(index)),
            "SHOREPOWER_RESULT": str(self._work / "values" / str(index)),
        }
        if not self._spec.in_place:
            told["SHOREPOWER_PROJECT_DIR"] = str(folder)
        if SBATCH in self._order.env:
            lowest, highest, step = self._array.bounds
            job = self._order.job
            told |= {
                "SLURM_JOB_ID": f"{job}_{index}",
                "SLURM_ARRAY_JOB_ID": job,
                "SLURM_ARRAY_TASK_ID": str(index),
                "SLURM_ARRAY_TASK_COUNT": str(self._numbering.count),
                "SLURM_ARRAY_TASK_MIN": str(lowest),
                "SLURM_ARRAY_TASK_MAX": str(highest),
                "SLURM_ARRAY_TASK_STEP": str(step),
            }
        return told


def _write(folder: Path, name: str, data: bytes) -> str:
    """Through no link. Raises OSError."""
    where = os.open(folder, _FOLDER)
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(name, flags, 0o600, dir_fd=where), "wb") as file:
            file.write(data)
    finally:
        os.close(where)
    return str(folder / name)


def _drop(folder: Path, name: str, only_empty: bool) -> None:
    """One name in a folder of ours; what resists stays until the working folder goes."""
    try:
        where = os.open(folder, _FOLDER)
    except OSError:
        return
    try:
        if not only_empty or os.stat(name, dir_fd=where, follow_symlinks=False).st_size == 0:
            os.unlink(name, dir_fd=where)
    except OSError:
        pass
    finally:
        os.close(where)
