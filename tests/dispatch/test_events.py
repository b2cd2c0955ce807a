"""The journal: in order, durable, and heard of at once."""

import anyio
import pytest

from shorepower.model.errors import InvalidRequest, NotFound
from shorepower.model.lifecycle import Operation, State
from shorepower.store.sqlite import open_store
from support.dispatching import ALICE, BOB, READER, Bench, a_spec
from support.scripted import ScriptedCluster

pytestmark = pytest.mark.anyio
LONG_S = 60.0


async def _life(bench, cluster, dispatcher):
    job, _ = await dispatcher.submit(a_spec(), ALICE)
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)
    cluster.see(f"{job.id}-1", State.RUNNING)
    await bench.until(job, lambda job: job.state is State.RUNNING)
    (bench.places.work(f"{job.id}-1") / "results" / "out").write_bytes(b"x")
    cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
    return await bench.until(job, lambda job: job.state.ended and job.results.state != "saving")


async def test_events_tell_a_life_in_order(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _life(bench, cluster, dispatcher)
        events, after = await dispatcher.events(ALICE, after=0)
    told = [(event.type, event.body.get("state")) for event in events]
    assert told[0] == ("job.submitted", "PENDING")
    assert ("job.state", "RUNNING") in told
    assert ("job.state", "COMPLETED") in told
    assert told[-1][0] == "job.results"
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    assert after == events[-1].seq
    assert {event.job for event in events} == {job.id}
    revisions = [event.body["revision"] for event in events if "revision" in event.body]
    assert revisions == sorted(set(revisions))


async def test_the_sequence_goes_on_after_a_restart(tmp_path, clock):
    seqs = []
    for _ in range(2):
        store = await open_store(tmp_path / "store.db")
        cluster = ScriptedCluster()
        bench = Bench(store, {"fake": cluster}, clock, tmp_path / "state")
        async with bench.running() as dispatcher:
            await _life(bench, cluster, dispatcher)
            events, _ = await dispatcher.events(ALICE, after=0)
            seqs.append([event.seq for event in events])
        await store.aclose()
    assert seqs[1][: len(seqs[0])] == seqs[0]
    assert seqs[1] == sorted(set(seqs[1]))
    assert len(seqs[1]) > len(seqs[0])


async def test_a_long_poll_wakes_with_the_news(bench, cluster):
    async with bench.running() as dispatcher:
        _, after = await dispatcher.events(ALICE)
        heard = []

        async def listen():
            heard.extend((await dispatcher.events(ALICE, after=after, wait_s=LONG_S))[0])

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tg:
                tg.start_soon(listen)
                await anyio.wait_all_tasks_blocked()
                job, _ = await dispatcher.submit(a_spec(), ALICE)
        assert [event.job for event in heard] == [job.id]


async def test_from_now_on_is_from_now_on(bench, cluster):
    async with bench.running() as dispatcher:
        await _life(bench, cluster, dispatcher)
        events, after = await dispatcher.events(ALICE)
        assert events == []
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        events, _ = await dispatcher.events(ALICE, after=after)
        assert {event.job for event in events} == {job.id}


async def test_a_long_poll_without_news_ends(bench):
    async with bench.running() as dispatcher:
        assert await dispatcher.events(ALICE, after=0, wait_s=0.01) == ([], 0)


async def test_events_of_one_job_and_of_ones_own_only(bench, cluster):
    async with bench.running() as dispatcher:
        mine, _ = await dispatcher.submit(a_spec(), ALICE)
        other, _ = await dispatcher.submit(a_spec(), ALICE)
        theirs, _ = await dispatcher.submit(a_spec(), BOB)
        jobs = {event.job for event in (await dispatcher.events(READER, after=0))[0]}
        assert jobs == {mine.id, other.id}
        jobs = {event.job for event in (await dispatcher.events(ALICE, after=0, job=mine.id))[0]}
        assert jobs == {mine.id}
        with pytest.raises(NotFound):
            await dispatcher.events(ALICE, after=0, job=theirs.id)


async def test_waiting_for_a_job_wakes_when_it_changes(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        seen = []

        async def wait():
            seen.append(await dispatcher.job(job.id, ALICE, revision=job.revision, wait_s=LONG_S))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as tg:
                tg.start_soon(wait)
                await anyio.wait_all_tasks_blocked()
                cluster.see(f"{job.id}-1", State.RUNNING)
        assert seen[0].state is State.RUNNING
        assert seen[0].revision > job.revision


async def test_waiting_for_what_has_changed_already_does_not_wait(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _life(bench, cluster, dispatcher)
        with anyio.fail_after(5):
            told = await dispatcher.job(job.id, ALICE, revision=1, wait_s=LONG_S)
            unchanged = await dispatcher.job(job.id, ALICE, revision=job.revision, wait_s=0.01)
        assert told == unchanged == job


async def test_nobody_waits_on_after_the_waiting_is_over(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        before = dispatcher._news.listeners
        await dispatcher.job(job.id, ALICE, revision=99, wait_s=0.01)
        await dispatcher.events(ALICE, wait_s=0.01)
        await dispatcher.output(job.id, ALICE, wait_s=0.01)
        assert dispatcher._news.listeners == before


async def test_an_operation_is_in_the_journal(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        await bench.until(job, lambda job: True)
        await dispatcher.control(job.id, Operation.STOP, ALICE)
        events, _ = await dispatcher.events(ALICE, after=0, job=job.id)
    assert ("job.control", "stop") in [(event.type, event.body.get("wanted")) for event in events]


@pytest.mark.parametrize("after", [-1, 10**18, 10**40])
async def test_a_number_of_no_event_is_told(bench, after):
    with pytest.raises(InvalidRequest, match="no number of an event"):
        await bench.dispatcher().events(ALICE, after=after)
