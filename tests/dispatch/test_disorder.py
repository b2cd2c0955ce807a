"""The dispatcher under anything: lost, repeated, disordered news, silence, doubt, sudden ends.

A machine of hypothesis drives it over the cluster in memory. At the end everything is healed, and every
job must have ended as it should, having started once.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from shorepower.clusters.fake import FakeCluster
from shorepower.dispatch.dispatcher import TaskFilter
from shorepower.model.dependency import Dependency, Want, is_met
from shorepower.model.errors import Conflict, InvalidRequest
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.store.memory import open_memory_store
from shorepower.testing.clock import FakeClock
from support.dispatching import ALICE, Bench, a_spec, sweep

QUIET_LIMIT_S = 20.0
_STEP_S = 0.002


class Disorder(RuleBasedStateMachine):
    """One state directory, one cluster, any number of lives of a dispatcher."""

    @initialize(seed=st.integers(0, 2**32), slots=st.sampled_from([None, 2]))
    def begin(self, seed: int, slots: int | None) -> None:
        self._portal_context = start_blocking_portal("asyncio")
        self.portal = self._portal_context.__enter__()
        self._folder = tempfile.TemporaryDirectory(prefix="shore-disorder-")
        self.dice = random.Random(seed)
        self.clock = FakeClock()
        self.cluster = FakeCluster(clock=self.clock, slots=slots)
        self.jobs: dict[str, int] = {}
        """By id: the exit code that its program ends with."""
        self.tasks: dict[str, int] = {}
        """Of those that are arrays: how many tasks."""
        self.stopped: dict[str, set[int]] = {}
        """Tasks of arrays that somebody asked to stop, alone."""
        self.asked: dict[str, set[Operation]] = {}
        self.after: dict[str, tuple[str, Want]] = {}
        """What a job comes after."""
        self.ends: dict[str, Any] = {}
        store = self.portal.call(open_memory_store)
        self.bench = Bench(store, {"fake": self.cluster}, self.clock, Path(self._folder.name) / "state")
        self._live()

    def teardown(self) -> None:
        if not hasattr(self, "portal"):
            return
        try:
            self._heal_and_check()
        finally:
            self._die()
            self.portal.call(self.bench.store.aclose)
            self._portal_context.__exit__(None, None, None)
            self._folder.cleanup()

    def _live(self) -> None:
        self._life = self.portal.wrap_async_context_manager(self.bench.running())
        self.dispatcher = self._life.__enter__()

    def _die(self) -> None:
        self._life.__exit__(None, None, None)

    def _do(self, call: Callable[..., Any], *args: Any) -> Any:
        self.clock.advance(1.0)
        return self.portal.call(call, *args)

    # what may happen

    @rule(code=st.sampled_from([0, 0, 1, 77]), secret=st.booleans())
    def submit(self, code: int, secret: bool) -> None:
        spec = a_spec(argv=("fake", "out:a", "hang"), secrets=("S",) if secret else ())
        secrets = {"S": "x"} if secret else {}

        async def twice() -> str:
            key = f"key {len(self.jobs)}"
            first, _ = await self.dispatcher.submit(spec, ALICE, key=key, secrets=secrets)
            again, _ = await self.dispatcher.submit(spec, ALICE, key=key, secrets=secrets)
            assert again.id == first.id
            return first.id

        job = self._do(twice)
        self.jobs[job], self.asked[job] = code, set()

    @rule(count=st.integers(1, 5), most=st.sampled_from([None, 1, 2]), code=st.sampled_from([0, 3]))
    def submit_array(self, count: int, most: int | None, code: int) -> None:
        spec = sweep(count, max_parallel=most, argv=("fake", "out:a", "hang"))
        job, _ = self._do(self.dispatcher.submit, spec, ALICE)
        self.jobs[job.id], self.asked[job.id] = code, set()
        self.tasks[job.id], self.stopped[job.id] = count, set()

    @precondition(lambda self: self.jobs)
    @rule(which=st.randoms(use_true_random=False), wants=st.sampled_from(Want))
    def submit_after(self, which: random.Random, wants: Want) -> None:
        other = which.choice(list(self.jobs))
        spec = a_spec(argv=("fake", "out:a", "hang"), after=(Dependency(job=other, wants=wants),))

        async def submit() -> str:
            try:
                job, _ = await self.dispatcher.submit(spec, ALICE)
                self.after[job.id] = (other, wants)
            except (
                InvalidRequest
            ):  # what it is to come after has failed already: one that comes after nothing
                job, _ = await self.dispatcher.submit(replace(spec, after=()), ALICE)
            return job.id

        job = self._do(submit)
        self.jobs[job], self.asked[job] = 0, set()

    @precondition(lambda self: self.tasks)
    @rule(which=st.randoms(use_true_random=False), operation=st.sampled_from(["stop", "kill"]))
    def stop_tasks(self, which: random.Random, operation: str) -> None:
        job = which.choice(list(self.tasks))
        named = sorted(which.sample(range(self.tasks[job]), which.randint(1, self.tasks[job])))

        async def ask() -> None:
            try:
                tasks = ",".join(map(str, named))
                await self.dispatcher.control(job, Operation(operation), ALICE, tasks=tasks)
            except Conflict:
                return
            self.stopped[job].update(named)

        self._do(ask)

    @precondition(lambda self: self.tasks)
    @rule(which=st.randoms(use_true_random=False))
    def finish_a_task(self, which: random.Random) -> None:
        job = which.choice(list(self.tasks))
        self._finish_one(f"{job}-1.{which.randrange(self.tasks[job])}", self.jobs[job])

    @precondition(lambda self: self.jobs)
    @rule(operation=st.sampled_from(Operation), which=st.randoms(use_true_random=False))
    def control(self, operation: Operation, which: random.Random) -> None:
        job = which.choice(list(self.jobs))

        async def ask() -> bool:
            try:
                await self.dispatcher.control(job, operation, ALICE)
            except Conflict:
                return False
            return True

        if self._do(ask):
            self.asked[job].add(operation)

    @precondition(lambda self: self.jobs)
    @rule(which=st.randoms(use_true_random=False))
    def finish(self, which: random.Random) -> None:
        self._finish(which.choice(list(self.jobs)))

    def _finish(self, job: str) -> None:
        for name in self._names(job):
            self._finish_one(name, self.jobs[job])

    def _names(self, job: str) -> list[str]:
        """What the cluster calls it, or each of its tasks."""
        return [f"{job}-1.{task}" for task in range(self.tasks[job])] if job in self.tasks else [f"{job}-1"]

    def _finish_one(self, name: str, code: int) -> None:
        async def end() -> None:
            if self.cluster.starts.get(name):
                self.cluster.finish(name, code)

        self._do(end)

    @rule(
        fault=st.sampled_from(
            ["silent", "answer", "after", "before", "lose", "repeat", "shuffle", "in order"]
        )
    )
    def trouble(self, fault: str) -> None:
        faults = self.cluster.faults

        async def change() -> None:
            match fault:
                case "silent":
                    faults.silent = "nobody answers"
                case "answer":
                    self.cluster.answer_again()
                case "after":
                    faults.raise_after_taking = 2
                case "before":
                    faults.raise_before_taking = 2
                case "lose":
                    faults.lose_news = 2
                case "repeat":
                    faults.repeat_news = not faults.repeat_news
                case "shuffle":
                    faults.shuffle_news = self.dice
                case "in order":
                    faults.shuffle_news = None

        self._do(change)

    @rule()
    def crash(self) -> None:
        self._die()
        self.clock.advance(1.0)
        self._live()

    @rule(jump_s=st.sampled_from([-86_400.0, 3600.0]))
    def set_the_clock(self, jump_s: float) -> None:
        self.clock.jump(jump_s)

    @rule()
    def time_passes(self) -> None:
        self._do(anyio.sleep, _STEP_S)

    # what is always true

    @invariant()
    def nothing_starts_twice(self) -> None:
        if hasattr(self, "cluster"):
            assert all(count == 1 for count in self.cluster.starts.values()), self.cluster.starts

    @invariant()
    def nothing_starts_too_early(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        for job, (other, wants) in self.after.items():
            if self.cluster.starts.get(f"{job}-1"):
                assert is_met(wants, self._stands(other).state), (wants, self._stands(other))

    @invariant()
    def an_end_is_final(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        for job in self.jobs:
            told = self.portal.call(self.dispatcher.job, job, ALICE)
            if told.state.ended:
                end = (
                    told.state,
                    told.reason,
                    told.exit_code,
                    told.exit_status,
                    told.ended_at,
                    told.counts,
                )
                assert self.ends.setdefault(job, end) == end

    # the end

    def _heal_and_check(self) -> None:
        faults = self.cluster.faults
        faults.raise_after_taking = faults.raise_before_taking = faults.lose_news = 0
        faults.repeat_news, faults.shuffle_news = False, None
        self.portal.call(self._answer)
        waited_s = 0.0
        while living := [job for job in self.jobs if not self._stands(job).state.ended]:
            assert waited_s < QUIET_LIMIT_S, [self._stands(job) for job in living]
            for job in living:
                if self._stands(job).state is State.SUSPENDED:
                    self.control_one(job, Operation.RESUME)
                self._finish(job)
            self._do(anyio.sleep, _STEP_S)
            waited_s += _STEP_S
        for job, code in self.jobs.items():
            if job in self.tasks:
                self._check_array(job, code)
            else:
                self._check(job, code)
        events, _ = self.portal.call(lambda: self.dispatcher.events(ALICE, after=0))
        assert [event.seq for event in events] == sorted({event.seq for event in events})

    async def _answer(self) -> None:
        self.cluster.answer_again()

    def control_one(self, job: str, operation: Operation) -> None:
        async def ask() -> None:
            try:
                await self.dispatcher.control(job, operation, ALICE)
            except Conflict:
                pass  # it ended, or is being stopped

        self._do(ask)

    def _stands(self, job: str) -> Any:
        return self.portal.call(self.bench.stands, job)

    def _check(self, job: str, code: int) -> None:
        told = self._stands(job)
        stopped = self.asked[job] & {Operation.STOP, Operation.KILL}
        started = self.cluster.starts.get(f"{job}-1", 0)
        if told.reason is Reason.DEPENDENCY:
            other, wants = self.after[job]
            assert wants is Want.OK
            assert self._stands(other).state in (State.FAILED, State.CANCELED)
            assert (told.state, started) == (State.CANCELED, 0)
        elif told.state is State.CANCELED:
            assert stopped, told
        else:
            assert (told.exit_code, started) == (code, 1), told
            assert told.state is (State.COMPLETED if code == 0 else State.FAILED)
        assert told.wanted is None
        assert not (self.bench.places.secrets / job).exists() or self._goes(job)

    def _check_array(self, job: str, code: int) -> None:
        told = self._stands(job)
        tasks, _ = self._do(self.dispatcher.tasks, job, TaskFilter(), ALICE)
        assert Counter(task.state for task in tasks) == told.counts
        assert len(tasks) == self.tasks[job]
        for task in tasks:
            started = self.cluster.starts.get(f"{job}-1.{task.index}", 0)
            if task.state is State.CANCELED:
                asked = self.asked[job] & {Operation.STOP, Operation.KILL}
                assert asked or task.index in self.stopped[job], task
            else:
                assert (task.exit_code, started) == (code, 1), task
        assert told.wanted is None
        assert self.portal.call(self.bench.store.read, lambda view: view.task_controls(job=job)) == []

    def _goes(self, job: str) -> bool:
        """Whether a secret goes soon: it is removed right after the end is on record."""
        for _ in range(int(QUIET_LIMIT_S / _STEP_S)):
            if not (self.bench.places.secrets / job).exists():
                return True
            self.portal.call(anyio.sleep, _STEP_S)
        return False


TestDisorder = Disorder.TestCase
TestDisorder.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
