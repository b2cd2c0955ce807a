"""``shore show``: everything about a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, job_argument, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.client import Client
    from ...model.job import Job

__all__ = ["command"]


@click.command("show")
@click.option("--table", is_flag=True, help="Of an array: a line a task, with parameters and metrics.")
@click.option("--sort", metavar="COLUMN", help="The table by a column, as auc; -auc: the highest first.")
@click.option("--state", multiple=True, metavar="STATE", help="Only tasks in this state; may be repeated.")
@click.option("--csv", "as_csv", is_flag=True, help="The table as CSV, with all columns and rows.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="At most so many tasks; otherwise 1000.")
@json_option
@server_option
@job_argument
def command(**given: Any) -> None:
    """Everything about a job: how it stands and why, what it asked for and used, where its results are.

    ID_7 is one task of an array. The table of all tasks can be looked at while they run.
    """
    from ...model.errors import Unreachable

    with client_of(given["server"]) as client:
        try:
            job, indices = client.named(given["job"])
            if _shown_as_tasks(client, job, indices, given):
                return
            if given["as_json"]:
                from ..render import json

                json.document(job)
                return
            spec, attempts = client.spec(job.id), [] if job.array else client.attempts(job.id)
            tasks = _told_counts(client, job) if job.array else ""
        except Unreachable:
            if not given["as_json"]:
                _last_seen(client, given["job"])
            raise
        client.seen.remember([job])
    from ..render.page import job_page

    click.echo(job_page(job, spec, attempts, datetime.now(UTC), tasks))


def _shown_as_tasks(client: Client, job: Job, indices: str | None, given: dict[str, Any]) -> bool:
    wants_table = given["table"] or given["sort"] or given["state"] or given["as_csv"] or given["limit"]
    if indices is None and not wants_table:
        return False
    from ..tasks import show_table, show_tasks

    if wants_table or indices is None:
        show_table(client, job, indices, given)
    else:
        show_tasks(client, job, indices, given)
    return True


def _told_counts(client: Client, job: Job) -> str:
    from ..tasks import told_counts

    return told_counts(client, job)


def _last_seen(client: Client, name: str) -> None:
    """What this client saw last, with its age; the command ends with 121 all the same."""
    from ...model.errors import ShorepowerError
    from ..render.figures import age
    from ..render.page import job_page

    now = datetime.now(UTC)
    try:
        at, job = client.seen.job(name)
    except ShorepowerError:
        return
    click.echo(job_page(job, None, (), now))
    say(f"as last seen {age(at, now)} ago")
