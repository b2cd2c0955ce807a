"""Stop, kill, suspend and resume: asked for, recorded, and told what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .verbs import client_of
from .voice import say

if TYPE_CHECKING:
    from ..client.client import Client
    from ..model.job import Job
    from ..model.lifecycle import Operation

__all__ = ["steer"]

SEEN_WITHIN_S = 2.0
"""How long to watch whether it happens at once, as it mostly does."""
_DOING = {"stop": "stopping", "kill": "killing", "suspend": "suspending", "resume": "resuming"}


def steer(operation: str, given: dict[str, Any]) -> int:
    """Ask for an operation on each job; the exit code: of the first that could not be asked."""
    from ..model.errors import ShorepowerError
    from ..model.lifecycle import Operation
    from .failing import exit_code

    jobs, code = [], 0
    with client_of(given["server"]) as client:
        for name in dict.fromkeys(given["jobs"]):
            try:
                job, told = _asked(client, name, Operation(operation))
            except ShorepowerError as error:
                failed = exit_code(error, ["--json"] if given["as_json"] else [])  # tells it, too
                code = code or failed
                continue
            jobs.append(job)
            if not given["as_json"]:
                say(told)
        client.seen.remember(jobs)
    if given["as_json"]:
        from .render import json

        json.document({"jobs": jobs, "next": None})
    return code


def _asked(client: Client, name: str, operation: Operation) -> tuple[Job, str]:
    """The job after the operation was recorded for it, or for the tasks that are named; in words, too."""
    if "_" not in name:
        job = _watch(client, client.control(name, operation), operation)
        return job, _told(job, operation.value)
    found, indices = client.named(name)
    if indices is not None:
        from ..client.tasks import chosen

        chosen(client, found, indices)  # says so when there are none
    job = client.control(found.id, operation, indices=indices)
    if indices is None:
        job = _watch(client, job, operation)
        return job, _told(job, operation.value)
    return job, f"{_DOING[operation.value]} {indices} of {job.name} ({job.id[:5]})"


def _watch(client: Client, job: Job, operation: Operation) -> Job:
    """The job after a moment, in which most operations are seen to happen."""
    import time

    deadline = time.monotonic() + SEEN_WITHIN_S
    while not job.state.ended and job.wanted is operation:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        job = client.job(job.id, revision=job.revision, wait_s=left)
    return job


def _told(job: Job, operation: str) -> str:
    from .render.figures import short_id

    name = f"{short_id(job.id)} ({job.name})"
    if job.state.ended or job.wanted is None:
        return f"{name} is {job.state.value}" + (f": {job.why}" if job.state.ended and job.why else "")
    return f"{_DOING[operation]} {name}"
