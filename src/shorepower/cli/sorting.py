"""In which order the tasks of an array are shown: by the server where it can, else here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from math import isnan
from typing import Any

from ..model.array import ArraySpec
from ..model.task import Task

__all__ = ["OWN", "server_sorts", "sort_name", "sorted_tasks"]

# How people call a figure → its field of `Task`, which is also how the server calls it.
FIGURES = {
    "exit": "exit_code",
    "seconds": "wall_time_s",
    "time": "wall_time_s",
    "cpu": "cpu_time_s",
    "memory": "peak_memory_mib",
    "started": "started_at",
}
_BY_SERVER = frozenset(("index", *FIGURES.values()))
_HERE = frozenset(("state", "reason"))
OWN = _BY_SERVER | _HERE
"""What every task has, besides its parameters and metrics."""


def sort_name(text: str) -> str:
    """``-wall_time_s`` of ``-seconds``."""
    sign = "-" if text.startswith("-") else ""
    name = text.removeprefix("-")
    return sign + FIGURES.get(name, name)


def server_sorts(name: str, array: ArraySpec) -> bool:
    """Whether the server knows this of all tasks; what rows of a file say it does not look at."""
    bare = name.removeprefix("-")
    if bare in _BY_SERVER or bare in array.grid:
        return True
    return bare not in _HERE and not array.row_count


def sorted_tasks(tasks: Iterable[Task], name: str) -> list[Task]:
    """As the server would: numbers before texts, tasks without the value last."""
    bare, descending = name.removeprefix("-"), name.startswith("-")
    found = [(_value(task, bare), task) for task in tasks]
    with_it = [one for one in found if one[0] is not None]
    with_it.sort(key=partial(_rank, descending=descending), reverse=descending)
    return [task for _, task in (*with_it, *(one for one in found if one[0] is None))]


def _value(task: Task, name: str) -> float | str | None:
    if name in _HERE:
        found = getattr(task, name)
        return found.value if found is not None else None
    value: Any = task.parameters.get(name, task.metrics.get(name))
    try:
        number = float(value)
    except (TypeError, ValueError):
        return value
    return value if isnan(number) else number


def _rank(one: tuple[float | str | None, Task], *, descending: bool) -> tuple[bool, Any]:
    is_text = isinstance(one[0], str)
    return (is_text is not descending, one[0])
