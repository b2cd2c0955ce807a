"""What a job leaves behind is ended: first it may end by itself, then SIGTERM, then SIGKILL."""

from __future__ import annotations

import signal

import anyio
import structlog

from ...host.families import Family
from ...host.processes import Process, send
from .ender import AT_ONCE
from .job import LocalJob, Settings, Site

__all__ = ["Strays", "clear_up"]

log = structlog.get_logger(__name__)

_KILL_TAKES_S = 5.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.005, 0.1


async def clear_up(site: Site, job: LocalJob, *, lost: bool) -> None:
    """Return when nothing of the job is left, its wrapper having ended."""
    tree = job.tree(site.families)
    for number, wait_s in _steps(job, site.settings, lost=lost):
        if number is not None:
            await site.tree_work(tree.send_to_rest, number)
        pause_s = _FIRST_WAIT_S
        with anyio.move_on_after(wait_s):
            while await site.tree_work(tree.members):
                await anyio.sleep(pause_s)
                pause_s = min(pause_s * 2, _LONGEST_WAIT_S)
            return
    log.warning("some processes of a job do not end", job=job.name)


def _steps(job: LocalJob, settings: Settings, *, lost: bool) -> list[tuple[int | None, float]]:
    """(signal or None, how long to wait then)."""
    kill = (signal.SIGKILL, _KILL_TAKES_S)
    if lost or (job.ending is not None and job.ending.cause in AT_ONCE):
        return [kill]
    if job.ending is not None:  # all of it has had its SIGTERM
        return [(None, settings.linger_s), kill]
    return [(None, settings.linger_s), (signal.SIGTERM, settings.leftover_grace_s), kill]


class Strays:
    """Jobs that have ended, until a sweep has seen nothing of them.

    Whoever left its session and group is found by its environment only, and that costs a look at
    every process: so it is done for all at once, in the sweep that is made anyway.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._since: dict[str, float | None] = {}
        self.families: dict[str, Family] = {}

    def __len__(self) -> int:
        return len(self.families)

    def add(self, name: str, family: Family) -> None:
        """It has ended."""
        self.families[name] = family
        self._since[name] = None

    def end(self, trees: dict[str, list[Process]], now: float) -> None:
        """Signal what a sweep found, and drop those of whom it found nothing."""
        for name in [name for name in self.families if name in trees]:
            since = self._since[name]
            if not trees[name]:
                del self.families[name], self._since[name]
                continue
            if since is None:
                self._since[name] = now
                number = signal.SIGTERM
            elif now - since >= self._settings.leftover_grace_s:
                number = signal.SIGKILL
            else:
                continue
            for one in trees[name]:
                send(one.pid, one.start_time, number)
                send(one.pid, one.start_time, signal.SIGCONT)
