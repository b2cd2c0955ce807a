"""The faults that tests of others rely on."""

import random

import anyio
import pytest

from shorepower.clusters.contract import Where
from shorepower.clusters.fake import FakeCluster
from shorepower.model.errors import SubmitRefused, Unreachable
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.testing.clock import FakeClock
from support.cluster_rigs import PROFILES, rig_of

pytestmark = pytest.mark.anyio

FAKE = next(profile for profile in PROFILES if profile.name == "fake")


@pytest.fixture
async def rig(tmp_path):
    async with rig_of(FAKE, tmp_path) as made:
        yield made


async def test_silence(rig):
    order = rig.order("job-1", "hang")
    await rig.cluster.submit(order)
    await rig.state("job-1", State.RUNNING)
    rig.cluster.faults.silent = "no route to host"
    for call in (
        rig.cluster.info(),
        rig.cluster.submit(order),
        rig.cluster.control(order, Operation.STOP),
        rig.cluster.forget("job-1"),
    ):
        with pytest.raises(Unreachable, match="no route"):
            await call
    (finding,) = await rig.cluster.adopt([order])
    assert finding.where is Where.UNKNOWN
    rig.cluster.finish("job-1")
    await anyio.sleep(0.05)
    assert not any(seen.state.ended for seen in rig.told)
    rig.cluster.answer_again()
    assert (await rig.end("job-1")).state is State.COMPLETED


async def test_refusal_and_doubt(rig):
    order = rig.order("job-1", "hang")
    rig.cluster.faults.refuse = "no such account"
    with pytest.raises(SubmitRefused, match="account"):
        await rig.cluster.submit(order)
    rig.cluster.faults.refuse = ""
    rig.cluster.faults.raise_before_taking = 1
    with pytest.raises(Unreachable):
        await rig.cluster.submit(order)
    assert (await rig.cluster.adopt([order]))[0].where is Where.ABSENT
    rig.cluster.faults.raise_after_taking = 1
    with pytest.raises(Unreachable):
        await rig.cluster.submit(order)
    assert (await rig.cluster.adopt([order]))[0].where is Where.FOUND
    await rig.cluster.submit(order)
    assert rig.cluster.starts == {"job-1": 1}


async def test_without_a_fence_twice_is_twice():
    cluster = FakeCluster(clock=FakeClock(), fenced=False)
    assert not (await cluster.info()).capabilities.fenced


async def test_news_that_is_lost_repeated_and_late(rig):
    faults = rig.cluster.faults
    faults.lose_news, faults.repeat_news, faults.shuffle_news = 2, True, random.Random(7)
    await rig.cluster.submit(rig.order("job-1", "hang"))
    await rig.cluster.submit(rig.order("job-2", "hang"))
    rig.cluster.finish("job-1", 3)
    rig.cluster.end("job-2", State.FAILED, Reason.NODE_LOST, "the node is gone")
    assert (await rig.end("job-1")).exit_code == 3
    assert (await rig.end("job-2")).why == "the node is gone"
    assert rig.folded("job-1").exit_code == 3


async def test_in_hand(rig):
    await rig.cluster.submit(rig.order("job-1", "hang"))
    rig.cluster.write("job-1", b"\xff\x00", Stream.STDERR)
    assert await rig.printed("job-1", b"\x00", Stream.STDERR) == b"\xff\x00"
    rig.cluster.finish("job-1", 0)
    rig.cluster.finish("job-1", 1)
    assert (await rig.end("job-1")).exit_code == 0
    assert rig.cluster.submissions == ["job-1"]


async def test_a_step_it_does_not_know_is_said(rig):
    with pytest.raises(ExceptionGroup) as failed:
        async with anyio.create_task_group() as tg:
            cluster = FakeCluster(clock=FakeClock())
            await tg.start(lambda task_status: cluster.run(task_status=task_status))
            await cluster.submit(rig.order("job-1", "dance"))
    assert "no step 'dance'" in repr(failed.value)
