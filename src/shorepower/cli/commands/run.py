"""``shore run``: attached, to the end, results home."""

from __future__ import annotations

from typing import Any

import click

from ..options import JobCommand, job_options, options_of
from ..verbs import client_of, json_option, server_option

__all__ = ["command"]


@click.command("run", cls=JobCommand)
@job_options
@click.option("--dry-run", is_flag=True, help="List what would be sent, and send nothing.")
@click.option("--no-pull", is_flag=True, help="Leave the results on the server.")
@json_option
@server_option
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="SCRIPT|-- COMMAND [ARGS]...")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Run a script or a command, show its output, bring its results home.

    Standard output and error are the job's own, byte for byte; the exit code is the job's. Options end at
    SCRIPT: what follows is the script's. Ctrl-C asks whether the job goes on.
    """
    options, faults = options_of(
        given, command=ctx.meta["shorepower.command"], wrong=ctx.meta["shorepower.wrong"]
    )
    with client_of(given["server"], start=not faults) as client:
        if given["dry_run"]:
            from ..dry import dry_run

            dry_run(client, given["words"], options, faults, as_json=given["as_json"])
            return
        code = _run(client, given, options, faults)
        if not given["as_json"]:
            from ..expiring import remind_daily

            remind_daily(client)
        ctx.exit(code)


def _run(client: Any, given: dict[str, Any], options: Any, faults: Any) -> int:
    from ..attached import Attached, View
    from ..launch import launch
    from ..render import json

    launched = launch(client, given["words"], options, faults, quiet=given["as_json"])
    prepared = launched.prepared
    if given["as_json"]:
        json.job_line(launched.job)
    view = View(
        runtime=prepared.chosen.label if prepared.chosen else "",
        on_interrupt=prepared.settings.run.on_interrupt,
        as_json=given["as_json"],
    )
    attached = Attached(client, launched.job, view)
    job = attached.follow(meanwhile=_load_ending)
    from ...client.pull import ATTACHED_LIMIT_BYTES
    from ..ending import finish, left_running

    if job is None:
        return left_running(attached.job)
    code = finish(
        client,
        job,
        pull=not given["no_pull"],
        as_json=given["as_json"],
        prepared=prepared,
        tail=bytes(attached.tail),
        limit_bytes=ATTACHED_LIMIT_BYTES,
    )
    return code or int(bool(attached.unwritten))


def _load_ending() -> None:
    """What the end needs is loaded while the job runs, which costs nobody's time."""
    from ...client import ledger, pull  # noqa: F401 - loaded now, used at the end
    from .. import ending  # noqa: F401 - as above
