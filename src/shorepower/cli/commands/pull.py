"""``shore pull``: results come home."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from ..verbs import client_of, job_argument, json_option, server_option

__all__ = ["command"]


@click.command("pull")
@click.option("--to", metavar="DIR", help="Here, instead of the project the job came from.")
@click.option("--undo", is_flag=True, help="Put back what pulls of this job replaced.")
@json_option
@server_option
@job_argument
@click.argument("globs", nargs=-1, metavar="[GLOB]...")
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Bring home what came out of a job: all of it, or what a GLOB names.

    Files of yours are never overwritten: the job's is put beside, with its id in the name. What is here
    already is not fetched again. From a running job: what is there so far. ID_7 is what one task of an
    array wrote; each task comes home into a folder of its own, beside index.csv, the table of all.
    """
    from ..ending import home_document, pull_home
    from ..live import LiveLine
    from ..offer import say_pulled

    to = _folder(given["to"])
    with client_of(given["server"]) as client:
        if given["undo"]:
            _undo(client, given)
            return
        job, indices = client.named(given["job"])
        if indices is not None:
            from ...client.tasks import chosen

            chosen(client, job, indices)  # says so when there are none
        with LiveLine() as line:
            if job.results.state.value == "saving" and indices is None:
                line.show("collecting results", now=True)
                job = client.wait(job.id)
            report, problem = pull_home(client, job, line, globs=given["globs"], to=to, tasks=indices)
    if given["as_json"] and report is not None:
        from ..render import json

        json.document(home_document(report))
    else:
        say_pulled(job, report, problem)
    ctx.exit(0 if report is not None and not report.faults else 1)


def _folder(to: str | None) -> Path | None:
    """What ``--to`` names. Raises UsageError for what is there and no folder."""
    if to is None:
        return None
    from ...model.names import quoted

    folder = Path(to)
    if not to or (os.path.lexists(folder) and not folder.is_dir()):
        raise click.UsageError(f"--to {quoted(to)}: that is no folder; name one, there or yet to be made")
    return folder


def _undo(client: Any, given: dict[str, Any]) -> None:
    from ...client.ledger import Ledger
    from ...client.pull import undo
    from ...model.errors import ShorepowerError
    from ..voice import say

    name = given["job"]
    try:
        name = client.job(name).id
    except ShorepowerError:
        pass  # the ledger here knows jobs that the server forgot
    report = undo(name, Ledger(client.settings.places.client_dir))
    for path in report.written:
        say(f"put back: {path}")
    for path, _, why in report.left:
        say(f"{path} stays as it is: {why}")
    for text in (*report.notes, *report.faults):
        say(text)
    if not (report.written or report.left or report.notes or report.faults):
        say("nothing to put back")
