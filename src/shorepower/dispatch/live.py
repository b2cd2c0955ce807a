"""A job as callers see it while it runs: with what it uses and says of itself at the moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from ..clusters.contract import Live
from ..model.job import Job, submission_id
from ..model.usage import Usage

__all__ = ["with_live"]


def with_live(job: Job, live: Mapping[str, Live]) -> Job:
    """``live``: by submission, of a task of an array by ``<submission>.<position>``. Tasks that run add to
    what those that have ended used."""
    name = submission_id(job.id, job.attempt)
    if not job.array:
        now = live.get(name)
        return job if now is None else replace(job, usage=now.usage or job.usage, progress=now.progress)
    tasks = [one.usage for key, one in live.items() if key.startswith(f"{name}.")]
    running = [usage for usage in tasks if usage is not None]
    if not running:
        return job
    ended = job.usage or Usage()
    return replace(
        job,
        usage=Usage(
            wall_time_s=ended.wall_time_s + sum(one.wall_time_s for one in running),
            cpu_time_s=ended.cpu_time_s + sum(one.cpu_time_s for one in running),
            peak_memory_mib=max(ended.peak_memory_mib, *(one.peak_memory_mib for one in running)),
            memory_mib=sum(one.memory_mib for one in running),
            process_count=sum(one.process_count for one in running),
        ),
    )
