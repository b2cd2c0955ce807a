"""Once a second, while anything runs: what jobs use and say, their limits of time and memory, the size of
their output, and what ended ones have left behind. One pass over /proc for all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from msgspec.structs import replace

from ...host.families import Family
from ...host.processes import PAGE_MIB, TICKS_PER_S, Process, find, proportional_mib, sweep
from ...model.errors import ShorepowerError
from ...model.job import Progress
from ...model.lifecycle import Reason
from ...model.usage import Usage
from ..contract import Live
from .ender import Ender
from .job import LocalJob, Site
from .leftovers import Strays
from .machine import oom_kills
from .progress import ProgressFile
from .trim import trim

__all__ = ["Sweep"]

log = structlog.get_logger(__name__)

_NEAR, _HASTE = 0.7, 5
"""While a job uses so much of what it asked for, sweeps come so many times as often."""


class Sweep:
    """Looks at all running attempts of one cluster."""

    def __init__(self, site: Site, running: Mapping[str, LocalJob], ender: Ender) -> None:
        self._site, self._running, self._ender = site, running, ender
        self._strays = Strays(site.settings)
        self._progress: dict[str, ProgressFile] = {}
        self._limiter = CapacityLimiter(1)
        self._wanted = anyio.Event()
        self.live: dict[str, Live] = {}

    def begun(self) -> None:
        """Something runs."""
        self._wanted.set()

    def ended(self, job: LocalJob) -> None:
        """A job ended: look once for what it left behind."""
        self.live.pop(job.name, None)
        self._progress.pop(job.name, None)
        self.ended_family(job.name, job.family)

    def ended_family(self, name: str, family: Family) -> None:
        """The same of one that was never seen here."""
        self._strays.add(name, family)
        self._wanted.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wanted.wait()
            await anyio.sleep(self._pause_s())
            await self._end_overdue()
            jobs = dict(self._running)
            now = self._site.clock.now()
            live = await to_thread.run_sync(self._look, jobs, now, limiter=self._limiter)
            self.live.update((name, told) for name, told in live.items() if name in self._running)
            await self._end_starved(jobs)
            if not self._running and not self._strays:
                self._wanted = anyio.Event()

    def _pause_s(self) -> float:
        """A period, or less if a time limit comes first."""
        period_s, now = self._site.settings.period_s, self._site.clock.steady()
        if any(_fills(job, _NEAR) for job in self._running.values()):
            period_s /= _HASTE
        due = (job.deadline - now for job in self._running.values() if job.deadline and not job.ending)
        return max(0.0, min([period_s, *due]))

    async def _end_overdue(self) -> None:
        now = self._site.clock.steady()
        for job in list(self._running.values()):
            if job.deadline is not None and job.deadline <= now and job.ending is None:
                try:
                    await self._ender.end(job, Reason.TIME_LIMIT, job.order.grace_s)
                except ShorepowerError as fault:
                    log.warning("a time limit has to wait", job=job.name, cause=str(fault))

    async def _end_starved(self, jobs: Mapping[str, LocalJob]) -> None:
        """Those that take more memory than they asked for: at once, as the kernel would."""
        for job in jobs.values():
            if job.too_much_mib and job.ending is None and not job.gone.is_set():
                try:
                    await self._ender.end(job, Reason.OUT_OF_MEMORY, 0.0)
                except ShorepowerError as fault:
                    log.warning("a memory limit has to wait", job=job.name, cause=str(fault))

    def _look(self, jobs: Mapping[str, LocalJob], now: datetime) -> dict[str, Live]:
        """In a thread."""
        self._site.oom_kills = oom_kills()
        began = self._strays.families
        families = {name: job.family for name, job in jobs.items()} | dict(began)
        trees = self._site.families.sort(families, sweep())
        self._strays.end({name: trees[name] for name in families if name not in jobs}, time.monotonic())
        live = {}
        for name, job in jobs.items():
            job.usage = _used(job, trees[name], now)
            job.too_much_mib = _too_much_mib(job, trees[name])
            live[name] = Live(usage=job.usage, progress=self._told(job, now))
            try:
                trim(job.part, self._site.settings.output_limit_bytes)
            except OSError as fault:
                log.warning("old output was not given back", job=name, cause=str(fault))
        return live

    def _told(self, job: LocalJob, now: datetime) -> Progress | None:
        if job.order.progress_file is None:
            return None
        file = self._progress.get(job.name)
        if file is None:
            file = self._progress.setdefault(job.name, ProgressFile(job.order.progress_file))
        return file.read_on(now)


def _used(job: LocalJob, tree: list[Process], now: datetime) -> Usage:
    """What a tree has used so far, with what was seen before."""
    memory_mib = sum(one.resident_pages for one in tree) * PAGE_MIB
    cpu_time_s = sum(one.cpu_ticks for one in tree) / TICKS_PER_S
    return replace(
        job.usage,
        wall_time_s=(now - job.started_at).total_seconds() if job.started_at else 0.0,
        cpu_time_s=max(job.usage.cpu_time_s, cpu_time_s),
        memory_mib=memory_mib,
        peak_memory_mib=max(job.usage.peak_memory_mib, memory_mib),
        process_count=len(tree),
    )


def _fills(job: LocalJob, share: float) -> bool:
    """Whether it uses more than this share of the memory that it asked for."""
    asked_mib = job.order.resources.memory_mib
    return asked_mib is not None and job.usage.memory_mib > asked_mib * share


def _too_much_mib(job: LocalJob, tree: list[Process]) -> float:
    """What it takes, if that is more than it asked for; else 0. What its processes share counts once: that
    is read only when their sizes together are too much."""
    if not _fills(job, 1.0):
        return 0.0
    # Twice: what several share is counted several times while all but one of them end.
    taken = min(_taken_mib(tree), _taken_mib(tree))
    return taken if taken > (job.order.resources.memory_mib or 0) else 0.0


def _taken_mib(tree: list[Process]) -> float:
    """Of the processes that live still; of one that may not be read, its whole resident size."""
    taken = 0.0
    for one in tree:
        size = proportional_mib(one.pid)
        if (now := find(one.pid, one.start_time)) is not None:
            taken += now.resident_pages * PAGE_MIB if size is None else size
    return taken
