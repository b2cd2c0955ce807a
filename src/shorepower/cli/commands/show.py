"""``shore show``: everything about a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, job_argument, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.client import Client

__all__ = ["command"]


@click.command("show")
@json_option
@server_option
@job_argument
def command(**given: Any) -> None:
    """Everything about a job: how it stands and why, what it asked for and used, where its results are."""
    from ...model.errors import Unreachable

    with client_of(given["server"]) as client:
        try:
            job = client.job(given["job"])
            if given["as_json"]:
                from ..render import json

                json.document(job)
                return
            spec, attempts = client.spec(job.id), client.attempts(job.id)
        except Unreachable:
            if not given["as_json"]:
                _last_seen(client, given["job"])
            raise
        client.seen.remember([job])
    from ..render.page import job_page

    click.echo(job_page(job, spec, attempts, datetime.now(UTC)))


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
