"""The tasks of an array: how they are named, listed, waited for and stopped.

A task is named ``ID_7``, several ``ID_3-5,9``. On the wire the job and the indices stand apart.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from ..model.array import Numbering, Range, parse_indices, spell_indices
from ..model.decoding import json_decoder
from ..model.errors import Fault, InvalidRequest, NotFound
from ..model.job import Job
from ..model.lifecycle import ENDED, Operation, State, exit_status
from ..model.task import Task
from ..wire.http.bodies import TaskPage
from . import requests
from .errors import ServerFault
from .requests import Call

if TYPE_CHECKING:
    from .client import Client

__all__ = [
    "LIVING",
    "TaskPage",
    "TaskQuery",
    "among",
    "chosen",
    "control",
    "each",
    "find",
    "needs_array",
    "page",
    "status_of",
    "wait_for",
]

PAGE = 1000
LIVING = tuple(state.value for state in State if state not in ENDED)
POLL_S = 25.0
PAUSE_S = 0.1
"""Between two looks, however quickly tasks end."""
_TASKS = re.compile(r"(.+)_(\d[\d,:-]*)")


class TaskQuery(Struct, frozen=True, kw_only=True):
    """Which tasks to list, and how."""

    states: tuple[str, ...] = ()
    indices: str | None = None
    """``3-5,9``; None: all."""
    sort: str | None = None
    """The name of a column, a parameter or a metric; ``-`` before it: the highest first."""
    cursor: str | None = None
    limit: int = PAGE


# names


def find(client: Client, text: str) -> tuple[Job, str | None]:
    """The job and the indices that a name stands for. Raises what `Client.job` does, InvalidRequest.

    A job may be called ``fit_7``: ``@fit_7`` is that job if there is one, else task 7 of ``fit``.
    """
    found = _TASKS.fullmatch(text)
    if found is None:
        return client.job(text), None
    if text.startswith("@"):
        try:
            return client.job(text), None
        except NotFound:
            pass
    _checked(found[2])
    return needs_array(client.job(found[1])), found[2]


def needs_array(job: Job) -> Job:
    """The job itself. Raises InvalidRequest when it is no array."""
    if not job.array:
        raise InvalidRequest(f"{job.name} ({job.id[:5]}) is one task, not an array; name it {job.id[:5]}")
    return job


def _checked(indices: str) -> None:
    try:
        parse_indices(indices)
    except ValueError as error:
        raise InvalidRequest([Fault("tasks", str(error))]) from None


# calls


def page(job: str, wanted: TaskQuery) -> Call[TaskPage]:
    """One page of tasks, in order of their indices unless sorted."""
    query: list[tuple[str, str | int | None]] = [
        *(("state", state) for state in wanted.states),
        ("tasks", wanted.indices),
        ("sort", wanted.sort),
        ("cursor", wanted.cursor),
        ("limit", wanted.limit),
    ]
    text = urlencode([(key, value) for key, value in query if value is not None])
    request = requests.Request(
        method="GET",
        path=f"/v1/jobs/{quote(job, safe='@')}/tasks?{text}",
        headers={"Accept": requests.JSON},
        repeatable=True,
    )
    return Call(request, _decode_page)


def _decode_page(answer: requests.Answer) -> TaskPage:
    try:
        return json_decoder(TaskPage).decode(answer.body)
    except msgspec.DecodeError as error:
        raise ServerFault(f"the server's answer cannot be understood: {error}") from None


def control(job: str, operation: Operation, indices: str) -> Call[Job]:
    """Stop or kill some tasks; asking again is harmless."""
    if operation not in (Operation.STOP, Operation.KILL):
        raise InvalidRequest(f"{operation.value} is for whole jobs; single tasks can be stopped and killed")
    _checked(indices)
    call = requests.control(job, operation)
    body = msgspec.json.encode({"tasks": indices})
    headers = {**call.request.headers, "Content-Type": requests.JSON}
    return Call(replace(call.request, body=body, headers=headers), call.decode)


def each(client: Client, job: str, wanted: TaskQuery, most: int | None = None) -> Iterator[Task]:
    """Tasks page by page, ``most`` at the most; the wanted cursor and limit do not count."""
    left = most
    cursor: str | None = None
    while left is None or left > 0:
        limit = PAGE if left is None else min(PAGE, left)
        found = client.patiently(page(job, replace(wanted, cursor=cursor, limit=limit)))
        yield from found.tasks
        if left is not None:
            left -= len(found.tasks)
        cursor = found.next
        if cursor is None:
            return


def among(indices: str, index: int) -> bool:
    """Whether a task is one of ``3-5,9``; nothing is, of what names no tasks."""
    return any(
        one.first <= index <= one.last and not (index - one.first) % one.step for one in _ranges(indices)
    )


@lru_cache(maxsize=4)
def _ranges(indices: str) -> tuple[Range, ...]:
    try:
        return parse_indices(indices)[0]
    except ValueError:
        return ()


def chosen(client: Client, job: Job, indices: str) -> list[int]:
    """The indices of the tasks that there are among those named. Raises NotFound for none, and for one that
    is named by itself and is not there."""
    array = client.spec(needs_array(job).id).array
    found: list[int] = []
    lacking: list[int] = []
    if array is not None:
        numbering, wanted = Numbering(array.ranges), parse_indices(indices)[0]
        found = [numbering.index(place) for place in numbering.positions(wanted)]
        lacking = numbering.lacking(wanted)
    if lacking or not found:
        known = spell_indices(array.ranges) if array else ""
        which = ",".join(map(str, lacking)) if found else indices
        raise NotFound(f"no task {which} in {job.name} ({job.id[:5]}); its tasks are {known}")
    return found


# waiting


def wait_for(
    client: Client,
    job: Job,
    indices: str,
    *,
    deadline: float | None = None,
    poll_s: float = POLL_S,
    heard: Callable[[Job], None] = lambda _: None,
) -> Job:
    """The job once these tasks have ended; it may go on. Raises TimeoutError."""
    living = TaskQuery(states=LIVING, indices=indices, limit=1)
    while client.patiently(page(job.id, living)).tasks:
        wait_s = poll_s
        if deadline is not None:
            wait_s = min(wait_s, deadline - time.monotonic())
            if wait_s <= 0:
                raise TimeoutError(f"tasks {indices} of {job.name} ({job.id}) have not ended; they go on")
        time.sleep(PAUSE_S)
        job = client.patiently(requests.job(job.id, revision=job.revision, wait_s=wait_s))
        heard(job)
    return job


def status_of(task: Task) -> int:
    """What a command that waited for this ended task exits with."""
    return exit_status(task.state, task.reason, task.exit_code, task.signal)
