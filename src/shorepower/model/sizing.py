"""How much a job needs, by what earlier runs of the same script used. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct

from .job import Job
from .lifecycle import Reason, State
from .resources import Resources, counted, format_memory

__all__ = ["AUTO", "AUTO_FIELDS", "RUNS", "Need", "need_of", "same_script", "sized"]

AUTO = ("cpus", "memory")
"""The amounts that may be left to what earlier runs used."""
AUTO_FIELDS = {"cpus": "cpus", "memory_mib": "memory"}
"""How options call them."""
RUNS = 5
"""Older ones say nothing of the script as it is now."""
_MEMORY_MARGIN = 1.3
_MEMORY_STEP_MIB = 64
_GROWTH = 1.5
"""After a run that was out of memory: so much more than it had asked for."""
_CPU_SLACK = 0.2
"""A run that kept 1.2 cpus busy does not need two."""


class Need(Struct, frozen=True, kw_only=True):
    """What the newest runs used, each at its most."""

    run_count: int
    peak_memory_mib: float
    busy_cpus: float
    """The most that one kept busy over its whole time; 0 where none took long enough to tell."""
    short_of_mib: int = 0
    """What a run had asked for that was out of memory, and none since needed less; 0 if none was."""

    def __str__(self) -> str:
        """``the last 5 runs used at most 3.4 GiB, 1.2 cpus``."""
        runs = "the last run" if self.run_count == 1 else f"the last {self.run_count} runs"
        used = [format_memory(self.peak_memory_mib)] if self.peak_memory_mib else []
        used += [counted(round(self.busy_cpus, 1), "cpu")] if self.busy_cpus >= 0.1 else []
        words = f"{runs} used {'' if self.run_count == 1 else 'at most '}{', '.join(used)}"
        if self.short_of_mib:
            words += f"; {format_memory(self.short_of_mib)} was not enough"
        return words


def same_script(jobs: Iterable[Job], script: str, project: str) -> list[Job]:
    """Those that ran a script of this name from this project, in their order."""
    name = script.rpartition("/")[2]
    return [job for job in jobs if job.project == project and job.script.rpartition("/")[2] == name]


def need_of(newest_first: Iterable[Job]) -> Need | None:
    """From jobs that ended by themselves; None when no run tells anything."""
    told = [job for job in newest_first if _tells(job)][:RUNS]
    if not told:
        return None
    used = [job.usage for job in told if job.usage is not None]
    peak = max(one.peak_memory_mib for one in used)
    busy = [one.cpu_time_s / one.wall_time_s for one in used if one.wall_time_s >= 1]
    short = [job.resources.memory_mib or 0 for job in told if job.reason is Reason.OUT_OF_MEMORY]
    enough = [job.resources.memory_mib or 0 for job in told if job.state is State.COMPLETED]
    most_short = max(short, default=0)
    return Need(
        run_count=len(told),
        peak_memory_mib=peak,
        busy_cpus=max(busy, default=0.0),
        short_of_mib=most_short if most_short > max(enough, default=0) else 0,
    )


def _tells(job: Job) -> bool:
    ended = job.state is State.COMPLETED or job.reason in (Reason.OUT_OF_MEMORY, Reason.EXIT_CODE)
    return ended and job.usage is not None and job.usage.peak_memory_mib > 0


def sized(
    asked: Resources, auto: Iterable[str], need: Need, most_cpus: float | None, most_memory_mib: int | None
) -> Resources:
    """What to ask for: ``auto`` amounts by need, with a margin, at most what the cluster has."""
    cpus, memory = asked.cpu_count, asked.memory_mib
    if "memory" in auto:
        wanted = max(need.peak_memory_mib * _MEMORY_MARGIN, need.short_of_mib * _GROWTH)
        memory = math.ceil(wanted / _MEMORY_STEP_MIB) * _MEMORY_STEP_MIB
        memory = min(memory, most_memory_mib or memory)
    if "cpus" in auto:
        cpus = float(max(1, math.ceil(need.busy_cpus - _CPU_SLACK)))
        cpus = min(cpus, most_cpus or cpus)
    return Resources(
        cpu_count=cpus,
        memory_mib=memory,
        gpu_count=asked.gpu_count,
        gpu_type=asked.gpu_type,
        wall_time_s=asked.wall_time_s,
    )
