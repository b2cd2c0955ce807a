"""Rows in columns: the last one is cut at the terminal's edge; states are coloured at a terminal."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime

from ...model.job import Job
from ...model.lifecycle import State
from ..voice import clean, colour, is_terminal, paint, terminal_width
from .figures import age, percent, short_ids, took

__all__ = ["columns", "cut", "jobs_table", "pairs", "state_colour", "why_of", "width_of"]

_COLOURS = {
    State.PENDING: "yellow",
    State.RUNNING: "blue",
    State.SUSPENDED: "yellow",
    State.COMPLETED: "green",
    State.FAILED: "red",
    State.CANCELED: "dim",
}
_GAP = 2
_NAME_WIDTH = 28


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], paints: Sequence[str] = ()) -> str:
    """The lines of a table. ``paints``: for each row, a colour of the cell in the column STATE."""
    width = terminal_width() if is_terminal(sys.stdout) else 0
    on = colour(sys.stdout)
    cells = [[clean(cell) for cell in row] for row in [header, *rows]]
    sizes = [max(width_of(row[place]) for row in cells) for place in range(len(header))]
    painted = header.index("STATE") if "STATE" in header and paints else -1
    lines = []
    for number, row in enumerate(cells):
        parts = []
        room = width
        for place, cell in enumerate(row):
            last = place == len(row) - 1
            text = (
                (cut(cell, room) if width else cell)
                if last
                else cell + " " * (sizes[place] - width_of(cell))
            )
            room = max(room - sizes[place] - _GAP, 8)
            if number == 0:
                text = paint(text, "bold", on=on)
            elif place == painted:
                text = paint(text, paints[number - 1], on=on)
            parts.append(text)
        lines.append((" " * _GAP).join(parts).rstrip())
    return "\n".join(lines)


def pairs(rows: Sequence[tuple[str, str]], paints: Mapping[str, str] = {}) -> str:
    """``name   value`` lines; rows without a value are left out. ``paints``: colours of values."""
    told = [(name, clean(value)) for name, value in rows if value]
    size = max((len(name) for name, _ in told), default=0)
    on = colour(sys.stdout)
    return "\n".join(
        f"{paint(name.ljust(size), 'dim', on=on)}  {paint(value, paints.get(name, ''), on=on)}"
        for name, value in told
    )


def jobs_table(jobs: Sequence[Job], now: datetime) -> str:
    """What ``ps`` shows."""
    short = short_ids(job.id for job in jobs)
    rows = [
        (
            short[job.id],
            cut(job.name, _NAME_WIDTH),
            job.cluster,
            job.state.value,
            age(job.created_at, now),
            why_of(job),
        )
        for job in jobs
    ]
    header = ("ID", "NAME", "CLUSTER", "STATE", "AGE", "WHY / PROGRESS")
    return columns(header, rows, [state_colour(job.state) for job in jobs])


def state_colour(state: State) -> str:
    """How a state is painted."""
    return _COLOURS[state]


def why_of(job: Job) -> str:
    """The one thing worth knowing about a job besides its state."""
    parts = []
    if job.array and job.state in (State.RUNNING, State.SUSPENDED):
        from .counts import progress_words

        parts.append(progress_words(job))
    elif job.progress is not None and not job.state.ended:
        if job.progress.fraction is not None:
            parts.append(percent(job.progress.fraction))
        parts.append(job.progress.text)
    elif job.state is State.COMPLETED:
        time = took(job.started_at, job.ended_at)
        tasks = f"{job.task_count:,} tasks " if job.task_count > 1 else ""
        parts.append(f"{tasks}took {time}" if time else "")
    if not parts or (job.state.ended and job.state is not State.COMPLETED):
        parts.append(job.why)
    if job.wanted is not None and not job.state.ended:
        parts.append(f"({job.wanted.value} asked for)")
    if job.stale_since is not None:
        parts.append(f"({job.cluster} silent since {job.stale_since.astimezone():%H:%M})")
    return "  ".join(part for part in parts if part)


def width_of(text: str) -> int:
    """Columns of a terminal that a text takes. Source: Unicode, UAX #11."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def cut(text: str, room: int) -> str:
    """No wider than there is room; what is cut ends in ``…``."""
    if width_of(text) <= room:
        return text
    while text and width_of(text) > room - 1:
        text = text[:-1]
    return text + "…"
