"""What commands do with single tasks of an array, and with the table of all of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import replace

from ..client.tasks import TaskQuery, chosen, each, needs_array, status_of, wait_for
from ..model.errors import InvalidRequest
from ..model.lifecycle import State
from .live import LiveLine
from .prefix import prefixed
from .render.counts import FAILED_SHOWN, counts_line, live_words
from .render.figures import listed, short_id
from .sorting import OWN, server_sorts, sort_name, sorted_tasks
from .voice import say

if TYPE_CHECKING:
    from ..client.client import Client
    from ..model.job import Job
    from ..model.output import OutputPiece
    from ..model.task import Task

__all__ = ["failed_first", "read_logs", "show_table", "show_tasks", "told_counts", "wait_tasks"]

MOST_ROWS = 1000
LEFT = 130
_NOT_DONE = (State.FAILED.value, State.CANCELED.value)


# showing


def told_counts(client: Client, job: Job) -> str:
    """``100 tasks: 80 done, 3 failed (17, 256, 301), 17 waiting``."""
    return counts_line(job, failed_first(client, job))


def failed_first(client: Client, job: Job) -> list[int]:
    """The first indices of the tasks that failed."""
    if not job.counts.get(State.FAILED):
        return []
    failed = TaskQuery(states=(State.FAILED.value,))
    return [task.index for task in each(client, job.id, failed, FAILED_SHOWN + 1)]


def show_table(client: Client, job: Job, indices: str | None, given: dict[str, Any]) -> None:
    """The tasks with what tells them apart, as it stands now: a table, CSV or JSON."""
    if indices is not None:
        chosen(client, needs_array(job), indices)  # says so when there are none
    else:
        needs_array(job)
    sort = sort_name(given["sort"] or "")
    wanted = TaskQuery(states=_states(given["state"]), indices=indices, sort=sort or None)
    most = given["limit"] or (None if given["as_csv"] or given["as_json"] else MOST_ROWS)
    found = _in_order(client, job, wanted, most)
    if given["as_json"]:
        from .render import json

        tasks = list(found)
        json.document({"tasks": tasks[:most], "next": None})
        return
    from ..client.task_table import gather, write_csv

    table = gather(_at_most(found, most))
    if given["as_csv"]:
        write_csv(table, sys.stdout)
        return
    _print_table(client, job, table, sort, most)


def _in_order(client: Client, job: Job, wanted: TaskQuery, most: int | None) -> Iterable[Task]:
    """As many as are shown, and perhaps one more."""
    if wanted.sort is not None:
        array = client.spec(job.id).array
        if array is not None and not server_sorts(wanted.sort, array):
            return sorted_tasks(each(client, job.id, replace(wanted, sort=None)), wanted.sort)
    return each(client, job.id, wanted, None if most is None else most + 1)


def show_tasks(client: Client, job: Job, indices: str, given: dict[str, Any]) -> None:
    """One task with all that is known of it, or several as a table."""
    if len(chosen(client, job, indices)) > 1 or given["as_json"]:
        show_table(client, job, indices, given)
        return
    from .render.tasks import task_page

    one = next(each(client, job.id, TaskQuery(indices=indices), 1))
    click.echo(task_page(job, one, datetime.now(UTC)))


def _print_table(client: Client, job: Job, table: Any, sort: str, most: int | None) -> None:
    from .render.tasks import tasks_table

    if not table.count:
        say("no task is like that")
        return
    lines, left = tasks_table(table, datetime.now(UTC), sort)
    click.echo(lines)
    say(told_counts(client, job))
    name = sort.removeprefix("-")
    if name and name not in (*OWN, *table.parameters, *table.metrics):
        known = listed([*table.parameters, *table.metrics], most=12)
        say(f"none of them has {name!r} to sort by" + (f"; they have {known}" if known else ""))
    if left:
        say(f"no room for {listed(left)}; --csv has all columns")
    if most is not None and table.count >= most and job.task_count > most:
        say(f"there are more; --limit shows more than {most}")


def _states(given: Iterable[str]) -> tuple[str, ...]:
    wanted = tuple(text.upper() for text in given)
    for name in wanted:
        if name not in State.__members__:
            from ..model.check import unknown

            raise InvalidRequest(f"--state: {unknown('state', name, State.__members__)}")
    return wanted


def _at_most(tasks: Iterable[Task], most: int | None) -> Iterable[Task]:
    for number, task in enumerate(tasks):
        if most is not None and number >= most:
            return
        yield task


# output


def read_logs(
    client: Client,
    job: Job,
    indices: str,
    *,
    follow: bool,
    tail_bytes: int | None,
    plain: bool,
    show: Callable[[Iterable[OutputPiece]], None],
) -> int:
    """Hand the output of each of these tasks to ``show``, one task after the other; lines of several are
    marked unless they are wanted ``plain``. The exit code."""
    tasks = chosen(client, job, indices)
    try:
        for index in tasks:
            pieces = client.output(job.id, follow=follow, tail_bytes=tail_bytes, task=index)
            show(pieces if plain or len(tasks) == 1 else prefixed(pieces))
    except KeyboardInterrupt:
        name = short_id(job.id)
        say(f"left running: {name} ({job.name}) · stop these: shore stop {name}_{indices}")
        return LEFT
    return 0


# waiting


def wait_tasks(
    client: Client, job: Job, indices: str, deadline: float | None, *, quiet: bool = False
) -> int:
    """Until these tasks have ended; the exit code: the task's own, or 1 if any did not complete. ``quiet``:
    they are printed as JSON, not told."""
    tasks = chosen(client, job, indices)
    with LiveLine() as line:
        began = time.monotonic()

        def heard(now: Job) -> None:
            from ..model.resources import format_duration

            line.show(f"{now.name}  {live_words(now)}  {format_duration(time.monotonic() - began)}")

        poll_s = 1.0 if line.on else 25.0
        job = wait_for(client, job, indices, deadline=deadline, poll_s=poll_s, heard=heard)
    if quiet:
        from .render import json

        ended = list(each(client, job.id, TaskQuery(indices=indices)))
        json.document({"tasks": ended, "next": None})
        return status_of(ended[0]) if len(ended) == 1 else int(any(map(status_of, ended)))
    name = f"{job.name} ({short_id(job.id)})"
    if len(tasks) == 1:
        one = next(each(client, job.id, TaskQuery(indices=indices), 1))
        say(f"task {one.index} of {name} {_ending(one)}")
        return status_of(one)
    bad = list(each(client, job.id, TaskQuery(states=_NOT_DONE, indices=indices), MOST_ROWS))
    if not bad:
        say(f"{name} {len(tasks):,} tasks completed")
        return 0
    count = f"{len(bad)}" if len(bad) < MOST_ROWS else f"{MOST_ROWS} or more"
    which = listed(str(task.index) for task in bad)
    say(f"{name} {count} of {len(tasks):,} tasks did not complete: {which}")
    return 1


def _ending(task: Task) -> str:
    from ..model.resources import format_duration

    took = "" if task.wall_time_s is None else f" after {format_duration(task.wall_time_s)}"
    if task.state is State.COMPLETED:
        return f"completed{took}"
    why = task.why or (f"exit code {task.exit_code}" if task.exit_code is not None else "")
    return f"{task.state.value.lower()}{took}" + (f": {why}" if why else "")
