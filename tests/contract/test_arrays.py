"""What every cluster that runs arrays promises of their tasks."""

from __future__ import annotations

import threading
from collections import Counter

import anyio
import pytest
from msgspec.structs import replace

from shorepower.clusters.contract import Each, Order, TaskPlan, Where
from shorepower.model.errors import InvalidRequest
from shorepower.model.lifecycle import Observation, Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.model.tasks import TaskSet
from support.cluster_rigs import PATIENCE_S, PROFILES, rig_of

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[one for one in PROFILES if one.arrays], ids=lambda profile: profile.name)
async def rig(request, tmp_path):
    async with rig_of(request.param, tmp_path) as made:
        yield made


class Numbered(Each):
    """``{n}`` in the command is the position; the index is that and a hundred."""

    def __init__(self, order: Order, refused: int | None) -> None:
        self.order, self.refused = order, refused
        self.planned: Counter[int] = Counter()
        self.cleared: set[int] = set()
        self._lock = threading.Lock()

    def index(self, task: int) -> int:
        return task + 100

    def plan(self, task: int) -> TaskPlan:
        with self._lock:
            self.planned[task] += 1
        if task == self.refused:
            raise InvalidRequest("it cannot be laid out")
        argv = tuple(word.replace("{n}", str(task)) for word in self.order.argv)
        env = {**self.order.env, "SHOREPOWER_TASK_INDEX": str(self.index(task))}
        return TaskPlan(argv=argv, env=env, cwd=self.order.cwd)

    def clear(self, task: int) -> None:
        with self._lock:
            self.cleared.add(task)


def array_of(rig, count: int, *steps: str, refused: int | None = None, **changes) -> Order:
    order = rig.order("job-1", *steps, tasks=TaskSet.first(count), **changes)
    return replace(order, each=Numbered(order, refused))


async def ends(rig, count: int) -> dict[int, Observation]:
    """How each task ended, once so many have."""
    found: dict[int, Observation] = {}

    def enough(seen: Observation) -> bool:
        if seen.state.ended:
            for position in seen.tasks:
                found.setdefault(position, seen)
        return len(found) >= count

    await rig.until("job-1", enough)
    return found


async def of_task(rig, position: int, state: State) -> Observation:
    return await rig.until("job-1", lambda seen: seen.state is state and position in seen.tasks)


async def printed(rig, position: int) -> bytes:
    return (await rig.cluster.output("job-1", position, 0).read(Stream.STDOUT, 0, 1000))[1]


async def test_every_task_runs_once_and_ends_as_it_ends(rig):
    order = array_of(rig, 7, "out:task {n}", "exit:{n}")
    await rig.cluster.submit(order)
    found = await ends(rig, 7)
    assert {position: seen.exit_code for position, seen in found.items()} == {n: n for n in range(7)}
    assert found[0].state is State.COMPLETED
    assert all(seen.reason is Reason.EXIT_CODE for position, seen in found.items() if position)
    assert [await printed(rig, n) for n in range(7)] == [b"task %d\n" % n for n in range(7)]
    assert order.each.planned == Counter(range(7))
    with anyio.fail_after(PATIENCE_S):
        while order.each.cleared != set(range(7)):  # noqa: ASYNC110 - nobody could tell us
            await anyio.sleep(0.01)


async def test_a_few_at_a_time(rig):
    await rig.cluster.submit(array_of(rig, 4, "wait:0.05", max_parallel=1))
    await ends(rig, 4)
    living: set[int] = set()
    for seen in rig.of("job-1"):
        if seen.state is State.RUNNING:
            living |= set(seen.tasks)
        elif seen.state.ended:
            living -= set(seen.tasks)
        assert len(living) <= 1


async def test_tasks_that_wait_are_stopped_and_never_start(rig):
    order = array_of(rig, 6, "out:{n}", "wait:0.3", max_parallel=1)
    await rig.cluster.submit(order)
    await of_task(rig, 0, State.RUNNING)
    some = replace(order, tasks=TaskSet.of([2, 4, 5]))
    for _ in range(2):
        await rig.cluster.control(some, Operation.STOP)
    found = await ends(rig, 6)
    stopped = {position for position, seen in found.items() if seen.state is State.CANCELED}
    assert stopped == {2, 4, 5}
    assert all(found[n].reason is Reason.STOPPED and found[n].started_at is None for n in stopped)
    assert set(order.each.planned) == {0, 1, 3}


async def test_one_running_task_is_killed_and_the_others_go_on(rig):
    order = array_of(rig, 2, "out:up", "wait:0.5", "out:done")
    await rig.cluster.submit(order)
    for position in (0, 1):
        await of_task(rig, position, State.RUNNING)
    await rig.cluster.control(replace(order, tasks=TaskSet.of([1])), Operation.KILL)
    found = await ends(rig, 2)
    assert (found[1].state, found[1].reason) == (State.CANCELED, Reason.KILLED)
    assert found[0].state is State.COMPLETED
    assert await printed(rig, 0) == b"up\ndone\n"


async def test_all_are_stopped_those_that_wait_and_those_that_run(rig):
    order = array_of(rig, 1000, "hang")
    await rig.cluster.submit(order)
    await rig.state("job-1", State.RUNNING)
    await rig.cluster.control(order, Operation.KILL)
    found = await ends(rig, 1000)
    assert {seen.state for seen in found.values()} == {State.CANCELED}
    assert len(order.each.planned) <= rig.profile.runs_at_once


async def test_what_ended_before_is_neither_started_nor_told(rig):
    order = array_of(rig, 5, "exit:0", ended=TaskSet.of([0, 3]))
    await rig.cluster.submit(order)
    found = await ends(rig, 3)
    assert set(found) == {1, 2, 4}
    assert set(order.each.planned) == {1, 2, 4}
    assert not any(position in seen.tasks for seen in rig.of("job-1") for position in (0, 3))


async def test_an_array_is_found_again_and_goes_on(rig):
    order = array_of(rig, 5, "out:ran {n}", "wait:0.3", "exit:{n}", max_parallel=2)
    handle = await rig.cluster.submit(order)
    await of_task(rig, 1, State.RUNNING)
    await rig.restart()
    (finding,) = await rig.cluster.adopt([order])
    assert (finding.where, finding.handle) == (Where.FOUND, handle)
    rig.told += finding.observations
    found = await ends(rig, 5)
    assert {position: seen.exit_code for position, seen in found.items()} == {n: n for n in range(5)}
    assert [await printed(rig, n) for n in range(5)] == [b"ran %d\n" % n for n in range(5)]


async def test_tasks_stopped_before_a_restart_stay_stopped(rig):
    order = array_of(rig, 4, "wait:0.3", max_parallel=1)
    await rig.cluster.submit(order)
    await of_task(rig, 0, State.RUNNING)
    await rig.cluster.control(replace(order, tasks=TaskSet.of([2, 3])), Operation.STOP)
    await rig.restart()
    (finding,) = await rig.cluster.adopt([order])
    rig.told += finding.observations
    found = await ends(rig, 4)
    assert {n for n, seen in found.items() if seen.state is State.CANCELED} == {2, 3}


async def test_the_same_array_twice_is_one_start(rig):
    order = array_of(rig, 3, "out:ran")
    for _ in range(3):
        await rig.cluster.submit(order)
    await ends(rig, 3)
    await rig.cluster.submit(order)
    assert [await printed(rig, n) for n in range(3)] == [b"ran\n"] * 3


async def test_a_suspended_array_starts_no_more(rig):
    order = array_of(rig, 4, "wait:0.1", max_parallel=1)
    await rig.cluster.submit(order)
    await of_task(rig, 0, State.RUNNING)
    await rig.cluster.control(order, Operation.SUSPEND)
    await of_task(rig, 0, State.SUSPENDED)
    await rig.cluster.control(order, Operation.RESUME)
    found = await ends(rig, 4)
    assert {seen.state for seen in found.values()} == {State.COMPLETED}


async def test_an_array_goes_on_when_what_was_suspended_of_it_has_ended(rig):
    order = array_of(rig, 3, "wait:0.1", max_parallel=1)
    await rig.cluster.submit(order)
    await of_task(rig, 0, State.RUNNING)
    await rig.cluster.control(order, Operation.SUSPEND)
    await of_task(rig, 0, State.SUSPENDED)
    await rig.cluster.control(replace(order, tasks=TaskSet.of([0])), Operation.KILL)
    found = await ends(rig, 3)
    assert found[0].state is State.CANCELED
    assert {found[n].state for n in (1, 2)} == {State.COMPLETED}


async def test_a_task_that_cannot_be_laid_out_fails_alone(rig):
    order = array_of(rig, 3, "exit:0", refused=1)
    await rig.cluster.submit(order)
    found = await ends(rig, 3)
    assert (found[1].state, found[1].reason) == (State.FAILED, Reason.LAUNCH)
    assert "it cannot be laid out" in found[1].why
    assert {found[n].state for n in (0, 2)} == {State.COMPLETED}


async def test_a_million_tasks_are_taken_and_stopped_at_once(rig):
    order = array_of(rig, 1_000_000, "hang")
    with anyio.fail_after(5):
        await rig.cluster.submit(order)
        await rig.state("job-1", State.RUNNING)
        await rig.cluster.control(order, Operation.KILL)

    def all_but_a_few(_: Observation) -> bool:
        stopped = sum(len(seen.tasks) for seen in rig.of("job-1") if seen.state is State.CANCELED)
        return stopped >= 1_000_000

    await rig.until("job-1", all_but_a_few)
    assert len(rig.of("job-1")) < 100


async def test_forgetting_an_array_waits_for_its_last_task(rig):
    order = array_of(rig, 3, "out:up", "hang", max_parallel=1)
    await rig.cluster.submit(order)
    await of_task(rig, 0, State.RUNNING)
    with pytest.raises(InvalidRequest, match="has not ended"):
        await rig.cluster.forget("job-1")
    await rig.cluster.control(order, Operation.KILL)
    await ends(rig, 3)
    for _ in range(2):
        await rig.cluster.forget("job-1")
    assert await printed(rig, 0) == b""
    assert not rig.profile.records(rig.folder, "job-1")
