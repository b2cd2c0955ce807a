"""Output that is also saved as a file among the results, as ``#SBATCH -o`` and ``-e`` ask for."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from anyio import CapacityLimiter, to_thread

from ..clusters.contract import Cluster, OutputSource
from ..files.put import put_into
from ..model.array import Numbering
from ..model.errors import Fault, ShorepowerError
from ..model.job import Job, JobSpec, Submission
from ..model.lifecycle import Attempt
from ..model.output import Stream
from ..model.output_file import expand, pattern_values
from ..store.contract import Snapshot, Store
from .ledger import Ledger

__all__ = ["save_output", "save_tasks", "saved_paths"]

_PIECE_BYTES = 4 << 20
_TASKS_AT_ONCE = 16_384
"""So many silent tasks are passed over together."""


def saved_paths(job: Job, spec: JobSpec, attempt: Attempt, index: int = 0) -> dict[str, list[Stream]]:
    """Path in the project → what is saved there, in this order; empty when it never started. ``index`` is
    the user's own of a task."""
    if attempt.started_at is None:
        return {}
    values = pattern_values(job=job.id, name=job.name, user=job.owner, host=attempt.host, index=index)
    found: dict[str, list[Stream]] = {}
    for stream, pattern in ((Stream.STDOUT, spec.stdout_file), (Stream.STDERR, spec.stderr_file)):
        if pattern:
            found.setdefault(expand(pattern, values), []).append(stream)
    return found


async def save_output(
    cluster: Cluster,
    attempt: Attempt,
    files: dict[str, list[Stream]],
    folder: Path,
    *,
    umask: int,
    limiter: CapacityLimiter,
) -> list[Fault]:
    """Save what an attempt wrote, as far as it is kept, in the folder of the project or of its task; what
    could not be saved. Beside that folder a draft is made. Doing it again is harmless."""
    source = cluster.output(attempt.submission, attempt.task, attempt.restart)
    faults = []
    for path, streams in files.items():
        try:
            await _save(source, streams, folder, path, 0o666 & ~umask, limiter)
        except (OSError, ShorepowerError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            faults.append(Fault(path, f"output could not be saved there: {why}"))
    return faults


async def save_tasks(
    cluster: Cluster,
    store: Store,
    job: Job,
    spec: JobSpec,
    submission: Submission,
    limiter: CapacityLimiter,
) -> tuple[dict[int, list[str]], list[Fault]]:
    """The same for every task of an array that wrote output: (paths by index, what could not be saved)."""
    assert spec.array is not None
    numbering = Numbering(spec.array.ranges)
    named: dict[int, list[str]] = {}
    faults: list[Fault] = []
    async for position in _that_wrote(cluster, submission):
        index = numbering.index(position)
        attempt = Attempt(
            job=job.id,
            task=position,
            number=submission.attempt,
            submission=submission.id,
            restart=await store.read(partial(_restart, job=job, position=position)),
            started_at=job.started_at or job.created_at,
            host=job.host,
        )
        files = saved_paths(job, spec, attempt, index)
        folder = Path(submission.workdir, "tasks", str(index))
        await to_thread.run_sync(partial(folder.mkdir, exist_ok=True), limiter=limiter)
        told = await save_output(cluster, attempt, files, folder, umask=spec.umask, limiter=limiter)
        faults += [Fault(f"{index}/{fault.field}", fault.message) for fault in told]
        named[index] = list(files)
    return named, faults


async def _that_wrote(cluster: Cluster, submission: Submission) -> AsyncIterator[int]:
    for start, stop in submission.tasks.spans:
        at = start
        while at < stop:
            end = min(at + _TASKS_AT_ONCE, stop)
            found = await cluster.next_output(submission.id, at, end)
            if found is not None:
                yield found
            at = end if found is None else found + 1


def _restart(view: Snapshot, *, job: Job, position: int) -> int:
    return Ledger(view, job).figures(position).restart


async def _save(
    source: OutputSource,
    streams: Sequence[Stream],
    folder: Path,
    path: str,
    mode: int,
    limiter: CapacityLimiter,
) -> None:
    """Gathered beside the results, then moved there in one step."""
    draft = folder.with_name(f"{folder.name}.saved")
    run = partial(to_thread.run_sync, limiter=limiter)
    try:
        await run(_begin, draft, mode)
        await _gather(source, streams, partial(run, _append, draft))
        await run(put_into, folder, os.fsencode(path), draft)
    finally:
        draft.unlink(missing_ok=True)


async def _gather(
    source: OutputSource, streams: Sequence[Stream], put: Callable[[bytes], Awaitable[None]]
) -> None:
    for stream in streams:
        at = 0
        while True:
            offset, data = await source.read(stream, at, _PIECE_BYTES)
            if offset > at:
                gap = f"[shorepower: {offset - at} bytes of {stream.value} are no longer kept]\n"
                await put(gap.encode())
            if not data:
                break
            await put(data)
            at = offset + len(data)


def _begin(draft: Path, mode: int) -> None:
    draft.unlink(missing_ok=True)
    with draft.open("xb") as file:
        os.fchmod(file.fileno(), mode)


def _append(draft: Path, data: bytes) -> None:
    with draft.open("ab") as file:
        file.write(data)
