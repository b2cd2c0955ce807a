"""The lines of an attached run: what is sent, that it runs, how it ended. Pure."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...model.job import Job
from ...model.lifecycle import Reason, State
from ...model.resources import counted, format_duration, format_memory
from .figures import format_bytes, listed, percent, short_id, took

if TYPE_CHECKING:
    from ...client.prepare import Prepared
    from ...client.pull import PullReport
    from ...client.upload import Sent
    from ...model.job import JobSpec

__all__ = [
    "home_line",
    "live_line",
    "running_line",
    "saved_lines",
    "sent_line",
    "summary",
    "waiting_line",
]

# How an end is called. Source: the contract, §4, States.
_ENDS = {
    Reason.OUT_OF_MEMORY: "out of memory",
    Reason.TIME_LIMIT: "time limit reached",
    Reason.STOPPED: "stopped",
    Reason.KILLED: "killed",
    Reason.NODE_LOST: "node lost",
    Reason.PREEMPTED: "preempted",
    Reason.LAUNCH: "could not be started",
    Reason.LOST: "lost",
    Reason.ABANDONED: "abandoned",
    Reason.DEPENDENCY: "never started",
}
_BUSY_ENOUGH = 0.2
"""Of a cpu; below that there is nothing to tell unless cpus were asked for."""
_SAID = (Reason.TIME_LIMIT, Reason.STOPPED, Reason.KILLED)
_USED_LITTLE = 0.5
"""Below this part of what was asked for, the summary says both figures."""


def sent_line(prepared: Prepared, sent: Sent | None) -> str:
    """``local · project analysis/ · 214 files, 2 changed, 41 kB sent · not sent: data/ …``."""
    spec = prepared.spec
    if prepared.view is None or sent is None:
        return f"{spec.cluster} · in place in {spec.workdir}"
    what = f"project {prepared.found.root.name or prepared.found.root}/"
    if prepared.found.only is not None:
        what = "the script alone"
    files = counted(sent.file_count, "file")
    if sent.changed_count:
        news = "all" if sent.changed_count == sent.file_count else str(sent.changed_count)
        files += f", {news} changed, {format_bytes(sent.sent_bytes)} sent"
    else:
        files += ", none changed"
    return " · ".join(part for part in (spec.cluster, what, files, prepared.view.not_sent_line()) if part)


def saved_lines(spec: JobSpec, job: Job) -> list[str]:
    """Where output is also saved, by name as far as that is known before it runs."""
    if not (spec.stdout_file or spec.stderr_file):
        return []
    from ...model.output_file import expand, pattern_values

    values = pattern_values(job=job.id, name=job.name, user=job.owner)
    if job.array:
        values["a"] = "<index>"
    files = [expand(path, values) if path else "" for path in (spec.stdout_file, spec.stderr_file)]
    if files[0] == files[1]:
        return [f"#SBATCH -o: output is also saved as {files[0]}"]
    told = (("-o: output", files[0]), ("-e: standard error", files[1]))
    return [f"#SBATCH {what} is also saved as {file}" for what, file in told if file]


def waiting_line(job: Job) -> str:
    """``k3fq7… queued in cpu: 3 ahead of you``."""
    where = f" in {job.queue}" if job.queue else ""
    return f"{short_id(job.id)}… queued{where}" + (f": {job.why}" if job.why else "")


def running_line(job: Job, runtime: str, here: str = "") -> str:
    """``k3fq7… running on n042 · Rscript 4.4.1 (renv library of the project)``; ``here``: this machine's
    name, as the server may be on another one."""
    host = job.host or (here if job.cluster == "local" else job.cluster)
    where = f"running on {'this machine' if job.cluster == 'local' and host == here else host}"
    return " · ".join(part for part in (f"{short_id(job.id)}… {where}", runtime) if part)


def live_line(job: Job, elapsed_s: float) -> str:
    """``40 %  fold 2  1 min 12 s  2.8 of 8 GiB``."""
    parts = []
    if job.array:
        from .counts import live_words

        parts.append(live_words(job))
    elif job.progress is not None:
        if job.progress.fraction is not None:
            parts.append(percent(job.progress.fraction))
        parts.append(job.progress.text)
    parts.append(format_duration(elapsed_s))
    if job.usage is not None and job.usage.memory_mib:
        parts.append(_of(job.usage.memory_mib, job.resources.memory_mib))
    return "  ".join(part for part in parts if part)


def summary(job: Job) -> str:
    """How a job ended and what it took."""
    parts = [_ending(job), *_used(job)]
    return " · ".join(part for part in parts if part)


def home_line(report: PullReport, job: Job) -> str:
    """``home: model.rds, fit.png``; what was put beside a file of the user's, and what is left."""
    from ...client.home import OVER_THE_LIMIT

    names = [*report.written, *(instead for _, instead in report.beside)]
    word = "home" if job.state.ended and job.state is State.COMPLETED else "home so far"
    parts = [f"{word}: {listed(names)}" if names else ""]
    if job.array:
        from .counts import home_words

        parts = [home_words(report, job)]
    over = [f"{path} {format_bytes(size)}" for path, size, why in report.left if why == OVER_THE_LIMIT]
    if over:
        parts.append(f"left there: {listed(over)}, fetched by: shore pull {short_id(job.id)}")
    return " · ".join(part for part in parts if part)


def beside_lines(report: PullReport) -> Sequence[str]:
    """One sentence for each file put beside one of the user's, and for each reason to leave some there."""
    from ...client.home import OVER_THE_LIMIT

    left: dict[str, list[str]] = {}
    for path, _, why in report.left:
        if why != OVER_THE_LIMIT:
            left.setdefault(why, []).append(path)
    return [
        *(f"{path} here is yours and stays; the job's is {instead}" for path, instead in report.beside),
        *(f"left there: {listed(paths)}: {why}" for why, paths in left.items()),
    ]


def _ending(job: Job) -> str:
    time = took(job.started_at, job.ended_at)
    if job.state is State.COMPLETED:
        tasks = f"{job.task_count:,} tasks " if job.task_count > 1 else ""
        return tasks + (f"completed in {time}" if time else "completed")
    word = _ENDS.get(job.reason, "failed") if job.reason else job.state.value.lower()
    if job.reason in _SAID and job.started_at is None and job.why:
        return f"{_ENDS[Reason.DEPENDENCY]}: {job.why}"
    after = f" after {time}" if time else ""
    why = _why(job)
    return f"{word}{after}" + (f": {why}" if why else "")


def _why(job: Job) -> str:
    """What the word for the end does not say yet."""
    if job.array:
        return job.why
    if job.reason is Reason.EXIT_CODE and job.exit_code is not None:
        return f"exit code {job.exit_code}"
    if job.reason is Reason.SIGNAL and job.signal is not None:
        return f"ended by {_signal_name(job.signal)}"
    return "" if job.reason in _SAID else job.why


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _used(job: Job) -> list[str]:
    usage, asked = job.usage, job.resources
    if usage is None:
        return []
    parts = []
    if usage.peak_memory_mib:
        if asked.memory_mib and usage.peak_memory_mib < asked.memory_mib * _USED_LITTLE:
            used = format_memory(usage.peak_memory_mib)
            parts.append(f"asked {format_memory(asked.memory_mib)}, used {used}")
        else:
            parts.append(f"peak {_of(usage.peak_memory_mib, asked.memory_mib)}")
    if usage.wall_time_s >= 1 and usage.cpu_time_s:
        busy = usage.cpu_time_s / usage.wall_time_s
        if asked.cpu_count:
            parts.append(f"{busy:.1f} of {counted(asked.cpu_count, 'cpu')} busy")
        elif busy >= _BUSY_ENOUGH:
            parts.append(f"{counted(round(busy, 1), 'cpu')} busy")
    return parts


def _of(used_mib: float, asked_mib: int | None) -> str:
    """``3.1 of 8 GiB``, or ``310 MiB of 8 GiB``, or what was used alone."""
    used = format_memory(used_mib)
    if not asked_mib:
        return used
    asked = format_memory(asked_mib)
    if used.rpartition(" ")[2] == asked.rpartition(" ")[2]:
        used = used.rpartition(" ")[0]
    return f"{used} of {asked}"
