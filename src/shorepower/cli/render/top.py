"""What runs and what it takes at the moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from ...model.cluster import ClusterInfo
from ...model.job import Job
from ...model.resources import format_duration, format_memory
from .figures import elapsed_s, short_ids
from .table import columns, cut, state_colour, why_of

__all__ = ["busy_cpus", "top_lines"]

_NAME_WIDTH = 24


def busy_cpus(job: Job, before: Job | None, passed_s: float) -> float | None:
    """How many cpus it kept busy since it was last looked at, or since its start; None: nothing tells."""
    used = job.usage
    if used is None:
        return None
    if before is not None and before.usage is not None and passed_s > 0:
        return max(0.0, used.cpu_time_s - before.usage.cpu_time_s) / passed_s
    return used.cpu_time_s / used.wall_time_s if used.wall_time_s else None


def top_lines(
    clusters: Sequence[ClusterInfo], jobs: Sequence[Job], cpus: Mapping[str, float | None], now: datetime
) -> str:
    """A line for each cluster, then a row for each job; ``cpus`` by id, as `busy_cpus` tells them."""
    short = short_ids(job.id for job in jobs)
    rows = [
        (
            short[job.id],
            cut(job.name, _NAME_WIDTH),
            job.cluster,
            job.state.value,
            _of(_cpus(cpus.get(job.id)), f"{job.resources.cpu_count:g}" if job.resources.cpu_count else ""),
            _memory(job),
            _time(job, now),
            why_of(job),
        )
        for job in jobs
    ]
    header = ("ID", "NAME", "CLUSTER", "STATE", "CPUS", "MEMORY", "TIME", "PROGRESS")
    told = [_cluster(info) for info in clusters if info.cpu_count is not None]
    table = columns(header, rows, [state_colour(job.state) for job in jobs]) if rows else "nothing runs"
    return "\n".join([*told, table])


def _cluster(info: ClusterInfo) -> str:
    free = [f"{info.cpus_free or 0:g} of {info.cpu_count:g} cpus free"]
    if info.memory_mib:
        left = format_memory(info.memory_free_mib or 0)
        free.append(f"{left} of {format_memory(info.memory_mib)} of memory not asked for")
    return f"{info.name}: {', '.join(free)}"


def _cpus(busy: float | None) -> str:
    return "" if busy is None else f"{busy:.1f}"


def _memory(job: Job) -> str:
    used = job.usage.memory_mib if job.usage is not None else 0.0
    asked = job.resources.memory_mib
    return _of(format_memory(used) if used else "", format_memory(asked) if asked else "")


def _of(used: str, asked: str) -> str:
    return f"{used} of {asked}" if used and asked else used


def _time(job: Job, now: datetime) -> str:
    passed = elapsed_s(job.started_at, job.ended_at, now)
    limit = job.resources.wall_time_s
    if passed is None:
        return ""
    return _of(format_duration(passed), format_duration(limit) if limit else "")
