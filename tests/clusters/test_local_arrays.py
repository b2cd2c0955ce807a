"""Arrays on this machine: every task once, however the server fares. Real processes."""

import os

import anyio
import msgspec
import pytest

from shorepower.clusters.contract import TaskPlan
from shorepower.clusters.local.machine import Machine
from shorepower.model.errors import InvalidRequest, StorageFault, SubmitRefused
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.model.resources import Resources
from shorepower.model.tasks import TaskSet
from support.cluster_rigs import PATIENCE_S, PROFILES, make_local, rig_of
from support.local_arrays import (
    END,
    START,
    Ledger,
    again,
    all_ended,
    an_array,
    ends,
    ledger,
    started,
    until,
)

pytestmark = pytest.mark.anyio

LOCAL = next(profile for profile in PROFILES if profile.name == "local")


@pytest.fixture
async def rig(tmp_path):
    async with rig_of(LOCAL, tmp_path) as made:
        yield made


async def test_every_task_runs_once_and_is_told_once(rig):
    order, each = an_array(
        rig, 40, 'printf "$SHOREPOWER_TASK_INDEX"; exit $((SHOREPOWER_TASK_INDEX % 4 == 3))'
    )
    await rig.cluster.submit(order)
    await rig.cluster.submit(order)

    told = await all_ended(rig, 40)

    assert started(rig) == list(range(40))
    assert told == {task: [State.FAILED if task % 4 == 1 else State.COMPLETED] for task in range(40)}
    assert sorted(each.cleared) == list(range(40))
    failed = next(seen for seen in rig.of("job-1") if seen.state is State.FAILED)
    assert (failed.reason, failed.exit_code) == (Reason.EXIT_CODE, 1)
    for task in (0, 17, 39):
        said = await rig.cluster.output("job-1", task, 0).read(Stream.STDOUT, 0, 99)
        assert said == (0, b"%d" % (10 + task))
    await until(lambda: "job-1" not in rig.cluster._arrays)
    assert len(rig.cluster._line.queue) == 0
    assert rig.cluster._line.queue.cpus_free == round(rig.cluster._machine.cpu_count * 1000)


async def test_no_more_run_at_a_time_than_was_asked(rig):
    order, _ = an_array(rig, 6, "sleep 0.1" + END, max_parallel=1)
    await rig.cluster.submit(order)
    await all_ended(rig, 6)
    assert ledger(rig) == [f"{word} {10 + task}" for task in range(6) for word in ("start", "end")]


async def test_a_million_tasks_are_one_entry(rig):
    await rig.stop()
    rig.cluster = make_local(rig.folder, machine=Machine(cpu_count=0.5, memory_mib=1))
    order, _ = an_array(rig, 1_000_000, resources=Resources(cpu_count=0.5))
    await rig.cluster.submit(order)  # nobody starts anything: it does not run
    finding = (await rig.cluster.adopt([order]))[0]
    assert [seen.tasks for seen in finding.observations] == [TaskSet.first(1_000_000)]
    assert len(rig.cluster._line.queue) == 1
    await rig.cluster.control(order, Operation.STOP)
    with anyio.fail_after(PATIENCE_S):
        async for batch in rig.cluster.watch():
            (seen,) = (one for one in batch if one.state.ended)
            break
    assert (seen.tasks, seen.reason) == (TaskSet.first(1_000_000), Reason.STOPPED)
    await rig.begin()


async def test_what_the_machine_lacks_is_refused(rig):
    order, _ = an_array(rig, 3, resources=Resources(cpu_count=10_000))
    with pytest.raises(SubmitRefused, match="each task asks 10000 cpus"):
        await rig.cluster.submit(order)


async def test_a_restart_starts_nothing_twice(rig):
    order, _ = an_array(rig, 60, 'sleep "0.0$((SHOREPOWER_TASK_INDEX % 7))"')
    await rig.cluster.submit(order)
    for goal in (5, 20, 40):
        await until(lambda goal=goal: len(ends(rig)) >= goal)
        await rig.restart()
        (finding,) = await rig.cluster.adopt([again(rig, order)])
        rig.told += finding.observations
    told = await all_ended(rig, 60)
    assert started(rig) == list(range(60))
    assert {task: set(states) for task, states in told.items()} == {
        task: {State.COMPLETED} for task in range(60)
    }


async def test_stopping_some_leaves_the_others(rig):
    order, _ = an_array(rig, 8, "sleep 30 & wait", max_parallel=2)
    await rig.cluster.submit(order)
    await until(lambda: started(rig) == [0, 1])
    await until(lambda: sum(seen.state is State.RUNNING for seen in rig.of("job-1")) >= 2)

    some = msgspec.structs.replace(order, tasks=TaskSet(((1, 6),)))
    await rig.cluster.control(some, Operation.STOP)
    told = await all_ended(rig, 5)
    assert told == {task: [State.CANCELED] for task in range(1, 6)}
    await until(lambda: started(rig) == [0, 1, 6])

    await rig.restart()
    (finding,) = await rig.cluster.adopt([msgspec.structs.replace(order, begun=TaskSet.of([0, 6]))])
    seen = {task: one.state for one in finding.observations for task in one.tasks}
    assert seen == {
        0: State.RUNNING,
        **dict.fromkeys(range(1, 6), State.CANCELED),
        6: State.RUNNING,
        7: State.PENDING,
    }
    await rig.cluster.control(order, Operation.KILL)
    await all_ended(rig, 8)
    assert started(rig) == [0, 1, 6]
    await rig.nothing_left()


async def test_suspended_nothing_more_starts(rig):
    order, _ = an_array(rig, 6, "sleep 0.4" + END, max_parallel=1)
    with pytest.raises(InvalidRequest, match="none of its tasks runs"):
        await rig.cluster.submit(order)
        await rig.cluster.control(order, Operation.SUSPEND)
    await until(lambda: any(seen.state is State.RUNNING for seen in rig.of("job-1")))
    await rig.cluster.control(order, Operation.SUSPEND)
    await rig.state("job-1", State.SUSPENDED)
    before = ledger(rig)

    await rig.restart()
    (finding,) = await rig.cluster.adopt([again(rig, order)])
    assert State.SUSPENDED in {seen.state for seen in finding.observations}
    rig.told += finding.observations
    await anyio.sleep(0.6)  # longer than the task would have taken
    assert ledger(rig) == before

    await rig.cluster.control(order, Operation.RESUME)
    told = await all_ended(rig, 6)
    assert {states[0] for states in told.values()} == {State.COMPLETED}
    assert started(rig) == list(range(6))


async def test_what_a_task_leaves_behind_is_ended(rig):
    order, each = an_array(rig, 4, "sleep 60 >/dev/null 2>&1 &")
    await rig.cluster.submit(order)
    await all_ended(rig, 4)
    assert started(rig) == [0, 1, 2, 3]
    await rig.nothing_left()
    assert sorted(each.cleared) == [0, 1, 2, 3]


async def test_a_task_that_cannot_be_laid_out_now_is_tried_again(rig):
    order, each = an_array(rig, 3)
    each.faults = {1: StorageFault("the disk is full"), 2: InvalidRequest("there is no row 12")}
    await rig.cluster.submit(order)
    told = await all_ended(rig, 3)
    assert started(rig) == [0, 1, 2]
    assert {states[0] for states in told.values()} == {State.COMPLETED}


async def test_a_task_that_never_can_start_fails_alone(rig):
    class Broken(Ledger):
        def plan(self, task: int) -> TaskPlan:
            if task == 1:
                raise InvalidRequest("there is no row 11")
            return super().plan(task)

    order, _ = an_array(rig, 3)
    order = msgspec.structs.replace(order, each=Broken(rig.folder, dict(order.env), START + "true"))
    await rig.cluster.submit(order)
    told = await all_ended(rig, 3)
    assert told[1] == [State.FAILED]
    assert started(rig) == [0, 2]
    failed = next(seen for seen in rig.of("job-1") if seen.state is State.FAILED)
    assert failed.reason is Reason.LAUNCH
    assert "there is no row 11" in failed.why


async def test_records_that_are_gone_start_nothing_again(rig):
    order, _ = an_array(rig, 3)
    (finding,) = await rig.cluster.adopt(
        [msgspec.structs.replace(order, begun=TaskSet.of([0]), ended=TaskSet.of([1]))]
    )
    rig.told += finding.observations
    await until(lambda: set(ends(rig)) == {0, 2})
    assert ends(rig)[0] == [State.FAILED]
    assert started(rig) == [2]


async def test_a_time_limit_is_each_tasks_own(rig):
    order, _ = an_array(
        rig, 2, "sleep 30", resources=Resources(cpu_count=0.5, wall_time_s=1.0), grace_s=0.0
    )
    await rig.cluster.submit(order)
    await all_ended(rig, 2)
    assert {seen.reason for seen in rig.of("job-1") if seen.state.ended} == {Reason.TIME_LIMIT}


async def test_a_job_that_came_later_waits_its_turn_and_no_longer(rig):
    order, _ = an_array(rig, 4, "sleep 0.05" + END)
    await rig.cluster.submit(order)
    later = msgspec.structs.replace(
        rig.order("job-2"),
        argv=("sh", "-c", f"echo later >>{rig.folder}/ledger"),
        env={"PATH": os.environ["PATH"]},
    )
    await rig.cluster.submit(later)
    await rig.end("job-2")
    await all_ended(rig, 4)
    assert sum(line.startswith("start") for line in ledger(rig)[: ledger(rig).index("later")]) == 4
