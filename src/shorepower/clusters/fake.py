"""A cluster in memory that does what its script says, and fails when told to: for demos, and for tests of
whoever uses clusters.

A job whose command begins with ``fake`` runs the words after it, in order::

    out:TEXT err:TEXT     print a line            exit:CODE    end (0 if there is none)
    wait:SECONDS          sleep                   signal:N     be ended by a signal
    stubborn              ignore SIGTERM          hang         until it is stopped, or `finish` is called

Any other command hangs. Whoever holds the cluster in hand calls the tasks of an array
``<submission>.<position>``. The cluster outlives its users: a server that comes back talks to the same one.
"""

from __future__ import annotations

import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import anyio
from anyio import TASK_STATUS_IGNORED, create_task_group, to_thread
from anyio.abc import TaskGroup, TaskStatus
from msgspec.structs import replace

from ..host.contract import Clock
from ..model.cluster import Capabilities, ClusterInfo
from ..model.errors import InvalidRequest, StorageFault, SubmitRefused, Unreachable
from ..model.lifecycle import Observation, Operation, Reason, State
from ..model.output import Stream
from ..model.tasks import TaskSet
from .contract import Cluster, Finding, Order, OutputSource, Where
from .fake_job import FakeArray, FakeJob, Outcome, outcome

__all__ = ["FakeCluster", "Faults"]


_FROM_OUTSIDE = {
    Operation.STOP: (Reason.STOPPED, int(signal.SIGTERM)),
    Operation.KILL: (Reason.KILLED, int(signal.SIGKILL)),
}


class Faults:
    """What goes wrong; change it at any time."""

    def __init__(self) -> None:
        self.silent = ""
        """Not empty: nobody answers, and this is why."""
        self.refuse = ""
        """Not empty: submits are refused, and this is why."""
        self.delay_s = 0.0
        """Every call takes so long."""
        self.raise_after_taking = 0
        """So many submits are taken, but say they failed."""
        self.raise_before_taking = 0
        """So many submits fail without having been taken."""
        self.lose_news = 0
        """So many observations of living states are never told."""
        self.repeat_news = False
        """Everything is told twice."""
        self.shuffle_news: random.Random | None = None
        """Told in this order within a batch; the newest observation of a job or a task stays the last."""


class FakeCluster(Cluster):
    """See the module. ``slots`` jobs run at once; None is no limit."""

    def __init__(
        self,
        name: str = "fake",
        *,
        clock: Clock,
        slots: int | None = None,
        cpu_count: float = 4,
        fenced: bool = True,
        starts_by_itself: bool = True,
    ) -> None:
        self.name, self.faults = name, Faults()
        self.starts: dict[str, int] = {}
        """By submission: how often a program was started. Whoever promises once is measured by this."""
        self._clock, self._slots, self._cpu_count = clock, slots, cpu_count
        self._fenced, self._starts_by_itself = fenced, starts_by_itself
        self._jobs: dict[str, FakeJob] = {}
        """Plain jobs, and tasks that live or have printed something."""
        self._arrays: dict[str, FakeArray] = {}
        self._news: list[Observation] = []
        self._told = anyio.Event()
        self._tasks: TaskGroup | None = None

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        async with create_task_group() as tasks:
            self._tasks = tasks
            for job in self._jobs.values():
                if job.lives:
                    tasks.start_soon(self._play, job)
            self._fill_slots()
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    async def info(self) -> ClusterInfo:
        await self._answer()
        return ClusterInfo(
            name=self.name,
            type="fake",
            cpu_count=self._cpu_count,
            capabilities=Capabilities(fenced=self._fenced),
        )

    async def submit(self, order: Order) -> str:
        await self._answer()
        if self.faults.refuse:
            raise SubmitRefused(self.faults.refuse)
        if self.faults.raise_before_taking:
            self.faults.raise_before_taking -= 1
            raise Unreachable("the connection broke before the submission arrived")
        self._take(order)
        if self.faults.raise_after_taking:
            self.faults.raise_after_taking -= 1
            raise Unreachable("the connection broke after the submission arrived")
        return f"fake-{order.submission}"

    async def adopt(self, orders: Sequence[Order]) -> Sequence[Finding]:
        if self.faults.silent:
            return [Finding(submission=order.submission, where=Where.UNKNOWN) for order in orders]
        await self._answer()
        return [self._find(order) for order in orders]

    async def watch(self) -> AsyncIterator[Sequence[Observation]]:
        while True:
            while not self._news or self.faults.silent:
                await self._told.wait()
            batch, self._news = self._news, []
            if told := self._spoil(batch):
                yield told

    async def control(self, order: Order, operation: Operation) -> None:
        await self._answer()
        array = self._arrays.get(order.submission)
        if array is not None:
            self._operate_on_waiting(array, order.tasks, operation)
        for job in self._of(order.submission, order.tasks):
            if not job.ended.is_set():
                self._operate(job, operation)

    def output(self, submission: str, task: int, restart: int) -> OutputSource:
        job = self._jobs.get(f"{submission}.{task}" if submission in self._arrays else submission)
        return job if job is not None else FakeJob(None)

    async def forget(self, submission: str) -> None:
        await self._answer()
        array, jobs = self._arrays.get(submission), self._of(submission)
        if any(not job.ended.is_set() for job in jobs) or (array is not None and array.waiting):
            raise InvalidRequest(f"submission {submission} has not ended; its records stay")
        self._arrays.pop(submission, None)
        for job in jobs:
            del self._jobs[job.name]

    # what tests and demos hold in hand

    def begin(self, submission: str) -> None:
        """Start a job that waits, whatever the slots say."""
        self._start(self._held(submission))

    def write(self, submission: str, data: bytes, stream: Stream = Stream.STDOUT) -> None:
        """As if the job had printed that."""
        self._jobs[submission].write(stream, data)

    def finish(self, submission: str, code: int = 0) -> None:
        """Let a job end with an exit code; one that has ended stays as it is."""
        name, _, position = submission.partition(".")
        if position and int(position) in self._arrays[name].ends:
            return
        job = self._held(submission)
        if job.started_at is None:
            self._start(job)
        self._end(job, outcome(code))

    def end(self, submission: str, state: State, reason: Reason | None, why: str = "") -> None:
        """Let a job end in any way."""
        self._end(self._held(submission), (state, reason, None, None, why))

    def tell(self, seen: Observation) -> None:
        """As if the cluster had seen that."""
        self._news.append(seen)
        self._wake()

    def answer_again(self) -> None:
        """End of silence."""
        self.faults.silent = ""
        self._wake()

    @property
    def submissions(self) -> list[str]:
        """All that were taken, oldest first."""
        return [*(name for name, job in self._jobs.items() if job.array is None), *self._arrays]

    # inside

    def _held(self, name: str) -> FakeJob:
        """A job or a task by its name, whether it waits or not."""
        if name not in self._jobs:
            submission, _, position = name.partition(".")
            self._jobs[name] = self._arrays[submission].take(int(position))
        return self._jobs[name]

    def _of(self, submission: str, tasks: TaskSet | None = None) -> list[FakeJob]:
        """What lives or has printed of a submission, or of some of its tasks."""
        if submission not in self._arrays:
            return [self._jobs[submission]] if submission in self._jobs else []
        begun = [job for job in self._jobs.values() if job.array is self._arrays[submission]]
        return [job for job in begun if tasks is None or job.position in tasks]

    async def _answer(self) -> None:
        if self.faults.delay_s:
            await anyio.sleep(self.faults.delay_s)
        if self.faults.silent:
            raise Unreachable(self.faults.silent)

    def _wake(self) -> None:
        told, self._told = self._told, anyio.Event()
        told.set()

    def _take(self, order: Order) -> None:
        if (order.submission in self._jobs or order.submission in self._arrays) and self._fenced:
            return
        if order.each is not None:
            array = self._arrays[order.submission] = FakeArray(order)
            self._tell_of(array, array.waiting, State.PENDING, Reason.QUEUED)
            self._fill_slots()
            return
        job = self._jobs[order.submission] = FakeJob(order)
        self._tell(job)
        self._fill_slots()

    def _find(self, order: Order) -> Finding:
        now, array = self._clock.now().timestamp(), self._arrays.get(order.submission)
        seen = [job.seen(now) for job in self._of(order.submission)]
        if array is not None:
            waiting = array.seen(now, array.waiting, State.PENDING, Reason.QUEUED, "")
            ended = (end for task, end in array.ends.items() if task not in order.ended)
            seen = [waiting, *array.dropped, *ended, *seen]
        if not seen:
            return Finding(submission=order.submission, where=Where.ABSENT)
        return Finding(
            submission=order.submission,
            where=Where.FOUND,
            handle=f"fake-{order.submission}",
            observations=tuple(seen),
        )

    def _fill_slots(self) -> None:
        if self._tasks is None or not self._starts_by_itself:
            return
        running = sum(1 for job in self._jobs.values() if job.lives)
        for job in self._startable():
            if self._slots is not None and running >= self._slots:
                return
            self._start(job() if callable(job) else job)
            running += 1

    def _startable(self) -> Iterator[FakeJob | Callable[[], FakeJob]]:
        """What may start now: jobs, and ways to take a task out of an array."""
        for job in list(self._jobs.values()):
            if job.started_at is None and not job.ended.is_set():
                yield job
        for array in list(self._arrays.values()):
            while array.may_start:
                yield array.take

    def _start(self, job: FakeJob) -> None:
        name = job.name
        self._jobs[name] = job
        if job.array is not None:
            job.array.living += 1
        self.starts[name] = self.starts.get(name, 0) + 1
        job.started_at, job.state, job.reason = self._clock.now(), State.RUNNING, None
        self._tell(job)
        if self._tasks is not None:
            self._tasks.start_soon(self._play, job)

    async def _play(self, job: FakeJob) -> None:
        assert job.order is not None
        limit_s = job.order.resources.wall_time_s
        with anyio.move_on_after(limit_s) as limit:
            await self._play_steps(job)
        if limit.cancelled_caught and not job.ended.is_set():
            why = "it ran longer than its time limit"
            self._end(job, (State.FAILED, Reason.TIME_LIMIT, None, None, why))

    async def _play_steps(self, job: FakeJob) -> None:
        assert job.order is not None
        if job.order.each is not None:
            try:
                plan = await to_thread.run_sync(job.order.each.plan, job.position)
            except (InvalidRequest, StorageFault) as fault:
                return self._end(job, (State.FAILED, Reason.LAUNCH, None, None, str(fault)))
            job.order = replace(job.order, argv=plan.argv, env=plan.env, cwd=plan.cwd)
            if job.ended.is_set():
                return None
        program, *steps = job.order.argv
        if program != "fake":
            steps = ["hang"]
        for number, step in enumerate(steps):
            if number < job.step:
                continue  # played before `run` was ended and begun anew
            job.step = number
            verb, _, value = step.partition(":")
            await job.going.wait()
            match verb:
                case "out" | "err":
                    stream = Stream.STDOUT if verb == "out" else Stream.STDERR
                    job.write(stream, value.encode("utf-8", "surrogateescape") + b"\n")
                case "wait":
                    with anyio.move_on_after(float(value)):
                        await job.ended.wait()
                case "stubborn":
                    job.stubborn = True
                case "exit":
                    return self._end(job, outcome(int(value)))
                case "signal":
                    return self._end(job, outcome(128 + int(value)))
                case "hang":
                    await job.ended.wait()
                case _:
                    raise ValueError(f"a fake job knows no step {step!r}; see shorepower.clusters.fake")
            if job.ended.is_set():
                return None
        return self._end(job, outcome(0))

    def _operate_on_waiting(self, array: FakeArray, tasks: TaskSet, operation: Operation) -> None:
        """None of its tasks starts for a while, or these never."""
        if operation in _FROM_OUTSIDE:
            dropped = array.drop(tasks)
            if dropped:
                reason, _ = _FROM_OUTSIDE[operation]
                self._tell_of(array, dropped, State.CANCELED, reason, "it was stopped before it started")
            return
        if operation is Operation.SUSPEND and not array.living:
            raise InvalidRequest("none of its tasks runs; only a running job can be suspended or resumed")
        array.suspended = operation is Operation.SUSPEND
        self._fill_slots()

    def _operate(self, job: FakeJob, operation: Operation) -> None:
        match operation:
            case Operation.SUSPEND | Operation.RESUME:
                if job.started_at is None:
                    raise InvalidRequest(
                        "it has not started; only a running job can be suspended or resumed"
                    )
                suspend = operation is Operation.SUSPEND
                job.state = State.SUSPENDED if suspend else State.RUNNING
                if not suspend:
                    job.going.set()
                elif job.going.is_set():
                    job.going = anyio.Event()
                self._tell(job)
            case Operation.STOP if job.stubborn and self._tasks is not None:
                self._tasks.start_soon(self._stop_later, job)
            case Operation.STOP | Operation.KILL:
                self._end_from_outside(job, *_FROM_OUTSIDE[operation])

    async def _stop_later(self, job: FakeJob) -> None:
        assert job.order is not None
        with anyio.move_on_after(job.order.grace_s):
            await job.ended.wait()
        self._end_from_outside(job, Reason.STOPPED, signal.SIGKILL)

    def _end_from_outside(self, job: FakeJob, reason: Reason, number: int) -> None:
        if job.started_at is None:
            self._end(job, (State.CANCELED, reason, None, None, "it was stopped before it started"))
        else:
            why = "it was stopped" if reason is Reason.STOPPED else "it was killed"
            self._end(job, (State.CANCELED, reason, 128 + number, number, why))

    def _end(self, job: FakeJob, how: Outcome) -> None:
        if job.ended.is_set():
            return
        job.state, job.reason, job.code, job.signal, job.why = how
        job.ended_at = self._clock.now()
        job.ended.set()
        job.going.set()
        job.wake()
        self._tell(job)
        if job.array is not None:
            self._end_task(job, job.array)
        self._fill_slots()

    def _end_task(self, job: FakeJob, array: FakeArray) -> None:
        """Of what has printed nothing, only how it ended is kept."""
        array.living -= job.started_at is not None
        if not array.living:
            array.suspended = False  # nothing is left that says that it is suspended
        if self._tasks is not None and array.order.each is not None:
            self._tasks.start_soon(to_thread.run_sync, array.order.each.clear, job.position)
        if not job.printed:
            array.ends[job.position] = job.seen(self._clock.now().timestamp())
            del self._jobs[job.name]

    def _tell(self, job: FakeJob) -> None:
        self._news.append(job.seen(self._clock.now().timestamp()))
        self._wake()

    def _tell_of(
        self, array: FakeArray, tasks: TaskSet, state: State, reason: Reason, why: str = ""
    ) -> None:
        seen = array.seen(self._clock.now().timestamp(), tasks, state, reason, why)
        if state.ended:
            array.dropped.append(seen)
        self._news.append(seen)
        self._wake()

    def _spoil(self, batch: list[Observation]) -> list[Observation]:
        faults = self.faults
        told = []
        for seen in batch:
            if faults.lose_news and not seen.state.ended:
                faults.lose_news -= 1
            else:
                told += [seen, seen] if faults.repeat_news else [seen]
        if faults.shuffle_news is not None:
            newest = {(seen.submission, seen.tasks): seen for seen in told}
            older = [seen for seen in told if seen is not newest[seen.submission, seen.tasks]]
            faults.shuffle_news.shuffle(older)
            told = [*older, *newest.values()]
        return told
