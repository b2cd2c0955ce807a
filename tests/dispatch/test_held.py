"""What comes after other jobs, or not before a moment, is held, then due, or never starts."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.model.array import Range
from shorepower.model.dependency import Dependency, Want, is_met, is_never_met
from shorepower.model.errors import Conflict, InvalidRequest
from shorepower.model.lifecycle import Operation, Phase, Reason, State
from shorepower.model.tasks import TaskSet
from support.dispatching import ALICE, BOB, a_spec, eventually, sweep

pytestmark = pytest.mark.anyio


async def _submit(dispatcher, *others, wants=Want.OK, task=None, **more):
    after = tuple(Dependency(job=job.id, wants=wants, task=task) for job in others)
    job, _ = await dispatcher.submit(a_spec(after=after, **more), ALICE)
    return job


async def _handed(cluster, job):
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)


async def _phase(bench, job):
    return (await bench.store.read(lambda view: view.submissions(job.id)))[0].phase


@pytest.mark.parametrize(
    ("wants", "news"),
    [
        (Want.OK, (State.RUNNING, State.COMPLETED)),
        (Want.ANY, (State.RUNNING, State.FAILED)),
        (Want.START, (State.RUNNING,)),
    ],
)
async def test_it_is_handed_over_when_what_it_waits_for_has_happened(bench, cluster, wants, news):
    async with bench.running() as dispatcher:
        first = await _submit(dispatcher)
        second = await _submit(dispatcher, first, wants=wants)
        verb = {Want.OK: "to complete", Want.ANY: "to end", Want.START: "to start"}[wants]
        assert (second.state, second.reason) == (State.PENDING, Reason.HELD)
        assert second.why == f"waits for {first.id[:5]} (job) {verb}"
        await _handed(cluster, first)
        for state in news:
            assert f"{second.id}-1" not in cluster.has
            assert await _phase(bench, second) is Phase.HELD
            cluster.see(f"{first.id}-1", state)
            await bench.until(first, lambda job, state=state: job.state is state)
        await _handed(cluster, second)


@pytest.mark.parametrize(("end", "word"), [(State.FAILED, "failed"), (State.CANCELED, "was canceled")])
async def test_what_can_not_be_met_any_more_cancels_and_names_the_cause(bench, cluster, end, word):
    async with bench.running() as dispatcher:
        first = await _submit(dispatcher)
        spec = a_spec(after=(Dependency(job=first.id),), secrets=("S",))
        second, _ = await dispatcher.submit(spec, ALICE, secrets={"S": "x"})
        third = await _submit(dispatcher, second)
        last = await _submit(dispatcher, second, wants=Want.ANY)
        await _handed(cluster, first)
        cluster.see(f"{first.id}-1", end, reason=Reason.STOPPED if end is State.CANCELED else None)
        for job, before in ((second, first), (third, second)):
            told = await bench.until(job, lambda job: job.state.ended)
            assert (told.state, told.reason, told.exit_status) == (State.CANCELED, Reason.DEPENDENCY, 120)
            ended = word if before is first else "was canceled"
            assert told.why == f"{before.id[:5]} (job) {ended}, and this was to come after it completed"
        await eventually(lambda: not (bench.places.secrets / second.id).exists())
        await _handed(cluster, last)
        assert {f"{second.id}-1", f"{third.id}-1"}.isdisjoint(cluster.has)


async def test_all_that_it_waits_for_has_to_happen(bench, cluster):
    async with bench.running() as dispatcher:
        others = [await _submit(dispatcher) for _ in range(3)]
        held = await _submit(dispatcher, *others)
        assert held.why == f"waits for {others[0].id[:5]} (job) to complete, and 2 more"
        for job in others:
            await _handed(cluster, job)
        for job in others[:2]:
            cluster.see(f"{job.id}-1", State.COMPLETED)
        waits = f"waits for {others[2].id[:5]} (job) to complete"
        await bench.until(held, lambda job: job.why == waits)
        cluster.see(f"{others[2].id}-1", State.COMPLETED)
        await _handed(cluster, held)


async def test_what_has_happened_already_holds_nothing(bench, cluster):
    async with bench.running() as dispatcher:
        first = await _submit(dispatcher)
        await _handed(cluster, first)
        cluster.see(f"{first.id}-1", State.COMPLETED)
        await bench.until(first, lambda job: job.state.ended)
        second = await _submit(dispatcher, first)
        assert second.reason is Reason.QUEUED
        await _handed(cluster, second)


async def test_what_can_never_be_is_refused_with_all_else_that_is_wrong(bench, cluster):
    async with bench.running() as dispatcher:
        failed = await _submit(dispatcher)
        others, _ = await dispatcher.submit(a_spec(), BOB)
        array, _ = await dispatcher.submit(sweep(ranges=(Range(1, 9, 2),)), ALICE)
        await _handed(cluster, failed)
        cluster.see(f"{failed.id}-1", State.FAILED)
        await bench.until(failed, lambda job: job.state.ended)
        wrong = a_spec(
            after=(
                Dependency(job="a" * 12),
                Dependency(job=others.id),
                Dependency(job=failed.id),
                Dependency(job=array.id, task=2),
                Dependency(job=array.id, task=3),
                Dependency(job=failed.id, task=0),
            )
        )
        with pytest.raises(InvalidRequest) as refusal:
            await dispatcher.submit(wrong, ALICE)
        assert [fault.message for fault in refusal.value.faults] == [
            f"no job {'a' * 12} to come after",
            f"no job {others.id} to come after",
            f"{failed.id} has ended (FAILED): nothing can come after it completed",
            f"job {array.id} has no task 2 to come after",
            f"job {failed.id} has no task 0 to come after",
        ]


async def test_one_task_of_an_array_is_enough(bench, cluster):
    async with bench.running() as dispatcher:
        array, _ = await dispatcher.submit(sweep(ranges=(Range(10, 14, 2),)), ALICE)
        one = await _submit(dispatcher, array, task=12)
        whole = await _submit(dispatcher, array)
        assert one.why == f"waits for {array.id[:5]}_12 (job) to complete"
        await _handed(cluster, array)
        cluster.see(f"{array.id}-1", State.COMPLETED, tasks=TaskSet.of([1]), exit_code=0)
        await _handed(cluster, one)
        assert await _phase(bench, whole) is Phase.HELD
        cluster.see(f"{array.id}-1", State.COMPLETED, tasks=TaskSet.of([0, 2]), exit_code=0)
        await _handed(cluster, whole)


async def test_a_server_that_comes_back_goes_on_holding(bench, cluster):
    async with bench.running() as dispatcher:
        first = await _submit(dispatcher)
        second = await _submit(dispatcher, first)
        await _handed(cluster, first)
    async with bench.running():
        cluster.see(f"{first.id}-1", State.COMPLETED)
        await _handed(cluster, second)


async def test_an_end_that_no_living_server_heard_of_counts(bench, cluster):
    async with bench.running() as dispatcher:
        first = await _submit(dispatcher)
        second = await _submit(dispatcher, first)
        await _handed(cluster, first)

    def end(tx):
        from shorepower.dispatch.fold import close

        submission = tx.submissions(first.id)[0]
        close(tx, submission, State.COMPLETED, None, "", bench.clock.now())

    await bench.store.write(end)  # and the server was gone before anything else
    async with bench.running():
        await _handed(cluster, second)


async def test_not_before_a_moment(bench, cluster, clock):
    async with bench.running() as dispatcher:
        moment = clock.now() + timedelta(hours=2)
        job = await _submit(dispatcher, not_before=moment)
        assert (job.state, job.reason) == (State.PENDING, Reason.BEGIN_TIME)
        assert job.why == f"starts not before {moment:%Y-%m-%d %H:%M:%S} UTC"
        clock.advance(7199.0)
        other = await _submit(dispatcher, not_before=clock.now() - timedelta(days=1))
        await _handed(cluster, other)
        assert await _phase(bench, job) is Phase.HELD
        clock.advance(1.0)
        await _handed(cluster, job)


async def test_after_a_job_and_not_before_a_moment(bench, cluster, clock):
    async with bench.running() as dispatcher:
        first = await _submit(dispatcher)
        moment = clock.now() + timedelta(hours=1)
        second = await _submit(dispatcher, first, not_before=moment)
        await _handed(cluster, first)
        cluster.see(f"{first.id}-1", State.COMPLETED)
        await bench.until(second, lambda job: job.reason is Reason.BEGIN_TIME)
        clock.advance(3600.0)
        await _handed(cluster, second)


async def test_what_is_held_can_be_stopped_and_nothing_else(bench, cluster):
    async with bench.running() as dispatcher:
        first = await _submit(dispatcher)
        second = await _submit(dispatcher, first)
        with pytest.raises(Conflict, match="only a running job can suspend"):
            await dispatcher.control(second.id, Operation.SUSPEND, ALICE)
        ended = await dispatcher.control(second.id, Operation.STOP, ALICE)
        assert (ended.state, ended.reason) == (State.CANCELED, Reason.STOPPED)
        await _handed(cluster, first)
        cluster.see(f"{first.id}-1", State.COMPLETED)
        third = await _submit(dispatcher, first)
        await _handed(cluster, third)
        assert f"{second.id}-1" not in cluster.has


@given(st.lists(st.sampled_from(list(State)), min_size=2, max_size=2), st.sampled_from(list(Want)))
async def test_no_want_is_met_and_never_met(states, wants):
    for state in states:
        assert not (is_met(wants, state) and is_never_met(wants, state))
