"""This machine as a cluster: the only place where shorepower itself orders jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import anyio
import structlog
from anyio import TASK_STATUS_IGNORED, create_task_group
from anyio.abc import TaskGroup, TaskStatus

from ...host.contract import Clock, Host
from ...model.cluster import Capabilities, ClusterInfo
from ...model.errors import InvalidRequest, SubmitRefused, Unreachable
from ...model.lifecycle import Observation, Operation, Reason, State
from ..contract import Cluster, Finding, Live, Order, OutputSource, Where
from ..records import UnknownRecord
from ..spool import Spool
from .array import LocalArray
from .arrays import Arrays
from .ender import Ender
from .find import Alive, find_out
from .job import LocalJob, Settings, Site, Stage, only_task
from .line import InLine, Line
from .machine import Machine, Pressure, detect, pressure
from .outcome import RECORDS_GONE, End, forbidden
from .queue import Grant, demand_of
from .supervisor import Supervisor
from .sweep import Sweep

__all__ = ["LocalCluster"]

log = structlog.get_logger(__name__)

_CAUSE = {Operation.STOP: Reason.STOPPED, Operation.KILL: Reason.KILLED}


class LocalCluster(Cluster):
    """Runs jobs as processes of this machine, which outlive it."""

    def __init__(
        self,
        name: str,
        spool_root: Path,
        host: Host,
        clock: Clock,
        machine: Machine | None = None,
        settings: Settings | None = None,
        pressure: Callable[[], Pressure] = pressure,
    ) -> None:
        self.name = name
        settings = settings or Settings()
        self._site = Site(name, Spool(spool_root), host, clock, settings)
        self._machine = machine or detect()
        self._line = Line(
            self._machine, settings, clock, pressure, self._is_crowded, self._launch, self._tell_waiting
        )
        self._jobs: dict[str, LocalJob] = {}
        """All that have not ended."""
        self._running: dict[str, LocalJob] = {}
        """Those that have their resources."""
        self._tasks: TaskGroup | None = None
        self._before: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        """What was begun before `run`."""
        self._supervisor = Supervisor(self._site, self._line.give_back, self._line.queue.hold)
        self._ender = Ender(self._site, self._begin)
        self._sweep = Sweep(self._site, self._running, self._ender)
        self._arrays = Arrays(
            self._site, self._machine, self._line, self._supervisor, self._ender, self._sweep, self._run_on
        )

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        async with create_task_group() as tasks:
            self._tasks = tasks
            before, self._before = self._before, []
            for work, args in before:
                tasks.start_soon(work, *args)  # type: ignore[arg-type]
            tasks.start_soon(self._arrays.run, name=f"{self.name}: arrays")
            tasks.start_soon(self._line.start, name=f"{self.name}: start")
            tasks.start_soon(self._line.explain, name=f"{self.name}: explain")
            tasks.start_soon(self._sweep.run, name=f"{self.name}: sweep")
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None
                self._site.closing = True
                with anyio.CancelScope(shield=True):
                    await self._arrays.close()

    async def info(self) -> ClusterInfo:
        machine, queue = self._machine, self._line.queue
        return ClusterInfo(
            name=self.name,
            type="local",
            cpu_count=machine.cpu_count,
            memory_mib=machine.memory_mib,
            gpu_count=len(machine.gpus),
            gpu_types=tuple(sorted({gpu.kind for gpu in machine.gpus if gpu.kind})),
            cpus_free=max(0, queue.cpus_free) / 1000,
            memory_free_mib=max(0, queue.memory_free_mib),
            capabilities=Capabilities(enforces_memory=True),
        )

    def watch(self) -> AsyncIterator[Sequence[Observation]]:
        return self._site.mail.watch()

    def live(self) -> Mapping[str, Live]:
        return self._sweep.live

    def output(self, submission: str, task: int, restart: int) -> OutputSource:
        return self._site.tails.source(self._site.spool.part(submission, task, restart))

    async def next_output(self, submission: str, start: int, stop: int) -> int | None:
        return await self._site.file_work(self._site.spool.next_output, submission, start, stop)

    async def forget(self, submission: str) -> None:
        if submission in self._jobs or submission in self._arrays:
            raise InvalidRequest(f"submission {submission} has not ended; its records stay")
        await self._site.file_work(self._site.spool.forget, submission)

    async def submit(self, order: Order) -> str:
        if order.each is not None:
            await self._arrays.submit(order)
        elif order.submission not in self._jobs:
            job = self._make(order)
            if lacks := self._line.queue.lacks(job.demand):
                raise SubmitRefused(f"the job {lacks}")
            self._enqueue(job)
        return order.submission

    async def adopt(self, orders: Sequence[Order]) -> Sequence[Finding]:
        try:
            begun = await self._site.file_work(self._site.spool.begun)
        except OSError as fault:
            log.warning("the spool cannot be read", cause=str(fault))
            return [Finding(submission=order.submission, where=Where.UNKNOWN) for order in orders]
        return [await self._adopt(order, order.submission in begun) for order in orders]

    async def control(self, order: Order, operation: Operation) -> None:
        if order.each is not None:
            await self._arrays.control(order, operation)
            return
        job = self._jobs.get(order.submission)
        cause = _CAUSE.get(operation)
        if cause is not None and (job is None or job.stage is Stage.WAITING):
            if await self._forbid(job or self._make(order), cause):
                return
            job = None  # somebody has started it
        if job is None:
            finding = await self._adopt(order, begun=True)
            for seen in finding.observations:
                self._site.mail.put(seen)
            job = self._jobs.get(order.submission)
            if job is None:
                return
        if cause is not None:
            await self._ender.end(job, cause, 0.0 if operation is Operation.KILL else order.grace_s)
        elif operation is Operation.SUSPEND:
            await self._ender.suspend(job)
        else:
            await self._ender.resume(job)

    # inside

    def _begin(self, work: Callable[..., object], *args: object) -> None:
        if self._tasks is None:
            self._before.append((work, args))
        else:
            self._tasks.start_soon(work, *args)  # type: ignore[arg-type]

    def _make(self, order: Order) -> LocalJob:
        task = only_task(order.tasks)
        part = self._site.spool.part(order.submission, task, 0)
        return LocalJob(order, part, demand_of(order.resources, self._machine))

    def _enqueue(self, job: LocalJob) -> None:
        self._jobs[job.name] = job
        self._line.add(job)

    def _is_crowded(self) -> bool:
        return self._site.mail.crowded

    def _launch(self, job: InLine, grant: Grant) -> None:
        """It has its resources."""
        if isinstance(job, LocalArray):
            self._arrays.launch(job, grant)
        elif isinstance(job, LocalJob):
            job.grant, job.stage = grant, Stage.STARTING
            self._run_on(job)

    def _run_on(self, job: LocalJob, over: Callable[[], None] | None = None) -> None:
        """See it through, from wherever it stands."""
        self._running[job.name] = job
        self._sweep.begun()
        self._begin(self._see_through, job, over)

    async def _see_through(self, job: LocalJob, over: Callable[[], None] | None) -> None:
        await self._supervisor.see_through(job)
        del self._running[job.name]
        self._jobs.pop(job.name, None)
        self._sweep.ended(job)
        if over is not None:
            over()

    def _tell_waiting(self, job: InLine, reason: Reason, why: str) -> None:
        if isinstance(job, LocalArray):
            self._arrays.tell_waiting(job, reason, why)
            return
        assert isinstance(job, LocalJob)
        seen = job.seen(self._site.clock, self._site.hostname, State.PENDING, reason, why)
        self._site.mail.put(seen)

    def _ended(self, job: LocalJob, end: End) -> Observation:
        return job.seen_end(self._site.clock, self._site.hostname, end)

    async def _forbid(self, job: LocalJob, cause: Reason) -> bool:
        """See to it that a job that waits never starts; False if somebody has started it."""
        if job.name in self._line.queue:
            self._line.withdraw(job)
        now = self._site.clock.now()
        try:
            won = await self._site.file_work(job.part.forbid, cause, now)
        except OSError as fault:  # a full disk keeps nobody from stopping a job: what is told is recorded
            log.warning("a stop could not be written into the spool", job=job.name, cause=str(fault))
            won = True
        self._jobs.pop(job.name, None)
        if won:
            self._site.mail.put(self._ended(job, forbidden(cause, now)))
        return won

    async def _adopt(self, order: Order, begun: bool) -> Finding:
        if order.each is not None:
            return await self._arrays.adopt(order, begun)
        job = self._jobs.get(order.submission)
        if job is not None:
            return _found(order, self._standing(job))
        job = self._make(order)
        try:
            found = await self._find(job) if begun else None
        except (OSError, UnknownRecord, Unreachable) as fault:
            log.warning("where a job stands is unknown", job=order.submission, cause=str(fault))
            return Finding(submission=order.submission, where=Where.UNKNOWN)
        if order.submission in self._jobs:  # taken in while we looked
            return _found(order, self._standing(self._jobs[order.submission]))
        if found is None and order.seen_running:
            now = self._site.clock.now()
            found = End(state=State.FAILED, reason=Reason.LOST, why=RECORDS_GONE, ended_at=now)
        if isinstance(found, End):
            self._sweep.ended(job)
            return _found(order, self._ended(job, found))
        if found is None:
            self._enqueue(job)
        else:
            self._take_over(job, found)
        return _found(order, self._standing(job))

    async def _find(self, job: LocalJob) -> End | Alive | None:
        now = self._site.clock.now()
        found = await self._site.file_work(find_out, job.part, job.order, self._site.families, now)
        if isinstance(found, End) and found.reason is Reason.LOST:
            await self._site.tree_work(job.tree(self._site.families).kill)
        return found

    def _take_over(self, job: LocalJob, found: Alive) -> None:
        """A job that a server before this one has started."""
        job.hold(found.wrapper)
        job.stage, job.suspended = Stage.RUNNING, found.stopped and found.note is None
        job.grant = self._line.queue.hold(job.demand, found.fence.gpus)
        self._jobs[job.name] = job
        job.spawned.set()
        self._supervisor.tell_running(job, found.fence)
        if found.note is not None:
            self._ender.go_on(job, found.note)
        elif found.stopped:
            self._ender.go_on_suspending(job)
        self._run_on(job)

    def _standing(self, job: LocalJob) -> Observation:
        clock, host = self._site.clock, self._site.hostname
        if job.started_at is None:
            reason, why = job.said
            return job.seen(clock, host, State.PENDING, Reason(reason) if reason else Reason.QUEUED, why)
        return job.seen(clock, host, State.SUSPENDED if job.suspended else State.RUNNING)


def _found(order: Order, seen: Observation) -> Finding:
    return Finding(
        submission=order.submission, where=Where.FOUND, handle=order.submission, observations=(seen,)
    )
