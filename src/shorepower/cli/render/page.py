"""Everything about one job, as lines of a name and a value. Pure, but for colours."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from datetime import datetime

from ...model.job import Job, JobSpec
from ...model.lifecycle import Attempt
from ...model.resources import counted, format_duration, format_memory
from .asked import asked_words
from .figures import age, elapsed_s, format_bytes, percent, short_id, took
from .table import pairs, state_colour

__all__ = ["job_page"]

_COMMAND_WIDTH = 300
_ARRAY_WIDTH = 60


def job_page(
    job: Job, spec: JobSpec | None, attempts: Sequence[Attempt], now: datetime, tasks: str = ""
) -> str:
    """What ``show`` prints. Without spec and attempts: as far as it is known. ``tasks``: how those of an
    array stand."""
    reason = f" ({job.reason.value})" if job.reason else ""
    rows = [
        ("job", f"{job.name}  {job.id}"),
        ("state", job.state.value + reason),
        ("tasks", tasks),
        ("array", _array(spec)),
        ("why", job.why),
        ("asked for", f"{job.wanted.value}, not seen to have happened yet" if job.wanted else ""),
        ("stale", f"{job.cluster} is silent since {_moment(job.stale_since)}" if job.stale_since else ""),
        ("progress", _progress(job)),
        ("cluster", " · ".join(filter(None, [job.cluster, job.queue or "", job.host]))),
        ("command", _command(spec)),
        ("project", _project(job, spec)),
        ("submitted", f"{_moment(job.created_at)}, {age(job.created_at, now)} ago"),
        ("ran", _ran(job, now)),
        ("resources", _asked(job)),
        ("used", _used(job)),
        ("exit", _exit(job)),
        ("results", _results(job, now)),
        ("tags", " ".join(f"{key}={value}" for key, value in job.tags.items())),
        ("secrets", " ".join(f"{name}=***" for name in spec.secrets) if spec else ""),
        *((f"attempt {one.number}", _attempt(one)) for one in attempts if len(attempts) > 1),
        ("output", f"shore logs {short_id(job.id)}" + ("" if job.state.ended else " -f")),
        ("table", f"shore show {short_id(job.id)} --table" if job.array else ""),
    ]
    return pairs(rows, {"state": state_colour(job.state)})


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _progress(job: Job) -> str:
    if job.progress is None:
        return ""
    fraction = "" if job.progress.fraction is None else percent(job.progress.fraction)
    return f"{fraction}  {job.progress.text}".strip()


def _command(spec: JobSpec | None) -> str:
    if spec is None:
        return ""
    text = shlex.join(spec.argv)
    return text if len(text) <= _COMMAND_WIDTH else text[:_COMMAND_WIDTH] + "…"


def _array(spec: JobSpec | None) -> str:
    array = spec.array if spec is not None else None
    if array is None:
        return ""
    from ...model.array import spell_indices

    parts = [spell_indices(array.ranges)[:_ARRAY_WIDTH]]
    parts += [f"{array.max_parallel} at a time"] if array.max_parallel else []
    parts += [f"{name}={','.join(values)}"[:_ARRAY_WIDTH] for name, values in array.grid.items()]
    parts += [f"{array.row_count:,} rows of a file"] if array.row_count else []
    return " · ".join(parts)


def _project(job: Job, spec: JobSpec | None) -> str:
    if spec is None or not job.project:
        return job.project
    if spec.in_place:
        return f"{spec.workdir}, in place"
    return job.project + (f", starting in {spec.workdir}" if spec.workdir else "")


def _ran(job: Job, now: datetime) -> str:
    if job.started_at is None:
        return ""
    if job.ended_at is None:
        seconds = elapsed_s(job.started_at, None, now) or 0.0
        return f"for {format_duration(seconds)} so far, since {_moment(job.started_at)}"
    return f"{took(job.started_at, job.ended_at)}, until {_moment(job.ended_at)}"


def _asked(job: Job) -> str:
    return " · ".join(asked_words(job.resources)) or "nothing was asked for"


def _used(job: Job) -> str:
    usage = job.usage
    if usage is None:
        return ""
    parts = [f"peak {format_memory(usage.peak_memory_mib)}" if usage.peak_memory_mib else ""]
    if usage.memory_mib and not job.state.ended:
        parts.append(f"{format_memory(usage.memory_mib)} now")
    if usage.cpu_time_s:
        parts.append(f"{format_duration(usage.cpu_time_s)} of cpu")
        if usage.wall_time_s >= 1:
            parts.append(f"{counted(round(usage.cpu_time_s / usage.wall_time_s, 1), 'cpu')} busy")
    return " · ".join(part for part in parts if part)


def _exit(job: Job) -> str:
    if not job.state.ended or job.started_at is None:
        return ""
    if job.signal:
        return f"signal {job.signal}"
    return f"code {job.exit_code}" if job.exit_code is not None else ""


def _results(job: Job, now: datetime) -> str:
    results = job.results
    if results.state.value == "none":
        return ""
    parts = [results.state.value]
    if results.file_count:
        parts.append(f"{counted(results.file_count, 'file')}, {format_bytes(results.size_bytes)}")
    if results.pulled_at is not None:
        parts.append(f"fetched {age(results.pulled_at, now)} ago")
    elif results.file_count and job.state.ended:
        parts.append(f"shore pull {short_id(job.id)}")
    if results.expires_at is not None:
        parts.append(f"kept until {results.expires_at.astimezone():%Y-%m-%d}")
    return " · ".join([*parts, *filter(None, [results.why])])


def _attempt(attempt: Attempt) -> str:
    parts = [attempt.state.value, attempt.reason.value if attempt.reason else "", attempt.why, attempt.host]
    return " · ".join(part for part in [*parts, took(attempt.started_at, attempt.ended_at)] if part)
