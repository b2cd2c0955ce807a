"""``shore submit``: send and return."""

from __future__ import annotations

from typing import Any

import click

from ..options import JobCommand, job_options, options_of
from ..verbs import client_of, ids_option, json_option, server_option

__all__ = ["command"]


@click.command("submit", cls=JobCommand)
@job_options
@click.option("--dry-run", is_flag=True, help="List what would be sent, and send nothing.")
@json_option
@ids_option
@server_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT|-- COMMAND [ARGS]...")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Send a script or a command and return at once; prints the job's id.

    Once the id is printed the job is on the server's disk. Options end at SCRIPT: what follows is the
    script's. Results wait there: shore pull.
    """
    options, faults = options_of(
        given, command=ctx.meta["shorepower.command"], wrong=ctx.meta["shorepower.wrong"]
    )
    with client_of(given["server"], start=not faults) as client:
        if given["dry_run"]:
            from ..dry import dry_run

            dry_run(client, given["words"], options, faults, as_json=given["as_json"])
            return
        _submit(client, given, options, faults)


def _submit(client: Any, given: dict[str, Any], options: Any, faults: Any) -> None:
    from ..expiring import remind_daily
    from ..launch import launch
    from ..render import json
    from ..render.figures import short_id
    from ..voice import say

    quiet = given["as_json"] or given["ids"]
    launched = launch(client, given["words"], options, faults, quiet=quiet)
    job = launched.job
    client.seen.remember([job])
    if given["as_json"]:
        json.document(job)
        return
    click.echo(job.id)
    if not quiet:
        runtime = f" · {launched.prepared.chosen.label}" if launched.prepared.chosen else ""
        name = short_id(job.id)
        say(f"{job.name} is submitted{runtime} · shore logs -f {name} · shore pull {name}")
        remind_daily(client)
