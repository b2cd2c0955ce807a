"""Arrays on this machine when things meet: stops, lanes, suspensions, servers that end. Real processes."""

import os
import signal
import threading
import time

import anyio
import msgspec
import pytest

from shorepower.clusters.contract import TaskPlan
from shorepower.clusters.local.array import task_order
from shorepower.clusters.local.job import LocalJob
from shorepower.clusters.local.machine import Gpu, Machine, Pressure
from shorepower.clusters.local.queue import Demand, Grant
from shorepower.clusters.local.start import start
from shorepower.host.processes import find
from shorepower.model.errors import Unreachable
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.resources import Resources
from shorepower.model.tasks import TaskSet
from support.cluster_rigs import PATIENCE_S, PROFILES, make_local, rig_of
from support.local_arrays import again, all_ended, an_array, started, until

pytestmark = pytest.mark.anyio

LOCAL = next(profile for profile in PROFILES if profile.name == "local")


@pytest.fixture
async def rig(tmp_path):
    async with rig_of(LOCAL, tmp_path) as made:
        yield made


async def test_a_lane_that_breaks_off_hands_its_task_on(rig, monkeypatch):
    order, each = an_array(rig, 6)
    broken = iter([OSError("broken"), SystemError("broken")])
    reap = rig.cluster._site.host.reap

    def reap_badly(spawned):
        if threading.current_thread().name.startswith("lane") and (fault := next(broken, None)):
            raise fault
        return reap(spawned)

    monkeypatch.setattr(rig.cluster._site.host, "reap", reap_badly)
    await rig.cluster.submit(order)
    told = await all_ended(rig, 6)
    assert next(broken, None) is None
    assert told == {task: [State.COMPLETED] for task in range(6)}
    assert started(rig) == sorted(each.cleared) == list(range(6))
    await until(lambda: rig.cluster._line.queue.cpus_free == 2000)


async def test_a_server_that_ends_waits_for_its_lanes(rig, monkeypatch):
    order, each = an_array(rig, 50)
    entered, plan = threading.Event(), each.plan

    def slow_plan(task: int) -> TaskPlan:
        entered.set()
        time.sleep(0.2)
        return plan(task)

    monkeypatch.setattr(each, "plan", slow_plan)
    before = _pidfds()
    await rig.cluster.submit(order)
    await until(entered.is_set)
    await rig.stop()
    assert [one.name for one in threading.enumerate() if one.name.startswith("lane")] == []
    assert _pidfds() == before
    await rig.begin()


def _pidfds() -> int:
    places = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sum("pidfd" in os.readlink(place) for place in places if os.path.lexists(place))


async def test_a_stop_reaches_what_a_dead_server_was_about_to_start(rig):
    hog = rig.order("job-2", "hang", resources=Resources(cpu_count=2))
    await rig.cluster.submit(hog)
    await rig.state("job-2", State.RUNNING)
    order, _ = an_array(rig, 4, "sleep 30")
    site = rig.cluster._site
    jobs = [
        LocalJob(task_order(order, task), site.spool.part("job-1", task, 0), Demand(1000))
        for task in (1, 2)
    ]
    for job in jobs:
        for descriptor in job.part.open_output():
            os.close(descriptor)
    (finding,) = await rig.cluster.adopt([order])
    assert [seen.tasks for seen in finding.observations] == [TaskSet.first(4)]
    jobs[1].grant = Grant(jobs[1].demand)
    late = await start(site, jobs[1])
    os.close(late.pidfd)
    await until(lambda: started(rig) == [2])

    await rig.cluster.control(order, Operation.STOP)
    assert await all_ended(rig, 4) == {task: [State.CANCELED] for task in range(4)}
    assert not jobs[0].part.forbid(Reason.STOPPED, site.clock.now()), "it could still be started"
    assert started(rig) == [2]
    await rig.cluster.control(hog, Operation.KILL)
    await rig.nothing_left()


async def test_an_array_of_which_nothing_waits_is_taken_over(rig):
    order, _ = an_array(rig, 2, 'while [ ! -e "$LEDGER/gate" ]; do sleep 0.01; done')
    await rig.cluster.submit(order)
    await until(lambda: sum(seen.state is State.RUNNING for seen in rig.of("job-1")) == 2)
    await rig.restart()
    (finding,) = await rig.cluster.adopt([again(rig, order)])
    assert [seen.state for seen in finding.observations] == [State.RUNNING] * 2
    (rig.folder / "gate").touch()
    assert await all_ended(rig, 2) == {task: [State.COMPLETED] for task in range(2)}
    assert started(rig) == [0, 1]
    await until(lambda: "job-1" not in rig.cluster._arrays)


async def test_a_suspension_that_was_interrupted_is_carried_on(rig):
    order, _ = an_array(rig, 3, 'while [ ! -e "$LEDGER/gate" ]; do sleep 0.01; done')
    await rig.cluster.submit(order)
    await until(lambda: sum(seen.state is State.RUNNING for seen in rig.of("job-1")) == 2)
    await rig.stop()
    fences = [rig.cluster._site.spool.part("job-1", task, 0).evidence().fence for task in (0, 1)]
    os.kill(fences[0].pid, signal.SIGSTOP)  # as far as that server got
    await until(lambda: find(fences[0].pid, fences[0].start_time).stopped)
    await rig.restart()
    (finding,) = await rig.cluster.adopt([again(rig, order)])
    seen = {task: one.state for one in finding.observations for task in one.tasks}
    assert seen == {0: State.SUSPENDED, 1: State.RUNNING, 2: State.PENDING}

    await rig.cluster.control(order, Operation.SUSPEND)
    await until(lambda: all(find(fence.pid, fence.start_time).stopped for fence in fences))
    (rig.folder / "gate").touch()
    await rig.cluster.control(order, Operation.RESUME)
    assert await all_ended(rig, 3) == {task: [State.COMPLETED] for task in range(3)}


async def test_what_waits_goes_on_when_all_that_was_suspended_is_stopped(rig):
    order, _ = an_array(rig, 3, '[ "$SHOREPOWER_TASK_INDEX" != 10 ] || sleep 30', max_parallel=1)
    await rig.cluster.submit(order)
    await rig.state("job-1", State.RUNNING)
    await rig.cluster.control(order, Operation.SUSPEND)
    await rig.cluster.control(msgspec.structs.replace(order, tasks=TaskSet.of([0])), Operation.KILL)
    told = await all_ended(rig, 3)
    assert told == {0: [State.CANCELED], 1: [State.COMPLETED], 2: [State.COMPLETED]}


async def test_operations_wait_until_a_whole_array_was_taken_in(rig):
    order, _ = an_array(rig, 3)
    some = msgspec.structs.replace(order, tasks=TaskSet.of([1]))
    with pytest.raises(Unreachable, match="not taken in yet"):
        await rig.cluster.control(some, Operation.STOP)
    await rig.cluster.submit(order)
    assert await all_ended(rig, 3) == {task: [State.COMPLETED] for task in range(3)}
    await until(lambda: "job-1" not in rig.cluster._arrays)
    await rig.cluster.control(some, Operation.STOP)
    await rig.cluster.control(order, Operation.KILL)


async def test_what_was_stopped_is_not_started_by_sending_it_again(rig):
    await rig.cluster.submit(rig.order("job-2", "hang", resources=Resources(cpu_count=2)))
    await rig.state("job-2", State.RUNNING)
    order, _ = an_array(rig, 4)
    await rig.cluster.submit(order)
    some = msgspec.structs.replace(order, tasks=TaskSet(((1, 3),)))
    await rig.cluster.control(some, Operation.STOP)
    await rig.restart()
    await rig.cluster.submit(order)
    told = await all_ended(rig, 4)
    assert {task: states[0] for task, states in told.items()} == {
        0: State.COMPLETED,
        1: State.CANCELED,
        2: State.CANCELED,
        3: State.COMPLETED,
    }
    assert started(rig) == [0, 3]


async def test_a_stop_does_not_wait_for_a_lane_that_hangs(rig, monkeypatch):
    monkeypatch.setattr("shorepower.clusters.local.array._LANES_TAKE_S", 0.05)
    order, each = an_array(rig, 2, max_parallel=1)
    gate, plan = threading.Event(), each.plan
    monkeypatch.setattr(each, "plan", lambda task: gate.wait(PATIENCE_S) and plan(task))
    await rig.cluster.submit(order)
    await until(lambda: any(one.name.startswith("lane") for one in threading.enumerate()))
    with pytest.raises(Unreachable, match="being started"):
        await rig.cluster.control(order, Operation.STOP)
    gate.set()
    assert await all_ended(rig, 2) == {task: [State.COMPLETED] for task in range(2)}


async def test_each_task_has_gpus_of_its_own(rig):
    await rig.stop()
    gpus = tuple(Gpu(number=str(number), kind="a100") for number in range(2))
    machine = Machine(cpu_count=8, memory_mib=1000, gpus=gpus)
    rig.cluster = make_local(rig.folder, machine=machine)
    await rig.begin()
    order, _ = an_array(
        rig,
        8,
        'gpu="$LEDGER/gpu$CUDA_VISIBLE_DEVICES"; mkdir "$gpu" && sleep 0.03 && rmdir "$gpu"',
        resources=Resources(cpu_count=1, gpu_count=1),
    )
    await rig.cluster.submit(order)
    assert await all_ended(rig, 8) == {task: [State.COMPLETED] for task in range(8)}
    await until(lambda: {gpu.number for gpu in rig.cluster._line.queue._gpus_free} == {"0", "1"})


async def test_nothing_starts_while_memory_is_short(rig):
    await rig.stop()
    available = [0.0]
    rig.cluster = make_local(rig.folder, pressure=lambda: Pressure(available[0], 100.0))
    await rig.begin()
    order, _ = an_array(rig, 3)
    await rig.cluster.submit(order)
    seen = await rig.until("job-1", lambda seen: seen.reason is Reason.MEMORY_PRESSURE)
    assert (seen.tasks, started(rig)) == (TaskSet.first(3), [])
    available[0] = 100.0
    assert await all_ended(rig, 3) == {task: [State.COMPLETED] for task in range(3)}


async def test_nothing_starts_while_nobody_takes_the_news(rig, monkeypatch):
    monkeypatch.setattr("shorepower.clusters.local.mailbox._CROWDED", 5)
    await rig.stop()
    rig.cluster = make_local(rig.folder)
    order, _ = an_array(rig, 2_000)
    async with anyio.create_task_group() as tg:
        await tg.start(rig.cluster.run)
        await rig.cluster.submit(order)
        await until(lambda: rig.cluster._site.mail.crowded)
        await until(lambda: not rig.cluster._arrays._lanes_open)
        before = started(rig)
        assert len(before) < 500
        await anyio.sleep(0.2)  # several times as long as a lane needs to begin
        assert started(rig) == before
        async for batch in rig.cluster.watch():
            rig.told += batch
            if len(started(rig)) > len(before):
                break
        tg.cancel_scope.cancel()
    await rig.begin()
