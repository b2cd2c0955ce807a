"""What must be true of the arrays of a storm once everything has ended."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from shorepower.client.client import Client
from shorepower.model.array import parse_indices
from shorepower.model.job import Job
from shorepower.model.lifecycle import Reason, State, combine
from shorepower.model.results import ResultsState
from shorepower.model.task import Task

from .arrays import PlannedTask
from .storm import STOPS, Told

__all__ = ["check_array", "check_starts", "check_task_folders", "stopped_tasks"]


def stopped_tasks(told: Told) -> frozenset[int]:
    """The tasks of which somebody asked that they end."""
    if not any(operation in told.asked for operation in STOPS):
        return frozenset()
    if told.planned.some is None:
        return frozenset(told.planned.tasks)
    ranges, _ = parse_indices(told.planned.some)
    named = (range(one.first, one.last + 1, one.step) for one in ranges)
    return frozenset(index for indices in named for index in indices) & told.planned.tasks.keys()


def check_array(told: Told, job: Job, client: Client) -> Iterator[str]:
    """Each task ended as it must, and the job tells what its tasks tell."""
    tasks = told.tasks
    if set(tasks) != set(told.planned.tasks):
        yield f"its tasks are {sorted(tasks)}, not {sorted(told.planned.tasks)}"
        return
    yield from _check_counts(job, tasks)
    yield from _check_output(told, tasks, client)
    yield from _check_results(told, job, tasks, client)
    stopped = stopped_tasks(told)
    for index, task in tasks.items():
        for fault in _check_task(told.planned.tasks[index], task, may_be_stopped=index in stopped):
            yield f"task {index}: {fault}"


def _check_counts(job: Job, tasks: Mapping[int, Task]) -> Iterator[str]:
    seen = dict(Counter(task.state for task in tasks.values()))
    if job.counts != seen:
        yield f"it counts {job.counts}, its tasks are {seen}"
    if not job.state.ended or job.state is not combine(seen):
        yield f"it stands as {job.state} {job.reason}: {job.why}; its tasks are {seen}"
    if job.wanted is not None:
        yield f"ended with {job.wanted} still wanted"


def _check_task(planned: PlannedTask, task: Task, *, may_be_stopped: bool) -> Iterator[str]:
    if task.state is State.CANCELED:
        if not may_be_stopped:
            yield f"nobody stopped it: {task.reason} {task.why}"
        elif task.reason not in (Reason.STOPPED, Reason.KILLED):
            yield f"canceled because of {task.reason}: {task.why}"
        return
    wanted = State.COMPLETED if planned.exit_code == 0 else State.FAILED
    reason = Reason.EXIT_CODE if planned.exit_code else None
    if (task.state, task.exit_code, task.reason) != (wanted, planned.exit_code, reason):
        yield (
            f"should be {wanted} with {planned.exit_code}, "
            f"is {task.state} {task.reason} with {task.exit_code}: {task.why}"
        )
    if task.metrics.get("number") != planned.number:
        yield f"its metric is {task.metrics}, not {planned.number}"


def _check_output(told: Told, tasks: Mapping[int, Task], client: Client) -> Iterator[str]:
    assert told.id is not None
    kept: defaultdict[tuple[int, str], bytearray] = defaultdict(bytearray)
    for piece in client.output(told.id):
        if piece.kind == "gap":
            yield f"reading again finds a gap in {piece.stream} of {piece.task}"
        elif piece.kind == "output":
            kept[piece.task, piece.stream.value] += piece.data
    for index, task in tasks.items():
        planned = told.planned.tasks[index]
        for stream, wanted in (("stdout", planned.stdout), ("stderr", planned.stderr)):
            have, followed = bytes(kept[index, stream]), bytes(told.streams[index, stream])
            if followed != have:
                yield f"followed {followed!r} in {stream} of {index}, kept is {have!r}"
            if have != wanted and not (task.state is State.CANCELED and wanted.startswith(have)):
                yield f"{stream} of {index} ({task.state}) is {have!r}, not {wanted!r}"


def _check_results(told: Told, job: Job, tasks: Mapping[int, Task], client: Client) -> Iterator[str]:
    must = {
        f"{index}/{path}": data
        for index, task in tasks.items()
        for path, data in told.planned.tasks[index].results.items()
        if task.state is not State.CANCELED
    }
    may = {f"{index}/{path}" for index in tasks for path in told.planned.tasks[index].results}
    if job.results.state is ResultsState.NONE and not must:
        return
    if job.results.state is not ResultsState.READY or job.results.why:
        yield f"its results are {job.results.state}: {job.results.why}"
        return
    listed = {entry.path: entry for entry in client.files(job.id).entries if entry.kind == "file"}
    if not must.keys() <= listed.keys() <= may:
        yield f"its results are {sorted(listed)}, not {sorted(must)}"
        return
    have: defaultdict[str, bytearray] = defaultdict(bytearray)
    wanted = [{"path": path, "area": listed[path].area, "offset": 0} for path in must]
    if wanted:
        for header, body in client.read_files(job.id, wanted):
            have[header["path"]] += body
    for path, data in must.items():
        if bytes(have[path]) != data:
            yield f"{path} is {bytes(have[path])!r}, not {data!r}"


def check_starts(told: Told, starts: Counter[str]) -> Iterator[str]:
    """Every task once; not at all only when it was stopped before. Takes what it knows of ``starts``."""
    for index in told.planned.tasks:
        count, task = starts.pop(f"{told.id}_{index}", 0), told.tasks.get(index)
        name = f"{told.planned.mark} ({told.id}): task {index}"
        if task is None:
            yield f"{name} is not known"
        elif count > 1:
            yield f"{name} was started {count} times"
        elif count == 0 and task.state is not State.CANCELED:
            yield f"{name} is {task.state} and was never started"
        elif count == 1 and task.started_at is None:
            yield f"{name} is {task.state} ({task.why}) without a start, and was started"


def check_task_folders(told: Told, state_dir: Path) -> Iterator[str]:
    """No folder is left of a task that wrote nothing into it, and no task's parameters. All has ended."""
    for work in (state_dir / "work").glob(f"{told.id}-*"):
        for name in _names(work / "tasks"):
            index = int(name) if name.isdecimal() else -1
            planned = told.planned.tasks.get(index)
            if planned is None or not planned.results:
                inside = [os.path.relpath(path, work) for path in (work / "tasks" / name).rglob("*")]
                yield f"{told.planned.mark}: {work.name}/tasks/{name} is left, with {inside[:5]}"
        for name in _names(work / "inputs"):
            yield f"{told.planned.mark}: {work.name}/inputs/{name} is left"


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []
