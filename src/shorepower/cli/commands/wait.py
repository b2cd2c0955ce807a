"""``shore wait``: until jobs have ended."""

from __future__ import annotations

import time
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, jobs_argument, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.client import Client
    from ...model.job import Job

__all__ = ["command"]


@click.command("wait")
@click.option(
    "--timeout", metavar="TIME", help="Give up after this long (2h); the jobs go on. Exit code 124."
)
@click.option("--pull", is_flag=True, help="Bring the results home.")
@json_option
@server_option
@jobs_argument
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Wait for jobs to end. Exits with the job's code; with several, and of an array: 1 if any failed.

    ID_7 waits for one task of an array, ID_3-5,9 for several; the rest may go on.
    """
    from ...model.resources import parse_duration

    try:
        limit = None if given["timeout"] is None else float(parse_duration(given["timeout"]))
    except ValueError as error:
        raise click.UsageError(f"--timeout: {error}") from None
    with client_of(given["server"]) as client:
        ctx.exit(_wait(client, given, limit))


def _wait(client: Client, given: dict[str, Any], limit: float | None) -> int:
    from ..ending import exit_code_of

    deadline = None if limit is None else time.monotonic() + limit
    jobs, wrong = _named(client, given)
    if wrong:
        return wrong
    codes = []
    for job, indices in jobs:
        try:
            if indices is not None:
                codes.append(_tasks(client, job, indices, deadline, given))
                continue
            ended = _one(client, job, deadline)
        except KeyboardInterrupt:
            say(f"{job.name} goes on")
            return 130
        _tell(client, ended, given)
        codes.append(exit_code_of(ended))
    return codes[0] if len(codes) == 1 else int(any(codes))


def _tasks(client: Client, job: Job, indices: str, deadline: float | None, given: dict[str, Any]) -> int:
    """Until these tasks of an array have ended; the job may go on."""
    from ..tasks import wait_tasks

    code = wait_tasks(client, job, indices, deadline, quiet=given["as_json"])
    if given["pull"]:
        from ..ending import pull_home
        from ..live import LiveLine
        from ..offer import say_pulled

        with LiveLine() as line:
            report, problem = pull_home(client, job, line, tasks=indices)
        say_pulled(job, report, problem)
    return code


def _named(client: Client, given: dict[str, Any]) -> tuple[list[tuple[Job, str | None]], int]:
    """The jobs (and which of their tasks), and the exit code of the first name that fits none; each such
    name is told."""
    from ...model.errors import InvalidRequest, NotFound
    from ..failing import exit_code

    jobs, code = [], 0
    for name in dict.fromkeys(given["jobs"]):
        try:
            jobs.append(client.named(name))
        except (NotFound, InvalidRequest) as error:
            told = exit_code(error, ["--json"] if given["as_json"] else [])
            code = code or told
    return jobs, code


def _one(client: Client, job: Job, deadline: float | None) -> Job:
    """Until it has ended; a live line meanwhile. Raises TimeoutError."""
    from datetime import datetime

    from ...client import requests
    from ..live import LiveLine
    from ..render.figures import elapsed_s
    from ..render.quiet import live_line

    with LiveLine() as line:
        while not job.state.ended:
            wait_s = 1.0 if line.on else 25.0
            if deadline is not None:
                wait_s = min(wait_s, deadline - time.monotonic())
                if wait_s <= 0:
                    raise TimeoutError(
                        f"{job.name} ({job.id}) is still {job.state.value.lower()}; it goes on"
                    )
            job = client.patiently(requests.job(job.id, revision=job.revision, wait_s=wait_s))
            seconds = elapsed_s(job.started_at, None, datetime.now(UTC))
            text = f"waiting  {job.why}" if seconds is None else live_line(job, seconds)
            line.show(f"{job.name}  {text}")
    return job


def _tell(client: Client, job: Job, given: dict[str, Any]) -> None:
    from ..ending import finish
    from ..launch import asks
    from ..render.quiet import summary

    client.seen.remember([job])
    if given["pull"] or given["as_json"]:
        finish(client, job, pull=given["pull"], as_json=given["as_json"])
        return
    say(f"{job.name} ({job.id[:5]}) {summary(job)}")
    if asks():
        from ..offer import offer_pull

        offer_pull(client, job)
