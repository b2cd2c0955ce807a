"""Arrays, from the submit to the end of their last task."""

from __future__ import annotations

import json
import random
import time

import anyio
import pytest

from shorepower.clusters.contract import Where
from shorepower.clusters.fake import FakeCluster
from shorepower.dispatch.dispatcher import TaskFilter
from shorepower.model.array import Range
from shorepower.model.errors import Conflict, InvalidRequest, NotAllowed
from shorepower.model.job import Job
from shorepower.model.lifecycle import Operation, Phase, Reason, State
from shorepower.model.tasks import TaskSet
from support.dispatching import ALICE, READER, Bench, a_spec, sweep

pytestmark = pytest.mark.anyio

_ENDED = {State.COMPLETED: 1, State.FAILED: 1, State.CANCELED: 1}


@pytest.fixture
def fakes(store, clock, tmp_path):
    """A bench over the cluster in memory, two of whose tasks run at once."""
    return Bench(store, {"fake": FakeCluster(clock=clock, slots=2)}, clock, tmp_path / "state")


async def tasks_of(dispatcher, job: Job, **wanted):
    found, following = await dispatcher.tasks(job.id, TaskFilter(**wanted), ALICE)
    return found, following


async def ended(bench, job: Job) -> Job:
    return await bench.until(job, lambda job: job.state.ended)


async def test_a_sweep_runs_every_task_with_its_parameters(fakes):
    spec = sweep(
        6,
        ranges=(Range(0, 5),),
        grid={"lr": ("a", "b", "c"), "code": ("0", "3")},
        argv=("fake", "out:{lr}", "exit:{code}"),
    )
    async with fakes.running() as dispatcher:
        job, _ = await dispatcher.submit(spec, ALICE)
        assert (job.array, job.task_count, job.counts) == (True, 6, {State.PENDING: 6})
        last = await ended(fakes, job)
        assert (last.state, last.exit_status) == (State.FAILED, 1)
        assert last.counts == {State.COMPLETED: 3, State.FAILED: 3}
        assert last.why == "3 of 6 tasks failed: 1, 3, 5"
        found, following = await tasks_of(dispatcher, job)
        assert following is None
        assert [task.index for task in found] == list(range(6))
        assert [task.exit_code for task in found] == [0, 3] * 3
        assert [task.parameters["lr"] for task in found] == ["a", "a", "b", "b", "c", "c"]
        assert found[1].why == "it ended with exit code 3"
        assert {row.task for row in await dispatcher.attempts(job.id, ALICE)} == {1, 3, 5}
        assert set(fakes.clusters["fake"].starts.values()) == {1}


async def test_tasks_are_named_by_their_indices_and_run_a_few_at_a_time(store, clock, tmp_path):
    cluster = FakeCluster(clock=clock)
    bench = Bench(store, {"fake": cluster}, clock, tmp_path / "state")
    spec = sweep(ranges=(Range(10, 90, 10),), max_parallel=3, argv=("fake", "hang"))
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(spec, ALICE)
        await bench.until(job, lambda job: job.counts.get(State.RUNNING) == 3)
        found, _ = await tasks_of(dispatcher, job, states=(State.RUNNING,))
        assert [task.index for task in found] == [10, 20, 30]
        cluster.finish(f"{job.id}-1.1")
        await bench.until(job, lambda job: job.counts.get(State.COMPLETED) == 1)
        found, _ = await tasks_of(dispatcher, job, tasks="20-40")
        assert [(task.index, task.state) for task in found] == [
            (20, State.COMPLETED),
            (30, State.RUNNING),
            (40, State.RUNNING),
        ]


async def test_pages_follow_each_other(bench):
    dispatcher = bench.dispatcher()
    job, _ = await dispatcher.submit(sweep(10_000, ranges=(Range(1, 19_999, 2),)), ALICE)
    listed, cursor = [], None
    for _ in range(11):
        found, cursor = await tasks_of(dispatcher, job, limit=1000, cursor=cursor)
        listed += [task.index for task in found]
        if cursor is None:
            break
    assert listed == list(range(1, 20_000, 2))
    with pytest.raises(InvalidRequest, match="cursor"):
        await tasks_of(dispatcher, job, cursor="nonsense")
    with pytest.raises(InvalidRequest, match="1000"):
        await tasks_of(dispatcher, job, limit=1001)


async def test_a_plain_job_has_one_task(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: cluster.has)
        cluster.see(f"{job.id}-1", State.FAILED, reason=Reason.EXIT_CODE, exit_code=4)
        await ended(bench, job)
        (task,), following = await tasks_of(dispatcher, job)
        assert (task.index, task.state, task.exit_code, following) == (0, State.FAILED, 4, None)
        assert await tasks_of(dispatcher, job, states=(State.RUNNING,)) == ([], None)
        with pytest.raises(InvalidRequest, match="no array"):
            await dispatcher.control(job.id, Operation.STOP, ALICE, tasks="0")


async def test_metrics_come_with_the_end_and_put_tasks_in_order(fakes):
    cluster = fakes.clusters["fake"]
    spec = sweep(4, grid={"lr": ("0.1", "0.01", "10", "9")}, argv=("fake", "hang"))
    async with fakes.running() as dispatcher:
        job, _ = await dispatcher.submit(spec, ALICE)
        await fakes.until(job, lambda job: job.counts.get(State.RUNNING) == 2)
        folder = fakes.places.work(f"{job.id}-1") / "metrics"
        for index, auc in ((0, 0.7), (1, 0.9), (2, 0.8)):
            lines = (json.dumps({"auc": value}) for value in (0.1, auc))
            (folder / str(index)).write_text("\n".join(lines) + "\n")
        (first, *_), _ = await tasks_of(dispatcher, job)
        assert (first.state, first.metrics) == (State.RUNNING, {"auc": 0.7})
        for position in (0, 2, 1, 3):
            cluster.finish(f"{job.id}-1.{position}")
        await ended(fakes, job)

        async def indices(sort: str, **more):
            found, following = await tasks_of(dispatcher, job, sort=sort, **more)
            return [task.index for task in found], following

        assert (await indices("-auc"))[0] == [1, 2, 0, 3]
        assert (await indices("auc"))[0] == [0, 2, 1, 3]
        assert (await indices("lr"))[0] == [1, 0, 3, 2]
        assert (await indices("-index"))[0] == [3, 2, 1, 0]
        assert (await indices("unknown"))[0] == [0, 1, 2, 3]
        assert (await indices("-auc", tasks="0-1"))[0] == [1, 0]
        walked, cursor = [], None
        while True:
            some, cursor = await indices("-auc", limit=1, cursor=cursor)
            walked += some
            if cursor is None:
                break
        assert walked == [1, 2, 0, 3]


async def test_tasks_stopped_before_the_array_is_handed_over_never_start(fakes):
    cluster = fakes.clusters["fake"]
    early = fakes.dispatcher()
    job, _ = await early.submit(sweep(6, argv=("fake",)), ALICE)
    with pytest.raises(InvalidRequest, match="has no task 9; its tasks are 0 to 5"):
        await early.control(job.id, Operation.STOP, ALICE, tasks="1,9")
    told = await early.control(job.id, Operation.STOP, ALICE, tasks="1,4-5")
    assert told.counts == {State.PENDING: 3, State.CANCELED: 3}
    with pytest.raises(Conflict, match="ended"):
        await early.control(job.id, Operation.STOP, ALICE, tasks="4")
    async with fakes.running() as dispatcher:
        last = await ended(fakes, job)
        assert (last.state, last.exit_status) == (State.CANCELED, 143)
        assert last.why == "3 of 6 tasks canceled"
        assert set(cluster.starts) == {f"{job.id}-1.{position}" for position in (0, 2, 3)}
        found, _ = await tasks_of(dispatcher, job, states=(State.CANCELED,))
        assert [(task.index, task.reason) for task in found] == [(n, Reason.STOPPED) for n in (1, 4, 5)]


async def test_tasks_stopped_while_the_array_is_being_laid_out_never_start(bench, cluster):
    early = bench.dispatcher()
    job, _ = await early.submit(sweep(6), ALICE)
    async with bench.running() as dispatcher:
        await dispatcher.control(job.id, Operation.KILL, ALICE, tasks="1-2")
        await cluster.until(lambda: cluster.has)
        stopped = TaskSet.of([1, 2])
        if cluster.submitted[0].ended != stopped:  # it was handed over first
            await cluster.until(lambda: cluster.controlled)
            assert cluster.controlled[-1].tasks == stopped


async def test_a_stop_of_tasks_is_sent_until_none_of_them_lives_by_any_server(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(6), ALICE)
        await cluster.until(lambda: cluster.has)
        await bench.until(job, lambda _: True)
        name = f"{job.id}-1"
        cluster.see(name, State.RUNNING, tasks=TaskSet.of([0, 1]))
        await bench.until(job, lambda job: job.counts.get(State.RUNNING) == 2)
        told = await dispatcher.control(job.id, Operation.STOP, ALICE, tasks="1")
        assert told.wanted is None
        await dispatcher.control(job.id, Operation.STOP, ALICE, tasks="3-4")
        await cluster.until(lambda: any(len(order.tasks) == 3 for order in cluster.controlled))
    cluster.controlled.clear()
    async with bench.running():
        await cluster.until(lambda: cluster.controlled)
        assert cluster.controlled[-1].tasks == TaskSet.of([1, 3, 4])
        cluster.see(name, State.CANCELED, tasks=TaskSet.of([3, 4]), reason=Reason.STOPPED)
        await bench.until(job, lambda job: job.counts.get(State.CANCELED) == 2)
        clock.advance(10)
        await cluster.until(lambda: cluster.controlled[-1].tasks == TaskSet.of([1]))
        cluster.see(name, State.CANCELED, tasks=TaskSet.of([1]), reason=Reason.STOPPED, signal=15)
        await bench.until(job, lambda job: job.counts.get(State.CANCELED) == 3)
        assert await bench.store.read(lambda view: view.task_controls()) == []
        stands = await bench.stands(job)
        assert (stands.state, stands.counts[State.RUNNING]) == (State.RUNNING, 1)


async def test_what_is_asked_twice_or_more_weakly_is_asked_once(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(6), ALICE)
        await cluster.until(lambda: cluster.has)
        for tasks in ("1-2", "1-2", "2"):
            await dispatcher.control(job.id, Operation.STOP, ALICE, tasks=tasks)
        (control,) = await bench.store.read(lambda view: view.task_controls(job=job.id))
        assert (control.operation, control.tasks) == (Operation.STOP, TaskSet.of([1, 2]))
        await dispatcher.control(job.id, Operation.KILL, ALICE)
        await dispatcher.control(job.id, Operation.STOP, ALICE, tasks="5")
        assert len(await bench.store.read(lambda view: view.task_controls(job=job.id))) == 1
        cluster.see(f"{job.id}-1", State.CANCELED, tasks=TaskSet.first(6), reason=Reason.KILLED)
        last = await ended(bench, job)
        assert (last.reason, last.exit_status, last.wanted) == (Reason.KILLED, 137, None)
        assert await bench.store.read(lambda view: view.task_controls()) == []
        with pytest.raises(Conflict, match="has ended"):
            await dispatcher.control(job.id, Operation.STOP, ALICE, tasks="1")


@pytest.mark.parametrize(
    ("operation", "tasks", "says"),
    [
        (Operation.STOP, "7", "no task 7; its tasks are 0 to 5"),
        (Operation.STOP, "a", "names no tasks"),
        (Operation.STOP, "0-3%2", "for submitting"),
        (Operation.SUSPEND, "1", "whole job"),
    ],
)
async def test_tasks_that_cannot_be_stopped_so(bench, operation, tasks, says):
    dispatcher = bench.dispatcher()
    job, _ = await dispatcher.submit(sweep(6), ALICE)
    with pytest.raises(InvalidRequest, match=says):
        await dispatcher.control(job.id, operation, ALICE, tasks=tasks)
    with pytest.raises(NotAllowed):
        await dispatcher.control(job.id, operation, READER, tasks=tasks)


async def test_after_a_restart_the_cluster_is_told_what_has_ended_and_begun(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(9_000), ALICE)
        await cluster.until(lambda: cluster.has)
        name = f"{job.id}-1"
        cluster.see(name, State.RUNNING, tasks=TaskSet.of([7, 8]))
        cluster.see(name, State.COMPLETED, tasks=TaskSet(((0, 7), (4_090, 4_100))), exit_code=0)
        await bench.until(job, lambda job: job.counts.get(State.COMPLETED) == 17)
    async with bench.running():
        await cluster.until(lambda: cluster.asked_for)
    order = cluster.asked_for[-1]
    assert order.ended.spans == ((0, 7), (4_090, 4_100))
    assert order.begun.spans == ((7, 9),)
    assert not order.seen_running
    assert order.each is not None


async def test_of_an_array_that_is_gone_only_what_had_begun_is_lost(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(6), ALICE)
        await cluster.until(lambda: cluster.has)
        name = f"{job.id}-1"
        cluster.see(name, State.COMPLETED, tasks=TaskSet.of([0]), exit_code=0)
        cluster.see(name, State.RUNNING, tasks=TaskSet.of([1]))
        await bench.until(job, lambda job: job.counts.get(State.RUNNING) == 1)
        await dispatcher.control(job.id, Operation.STOP, ALICE, tasks="5")
    cluster.answers[name] = Where.ABSENT
    cluster.submitted.clear()
    async with bench.running() as dispatcher:
        await cluster.until(lambda: cluster.submitted)
        del cluster.answers[name]
        assert cluster.submitted[0].ended == TaskSet.of([0, 1, 5])
        found, _ = await tasks_of(dispatcher, job, states=tuple(_ENDED))
        assert [(task.index, task.reason) for task in found] == [
            (0, None),
            (1, Reason.LOST),
            (5, Reason.STOPPED),
        ]


async def test_a_stopped_array_that_is_gone_has_ended(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(6), ALICE)
        await cluster.until(lambda: cluster.has)
        name = f"{job.id}-1"
        cluster.see(name, State.RUNNING, tasks=TaskSet.of([1]))
        await bench.until(job, lambda job: job.counts.get(State.RUNNING) == 1)
        await dispatcher.control(job.id, Operation.STOP, ALICE)
    cluster.answers[name] = Where.ABSENT
    async with bench.running():
        last = await ended(bench, job)
        assert last.counts == {State.FAILED: 1, State.CANCELED: 5}
        submission = await bench.store.read(lambda view: view.submission(name))
        assert submission.phase is Phase.CLOSED


async def test_an_array_is_suspended_and_resumed(fakes):
    async with fakes.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(4, argv=("fake", "hang")), ALICE)
        await fakes.until(job, lambda job: job.counts.get(State.RUNNING) == 2)
        await dispatcher.control(job.id, Operation.SUSPEND, ALICE)
        held = await fakes.until(job, lambda job: job.counts.get(State.SUSPENDED) == 2)
        assert held.state is State.SUSPENDED
        await dispatcher.control(job.id, Operation.RESUME, ALICE)
        await fakes.until(job, lambda job: job.state is State.RUNNING)
        await dispatcher.control(job.id, Operation.KILL, ALICE)
        assert (await ended(fakes, job)).counts == {State.CANCELED: 4}


async def test_a_refused_array_ends_in_words(store, clock, tmp_path):
    cluster = FakeCluster(clock=clock)
    cluster.faults.refuse = "the queue is closed"
    bench = Bench(store, {"fake": cluster}, clock, tmp_path / "state")
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(1000), ALICE)
        last = await ended(bench, job)
        assert (last.state, last.why) == (State.FAILED, "all 1,000 tasks failed: the queue is closed")


async def test_a_task_that_cannot_be_laid_out_fails_alone(fakes, monkeypatch):
    from shorepower.dispatch.tasks import Tasks

    plan = Tasks.plan

    def refuse(self, task):
        if task == 1:
            raise InvalidRequest("row 1 of the array file cannot be read")
        return plan(self, task)

    monkeypatch.setattr(Tasks, "plan", refuse)
    async with fakes.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(3, argv=("fake",)), ALICE)
        last = await ended(fakes, job)
        assert last.counts == {State.COMPLETED: 2, State.FAILED: 1}
        (task,), _ = await tasks_of(dispatcher, job, states=(State.FAILED,))
        assert (task.reason, task.why) == (Reason.LAUNCH, "row 1 of the array file cannot be read")


async def test_a_million_tasks(bench):
    """Generous limits: what it is to be on an idle machine is a figure of the bench."""
    dispatcher = bench.dispatcher()
    began = time.perf_counter()
    job, _ = await dispatcher.submit(sweep(1_000_000), ALICE)
    assert time.perf_counter() - began < 2.0
    began = time.perf_counter()
    found, following = await tasks_of(dispatcher, job)
    assert (len(found), following is not None) == (50, True)
    assert (await tasks_of(dispatcher, job, states=(State.FAILED,))) == ([], None)
    ((last,), _) = await tasks_of(dispatcher, job, tasks="999999")
    assert last.index == 999_999
    await dispatcher.control(job.id, Operation.STOP, ALICE, tasks="500000-500009")
    listed, _ = await dispatcher.tasks(job.id, TaskFilter(states=(State.CANCELED,)), ALICE)
    assert [task.index for task in listed] == list(range(500_000, 500_010))
    told = await dispatcher.control(job.id, Operation.STOP, ALICE)
    assert (told.state, told.counts) == (State.CANCELED, {State.CANCELED: 1_000_000})
    assert told.why == "all 1,000,000 tasks canceled: stopped before it was handed over"
    assert time.perf_counter() - began < 3.0


async def test_no_task_is_told_twice_or_never_by_a_cluster_that_repeats_and_shuffles(fakes):
    cluster = fakes.clusters["fake"]
    cluster.faults.repeat_news = True
    cluster.faults.shuffle_news = random.Random(3)
    async with fakes.running() as dispatcher:
        spec = sweep(60, argv=("fake", "exit:{code}"), grid={"code": ("0", "1") * 30})
        job, _ = await dispatcher.submit(spec, ALICE)
        last = await ended(fakes, job)
        assert last.counts == {State.COMPLETED: 30, State.FAILED: 30}
    assert (len(cluster.starts), set(cluster.starts.values())) == (60, {1})


async def test_news_of_an_array_is_gathered_and_its_end_told_at_once(bench, cluster, monkeypatch):
    monkeypatch.setattr("shorepower.dispatch.dispatcher._GATHERINGS", 1_000_000)
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(sweep(5), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        seen = await dispatcher.job(job.id, ALICE)
        told = []

        async def follow() -> None:
            told.append(await dispatcher.job(job.id, ALICE, revision=seen.revision, wait_s=30.0))

        async with anyio.create_task_group() as tg:
            tg.start_soon(follow)
            for position in range(5):
                assert not told
                cluster.see(f"{job.id}-1", State.COMPLETED, tasks=TaskSet.of([position]), exit_code=0)
                done = position + 1
                await bench.until(job, lambda job, done=done: job.counts.get(State.COMPLETED) == done)
    assert told[0].state is State.COMPLETED
