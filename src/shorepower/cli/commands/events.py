"""``shore events``: news of jobs."""

from __future__ import annotations

from typing import Any

import click

from ..verbs import client_of, json_option, server_option
from ..voice import clean

__all__ = ["command"]


@click.command("events")
@click.option("--after", type=click.IntRange(0), metavar="N", help="From this number on; 0 is all.")
@click.option("--job", metavar="JOB", help="Only of this job.")
@click.option("--no-follow", is_flag=True, help="Print what there is and end.")
@json_option
@server_option
def command(**given: Any) -> None:
    """News of your jobs as they come, until Ctrl-C. Each has a number to go on from."""
    with client_of(given["server"]) as client:
        job = client.job(given["job"]).id if given["job"] else None
        try:
            for event in _events(client, job, given):
                _print(event, as_json=given["as_json"])
        except KeyboardInterrupt:
            return


def _events(client: Any, job: str | None, given: dict[str, Any]) -> Any:
    if not given["no_follow"]:
        yield from client.events(after=given["after"], job=job)
        return
    from ...client import requests

    after = given["after"] or 0
    while True:
        page = client.patiently(requests.events(after=after, job=job))
        yield from page.events
        if not page.events:
            return
        after = page.next


def _print(event: Any, *, as_json: bool) -> None:
    if as_json:
        from ...wire.lines import EventLine
        from ..render import json

        json.line(EventLine(event=event))
        return
    news = "  ".join(f"{key}={value}" for key, value in event.body.items() if value not in (None, "", {}))
    when = f"{event.at.astimezone():%H:%M:%S}"
    click.echo(clean(f"{event.seq:>6}  {when}  {event.job[:5]}  {event.type:<14} {news}"))
