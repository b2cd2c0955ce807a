"""The tasks of a job, a page at a time: by position, or in the order of something that is known of them."""

from __future__ import annotations

import base64
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from math import isnan
from typing import Any, TypeAlias

import msgspec
from anyio import CapacityLimiter, to_thread
from msgspec import Struct
from msgspec.structs import replace

from ..clusters.contract import Cluster, Live
from ..model.array import Numbering
from ..model.caller import Caller
from ..model.chunks import BLOCK, CHUNK, Figures, letters_of, meaning_of, read_figures, runs_of
from ..model.errors import Fault, InvalidRequest
from ..model.job import Job, JobSpec, Submission
from ..model.lifecycle import Attempt, Reason, State
from ..model.task import Task
from ..model.tasks import ONE_TASK, TaskSet
from ..store.contract import Snapshot, Store
from .access import find
from .ledger import Ledger
from .metrics import Metrics, read_metrics
from .parameters import Parameters
from .places import Places
from .stop_tasks import named_tasks
from .task_metrics import metrics_file

__all__ = ["TaskFilter", "TaskPages"]


class TaskFilter(Struct, frozen=True, kw_only=True):
    """Which tasks of a job to list, and in which order."""

    states: tuple[State, ...] = ()
    tasks: str | None = None
    """Indices as a user writes them: ``3-5,9``."""
    sort: str | None = None
    """``index``, a figure of `FIGURES`, a parameter of the grid, or a metric; ``-`` before it: the largest
    first. Tasks that have none of it come last."""
    cursor: str | None = None
    limit: int = 50


_FIGURES: dict[str, Callable[[Figures], float | None]] = {
    "wall_time_s": lambda figures: figures.wall_time_s,
    "cpu_time_s": lambda figures: figures.cpu_time_s,
    "peak_memory_mib": lambda figures: figures.peak_memory_mib,
    "started_at": lambda figures: figures.started_at,
    "exit_code": lambda figures: figures.exit_code,
}
_LIMIT = 1000
_PAGE = 16 * CHUNK
"""So many tasks are looked at together when a page is put in order."""

_Value: TypeAlias = float | str
_Place: TypeAlias = tuple[bool, Any, int]
"""What a task is sorted by: whether it has no value, the value, its position."""


class TaskPages:
    """Reads them."""

    def __init__(self, store: Store, clusters: Mapping[str, Cluster], places: Places) -> None:
        self._store, self._clusters, self._places = store, clusters, places
        self._disk = CapacityLimiter(2)

    async def page(self, name: str, wanted: TaskFilter, caller: Caller) -> tuple[list[Task], str | None]:
        """See `Dispatcher.tasks`."""
        if not 1 <= wanted.limit <= _LIMIT:
            raise InvalidRequest([Fault("limit", f"a page holds 1 to {_LIMIT} tasks")])
        found = await self._store.read(partial(_look, name=name, wanted=wanted, caller=caller))
        live = self._live(found.job)
        tasks = await to_thread.run_sync(self._complete, found, live, limiter=self._disk)
        return tasks, found.following

    def _live(self, job: Job) -> Mapping[str, Live]:
        cluster = self._clusters.get(job.cluster)
        return cluster.live() if cluster is not None and not job.state.ended else {}

    def _complete(self, found: Found, live: Mapping[str, Live]) -> list[Task]:
        """With parameters, and what running ones say and use. Blocking."""
        array, submission = found.spec.array, found.submission
        if array is None or submission is None:
            return found.tasks
        parameters = Parameters(array, self._places.work(submission.id) / "rows")
        told = []
        for position, task in zip(found.positions, found.tasks, strict=True):
            task = replace(task, parameters=dict(parameters.told(task.index)))
            if task.state in (State.RUNNING, State.SUSPENDED):
                metrics = read_metrics(metrics_file(self._places, submission.id, task.index))
                task = _with_live(replace(task, metrics=metrics), live.get(f"{submission.id}.{position}"))
            told.append(task)
        return told


class Found(Struct, frozen=True, kw_only=True):
    """A page as the store knows it."""

    job: Job
    spec: JobSpec
    submission: Submission | None
    positions: Sequence[int]
    tasks: list[Task]
    following: str | None


def _look(view: Snapshot, *, name: str, wanted: TaskFilter, caller: Caller) -> Found:
    job = find(view, name, caller)
    spec = view.spec(job.id)
    assert spec is not None  # a job and its spec are written together
    if spec.array is None:
        return _only(view, job, spec, wanted)
    among = (
        named_tasks(job, spec, wanted.tasks) if wanted.tasks is not None else TaskSet.first(job.task_count)
    )
    numbering = Numbering(spec.array.ranges)
    if wanted.sort in (None, "index"):
        after = _after(wanted.cursor, int)
        first = 0 if after is None else max(after + 1, 0)
        positions = _take(_positions(view, job, wanted.states, among, first), wanted.limit + 1)
        places = [_encode(position) for position in positions]
    else:
        ordered = _ordered(view, job, spec, wanted, among)
        positions = [position for _, _, position in ordered]
        places = [_encode(place) for place in ordered]
    more = len(positions) > wanted.limit
    positions = positions[: wanted.limit]
    submissions = view.submissions(job.id)
    return Found(
        job=job,
        spec=spec,
        submission=submissions[-1] if submissions else None,
        positions=positions,
        tasks=_tasks(view, job, numbering, positions),
        following=places[wanted.limit - 1] if more else None,
    )


def _only(view: Snapshot, job: Job, spec: JobSpec, wanted: TaskFilter) -> Found:
    """The one task of a plain job, with index 0."""
    attempts = view.attempts(job.id, 0)
    listed = not wanted.states or job.state in wanted.states
    if wanted.tasks is not None:
        listed = listed and wanted.tasks == "0"
    tasks = [_of_attempt(0, attempts[-1])] if listed and attempts else []
    return Found(
        job=job, spec=spec, submission=None, positions=tuple(ONE_TASK), tasks=tasks, following=None
    )


def _positions(
    view: Snapshot, job: Job, states: Iterable[State], among: TaskSet, first: int
) -> Iterator[int]:
    """Of those in one of the states (of all, without any), from a position on, in order."""
    wanted = letters_of(states) or letters_of(State)
    for start, letters in Ledger(view, job).chunks(first // CHUNK):
        for begin, stop in runs_of(letters, wanted):
            for low, high in among.within(max(start + begin, first), start + stop):
                yield from range(low, high)


def _take(positions: Iterator[int], most: int) -> list[int]:
    return [position for position, _ in zip(positions, range(most), strict=False)]


# in order


def _ordered(view: Snapshot, job: Job, spec: JobSpec, wanted: TaskFilter, among: TaskSet) -> list[_Place]:
    """The first of them after the cursor, one more than a page; no more are kept in memory."""
    assert wanted.sort is not None
    name, descending = wanted.sort.removeprefix("-"), wanted.sort.startswith("-")
    valued = _valued(view, job, spec, name, wanted.states, among)
    after = _after(wanted.cursor, tuple[bool, float | str | None, int])
    key = partial(_rank, descending=descending)
    bound = key(after) if after is not None else None
    places = ((value is None, value, position) for position, value in valued)
    left = (place for place in places if bound is None or key(place) > bound)
    return heapq.nsmallest(wanted.limit + 1, left, key=key)


def _rank(place: _Place, *, descending: bool) -> tuple[Any, ...]:
    """Those without a value last; numbers before texts; equals by position."""
    missing, value, position = place
    if missing:
        return (2, 0, position)
    if isinstance(value, str):
        return (1, _Reversed(value) if descending else value, position)
    return (0, -value if descending else value, position)


class _Reversed(str):
    """A text that sorts the other way round."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)

    def __gt__(self, other: str) -> bool:
        return str.__lt__(self, other)


def _valued(
    view: Snapshot, job: Job, spec: JobSpec, name: str, states: Iterable[State], among: TaskSet
) -> Iterator[tuple[int, _Value | None]]:
    """(position, value) of all that fit, a part of the job at a time."""
    array = spec.array
    assert array is not None
    numbering = Numbering(array.ranges)
    known: dict[int, bytes] = {}
    page = -1
    for position in _positions(view, job, states, among, 0):
        if name == "index":
            yield position, position
        elif name in array.grid:
            yield position, _number(array.combination(numbering.index(position))[name])
        else:
            if position // _PAGE != page:
                page = position // _PAGE
                known = _part(view, job, name, page * _PAGE, (page + 1) * _PAGE - 1)
            yield position, _known_value(known, name, position)


def _part(view: Snapshot, job: Job, name: str, first: int, last: int) -> dict[int, bytes]:
    if name in _FIGURES:
        return view.task_figures(job.id, first // BLOCK, last // BLOCK)
    return view.task_metrics(job.id, first, last)


def _known_value(known: Mapping[int, bytes], name: str, position: int) -> _Value | None:
    if name not in _FIGURES:
        return _metric(known.get(position), name)
    block = known.get(position // BLOCK)
    return None if block is None else _FIGURES[name](read_figures(block, position % BLOCK))


def _metric(stored: bytes | None, name: str) -> _Value | None:
    value = None if stored is None else _METRICS.decode(stored).get(name)
    return float(value) if isinstance(value, (bool, int)) else value


def _number(text: str) -> _Value:
    """Parameters are texts; those that are numbers sort as numbers."""
    try:
        value = float(text)
    except ValueError:
        return text
    return text if isnan(value) else value


# one page


def _tasks(view: Snapshot, job: Job, numbering: Numbering, positions: Sequence[int]) -> list[Task]:
    if not positions:
        return []
    ledger = Ledger(view, job)
    told = []
    for position in positions:
        state, reason = meaning_of(ledger.letter(position))
        index, figures = numbering.index(position), ledger.figures(position)
        task = Task(
            index=index,
            state=state,
            reason=reason,
            why=_sentence(state, reason, figures),
            attempt=figures.attempt,
            exit_code=figures.exit_code,
            signal=figures.signal,
            started_at=None
            if figures.started_at is None
            else datetime.fromtimestamp(figures.started_at, UTC),
            wall_time_s=figures.wall_time_s,
            cpu_time_s=figures.cpu_time_s,
            peak_memory_mib=figures.peak_memory_mib,
        )
        if state is State.FAILED and (attempts := view.attempts(job.id, position)):
            task = replace(task, why=attempts[-1].why or task.why)
        if state.ended and (stored := view.task_metrics(job.id, position, position)):
            task = replace(task, metrics=_METRICS.decode(stored[position]))
        told.append(task)
    return told


_WORDS = {
    Reason.OUT_OF_MEMORY: "it ran out of memory",
    Reason.TIME_LIMIT: "it ran longer than its time limit",
    Reason.NODE_LOST: "its machine was lost",
    Reason.PREEMPTED: "it was preempted",
    Reason.LAUNCH: "it could not be started",
    Reason.LOST: "the cluster knows nothing of it any more",
    Reason.ABANDONED: "it was abandoned",
    Reason.STOPPED: "it was stopped",
    Reason.KILLED: "it was killed",
    Reason.DEPENDENCY: "a job that it waits for did not end as it should",
}


def _sentence(state: State, reason: Reason | None, figures: Figures) -> str:
    """Why a task ended of which nothing more is on record."""
    if reason is Reason.EXIT_CODE:
        return f"it ended with exit code {figures.exit_code}"
    if reason is Reason.SIGNAL:
        return f"it was ended by signal {figures.signal}"
    return _WORDS.get(reason, "") if reason is not None and state.ended else ""


def _of_attempt(index: int, attempt: Attempt) -> Task:
    used = attempt.usage
    return Task(
        index=index,
        state=attempt.state,
        reason=attempt.reason,
        why=attempt.why,
        attempt=attempt.number,
        exit_code=attempt.exit_code,
        signal=attempt.signal,
        started_at=attempt.started_at,
        wall_time_s=used.wall_time_s if used is not None else None,
        cpu_time_s=used.cpu_time_s if used is not None else None,
        peak_memory_mib=used.peak_memory_mib if used is not None else None,
    )


def _with_live(task: Task, live: Live | None) -> Task:
    if live is None or live.usage is None:
        return task
    return replace(
        task,
        wall_time_s=live.usage.wall_time_s,
        cpu_time_s=live.usage.cpu_time_s,
        peak_memory_mib=live.usage.peak_memory_mib,
    )


_METRICS = msgspec.json.Decoder(Metrics)


# cursors


def _encode(place: object) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def _after(cursor: str | None, kind: Any) -> Any:
    """What `_encode` was given. Raises InvalidRequest for anything else."""
    if cursor is None:
        return None
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded.encode("ascii")), type=kind)
    except (ValueError, msgspec.MsgspecError):
        raise InvalidRequest([Fault("cursor", "that is no cursor of ours for this order")]) from None
