"""The tasks of an array as a table that fits the terminal, and one by itself. Pure, but for colours."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ...client.task_table import Gathered, spelled
from ...model.job import Job
from ...model.lifecycle import Reason
from ...model.resources import format_duration, format_memory
from ...model.task import Task
from ..voice import clean, colour, is_terminal, paint, terminal_width
from .figures import elapsed_s, short_id
from .table import cut, pairs, state_colour, width_of

__all__ = ["task_page", "tasks_table"]

_GAP = 2
_NARROWEST = 8
"""Columns of the terminal that a value keeps, before whole columns are left out."""
_ALWAYS = ("INDEX", "STATE")


class _Column(Struct):
    """One column, and how wide it has become."""

    heading: str
    cells: list[str]
    given: bool = False
    """A parameter or a metric: it may be narrowed, and left out where there is no room."""
    wanted: bool = False
    """The table is sorted by it."""

    @property
    def width(self) -> int:
        return max(map(width_of, [self.heading, *self.cells]))

    @property
    def is_number(self) -> bool:
        return all(map(_is_number, filter(None, self.cells)))


def tasks_table(table: Gathered, now: datetime, sort: str = "") -> tuple[str, list[str]]:
    """(the lines, the names of columns that had no room)."""
    room = terminal_width() if is_terminal(sys.stdout) else 0
    tasks = list(table)
    columns = _columns(table, tasks, now, sort.lstrip("-"))
    left = _fit(columns, room) if room else []
    on = colour(sys.stdout)
    rows = [[(column.heading, "bold", False) for column in columns]]
    numbers = [column.is_number for column in columns]
    for place, task in enumerate(tasks):
        rows.append(
            [
                (column.cells[place], state_colour(task.state) if column.heading == "STATE" else "", number)
                for column, number in zip(columns, numbers, strict=True)
            ]
        )
    widths = [column.width for column in columns]
    lines = []
    for number, row in enumerate(rows):
        parts = []
        for place, (text, painted, right) in enumerate(row):
            blank = " " * (widths[place] - width_of(text))
            right = right if number else numbers[place]
            said = paint(text, painted, on=on)
            parts.append(blank + said if right else said + blank)
        lines.append((" " * _GAP).join(parts).rstrip())
    return "\n".join(lines), left


def task_page(job: Job, task: Task, now: datetime) -> str:
    """Everything about one task."""
    reason = f" ({task.reason.value})" if task.reason else ""
    name = f"{short_id(job.id)}_{task.index}"
    usage = [f"{format_duration(task.cpu_time_s)} of cpu" if task.cpu_time_s else ""]
    usage.insert(0, f"peak {format_memory(task.peak_memory_mib)}" if task.peak_memory_mib else "")
    rows = [
        ("task", f"{task.index} of {job.name}  {job.id}_{task.index}"),
        ("state", task.state.value + reason),
        ("why", task.why),
        *((f"  {key}", value) for key, value in task.parameters.items()),
        ("started", f"{task.started_at.astimezone():%Y-%m-%d %H:%M:%S}" if task.started_at else ""),
        ("took", _seconds(task, now)),
        ("used", " · ".join(filter(None, usage))),
        ("exit", _exit(task)),
        *((f"  {key}", spelled(value)) for key, value in task.metrics.items()),
        ("attempt", str(task.attempt) if task.attempt > 1 else ""),
        ("output", f"shore logs {name}" + ("" if task.state.ended else " -f")),
    ]
    return pairs(rows, {"state": state_colour(task.state)})


def _columns(table: Gathered, tasks: Sequence[Task], now: datetime, sort: str) -> list[_Column]:
    headings = table.headings()
    parameters = headings[1 : 1 + len(table.parameters)]
    metrics = headings[len(headings) - len(table.metrics) :] if table.metrics else ()
    own = (
        ("INDEX", [str(task.index) for task in tasks], ("index",)),
        ("STATE", [task.state.value for task in tasks], ("state",)),
        ("EXIT", [_exit(task) for task in tasks], ("exit", "exit_code")),
        ("TIME", [_seconds(task, now) for task in tasks], ("seconds", "wall_time_s", "time")),
        ("MEMORY", [_memory(task) for task in tasks], ("memory", "peak_memory_mib")),
    )
    columns = [_Column(heading, cells, wanted=sort in names) for heading, cells, names in own if any(cells)]
    for heading, name in zip(parameters, table.parameters, strict=True):
        cells = [clean(task.parameters.get(name, "")) for task in tasks]
        columns.append(_Column(clean(heading), cells, given=True, wanted=sort == name))
    for heading, name in zip(metrics, table.metrics, strict=True):
        cells = [clean(_metric(task, name)) for task in tasks]
        columns.append(_Column(clean(heading), cells, given=True, wanted=sort == name))
    return columns


def _fit(columns: list[_Column], room: int) -> list[str]:
    """Cut and leave out until the table has room; the names of what is left out."""
    while _total(columns) > room:
        wide = [column for column in columns if column.given and column.width > _NARROWEST]
        wide = [column for column in wide if not column.is_number]
        if not wide:
            break
        widest = max(wide, key=lambda column: column.width)
        over = _total(columns) - room
        others = sorted({column.width for column in wide})
        step = widest.width - (others[-2] if len(others) > 1 else _NARROWEST)
        _narrow(widest, max(widest.width - max(min(step, over), 1), _NARROWEST))
    left: list[str] = []
    while _total(columns) > room:
        spare = [column for column in columns if column.given and not column.wanted]
        spare = spare or [
            column for column in columns if column.heading not in _ALWAYS and not column.wanted
        ]
        if not spare:
            break
        columns.remove(spare[-1])
        left.insert(0, spare[-1].heading)
    return left


def _narrow(column: _Column, width: int) -> None:
    column.heading = cut(column.heading, width)
    column.cells = [cut(cell, width) for cell in column.cells]


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * (len(columns) - 1)


def _exit(task: Task) -> str:
    """The code, or what there is in its place."""
    if task.exit_code is not None:
        return str(task.exit_code)
    if task.reason in (None, Reason.SIGNAL) and task.signal:
        return str(128 + task.signal)
    return task.reason.value.lower() if task.reason and task.state.ended else ""


def _seconds(task: Task, now: datetime) -> str:
    seconds = task.wall_time_s
    if seconds is None and task.started_at is not None and not task.state.ended:
        seconds = elapsed_s(task.started_at, None, now)
    return "" if seconds is None else format_duration(seconds)


def _memory(task: Task) -> str:
    return format_memory(task.peak_memory_mib) if task.peak_memory_mib else ""


def _metric(task: Task, name: str) -> str:
    """Short enough to compare."""
    value = task.metrics.get(name)
    return f"{value:.6g}" if isinstance(value, float) else spelled(value)


def _is_number(text: str) -> bool:
    try:
        float(text.split(" ")[0])
    except ValueError:
        return False
    return True
