"""What nobody fetched goes after a warning that a command has shown, or long after its time."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from shorepower.model.errors import InvalidRequest, NotAllowed
from shorepower.model.lifecycle import State
from shorepower.model.results import ResultsState
from support.dispatching import ALICE, BOB, READER, a_spec

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0
NOTICE = timedelta(days=3)


async def _ended(bench, cluster, dispatcher, caller=ALICE, size=1000, name="job"):
    job, _ = await dispatcher.submit(a_spec(name, in_place=False, workdir=""), caller)
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)
    if size:
        (bench.places.project(f"{job.id}-1") / "out").write_bytes(b"x" * size)
    cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
    there = {ResultsState.READY} if size else {ResultsState.READY, ResultsState.NONE}
    return await bench.until(job, lambda job: job.state.ended and job.results.state in there)


async def _state(bench, job) -> ResultsState:
    return (await bench.stands(job)).results.state


async def test_what_nobody_fetched_is_told_three_days_before_it_goes(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher, size=1234)
        fetched = await _ended(bench, cluster, dispatcher)
        await dispatcher.mark_pulled(fetched.id, ALICE)
        await _ended(bench, cluster, dispatcher, caller=BOB)
        clock.advance(26.9 * DAY_S)
        assert (await dispatcher.expiring(ALICE)).count == 0
        clock.advance(0.2 * DAY_S)
        told = await dispatcher.expiring(ALICE)
        assert (told.count, told.size_bytes) == (1, 1234)
        (one,) = told.jobs
        assert (one.id, one.file_count, one.for_room) == (job.id, 1, False)
        assert one.goes_at == told.first_at == clock.now() + NOTICE


async def test_it_goes_when_it_was_told_and_not_before(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        clock.advance(29 * DAY_S)
        told = await dispatcher.expiring(ALICE)
        await dispatcher.warned(told.as_of, ALICE)
        assert (await dispatcher.expiring(ALICE)).first_at == told.first_at, "the day stays"
        clock.advance(3 * DAY_S - 60)
        await dispatcher._expire.once()
        assert await _state(bench, job) is ResultsState.READY
        clock.advance(120)
        await dispatcher._expire.once()
        assert await _state(bench, job) is ResultsState.EXPIRED
        assert (await dispatcher.expiring(ALICE)).count == 0


async def test_who_was_never_warned_finds_it_for_another_30_days(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        empty = await _ended(bench, cluster, dispatcher, size=0)
        clock.advance(45 * DAY_S)
        await dispatcher._expire.once()
        assert await _state(bench, job) is ResultsState.READY
        assert await _state(bench, empty) in (ResultsState.EXPIRED, ResultsState.NONE)
        assert (await dispatcher.expiring(ALICE)).first_at == clock.now() + NOTICE
        clock.advance(15.1 * DAY_S)
        await dispatcher._expire.once()
        assert await _state(bench, job) is ResultsState.EXPIRED


async def test_the_last_days_begin_with_the_warning_however_late(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        clock.advance(59 * DAY_S)
        await dispatcher.warned((await dispatcher.expiring(ALICE)).as_of, ALICE)
        clock.advance(2.9 * DAY_S)
        await dispatcher._expire.once()
        assert await _state(bench, job) is ResultsState.READY
        clock.advance(0.2 * DAY_S)
        await dispatcher._expire.once()
        assert await _state(bench, job) is ResultsState.EXPIRED


async def test_kept_results_are_warned_of_anew(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        clock.advance(28 * DAY_S)
        await dispatcher.warned((await dispatcher.expiring(ALICE)).as_of, ALICE)
        await dispatcher.keep(job.id, clock.now() + timedelta(days=20), ALICE)
        assert (await dispatcher.expiring(ALICE)).count == 0
        clock.advance(21 * DAY_S)
        await dispatcher._expire.once()
        assert await _state(bench, job) is ResultsState.READY
        assert (await dispatcher.expiring(ALICE)).count == 1


async def test_room_is_not_made_by_what_nobody_was_warned_of(bench, cluster, clock):
    bench.settings = replace(bench.settings, budget_bytes=2500)
    async with bench.running() as dispatcher:
        jobs = []
        for _ in range(4):
            jobs.append(await _ended(bench, cluster, dispatcher))
            clock.advance(1)
        for _ in range(3):
            await dispatcher._expire.once()
            clock.advance(5 * DAY_S)
        assert {await _state(bench, job) for job in jobs} == {ResultsState.READY}
        told = await dispatcher.expiring(ALICE)
        assert {one.id for one in told.jobs} == {jobs[0].id, jobs[1].id}
        assert all(one.for_room and one.goes_at == clock.now() + NOTICE for one in told.jobs)
        await dispatcher.warned(told.as_of, ALICE)
        clock.advance(2.9 * DAY_S)
        await dispatcher._expire.once()
        assert {await _state(bench, job) for job in jobs} == {ResultsState.READY}
        assert (await dispatcher.expiring(ALICE)).first_at == told.first_at
        clock.advance(0.2 * DAY_S)
        await dispatcher._expire.once()
        states = [await _state(bench, job) for job in jobs]
        assert states == [ResultsState.EXPIRED] * 2 + [ResultsState.READY] * 2


async def test_what_is_kept_while_it_is_about_to_go_stays(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        await dispatcher.keep(job.id, None, ALICE)
        await dispatcher._expire.drop_results(job)  # as it was read before
        assert await _state(bench, job) is ResultsState.READY
        assert (bench.places.project(f"{job.id}-1") / "out").exists()


async def test_a_warning_says_what_it_was_of(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        clock.advance(29 * DAY_S)
        told = await dispatcher.expiring(ALICE)
        for wrong in (clock.now() + timedelta(seconds=1), clock.now() - timedelta(days=2)):
            with pytest.raises(InvalidRequest, match="the moment that came with"):
                await dispatcher.warned(wrong, ALICE)
        with pytest.raises(NotAllowed):
            await dispatcher.warned(told.as_of, READER)
        await dispatcher.warned(told.as_of, BOB)
        assert (await bench.stands(job)).results.warned_at is None
