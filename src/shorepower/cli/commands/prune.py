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
@click.option("--before", metavar="WHEN", help="Also records of jobs that ended before: 30d, or a date.")
@json_option
@server_option
def command(**given: Any) -> None:
    """Remove what is expired, and what you name; says how much room that made."""
    before = moment(given["before"], "--before") if given["before"] else None
    with client_of(given["server"]) as client:
        freed = client.prune(results=given["results"], ended_before=before)
    if given["as_json"]:
        from ..render import json

        json.document({"freed_bytes": freed})
        return
    from ..render.figures import format_bytes

    say(f"{format_bytes(freed)} freed")
