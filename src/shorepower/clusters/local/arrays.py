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
from .find import Alive
from .job import LocalJob, Site, Stage
from .lane import Lane, Unfinished
from .line import Line
from .machine import Machine
from .outcome import End
from .queue import Grant, demand_of
from .standing import Standing, keep_from_starting, look_at
from .supervisor import Supervisor
from .sweep import Sweep

__all__ = ["Arrays"]

log = structlog.get_logger(__name__)

_LANES_END_S = 5.0
"""For the lanes to come to the end of the tasks they are at when the server ends."""


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
        self._lanes_open = 0
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

    async def close(self) -> None:
        """Return when no lane starts anything more, or after a while. The site is closing, `run` has ended.

        Whoever comes next could else be told by a record that a task waits which a lane then starts.
        """
        with anyio.move_on_after(_LANES_END_S):
            while self._lanes_open:
                await self._told.wait()
                self._told = anyio.Event()
        while self._lanes:
            lane, is_over = self._lanes.popleft()
            if is_over and lane.unfinished is not None:
                lane.unfinished.let_go()

    def __contains__(self, submission: str) -> bool:
        return submission in self._arrays

    async def submit(self, order: Order) -> None:
        """Take one in. Raises SubmitRefused, Unreachable."""
        if order.submission in self._arrays:
            return
        array = LocalArray(order, demand_of(order.resources, self._machine), order.tasks - order.ended)
        if lacks := self._line.queue.lacks(array.demand):
            raise SubmitRefused(f"each task {lacks}")
        if not await self._site.file_work(os.path.lexists, self._site.spool.folder(order.submission)):
            if order.submission not in self._arrays:
                self._add(array)
            return
        finding = await self.adopt(order, begun=True)  # it was sent before
        if finding.where is Where.UNKNOWN:
            raise Unreachable("the records of the array cannot be read now")
        for seen in finding.observations:
            self._site.mail.put(seen)

    def launch(self, array: LocalArray, grant: Grant) -> None:
        """It has room for one task."""
        array.busy += 1
        lane = Lane(self._site, array, grant, self._hear)
        array.lane_begun()
        self._lanes_open += 1
        try:
            lane.start()
        except RuntimeError:  # no more threads: as every job is started
            array.lane_over()
            self._lanes_open -= 1
            self._go_on(array, grant, self._one_more(array))
        self._stand(array)

    async def adopt(self, order: Order, begun: bool) -> Finding:
        """Where it stands by its records. A record that cannot be read leaves all of it unknown."""
        if (array := self._arrays.get(order.submission)) is not None:
            return self._finding(array, self._standing(array))
        try:
            records = await self._look(order) if begun else Standing()
        except (OSError, UnknownRecord, Unreachable) as fault:
            log.warning("where an array stands is unknown", submission=order.submission, cause=str(fault))
            return Finding(submission=order.submission, where=Where.UNKNOWN)
        if (array := self._arrays.get(order.submission)) is not None:  # taken in while we looked
            records.let_go()
            return self._finding(array, self._standing(array))
        found, seen = records.found, list[Observation]()
        waiting = order.tasks - order.ended - order.begun - TaskSet.of(found)
        array = LocalArray(order, demand_of(order.resources, self._machine), waiting, records.late)
        if lost := order.begun - order.ended - TaskSet.of(found):
            seen.append(array.lost(lost, self._site.clock.now()))
        for refusal in records.refused:
            if gone := array.withdraw(refusal.tasks):
                seen.append(array.refused(gone, refusal))
        alive = {task: what for task, what in found.items() if isinstance(what, Alive)}
        array.paused = any(what.stopped and what.note is None for what in alive.values())
        for task, what in found.items():
            if isinstance(what, End):
                seen.append(self._ended(order, task, what))
        self._know(array)
        seen += [self._take_over(array, task, one) for task, one in alive.items()]
        self._stand(array)
        if array.waiting:
            seen.append(array.waits(self._site.clock.now()))
        return self._finding(array, seen)

    async def control(self, order: Order, operation: Operation) -> None:
        """An operation on some tasks or all of them. Raises InvalidRequest, Unreachable."""
        array = self._arrays.get(order.submission)
        if array is None:  # it is over, or was not taken in: only a whole order can be
            if await self._lives(order):
                raise Unreachable("the array is not taken in yet; try again")
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
        self._know(array)
        self._stand(array)

    def _know(self, array: LocalArray) -> None:
        self._arrays[array.name], self._long[array.name] = array, {}

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
        self._lanes_open -= is_over
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
            running = self._long.get(array.name, {})
            running.pop(task, None)
            if not running:
                array.paused = False  # nothing is left that says that it is suspended
            self._stand(array)

        self._see_through(job, over)

    async def _stop(self, array: LocalArray, tasks: TaskSet, operation: Operation) -> None:
        cause = Reason.KILLED if operation is Operation.KILL else Reason.STOPPED
        array.busy += 1  # so that it stays known meanwhile
        try:
            async with array.halted():
                if gone := await self._withdraw(array, tasks, cause):
                    now = self._site.clock.now()
                    await self._refuse(array, Refusal(tasks=gone, forbidden=cause, at=now))
                running = [job for task, job in self._long.get(array.name, {}).items() if task in tasks]
        finally:
            array.busy -= 1
            self._stand(array)
        grace_s = 0.0 if operation is Operation.KILL else array.order.grace_s
        async with create_task_group() as tg:
            for job in running:
                tg.start_soon(self._end, job, cause, grace_s)

    async def _withdraw(self, array: LocalArray, tasks: TaskSet, cause: Reason) -> TaskSet:
        """Those of ``tasks`` that wait no more and can be told to never start."""
        gone = array.withdraw(tasks)
        begun = [task for task in array.late if task in gone and not await self._forbid(array, task, cause)]
        return gone - TaskSet.of(begun)

    async def _forbid(self, array: LocalArray, task: int, cause: Reason) -> bool:
        """Keep a start from happening that a server before this one may have begun; False if it has
        happened."""
        order = task_order(array.order, task)
        found = await self._site.file_work(keep_from_starting, self._site, order, cause)
        if isinstance(found, Alive):
            self._site.mail.put(self._take_over(array, task, found))
        elif found is None:
            array.put_back(task)  # its next start loses the fence, or not
        elif found.reason is not cause or found.started_at is not None:
            self._site.mail.put(self._ended(array.order, task, found))
        else:
            return True
        return False

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
        self._site.mail.put(array.refused(refusal.tasks, refusal))

    async def _suspend(self, array: LocalArray) -> None:
        """Doing it again reaches those that it did not reach before."""
        array.paused = True
        late: Unreachable | None = None
        try:
            async with array.halted():
                running = list(self._long.get(array.name, {}).values())
            for job in running:
                if job.ending is None and not (job.suspended or job.gone.is_set()):
                    try:
                        await self._ender.suspend(job)
                    except InvalidRequest:  # it is being ended by now
                        continue
                    except Unreachable as fault:
                        late = fault
        except Unreachable as fault:
            late = fault
        if not self._is_suspended(array):
            array.paused = False
        self._stand(array)
        if late is not None:
            raise late
        if not array.paused:
            raise InvalidRequest("none of its tasks runs; only a running job can be suspended or resumed")

    def _is_suspended(self, array: LocalArray) -> bool:
        """Whether it has a task that could be resumed."""
        return any(
            job.suspended and job.ending is None and not job.gone.is_set()
            for job in self._long.get(array.name, {}).values()
        )

    async def _resume(self, array: LocalArray) -> None:
        array.paused = False
        self._stand(array)
        for job in list(self._long.get(array.name, {}).values()):
            if job.suspended and job.ending is None:
                await self._ender.resume(job)

    async def _look(self, order: Order) -> Standing:
        """What the records say of the tasks whose end is not known above."""
        records = await self._site.file_work(look_at, self._site, order)
        for task, what in records.found.items():
            if isinstance(what, End) and what.reason is Reason.LOST:
                part = self._site.spool.part(order.submission, task, 0)
                job = LocalJob(task_order(order, task), part, demand_of(order.resources, self._machine))
                await self._site.tree_work(job.tree(self._site.families).kill)
        return records

    async def _lives(self, order: Order) -> bool:
        """Whether one of the tasks of an array that is not known here may not have ended."""
        try:
            records = await self._site.file_work(look_at, self._site, order)
        except (OSError, UnknownRecord, Unreachable):
            return True
        records.let_go()
        return records.lives(order)

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
        elif found.stopped:
            self._ender.go_on_suspending(job)
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

    def _standing(self, array: LocalArray) -> list[Observation]:
        clock, host = self._site.clock, self._site.hostname
        running: Mapping[int, LocalJob] = self._long.get(array.name, {})
        seen = [
            job.seen(clock, host, State.SUSPENDED if job.suspended else State.RUNNING)
            for job in running.values()
            if job.started_at is not None
        ]
        return [*seen, array.waits(self._site.clock.now())] if array.waiting else seen

    @staticmethod
    def _finding(array: LocalArray, seen: list[Observation]) -> Finding:
        return Finding(
            submission=array.name, where=Where.FOUND, handle=array.name, observations=tuple(seen)
        )
