"""``shore top``: what runs, and what it takes at the moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from ..verbs import client_of, json_option, server_option
from ..voice import is_terminal

if TYPE_CHECKING:
    from ...client.client import Client
    from ...model.job import Job

__all__ = ["command"]

PERIOD_S = 2.0
_MOST = 200


@click.command("top")
@click.option("--once", is_flag=True, help="Print it once and end, as without a terminal.")
@json_option
@server_option
def command(**given: Any) -> None:
    """What your running jobs take: cpus that they keep busy, memory, time; renewed until Ctrl-C."""
    with client_of(given["server"]) as client:
        if given["as_json"]:
            from ..render import json

            json.document({"jobs": _running(client), "next": None})
            return
        view = _View(client)
        if given["once"] or not is_terminal(sys.stdout):
            click.echo(view.text())
            return
        try:
            _renewed(view)
        except KeyboardInterrupt:
            return


def _running(client: Client) -> Sequence[Job]:
    from ...client.requests import JobQuery

    return client.jobs(JobQuery(states=("RUNNING", "SUSPENDED"), limit=_MOST)).jobs


def _renewed(view: _View) -> None:
    from rich.live import Live
    from rich.text import Text

    def picture() -> Text:
        return Text.from_ansi(view.text(), no_wrap=True)

    with Live(picture(), screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(PERIOD_S)
            live.update(picture(), refresh=True)


class _View:
    """Looks, and remembers what it saw the last time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: dict[str, Job] = {}
        self._at = 0.0

    def text(self) -> str:
        from ..render.top import busy_cpus, top_lines

        jobs, at = _running(self._client), time.monotonic()
        cpus = {job.id: busy_cpus(job, self._seen.get(job.id), at - self._at) for job in jobs}
        self._seen, self._at = {job.id: job for job in jobs}, at
        return top_lines(self._client.clusters(), jobs, cpus, datetime.now(UTC))
