"""Arrays on this machine: taken in, started task by task, operated on, found again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Mapping

import anyio
import structlog
from anyio import create_task_group

from ...model.errors import InvalidRequest, SubmitRefused, Unreachable
from ...model.lifecycle import Observation, Operation, Reason, State
from ...model.tasks import TaskSet
from ..contract import Finding, Order, Where
from ..records import Refusal, UnknownRecord
from .array import LocalArray, task_order
from .ender import Ender
from .find import Alive, find_out
from .job import LocalJob, Site, Stage
from .lane import Lane, Unfinished, clear
from .line import Line
from .machine import Machine
from .outcome import RECORDS_GONE, End, forbidden
from .queue import Grant, demand_of
from .supervisor import Supervisor
from .sweep import Sweep

__all__ = ["Arrays"]

log = structlog.get_logger(__name__)


class Arrays:
    """All arrays of one cluster that have not ended."""

    def __init__(
        self,
        site: Site,
        machine: Machine,
        line: Line,
        supervisor: Supervisor,
        ender: Ender,
        sweep: Sweep,
        see_through: Callable[[LocalJob, Callable[[], None]], None],
    ) -> None:
        """``see_through`` begins to see a task that takes long to its end, and calls what it is given."""
        self._site, self._machine, self._line, self._supervisor = site, machine, line, supervisor
        self._ender, self._sweep, self._see_through = ender, sweep, see_through
        self._lanes: deque[tuple[Lane, bool]] = deque()
        """Lanes that have something to tell, and whether they are over."""
        self._told = anyio.Event()
        self._arrays: dict[str, LocalArray] = {}
        self._long: dict[str, dict[int, LocalJob]] = {}
        """By submission and position: the tasks that take long."""

    async def run(self) -> None:
        """Take what lanes tell, until cancelled."""
        while True:
            await self._told.wait()
            self._told = anyio.Event()
            while self._lanes:
                lane, is_over = self._lanes.popleft()
                self._lane_over(lane) if is_over else self._fetch(lane)

    def __contains__(self, submission: str) -> bool:
        return submission in self._arrays

    def submit(self, order: Order) -> None:
        """Take one in. Raises SubmitRefused."""
        if order.submission in self._arrays:
            return
        array = LocalArray(order, demand_of(order.resources, self._machine), order.tasks - order.ended)
        if lacks := self._line.queue.lacks(array.demand):
            raise SubmitRefused(f"each task {lacks}")
        self._add(array)

    def launch(self, array: LocalArray, grant: Grant) -> None:
        """It has room for one task."""
        array.busy += 1
        lane = Lane(self._site, array, grant, self._hear)
        array.lanes += 1
        try:
            lane.start()
        except RuntimeError:  # no more threads: as every job is started
            array.lane_over()
            self._go_on(array, grant, self._one_more(array))
        self._stand(array)

    async def adopt(self, order: Order, begun: bool) -> Finding:
        """Where it stands by its records. A record that cannot be read leaves all of it unknown."""
        if (array := self._arrays.get(order.submission)) is not None:
            return self._finding(array, self._standing(array))
        try:
            found, refused = await self._look(order) if begun else ({}, [])
        except (OSError, UnknownRecord, Unreachable) as fault:
            log.warning("where an array stands is unknown", submission=order.submission, cause=str(fault))
            return Finding(submission=order.submission, where=Where.UNKNOWN)
        if (array := self._arrays.get(order.submission)) is not None:  # taken in while we looked
            _let_go(found)
            return self._finding(array, self._standing(array))
        seen: list[Observation] = []
        waiting = order.tasks - order.ended - order.begun - TaskSet.of(found)
        array = LocalArray(order, demand_of(order.resources, self._machine), waiting)
        seen += self._lost(array, order.begun - order.ended - TaskSet.of(found))
        for refusal in refused:
            if gone := array.withdraw(refusal.tasks):
                seen.append(_refused(array, gone, refusal))
        alive = {task: what for task, what in found.items() if isinstance(what, Alive)}
        array.paused = any(what.stopped and what.note is None for what in alive.values())
        for task, what in found.items():
            if isinstance(what, End):
                seen.append(self._ended(order, task, what))
        self._add(array)
        for task, one in alive.items():
            seen.append(self._take_over(array, task, one))
        if array.waiting:
            seen.append(self._waits(array))
        return self._finding(array, seen)

    async def control(self, order: Order, operation: Operation) -> None:
        """An operation on some tasks or all of them. Raises InvalidRequest, Unreachable."""
        if order.submission not in self._arrays:
            finding = await self.adopt(order, begun=True)
            if finding.where is Where.UNKNOWN:
                raise Unreachable("the records of the array cannot be read now")
            for seen in finding.observations:
                self._site.mail.put(seen)
        array = self._arrays.get(order.submission)
        if array is None:
            return
        if operation is Operation.SUSPEND:
            await self._suspend(array)
        elif operation is Operation.RESUME:
            await self._resume(array)
        else:
            await self._stop(array, order.tasks, operation)

    def tell_waiting(self, array: LocalArray, reason: Reason, why: str) -> None:
        """Why it waits; once something of it has begun its tasks need no reason."""
        if not array.busy and array.waiting:
            now = self._site.clock.now()
            self._site.mail.put(array.seen(array.waiting, now, State.PENDING, reason, why))

    # inside

    def _add(self, array: LocalArray) -> None:
        if not array.over:
            self._arrays[array.name] = array
            self._long[array.name] = {}
            self._stand(array)

    def _stand(self, array: LocalArray) -> None:
        """In line as long as another of its tasks may start, and known as long as any lives."""
        if array.may_start:
            array.place = self._line.add(array, array.place)
        else:
            self._line.withdraw(array)
        if array.over:
            self._arrays.pop(array.name, None)
            self._long.pop(array.name, None)

    def _hear(self, lane: Lane, is_over: bool) -> None:
        self._lanes.append((lane, is_over))
        self._told.set()

    def _fetch(self, lane: Lane) -> None:
        while lane.letters:
            seen, name, family = lane.letters.popleft()
            self._site.mail.put(seen)
            self._sweep.ended_family(name, family)

    def _lane_over(self, lane: Lane) -> None:
        self._fetch(lane)
        array = lane.array
        array.lane_over()
        if lane.fault is not None:
            log.error("a lane broke off", submission=array.name, exc_info=lane.fault)
        if lane.unfinished is None:
            array.busy -= 1
            self._line.give_back(lane.grant)
        else:
            self._go_on(array, lane.grant, lane.unfinished)
        self._stand(array)

    def _one_more(self, array: LocalArray) -> Unfinished | None:
        task = array.take()
        return None if task is None else Unfinished(task_order(array.order, task))

    def _go_on(self, array: LocalArray, grant: Grant, left: Unfinished | None) -> None:
        """A task that goes the way of every job, under a grant that is the array's already."""
        if left is None:
            array.busy -= 1
            self._line.give_back(grant)
            return
        (task,) = left.order.tasks
        job = self._job(array, task, left.order)
        job.grant, job.usage = grant, left.usage
        job.stage = Stage.STARTING
        if left.spawned is not None:
            job.hold(left.spawned)
            job.stage = Stage.RUNNING
            job.oom_before = self._site.oom_kills
        self._begin(array, job)

    def _job(self, array: LocalArray, task: int, order: Order) -> LocalJob:
        return LocalJob(order, self._site.spool.part(array.name, task, 0), array.demand)

    def _begin(self, array: LocalArray, job: LocalJob) -> None:
        task = job.part.task
        self._long[array.name][task] = job

        def over() -> None:
            array.busy -= 1
            self._long[array.name].pop(task, None)
            self._stand(array)

        self._see_through(job, over)

    async def _stop(self, array: LocalArray, tasks: TaskSet, operation: Operation) -> None:
        cause = Reason.KILLED if operation is Operation.KILL else Reason.STOPPED
        await array.halt()
        try:
            if gone := array.withdraw(tasks):
                await self._refuse(array, Refusal(tasks=gone, forbidden=cause, at=self._site.clock.now()))
            running = [job for task, job in self._long.get(array.name, {}).items() if task in tasks]
        finally:
            array.go_on()
            self._stand(array)
        grace_s = 0.0 if operation is Operation.KILL else array.order.grace_s
        async with create_task_group() as tg:
            for job in running:
                tg.start_soon(self._end, job, cause, grace_s)

    async def _end(self, job: LocalJob, cause: Reason, grace_s: float) -> None:
        try:
            await self._ender.end(job, cause, grace_s)
        except Unreachable as fault:  # asked for again until it is seen
            log.warning("a stop has to wait", job=job.name, cause=str(fault))

    async def _refuse(self, array: LocalArray, refusal: Refusal) -> None:
        try:
            await self._site.file_work(self._site.spool.refuse, array.name, refusal)
        except OSError as fault:  # a full disk keeps nobody from stopping tasks: what is told is recorded
            log.warning("a stop could not be written into the spool", job=array.name, cause=str(fault))
        self._site.mail.put(_refused(array, refusal.tasks, refusal))

    async def _suspend(self, array: LocalArray) -> None:
        if array.paused:
            return
        array.paused = True
        await array.halt()
        array.go_on()
        running = list(self._long[array.name].values())
        if not running:
            array.paused = False
            self._stand(array)
            raise InvalidRequest("none of its tasks runs; only a running job can be suspended or resumed")
        self._stand(array)
        for job in running:
            if job.ending is None and not job.gone.is_set():
                await self._ender.suspend(job)

    async def _resume(self, array: LocalArray) -> None:
        array.paused = False
        self._stand(array)
        for job in list(self._long[array.name].values()):
            if job.suspended and job.ending is None:
                await self._ender.resume(job)

    async def _look(self, order: Order) -> tuple[dict[int, End | Alive], list[Refusal]]:
        """What the records say of the tasks whose end is not known above."""
        found = await self._site.file_work(self._read, order)
        for task, what in found[0].items():
            if isinstance(what, End) and what.reason is Reason.LOST:
                part = self._site.spool.part(order.submission, task, 0)
                job = LocalJob(task_order(order, task), part, demand_of(order.resources, self._machine))
                await self._site.tree_work(job.tree(self._site.families).kill)
        return found

    def _read(self, order: Order) -> tuple[dict[int, End | Alive], list[Refusal]]:
        found: dict[int, End | Alive] = {}
        now = self._site.clock.now()
        try:
            for task in sorted(self._site.spool.fenced(order.submission)):
                if task in order.ended or task not in order.tasks:
                    continue
                part = self._site.spool.part(order.submission, task, 0)
                what = find_out(part, task_order(order, task), self._site.families, now)
                if what is not None:
                    found[task] = what
                if isinstance(what, End):
                    clear(order, part)
            return found, self._site.spool.refused(order.submission)
        except BaseException:
            _let_go(found)
            raise

    def _take_over(self, array: LocalArray, task: int, found: Alive) -> Observation:
        """A task that a server before this one has started."""
        job = self._job(array, task, task_order(array.order, task))
        job.hold(found.wrapper)
        job.stage, job.suspended = Stage.RUNNING, found.stopped and found.note is None
        job.grant = self._line.queue.hold(job.demand, found.fence.gpus)
        array.busy += 1
        job.spawned.set()
        self._supervisor.tell_running(job, found.fence)
        if found.note is not None:
            self._ender.go_on(job, found.note)
        self._begin(array, job)
        state = State.SUSPENDED if job.suspended else State.RUNNING
        return job.seen(self._site.clock, self._site.hostname, state)

    def _ended(self, order: Order, task: int, end: End) -> Observation:
        job = LocalJob(
            task_order(order, task),
            self._site.spool.part(order.submission, task, 0),
            demand_of(order.resources, self._machine),
        )
        self._sweep.ended(job)
        return job.seen_end(self._site.clock, self._site.hostname, end)

    def _lost(self, array: LocalArray, tasks: TaskSet) -> list[Observation]:
        if not tasks:
            return []
        now = self._site.clock.now()
        return [array.seen(tasks, now, State.FAILED, Reason.LOST, RECORDS_GONE)]

    def _waits(self, array: LocalArray) -> Observation:
        reason, why = array.said
        asked = Reason(reason) if reason else Reason.QUEUED
        return array.seen(array.waiting, self._site.clock.now(), State.PENDING, asked, why)

    def _standing(self, array: LocalArray) -> list[Observation]:
        clock, host = self._site.clock, self._site.hostname
        running: Mapping[int, LocalJob] = self._long.get(array.name, {})
        seen = [
            job.seen(clock, host, State.SUSPENDED if job.suspended else State.RUNNING)
            for job in running.values()
            if job.started_at is not None
        ]
        return [*seen, self._waits(array)] if array.waiting else seen

    @staticmethod
    def _finding(array: LocalArray, seen: list[Observation]) -> Finding:
        return Finding(
            submission=array.name, where=Where.FOUND, handle=array.name, observations=tuple(seen)
        )


def _refused(array: LocalArray, tasks: TaskSet, refusal: Refusal) -> Observation:
    end = forbidden(refusal.forbidden, refusal.at)
    return array.seen(tasks, refusal.at, end.state, end.reason, end.why)


def _let_go(found: Mapping[int, End | Alive]) -> None:
    for what in found.values():
        if isinstance(what, Alive):
            os.close(what.wrapper.pidfd)
