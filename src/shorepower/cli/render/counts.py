"""How far an array is, in a few words. Pure; loaded only where an array is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...client.names import shown
from ...model.job import Job
from ...model.lifecycle import State
from .figures import short_id

if TYPE_CHECKING:
    from ...client.pull import PullReport

__all__ = ["after_failures", "counts_line", "home_words", "live_words", "progress_words"]

_WORDS = (
    (State.RUNNING, "running"),
    (State.SUSPENDED, "suspended"),
    (State.COMPLETED, "done"),
    (State.FAILED, "failed"),
    (State.CANCELED, "stopped"),
    (State.PENDING, "waiting"),
)
FAILED_SHOWN = 5


def progress_words(job: Job) -> str:
    """``80 of 100 done, 3 failed``."""
    counts = job.counts
    words = [f"{counts.get(State.COMPLETED, 0):,} of {job.task_count:,} done"]
    words += [
        f"{counts[state]:,} {word}"
        for state, word in _WORDS
        if state in (State.FAILED, State.CANCELED) and counts.get(state)
    ]
    return ", ".join(words)


def live_words(job: Job) -> str:
    """``80 of 100 done, 3 failed, 12 running``."""
    running = job.counts.get(State.RUNNING, 0)
    return progress_words(job) + (f", {running:,} running" if running else "")


def counts_line(job: Job, failed: Sequence[int]) -> str:
    """``100 tasks: 12 running, 80 done, 3 failed (17, 256, 301), 5 waiting``. ``failed``: the first indices
    of those that did, one more than are shown when there are more."""
    counts = dict(job.counts)
    told = sum(counts.get(state, 0) for state, _ in _WORDS if state is not State.PENDING)
    counts[State.PENDING] = job.task_count - told
    parts = []
    for state, word in _WORDS:
        if count := counts.get(state):
            which = f" ({_few(failed)})" if state is State.FAILED and failed else ""
            parts.append(f"{count:,} {word}{which}")
    tasks = "1 task" if job.task_count == 1 else f"{job.task_count:,} tasks"
    return f"{tasks}: {', '.join(parts)}"


def home_words(report: PullReport, job: Job) -> str:
    """``home: 300 files of 100 tasks in shore-results/fit-k3fq…/``, and the table."""
    paths = [*report.written, *(instead for _, instead in report.beside)]
    folders: dict[str, set[str]] = {}
    files, table = 0, ""
    for path in paths:
        parts = path.split("/")
        if len(parts) > 3 and parts[2].isdecimal():
            folders.setdefault("/".join(parts[:2]), set()).add(parts[2])
            files += 1
        elif len(parts) == 3 and parts[2].endswith(".csv"):
            table = path
    if not files:
        return f"home: {shown(table)}" if table else ""
    folder = next(iter(folders))
    count = sum(map(len, folders.values()))
    what = f"{files:,} {'file' if files == 1 else 'files'} of {count:,} {'task' if count == 1 else 'tasks'}"
    word = "home" if job.state is State.COMPLETED else "home so far"
    return f"{word}: {what} in {shown(folder)}/" + (
        f", {table.rpartition('/')[2]} tells all" if table else ""
    )


def after_failures(job: Job) -> str:
    """What to type next when some tasks did not complete; empty when all did."""
    if not (job.state.ended and job.array and job.state is not State.COMPLETED):
        return ""
    name = short_id(job.id)
    state = State.FAILED if job.counts.get(State.FAILED) else State.CANCELED
    return f"look: shore show {name} --state {state.lower()} · again: shore rerun --failed {name}"


def _few(indices: Sequence[int]) -> str:
    first = ", ".join(map(str, indices[:FAILED_SHOWN]))
    return first + (", …" if len(indices) > FAILED_SHOWN else "")
