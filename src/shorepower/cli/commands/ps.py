"""``shore ps``: which jobs there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, ids_option, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.client import Client
    from ...client.requests import JobQuery
    from ...model.job import Job

__all__ = ["command"]

PAGE, MOST = 200, 1000


@click.command("ps")
@click.option("-a", "--all", "every", is_flag=True, help="All jobs, however old.")
@click.option("--state", multiple=True, metavar="STATE", help="Only in this state; may be repeated.")
@click.option("--since", metavar="WHEN", help="Only those submitted since: 2h, 3d, or a date.")
@click.option("--tag", multiple=True, metavar="K=V", help="Only with this label.")
@click.option("-M", "--on", metavar="CLUSTER", help="Only on this cluster.")
@click.option("-J", "--name", metavar="NAME", help="Only with this name.")
@click.option("--limit", type=click.IntRange(1), default=MOST, show_default=True, help="At most so many.")
@json_option
@ids_option
@server_option
def command(**given: Any) -> None:
    """List your jobs: active ones and those that ended within the last day, newest first."""
    from ...model.errors import Unreachable

    wanted = _query(given)
    with client_of(given["server"]) as client:
        try:
            jobs, more = _collect(client, wanted, given["limit"])
        except Unreachable as error:
            _last_seen(client, error, given)
            raise
        client.seen.remember(jobs)
        _show(jobs, more, given)
        if not (given["as_json"] or given["ids"]):
            from ..expiring import remind

            remind(client)


def _collect(client: Client, wanted: JobQuery, limit: int) -> tuple[list[Job], str | None]:
    from msgspec.structs import replace

    jobs: list[Job] = []
    cursor: str | None = None
    while True:
        page = client.jobs(replace(wanted, cursor=cursor, limit=min(PAGE, limit - len(jobs))))
        jobs += page.jobs
        cursor = page.next
        if cursor is None or not page.jobs or len(jobs) >= limit:
            return jobs, cursor


def _show(jobs: list[Job], more: str | None, given: dict[str, Any]) -> None:
    if given["as_json"]:
        from ..render import json

        json.document({"jobs": jobs, "next": more})
        return
    if given["ids"]:
        for job in jobs:
            click.echo(job.id)
        return
    if not jobs:
        say("no jobs" if given["every"] else "no active jobs, and none that ended today; -a shows all")
        return
    from ..render.table import jobs_table

    click.echo(jobs_table(jobs, datetime.now(UTC)))
    if more is not None:
        say(f"there are more; --limit shows more than {given['limit']}")


def _last_seen(client: Client, error: Exception, given: dict[str, Any]) -> None:
    """What this client saw last, with its age; the command ends with 121 all the same."""
    from ..render.figures import age

    at, jobs = client.seen.jobs()
    if at is None or given["as_json"]:
        return
    now = datetime.now(UTC)
    _show(list(jobs[: given["limit"]]), None, given)
    say(f"as last seen {age(at, now)} ago")


def _query(given: dict[str, Any]) -> JobQuery:
    """Raises InvalidRequest with every fault."""
    from ...client.requests import JobQuery
    from ...model.check import unknown
    from ...model.errors import Fault, InvalidRequest
    from ...model.lifecycle import State

    states = [text.upper() for text in given["state"]]
    faults = [
        Fault("--state", unknown("state", name, State.__members__))
        for name in states
        if name not in State.__members__
    ]
    tags = dict(text.partition("=")[::2] for text in given["tag"])
    faults += [
        Fault("--tag", f"--tag {text!r}: write --tag KEY=VALUE") for text in given["tag"] if "=" not in text
    ]
    since = None
    try:
        since = moment(given["since"], "--since") if given["since"] else None
    except click.UsageError as wrong:
        faults.append(Fault("--since", wrong.message))
    if faults:
        raise InvalidRequest(faults)
    return JobQuery(
        states=tuple(states),
        cluster=given["on"],
        name=given["name"],
        tags=tags,
        since=since,
        recent=not (given["every"] or states or since),
    )


def moment(text: str, option: str) -> datetime:
    """A moment in the past, of a duration (``2h``, ``3d``) or a date (``2026-03-01``)."""
    from ...model.resources import parse_duration

    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        try:
            seconds = parse_duration(text)
        except ValueError:
            raise click.UsageError(f"{option} {text!r}: write 2h or 3d, or a date as 2026-03-01") from None
        return datetime.now(UTC) - timedelta(seconds=seconds)
    return given.astimezone(UTC)
