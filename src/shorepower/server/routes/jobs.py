"""Jobs: submit, show, list, control."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter, QueryParameter

from ...dispatch.dispatcher import JobFilter, TaskFilter
from ...model.errors import Fault, InvalidRequest
from ...model.job import Job, JobSpec
from ...model.lifecycle import Operation, State
from ...wire.http.bodies import (
    AttemptList,
    EndRequest,
    JobPage,
    KeepRequest,
    SubmitRequest,
    TaskPage,
    decode_body,
    unknown_fields,
)
from ...wire.http.headers import (
    IDEMPOTENCY_KEY,
    WARNINGS,
    etag,
    is_idempotency_key,
    matches_etag,
    write_warnings,
)
from ..arguments import JobName, TheCaller, TheDispatcher, TheLife, TheRequest, Wait
from ..needs import Need, needs
from ..reading import read_body, read_optional, read_struct
from ..streams import gone

__all__ = ["ROUTES"]

Moment = Annotated[datetime | None, QueryParameter(name="since", description="Submitted later than this.")]


@post("/v1/jobs", status_code=201, opt=needs(Need.SUBMIT, body=SubmitRequest, also={200: Job}))
async def submit(
    request: TheRequest,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    life: TheLife,
    key: Annotated[
        str | None, HeaderParameter(name=IDEMPOTENCY_KEY, description="Once under this key.")
    ] = None,
) -> Response[Job]:
    """Submit a job.

    On disk before the answer. The same key with the same body gives the same job again, with status
    200. Fields that nobody knows are listed in the header ``Shorepower-Warnings``.
    """
    if key is not None and not is_idempotency_key(key):
        raise InvalidRequest([Fault(IDEMPOTENCY_KEY, "a key has 1 to 255 visible ASCII characters")])
    body = await read_body(request, life.bounds.json_body_bytes, life.bounds)
    wanted = decode_body(body, SubmitRequest)
    job, new = await dispatcher.submit(wanted.spec, caller, key=key, secrets=wanted.secrets)
    headers = {"Location": f"/v1/jobs/{job.id}", "ETag": etag(job.revision)}
    if unknown := unknown_fields(body, SubmitRequest):
        headers[WARNINGS] = write_warnings(one.field for one in unknown)
    return Response(job, status_code=201 if new else 200, headers=headers)


@get("/v1/jobs", opt=needs(Need.READ))
async def list_jobs(
    dispatcher: TheDispatcher,
    caller: TheCaller,
    states: Annotated[list[State] | None, QueryParameter(name="state", description="Any of these.")] = None,
    cluster: Annotated[str | None, QueryParameter(name="on", description="On this cluster.")] = None,
    name: Annotated[str | None, QueryParameter(description="With exactly this name.")] = None,
    tags: Annotated[
        list[str] | None, QueryParameter(name="tag", description="``key=value``, all of these.")
    ] = None,
    since: Moment = None,
    recent: Annotated[bool, QueryParameter(description="Living, or ended within the last day.")] = False,
    cursor: Annotated[str | None, QueryParameter(description="``next`` of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
) -> JobPage:
    """List jobs, newest first."""
    if since is not None and since.tzinfo is None:
        raise InvalidRequest([Fault("since", "a time needs an offset: 2026-01-31T12:00:00Z")])
    wanted = JobFilter(
        states=tuple(states or ()),
        cluster=cluster,
        name=name,
        tags=_tags(tags or []),
        since=since,
        recent=recent,
        cursor=cursor,
        limit=limit,
    )
    jobs, following = await dispatcher.jobs(wanted, caller)
    return JobPage(jobs=tuple(jobs), next=following)


@get("/v1/jobs/{job:str}", opt=needs(Need.READ, also={304: None}))
async def show(
    request: TheRequest,
    job: JobName,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    life: TheLife,
    revision: Annotated[int | None, QueryParameter(description="Answer when there is a later one.")] = None,
    wait: Wait = 0.0,
    known: Annotated[str | None, HeaderParameter(name="If-None-Match")] = None,
) -> Response[Job]:
    """Show a job.

    ``job`` is an id, a unique prefix of it, ``@name`` or ``@-1``. With ``revision`` and ``wait`` the
    answer comes as soon as the job has changed, or as it is when the time is over.
    """

    async def ask(wait_s: float) -> Job:
        return await dispatcher.job(job, caller, revision=revision, wait_s=wait_s)

    found = await life.patiently(ask, wait if revision is not None else 0.0, gone(request))
    headers = {"ETag": etag(found.revision), "Cache-Control": "no-cache"}
    if matches_etag(known, found.revision):
        return Response(None, status_code=304, headers=headers)  # type: ignore[return-value]
    return Response(found, headers=headers)


@get("/v1/jobs/{job:str}/spec", opt=needs(Need.READ))
async def show_spec(job: JobName, dispatcher: TheDispatcher, caller: TheCaller) -> JobSpec:
    """What was submitted."""
    return await dispatcher.spec(job, caller)


@get("/v1/jobs/{job:str}/tasks", opt=needs(Need.READ))
async def list_tasks(
    job: JobName,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    states: Annotated[list[State] | None, QueryParameter(name="state", description="Any of these.")] = None,
    tasks: Annotated[str | None, QueryParameter(description="Only these, by index: ``3-5,9``.")] = None,
    sort: Annotated[
        str | None,
        QueryParameter(
            description="``index``, ``wall_time_s``, ``cpu_time_s``, ``peak_memory_mib``, ``started_at``, "
            "``exit_code``, a parameter of the grid or a metric; ``-`` before it: the largest first."
        ),
    ] = None,
    cursor: Annotated[str | None, QueryParameter(description="``next`` of the page before.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1000)] = 50,
) -> TaskPage:
    """List the tasks of an array.

    By index, or in the order that ``sort`` names; tasks that have nothing of it come last. A job that is
    no array has one task, with index 0.
    """
    wanted = TaskFilter(states=tuple(states or ()), tasks=tasks, sort=sort, cursor=cursor, limit=limit)
    found, following = await dispatcher.tasks(job, wanted, caller)
    return TaskPage(tasks=tuple(found), next=following)


@get("/v1/jobs/{job:str}/attempts", opt=needs(Need.READ))
async def show_attempts(job: JobName, dispatcher: TheDispatcher, caller: TheCaller) -> AttemptList:
    """Every attempt so far."""
    return AttemptList(attempts=tuple(await dispatcher.attempts(job, caller)))


@post("/v1/jobs/{job:str}/keep", status_code=200, opt=needs(Need.CHANGE, body=KeepRequest))
async def keep(
    request: TheRequest,
    job: JobName,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    life: TheLife,
) -> Job:
    """Keep the results of a job until another time."""
    wanted = await read_struct(request, KeepRequest, life.bounds)
    return await dispatcher.keep(job, wanted.until, caller)


_SENTENCES = {
    Operation.STOP: "Stop a job: SIGTERM, then SIGKILL after its grace.",
    Operation.KILL: "Kill a job at once.",
    Operation.SUSPEND: "Suspend a running job; it keeps its cpus.",
    Operation.RESUME: "Let a suspended job go on.",
}


def _control(operation: Operation) -> HTTPRouteHandler:
    ends = operation in (Operation.STOP, Operation.KILL)

    async def end(
        request: TheRequest, job: JobName, dispatcher: TheDispatcher, caller: TheCaller, life: TheLife
    ) -> Job:
        wanted = await read_optional(request, EndRequest, life.bounds)
        return await dispatcher.control(job, operation, caller, tasks=wanted.tasks)

    async def hold(job: JobName, dispatcher: TheDispatcher, caller: TheCaller) -> Job:
        return await dispatcher.control(job, operation, caller)

    control = end if ends else hold
    some = " With ``tasks`` in the body, only these tasks of an array." if ends else ""
    control.__doc__ = (
        f"{_SENTENCES[operation]}\n\n"
        f"Recorded before the answer, and repeated until seen to have happened.{some}"
    )
    control.__name__ = operation.value
    opt = needs(Need.CHANGE, body=EndRequest if ends else None, may_lack_body=ends)
    return post(f"/v1/jobs/{{job:str}}/{operation.value}", status_code=202, opt=opt)(control)


def _tags(pairs: list[str]) -> dict[str, str]:
    wrong = [Fault("tag", f"{pair!r} is no tag: write key=value") for pair in pairs if "=" not in pair]
    if wrong:
        raise InvalidRequest(wrong)
    return dict(pair.split("=", 1) for pair in pairs)


ROUTES = [
    submit,
    list_jobs,
    show,
    show_spec,
    list_tasks,
    show_attempts,
    keep,
    *(_control(one) for one in _SENTENCES),
]
