"""``shore du``: what takes space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, json_option, server_option
from ..voice import say

if TYPE_CHECKING:
    from ...client.client import Client

__all__ = ["command"]


@click.command("du")
@click.option(
    "--expiring", is_flag=True, help="List the jobs whose results nobody fetched and that go soon."
)
@json_option
@server_option
def command(**given: Any) -> None:
    """What the server keeps on disk for you, and how much it may keep."""
    with client_of(given["server"]) as client:
        if given["expiring"]:
            _expiring(client, as_json=given["as_json"])
        else:
            _footprint(client, as_json=given["as_json"])


def _footprint(client: Client, *, as_json: bool) -> None:
    kept = client.footprint()
    if as_json:
        from ..render import json

        json.document(kept)
        return
    from ..expiring import remind
    from ..render.figures import format_bytes
    from ..render.table import pairs

    total = kept.blobs_bytes + kept.results_bytes + kept.output_bytes
    budget = f" of {format_bytes(kept.budget_bytes)}" if kept.budget_bytes else ""
    rows = [
        ("projects", format_bytes(kept.blobs_bytes)),
        ("results", format_bytes(kept.results_bytes)),
        ("output", format_bytes(kept.output_bytes)),
        ("together", format_bytes(total) + budget),
        ("jobs", str(kept.job_count)),
        ("free", f"{format_bytes(kept.free_bytes)} on the disk"),
    ]
    click.echo(pairs(rows))
    remind(client, asked=True)


def _expiring(client: Client, *, as_json: bool) -> None:
    expiring = client.expiring()
    if as_json:
        from ..render import json

        json.document(expiring)
        return
    if not expiring.count:
        say("nothing goes within three days that nobody fetched")
        return
    from ..render.figures import format_bytes, short_ids
    from ..render.table import columns

    short = short_ids(one.id for one in expiring.jobs)
    rows = [
        (
            short[one.id],
            f"{one.goes_at.astimezone():%Y-%m-%d %H:%M}",
            format_bytes(one.size_bytes),
            str(one.file_count),
            one.name + ("  (to make room)" if one.for_room else ""),
        )
        for one in expiring.jobs
    ]
    click.echo(columns(("ID", "GOES", "SIZE", "FILES", "NAME"), rows))
    if more := expiring.count - len(expiring.jobs):
        say(f"and {more} more")
    say("shore pull ID fetches them, shore keep ID keeps them")
    client.warned(expiring.as_of)
