"""``shore prune``: room on the disk."""

from __future__ import annotations

from typing import Any

import click

from ..verbs import client_of, json_option, server_option
from ..voice import say
from .ps import moment

__all__ = ["command"]


@click.command("prune")
@click.option("--results", is_flag=True, help="Also results that were brought home.")
@click.option("--unfetched", is_flag=True, help="Also results that nobody has brought home.")
@click.option(
    "--before", metavar="WHEN", help="Of these only what is from jobs that ended before: 30d, or a date."
)
@json_option
@server_option
def command(**given: Any) -> None:
    """Remove what is expired, what no job needs, and what you name; says how much room that made.

    Results that were kept for good (shore keep --forever) stay.
    """
    before = moment(given["before"], "--before") if given["before"] else None
    if before is not None and not (given["results"] or given["unfetched"]):
        raise click.UsageError("--before says which results go: add --results, --unfetched, or both")
    with client_of(given["server"]) as client:
        done = client.prune(results=given["results"], unfetched=given["unfetched"], ended_before=before)
    if given["as_json"]:
        from ..render import json

        json.document(done)
        return
    from ..render.figures import format_bytes

    say(f"{format_bytes(done.freed_bytes)} freed")
    if done.uploading:
        say(
            "what an upload of yours has sent stays: something came less than five minutes ago. "
            "If it was broken off, prune again then"
        )
