"""``shore ls``: what came out of a job."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from ..verbs import client_of, job_argument, json_option, server_option
from ..voice import say

__all__ = ["command"]


@click.command("ls")
@json_option
@server_option
@job_argument
def command(**given: Any) -> None:
    """What came out of a job so far: files that are new or changed.

    Of an array the path begins with the index of the task; ID_7 is one task, ID_3-5,9 are several.
    """
    with client_of(given["server"]) as client:
        job, indices = client.named(given["job"])
        if indices is not None:
            from ...client.tasks import chosen

            chosen(client, job, indices)  # says so when there are none
        listing = client.files(job.id)
    if indices is not None:
        listing = _of(listing, indices)
    if given["as_json"]:
        from ..render import json

        json.document(listing)
        return
    if not listing.entries:
        say("nothing came out of it" if job.state.ended else "nothing came out of it yet")
        return
    from ..render.figures import age, format_bytes
    from ..render.table import columns

    now = datetime.now(UTC)
    rows = []
    for entry in listing.entries:
        changed = datetime.fromtimestamp(entry.mtime_ns / 1e9, UTC)
        size = format_bytes(entry.size_bytes) if entry.kind == "file" else entry.kind
        rows.append((size, age(changed, now), _path(entry)))
    click.echo(columns(("SIZE", "AGE", "FILE"), rows))
    if listing.state.value not in ("ready", "none"):
        why = f": {job.results.why}" if job.results.why else ""
        say(f"results are {listing.state.value}{why}")


def _of(listing: Any, indices: str) -> Any:
    """What these tasks of an array wrote."""
    from msgspec.structs import replace

    from ...client.task_home import only

    return replace(listing, entries=tuple(only(listing.entries, indices)))


def _path(entry: Any) -> str:
    import base64

    from ...model.names import shown

    path = shown(entry.path or base64.b64decode(entry.path_b64))
    target = shown(entry.target or base64.b64decode(entry.target_b64))
    before = "shore-results: " if entry.area == "results" else ""
    after = f" -> {target}" if entry.kind == "link" else "/" if entry.kind == "dir" else ""
    return before + path + after
