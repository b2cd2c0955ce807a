"""The end of a job that was attached to: results home, the summary, the exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..client.handle import bring_home
from ..model.errors import ShorepowerError
from ..model.lifecycle import State
from ..model.results import ResultsState
from .hints import hints
from .live import LiveLine
from .render import json
from .render.figures import format_bytes, short_id
from .render.quiet import beside_lines, home_line, summary
from .voice import say

if TYPE_CHECKING:
    from ..client.client import Client
    from ..client.prepare import Prepared
    from ..client.pull import PullReport
    from ..model.job import Job
    from ..wire.lines import Home

__all__ = ["exit_code_of", "finish", "home_document", "left_running", "pull_home", "results_fault"]

LEFT = 130
_PULLABLE = (ResultsState.READY, ResultsState.PARTIAL)


def finish(
    client: Client,
    job: Job,
    *,
    pull: bool,
    as_json: bool,
    prepared: Prepared | None = None,
    tail: bytes = b"",
    limit_bytes: int | None = None,
) -> int:
    """Wait for the results, bring them home, say how it ended; the exit code."""
    report: PullReport | None = None
    lines: list[str] = []
    with LiveLine() as line:
        if pull and job.results.state is ResultsState.SAVING:
            line.show("collecting results", now=True)
            job = client.wait(job.id, known=job)
        if pull and (job.results.state in _PULLABLE or _has_table(job)):
            report, problem = pull_home(client, job, line, limit_bytes=limit_bytes)
            lines += [problem] if problem else []
    client.seen.remember([job])
    if as_json:
        json.end_line(job, None if report is None else home_document(report))
        return exit_code_of(job)
    said = [summary(job)] + ([home_line(report, job)] if report is not None else [])
    if job.state is State.COMPLETED:
        say(" · ".join(part for part in said if part))
    else:
        for part in filter(None, said):
            say(part)
        if prepared is not None:
            lines += hints(job, prepared, tail, os.environ)
    for text in [*lines, *_about(report), *_not_home(report, job), *results_fault(job), *_about_tasks(job)]:
        say(text)
    return exit_code_of(job)


def pull_home(
    client: Client,
    job: Job,
    line: LiveLine,
    *,
    globs: Sequence[str] = (),
    to: Path | None = None,
    tasks: str | None = None,
    limit_bytes: int | None = None,
) -> tuple[PullReport | None, str]:
    """(what came home, what went wrong instead)."""

    def show(done: int, total: int) -> None:
        if total > 1 << 20:
            line.show(f"bringing home {format_bytes(done)} of {format_bytes(total)}")

    try:
        report = bring_home(
            client, job, globs=globs, to=to, tasks=tasks, limit_bytes=limit_bytes, progress=show
        )
    except (ShorepowerError, OSError) as error:
        return None, f"results stay on the server: {error}; try: shore pull {short_id(job.id)}"
    return report, ""


def exit_code_of(job: Job) -> int:
    """What a command that was attached to this ended job exits with."""
    if job.exit_status is not None:
        return job.exit_status
    from ..model.lifecycle import exit_status

    return exit_status(job.state, job.reason, job.exit_code, job.signal)


def left_running(job: Job) -> int:
    """Say how to come back; the exit code."""
    name = short_id(job.id)
    say(f"left running: {name} ({job.name}) · watch: shore logs -f {name} · stop: shore stop {name}")
    return LEFT


def _about(report: PullReport | None) -> list[str]:
    return [] if report is None else [*beside_lines(report), *report.notes, *report.faults]


def _not_home(report: PullReport | None, job: Job) -> list[str]:
    """That results stay on the server although they were asked for, and how to get them later."""
    if report is None or not report.faults:
        return []
    return [f"not all of it is home; the rest stays on the server: shore pull {short_id(job.id)}"]


def _has_table(job: Job) -> bool:
    """An array has a table of its tasks even where none wrote a file."""
    return job.array and job.results.state is ResultsState.NONE


def _about_tasks(job: Job) -> list[str]:
    if not job.array:
        return []
    from .render.counts import after_failures

    return list(filter(None, [after_failures(job)]))


def results_fault(job: Job) -> list[str]:
    """That not all of it could be collected, and why; that it may not be what it seems."""
    results = job.results
    if results.state in (ResultsState.PARTIAL, ResultsState.FAILED):
        return [f"results: {results.why or results.state.value}; the working folder is kept"]
    if job.array and results.state is ResultsState.READY and results.why:
        return [f"{results.why}: the other tasks may have read it changed; copy a file that was sent first"]
    return []


def home_document(report: PullReport) -> Home:
    """What a pull did, for ``--json``."""
    from ..wire.lines import Beside, Home, Left

    return Home(
        folder=str(report.folder),
        written=tuple(report.written),
        beside=tuple(Beside(path, instead) for path, instead in report.beside),
        left=tuple(Left(path, size, why) for path, size, why in report.left),
        faults=tuple(report.faults),
        size_bytes=report.size_bytes,
    )
