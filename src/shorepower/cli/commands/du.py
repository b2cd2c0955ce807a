"""``shore du``: what takes space."""

from __future__ import annotations

from typing import Any

import click

from ..verbs import client_of, json_option, server_option

__all__ = ["command"]


@click.command("du")
@json_option
@server_option
def command(**given: Any) -> None:
    """What the server keeps on disk for you, and how much it may keep."""
    with client_of(given["server"]) as client:
        kept = client.footprint()
    if given["as_json"]:
        from ..render import json

        json.document(kept)
        return
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
