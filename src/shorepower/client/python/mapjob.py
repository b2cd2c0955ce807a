"""Many calls of one function as one job: values in order or as they come, failures again."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ...model.errors import InvalidRequest
from ...model.job import Job, JobSpec
from ...model.payload import Payload
from ...model.tasks import TaskSet
from . import payload
from .errors import NoValue
from .outcome import CallWarning, Outcome, ValueFollower, error_of, loaded, warning_of

if TYPE_CHECKING:
    from ..client import Client
    from .calls import Calls

__all__ = ["MapJob", "open_map"]


class MapJob:
    """What `Client.map` gives back. Items are known by their number, from 0; each outcome is kept here once
    it has come, and on the server for as long as the job's results are."""

    def __init__(
        self,
        client: Client,
        job: Job | None,
        items: Sequence[int],
        *,
        tasks: int = 1,
    ) -> None:
        self.client, self.items = client, items
        self._job, self._tasks = job, tasks
        self._outcomes: dict[int, Outcome] = {}
        self._arrived: list[int] = []
        self._warnings: list[tuple[int, CallWarning]] = []
        self._follower = ValueFollower(client, job.id) if job is not None else None

    def __repr__(self) -> str:
        return f"<map {self.id or 'of nothing'}: {len(self._outcomes)} of {len(self.items)} items known>"

    def _ipython_display_(self) -> None:
        from ..notebook.live import show

        show(self, self.client, self.id)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def id(self) -> str:
        """The job's; empty for a map of nothing, which is no job."""
        return self._job.id if self._job is not None else ""

    def __iter__(self) -> Iterator[Any]:
        return self.results()

    def results(self, deadline: float | None = None) -> Iterator[Any]:
        """The values in order, each as soon as it and all before it are there. Raises what an item raised,
        when its turn comes; TimeoutError past a ``deadline`` of `time.monotonic`."""
        for item in self.items:
            while item not in self._outcomes:
                self._next(deadline)
            yield self._outcomes[item].get()

    def as_completed(self, timeout_s: float | None = None) -> Iterator[tuple[int, Outcome]]:
        """(item, outcome) as they come; ``outcome.get()`` is the value, or raises. Raises TimeoutError."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        told = 0
        while told < len(self.items):
            while told == len(self._arrived):
                self._next(deadline)
            item = self._arrived[told]
            told += 1
            yield item, self._outcomes[item]

    def values(self) -> dict[int, Any]:
        """What is there now, without waiting: the values by item."""
        self._poll()
        return {item: known.value for item, known in sorted(self._outcomes.items()) if known.error is None}

    def failed(self, timeout_s: float | None = None) -> dict[int, BaseException]:
        """The exception of each item that came to nothing, once all have ended. Raises TimeoutError."""
        for _ in self.as_completed(timeout_s):
            pass
        return {
            item: known.error for item, known in sorted(self._outcomes.items()) if known.error is not None
        }

    def warnings(self) -> list[tuple[int, CallWarning]]:
        """(item, warning) as far as known."""
        return list(self._warnings)

    def rerun_failed(self, *, chunksize: int | None = None, **options: Any) -> MapJob:
        """Once all have ended: another job over the items that came to nothing, and only these. What was
        sent is not sent again. Options change those of this job (more memory, another cluster)."""
        failed = sorted(self.failed())
        if not failed or self._job is None:
            return MapJob(self.client, None, ())
        spec = self.client.spec(self.id)
        calls = _calls_of(self.client, spec).with_options(**options)
        tasks = calls.task_count(chunksize)(len(failed))
        job = calls.submit_payload(spec.name, _chosen(self.client, spec, failed, tasks), tasks)
        return MapJob(self.client, job, failed, tasks=tasks)

    def stop(self) -> None:
        """Stop what has not ended; values that are there stay."""
        if self._job is not None:
            from ...model.lifecycle import Operation

            self.client.control(self.id, Operation.STOP)

    def _poll(self) -> None:
        if self._follower is not None:
            self._follower.poll()
            for task, record in self._follower.ready():
                self._take(task, record)
            self._close_if_ended()

    def _next(self, deadline: float | None) -> None:
        """Wait for one more record."""
        found = self._follower.next(deadline) if self._follower is not None else None
        if found is None:
            self._close_if_ended()
        else:
            self._take(*found)

    def _take(self, task: int, record: Any) -> None:
        if record.kind == "warning":
            self._warnings.append((record.item, warning_of(record)))
        elif record.kind in ("value", "error") and record.item >= 0:
            self._arrive(record.item, loaded(record))
        elif record.kind == "error":
            error = error_of(record)
            for item in share_of(self.items, self._tasks, task):
                self._arrive(item, Outcome(error=error))

    def _close_if_ended(self) -> None:
        if self._follower is None or not self._follower.ended:
            return
        missing = [item for item in self.items if item not in self._outcomes]
        if missing:
            job = self.client.wait(self.id, results=False)
            for item in missing:
                error = NoValue(job, f"item {item} was not finished: {job.why or job.state.value.lower()}")
                self._arrive(item, Outcome(error=error))

    def _arrive(self, item: int, outcome: Outcome) -> None:
        if item not in self._outcomes:
            self._outcomes[item] = outcome
            self._arrived.append(item)


def share_of(items: Sequence[int], tasks: int, task: int) -> Sequence[int]:
    """The items that a task runs, as the runner divides them."""
    share, more = divmod(len(items), tasks)
    start = task * share + min(task, more)
    return items[start : start + share + (task < more)]


def open_map(client: Client, name: str) -> MapJob:
    """A map that was submitted before, by whatever process. Raises NotFound, InvalidRequest."""
    job = client.job(name)
    _, line = _heads(client, client.spec(job.id).input)
    count, tasks, chosen = line.decode().split(" ", 2)
    items: Sequence[int] = range(int(count))
    if chosen.strip() != "all":
        items = [item for span in chosen.split(",") for item in _span(span)]
    return MapJob(client, job, items, tasks=int(tasks))


def _span(text: str) -> range:
    first, _, last = text.strip().partition("-")
    return range(int(first), int(last or first) + 1)


def _spell(items: Iterable[int]) -> str:
    """``0-3,7``, as the runner reads it."""
    spans = TaskSet.of(items).spans
    return ",".join(f"{start}-{stop - 1}" if stop - start > 1 else str(start) for start, stop in spans)


def _calls_of(client: Client, spec: JobSpec) -> Calls:
    """Calls as this job was one."""
    asked = spec.resources
    return client.with_options(
        python=spec.argv[0],
        on=spec.cluster,
        queue=spec.queue,
        env=spec.env,
        secrets=spec.secrets,
        tags=spec.tags,
        cpus=asked.cpu_count,
        memory_mib=asked.memory_mib,
        wall_time_s=asked.wall_time_s,
        gpus=(asked.gpu_count, asked.gpu_type) if asked.gpu_count else None,
    )


def _chosen(client: Client, spec: JobSpec, items: Sequence[int], tasks: int) -> Payload:
    """The same input for some of its items: a new head before the blobs that are there."""
    before, (kept, line) = spec.input, _heads(client, spec.input)
    assert before is not None  # it has heads
    count = int(line.split(b" ", 1)[0])
    head = kept + payload.map_line(count, tasks, _spell(items))
    rest = before.blobs[1:]
    if not before.blobs:
        body = before.inline[len(kept) + len(line) :]
        made = payload.Input(head, [body])
        return payload.deliver(made, missing=client.missing_blobs, send=client.put_blobs)
    first = payload.put(head, missing=client.missing_blobs, send=client.put_blobs)
    size = before.size_bytes - len(kept) - len(line) + len(head)
    return replace(before, blobs=(*first, *rest), size_bytes=size)


def _heads(client: Client, sent: Payload | None) -> tuple[bytes, bytes]:
    """(the first two lines of a map's input, the third)."""
    data = b"" if sent is None else client.blob(sent.blobs[0]) if sent.blobs else sent.inline
    lines = data.split(b"\n", 3)
    if not data.startswith(b"shorepower-python 1 map ") or len(lines) < 4:
        raise InvalidRequest("that job is no map of ours")
    return b"\n".join(lines[:2]) + b"\n", lines[2] + b"\n"
