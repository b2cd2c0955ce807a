"""What every cluster promises. One suite, real processes where there are any."""

import random

import anyio
import pytest

from shorepower.clusters.contract import Where
from shorepower.model.errors import InvalidRequest
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.model.resources import Resources
from support.cluster_rigs import PROFILES, rig_of

pytestmark = pytest.mark.anyio

_ORDER = {State.PENDING: 0, State.RUNNING: 1, State.SUSPENDED: 1}


@pytest.fixture(params=PROFILES, ids=lambda profile: profile.name)
async def rig(request, tmp_path):
    async with rig_of(request.param, tmp_path) as made:
        yield made


async def run(rig, submission, *steps, **changes):
    order = rig.order(submission, *steps, **changes)
    await rig.cluster.submit(order)
    return order


async def test_a_job_goes_from_waiting_through_running_to_completed(rig):
    blockers = [await run(rig, f"block-{n}", "hang") for n in range(rig.profile.runs_at_once)]
    await run(rig, "job-1", "out:here", "wait:0.2")
    assert (await rig.state("job-1", State.PENDING)).reason in (Reason.QUEUED, Reason.RESOURCES)
    for order in blockers:
        await rig.cluster.control(order, Operation.KILL)
    running = await rig.state("job-1", State.RUNNING)
    assert running.started_at is not None
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.exit_code, end.signal) == (State.COMPLETED, None, 0, None)
    assert end.started_at <= end.ended_at
    assert end.host
    states = [_ORDER.get(seen.state, 2) for seen in rig.of("job-1")]
    assert states == sorted(states)
    stamps = [seen.as_of for seen in rig.of("job-1")]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("code", [1, 2, 77, 126, 127])
async def test_an_exit_code_arrives(rig, code):
    await run(rig, "job-1", f"exit:{code}")
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.exit_code) == (State.FAILED, Reason.EXIT_CODE, code)
    assert str(code) in end.why


@pytest.mark.parametrize("number", [9, 11, 15])
async def test_a_signal_arrives(rig, number):
    await run(rig, "job-1", f"signal:{number}")
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.signal) == (State.FAILED, Reason.SIGNAL, number)


async def test_the_same_submission_twice_is_one_start(rig):
    order = rig.order("job-1", "out:ran", "wait:0.1")
    handles = {await rig.cluster.submit(order) for _ in range(3)}
    assert len(handles) == 1
    await rig.state("job-1", State.RUNNING, State.COMPLETED)
    await rig.cluster.submit(order)
    await rig.end("job-1")
    await rig.cluster.submit(order)
    await rig.restart()
    await rig.cluster.submit(order)
    await rig.cluster.adopt([order])
    after = rig.order("job-2", "out:other")
    await rig.cluster.submit(after)
    await rig.end("job-2")
    assert await rig.printed("job-1", b"ran") == b"ran\n"


async def test_never_submitted_is_absent_or_queued(rig):
    order = rig.order("job-1", "out:ran")
    (finding,) = await rig.cluster.adopt([order])
    if rig.profile.adopts_unknown:
        assert finding.where is Where.FOUND
        assert finding.observations[0].state is State.PENDING
        assert (await rig.end("job-1")).state is State.COMPLETED
    else:
        assert finding.where is Where.ABSENT
        assert await rig.printed("job-1", b"") == b""


async def test_a_running_job_is_found_and_watched_again(rig):
    order = await run(rig, "job-1", "out:up", "wait:0.5", "exit:5")
    await rig.printed("job-1", b"up")
    await rig.restart()
    rig.told.clear()
    (finding,) = await rig.cluster.adopt([order])
    assert (finding.submission, finding.where) == ("job-1", Where.FOUND)
    assert finding.handle
    assert finding.observations[-1].state is State.RUNNING
    assert finding.observations[-1].started_at is not None
    assert (await rig.end("job-1")).exit_code == 5
    assert await rig.printed("job-1", b"up") == b"up\n"


async def test_a_job_that_ended_while_nobody_looked_is_found_ended(rig):
    order = await run(rig, "job-1", "out:up", "exit:6")
    await rig.end("job-1")
    await rig.restart()
    (finding,) = await rig.cluster.adopt([order])
    assert finding.where is Where.FOUND
    assert finding.observations[-1].exit_code == 6
    assert await rig.printed("job-1", b"up") == b"up\n"


async def test_findings_come_in_the_order_asked(rig):
    orders = [await run(rig, f"job-{n}", "exit:3") for n in range(4)]
    for order in orders:
        await rig.end(order.submission)
    await rig.restart()
    findings = await rig.cluster.adopt(orders[::-1])
    assert [finding.submission for finding in findings] == ["job-3", "job-2", "job-1", "job-0"]


@pytest.mark.parametrize(
    ("operation", "reason", "number"),
    [(Operation.STOP, Reason.STOPPED, 15), (Operation.KILL, Reason.KILLED, 9)],
)
async def test_stop_and_kill_end_a_running_job(rig, operation, reason, number):
    order = await run(rig, "job-1", "out:up", "hang")
    await rig.printed("job-1", b"up")
    for _ in range(2):  # repeating is harmless
        await rig.cluster.control(order, operation)
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.signal) == (State.CANCELED, reason, number)
    await rig.cluster.control(order, operation)
    assert len([seen for seen in rig.of("job-1") if seen.state.ended]) >= 1


async def test_stop_kills_what_ignores_it_after_the_grace(rig):
    order = await run(rig, "job-1", "stubborn", "out:up", "hang", grace_s=0.2)
    await rig.printed("job-1", b"up")
    await rig.cluster.control(order, Operation.STOP)
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.signal) == (State.CANCELED, Reason.STOPPED, 9)


async def test_kill_cuts_the_grace_of_a_stop_short(rig):
    order = await run(rig, "job-1", "stubborn", "out:up", "hang", grace_s=600)
    await rig.printed("job-1", b"up")
    await rig.cluster.control(order, Operation.STOP)
    await rig.cluster.control(order, Operation.KILL)
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.signal) == (State.CANCELED, Reason.KILLED, 9)


@pytest.mark.parametrize("operation", [Operation.STOP, Operation.KILL])
async def test_a_job_stopped_while_it_waits_never_starts(rig, operation):
    blockers = [await run(rig, f"block-{n}", "hang") for n in range(rig.profile.runs_at_once)]
    for order in blockers:
        await rig.state(order.submission, State.RUNNING)
    order = await run(rig, "job-1", "out:ran")
    await rig.cluster.control(order, operation)
    end = await rig.end("job-1")
    assert (end.state, end.started_at, end.exit_code) == (State.CANCELED, None, None)
    for blocker in blockers:
        await rig.cluster.control(blocker, Operation.KILL)
    await rig.cluster.submit(order)
    await rig.restart()
    await rig.cluster.submit(order)
    await rig.end("job-1")
    await run(rig, "job-2", "out:other")
    await rig.end("job-2")
    assert (await rig.cluster.output("job-1", 0, 0).read(Stream.STDOUT, 0, 100))[1] == b""


async def test_suspend_and_resume(rig):
    order = await run(rig, "job-1", "out:up", "wait:0.3", "out:done")
    await rig.printed("job-1", b"up")
    await rig.state("job-1", State.RUNNING)
    await rig.cluster.control(order, Operation.SUSPEND)
    await rig.state("job-1", State.SUSPENDED)
    await rig.cluster.control(order, Operation.SUSPEND)
    await anyio.sleep(0.5)
    assert not rig.of("job-1")[-1].state.ended
    rig.told.clear()
    await rig.cluster.control(order, Operation.RESUME)
    await rig.state("job-1", State.RUNNING)
    assert (await rig.end("job-1")).state is State.COMPLETED
    assert await rig.printed("job-1", b"done") == b"up\ndone\n"


async def test_a_suspended_job_is_found_suspended_and_can_be_stopped(rig):
    order = await run(rig, "job-1", "out:up", "hang")
    await rig.printed("job-1", b"up")
    await rig.state("job-1", State.RUNNING)
    await rig.cluster.control(order, Operation.SUSPEND)
    await rig.state("job-1", State.SUSPENDED)
    await rig.restart()
    (finding,) = await rig.cluster.adopt([order])
    assert finding.observations[-1].state is State.SUSPENDED
    await rig.cluster.control(order, Operation.STOP)
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.signal) == (State.CANCELED, Reason.STOPPED, 15)


async def test_a_job_that_waits_cannot_be_suspended(rig):
    for n in range(rig.profile.runs_at_once):
        await run(rig, f"block-{n}", "hang")
        await rig.state(f"block-{n}", State.RUNNING)
    order = await run(rig, "job-1", "out:ran")
    with pytest.raises(InvalidRequest, match="has not started"):
        await rig.cluster.control(order, Operation.SUSPEND)


async def test_the_time_limit_ends_a_job(rig):
    await run(rig, "job-1", "out:up", "hang", resources=Resources(cpu_count=1, wall_time_s=1))
    end = await rig.end("job-1")
    assert (end.state, end.reason) == (State.FAILED, Reason.TIME_LIMIT)
    assert await rig.printed("job-1", b"up") == b"up\n"


async def test_output_is_read_while_it_grows_and_after(rig):
    source = rig.cluster.output("job-1", 0, 0)
    assert await source.size(Stream.STDOUT) == 0
    assert await source.read(Stream.STDOUT, 0, 10) == (0, b"")
    assert not await source.grown(0, 0, 0.01)
    await run(rig, "job-1", "out:one", "err:bad", "wait:0.2", "out:two")
    source = rig.cluster.output("job-1", 0, 0)
    assert await source.grown(0, 0, 20)
    assert (await rig.printed("job-1", b"one\n")) == b"one\n"
    assert await rig.printed("job-1", b"two\n") == b"one\ntwo\n"
    await rig.end("job-1")
    assert await source.read(Stream.STDOUT, 4, 100) == (4, b"two\n")
    assert await source.read(Stream.STDOUT, 2, 3) == (2, b"e\nt")
    assert await source.read(Stream.STDOUT, 8, 100) == (8, b"")
    assert await source.read(Stream.STDERR, 0, 100) == (0, b"bad\n")
    assert (await source.size(Stream.STDOUT), await source.size(Stream.STDERR)) == (8, 4)
    assert await source.grown(7, 4, 20)
    assert not await source.grown(8, 4, 0.05)


async def test_many_followers_all_see_everything(rig):
    followed = []

    async def follow():
        source, said = rig.cluster.output("job-1", 0, 0), b""
        while not said.endswith(b"9\n"):
            await source.grown(len(said), 0, 20)
            said += (await source.read(Stream.STDOUT, len(said), 3))[1]
        followed.append(said)

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tg:
            for _ in range(20):
                tg.start_soon(follow)
            steps = [step for n in range(10) for step in (f"out:{n}", "wait:0.01")]
            await run(rig, "job-1", *steps)
    assert set(followed) == {b"".join(b"%d\n" % n for n in range(10))}


async def test_forgetting_waits_for_the_end_and_is_complete(rig):
    order = await run(rig, "job-1", "out:up", "hang")
    await rig.printed("job-1", b"up")
    with pytest.raises(InvalidRequest, match="has not ended"):
        await rig.cluster.forget("job-1")
    await rig.cluster.control(order, Operation.KILL)
    await rig.end("job-1")
    for _ in range(2):
        await rig.cluster.forget("job-1")
    assert await rig.cluster.output("job-1", 0, 0).size(Stream.STDOUT) == 0
    assert not rig.profile.records(rig.folder, "job-1")


async def test_repeated_and_late_news_change_nothing(rig):
    order = await run(rig, "job-1", "out:up", "wait:0.3", "exit:4")
    await rig.state("job-1", State.RUNNING)
    await rig.cluster.control(order, Operation.SUSPEND)
    await rig.state("job-1", State.SUSPENDED)
    await rig.cluster.control(order, Operation.RESUME)
    await rig.end("job-1")
    told = rig.of("job-1")
    final = rig.folded("job-1")
    assert (final.state, final.exit_code) == (State.FAILED, 4)
    assert rig.folded("job-1", [seen for seen in told for _ in range(2)]) == final
    for seed in range(20):
        late = random.Random(seed).sample(told[:-1], len(told) - 1)
        assert rig.folded("job-1", [*told, *late]) == final


async def test_many_jobs_all_end_once(rig):
    for n in range(60):
        await run(rig, f"job-{n}", f"exit:{n % 3}")
    for n in range(60):
        assert (await rig.end(f"job-{n}")).exit_code == n % 3
    ends = [seen.submission for seen in rig.told if seen.state.ended]
    assert len(ends) == len(set(ends)) == 60


async def test_info_tells_what_there_is(rig):
    info = await rig.cluster.info()
    assert info.name == rig.cluster.name
    assert info.cpu_count
    assert info.capabilities.fenced
