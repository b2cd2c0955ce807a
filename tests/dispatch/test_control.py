"""Operations are sent, and sent again until their effect is seen."""

import anyio
import pytest
from msgspec.structs import replace

from shorepower.model.errors import InvalidRequest, Unreachable
from shorepower.model.lifecycle import Operation, Reason, State
from support.dispatching import ALICE, a_spec, eventually

pytestmark = pytest.mark.anyio


async def _running(bench, cluster, dispatcher):
    job, _ = await dispatcher.submit(a_spec(), ALICE)
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)
    cluster.see(f"{job.id}-1", State.RUNNING)
    return await bench.until(job, lambda job: job.state is State.RUNNING)


async def test_an_operation_is_sent_again_until_it_is_seen(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher)
        await dispatcher.control(job.id, Operation.STOP, ALICE)
        for times in (1, 2, 3):
            await cluster.until(lambda n=times: len(cluster.controls) >= n)
            clock.advance(1.0)
        assert set(cluster.controls) == {(f"{job.id}-1", Operation.STOP)}
        cluster.see(f"{job.id}-1", State.CANCELED, reason=Reason.STOPPED)
        job = await bench.until(job, lambda job: job.state.ended)
        assert job.wanted is None
        sent = len(cluster.controls)
        clock.advance(1.0)
        other = await _running(bench, cluster, dispatcher)
        await dispatcher.control(other.id, Operation.STOP, ALICE)
        await cluster.until(lambda: len(cluster.controls) > sent)
        assert {name for name, _ in cluster.controls[sent:]} == {f"{other.id}-1"}


@pytest.mark.parametrize("fault", [Unreachable("no answer"), OSError("broken"), RuntimeError("?")])
async def test_what_could_not_be_sent_is_sent_again(bench, cluster, fault):
    cluster.control_faults.extend([fault, fault, None])
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher)
        await dispatcher.control(job.id, Operation.STOP, ALICE)
        await cluster.until(lambda: len(cluster.controls) == 3)
        assert (await bench.stands(job)).wanted is Operation.STOP


async def test_what_cannot_be_done_is_told_and_forgotten(bench, cluster):
    cluster.control_faults.append(InvalidRequest("this scheduler suspends nothing"))
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher)
        await dispatcher.control(job.id, Operation.SUSPEND, ALICE)
        job = await bench.until(job, lambda job: job.wanted is None)
        assert (job.state, job.why) == (State.RUNNING, "this scheduler suspends nothing")
        assert await bench.store.read(lambda view: view.controls()) == []


async def test_suspend_and_resume_are_seen(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher)
        asked = await dispatcher.control(job.id, Operation.SUSPEND, ALICE)
        assert (asked.state, asked.wanted) == (State.RUNNING, Operation.SUSPEND)
        await cluster.until(lambda: cluster.controls)
        cluster.see(f"{job.id}-1", State.SUSPENDED)
        job = await bench.until(job, lambda job: job.state is State.SUSPENDED)
        assert job.wanted is None
        await dispatcher.control(job.id, Operation.RESUME, ALICE)
        await cluster.until(lambda: len(cluster.controls) == 2)
        cluster.see(f"{job.id}-1", State.RUNNING)
        job = await bench.until(job, lambda job: job.state is State.RUNNING)
        assert job.wanted is None


async def test_a_suspend_taken_back_before_it_was_sent_is_not_asked_for_ever(bench, cluster, clock):
    """Nothing changes, so no news ever tells that the job runs."""
    cluster.control_faults.append(Unreachable("no answer"))
    bench.settings = replace(bench.settings, control_repeat_s=0.05, retry_most_s=0.05)
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher)
        await dispatcher.control(job.id, Operation.SUSPEND, ALICE)
        await dispatcher.control(job.id, Operation.RESUME, ALICE)
        await cluster.until(lambda: (f"{job.id}-1", Operation.RESUME) in cluster.controls)
        with anyio.fail_after(10):
            while (await bench.stands(job)).wanted is not None:
                clock.advance(1.0)
                await anyio.sleep(0.01)
        assert (await bench.stands(job)).state is State.RUNNING


async def test_a_new_life_goes_on_asking(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher)
        await dispatcher.control(job.id, Operation.KILL, ALICE)
        await cluster.until(lambda: cluster.controls)
    cluster.controls.clear()
    async with bench.running():
        await cluster.until(lambda: (f"{job.id}-1", Operation.KILL) in cluster.controls)


async def test_a_job_that_did_not_start_in_time_is_given_up(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(within_s=60.0, secrets=("S",)), ALICE, secrets={"S": "x"})
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        other = await _running(bench, cluster, dispatcher)
        clock.advance(61.0)
        await cluster.until(lambda: (f"{job.id}-1", Operation.STOP) in cluster.controls)
        cluster.see(f"{job.id}-1", State.CANCELED, reason=Reason.STOPPED)
        ended = await bench.until(job, lambda job: job.state.ended)
        assert ended.why == "it was given up: it had not started within the time that was set"
        await eventually(lambda: not list(bench.places.secrets.iterdir()))
        assert (await bench.stands(other)).state is State.RUNNING


async def test_given_up_before_it_is_handed_over_its_secrets_go(bench, cluster, clock):
    cluster.before_submit = lambda order: anyio.sleep_forever()
    async with bench.running() as dispatcher:
        await dispatcher.submit(a_spec(), ALICE)  # holds the line up
        await cluster.until(lambda: cluster.submitted)
        job, _ = await dispatcher.submit(a_spec(within_s=60.0, secrets=("S",)), ALICE, secrets={"S": "x"})
        clock.advance(61.0)
        job = await bench.until(job, lambda job: job.state.ended)
        assert (job.state, job.why.startswith("it was given up")) == (State.CANCELED, True)
        await eventually(lambda: not list(bench.places.secrets.iterdir()))
