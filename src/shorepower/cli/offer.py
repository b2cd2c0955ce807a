"""Results that lie on the server, offered at a terminal."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..model.resources import counted
from ..model.results import ResultsState
from .ending import pull_home, results_fault
from .live import LiveLine
from .render.figures import format_bytes, short_id
from .render.quiet import beside_lines, home_line
from .voice import say

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.pull import PullReport
    from ..model.job import Job

__all__ = ["offer_pull", "say_pulled"]


def offer_pull(client: Client, job: Job) -> None:
    """Ask whether the results come home, if there are any that did not yet."""
    import click

    results = client.wait(job.id).results
    if results.state not in (ResultsState.READY, ResultsState.PARTIAL) or not results.file_count:
        return
    if results.pulled_at is not None:
        return
    files = f"{counted(results.file_count, 'file')}, {format_bytes(results.size_bytes)}"
    if not click.confirm(f"shore: {files} came out of it; bring them home?", default=True, err=True):
        say(f"they wait: shore pull {short_id(job.id)}")
        return
    with LiveLine() as line:
        report, problem = pull_home(client, job, line)
    say_pulled(job, report, problem)


def say_pulled(job: Job, report: PullReport | None, problem: str) -> None:
    """What came home, and what did not."""
    if report is None:
        say(problem)
        return
    here = os.path.relpath(report.folder)
    line = home_line(report, job)
    where = "" if here == "." else f" · in {here}"
    if not line and not (report.left or report.notes or report.faults):
        line = "nothing new: all of it is here" if report.unchanged else "nothing came out of it"
    if line:
        say(line + where)
    for text in (*beside_lines(report), *report.notes, *report.faults, *results_fault(job)):
        say(text)
