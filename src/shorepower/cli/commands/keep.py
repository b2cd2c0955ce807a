"""``shore keep``: results for longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from ..verbs import client_of, job_argument, json_option, server_option
from ..voice import say

__all__ = ["command"]


@click.command("keep")
@click.option("--until", metavar="WHEN", help="A date (2026-03-01) or a time from now (60d).")
@click.option("--forever", is_flag=True, help="Until you say otherwise.")
@json_option
@server_option
@job_argument
def command(**given: Any) -> None:
    """Keep a job's results for longer than 30 days: 90 days from now, or as you say."""
    if given["until"] and given["forever"]:
        raise click.UsageError("give --until or --forever, not both")
    until = None if given["forever"] else future(given["until"] or "90d")
    with client_of(given["server"]) as client:
        job = client.keep(client.job(given["job"]).id, until)
    if given["as_json"]:
        from ..render import json

        json.document(job)
        return
    how_long = "for good" if until is None else f"until {until.astimezone():%Y-%m-%d}"
    say(f"the results of {job.name} ({job.id[:5]}) are kept {how_long}")


def future(text: str) -> datetime:
    from ...model.resources import parse_duration

    now = datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        try:
            moment = now + timedelta(seconds=parse_duration(text))
        except ValueError:
            raise click.UsageError(f"--until {text!r}: write a date as 2026-03-01, or 60d") from None
    if moment <= now:
        raise click.UsageError(f"--until {text}: that has passed")
    return moment
