"""What is kept for how long, with a clock that a test moves."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from shorepower.model.errors import InvalidRequest, NotAllowed, NotFound
from shorepower.model.lifecycle import State
from shorepower.model.results import ResultsState
from shorepower.model.tree import TreeEntry, digest_of, encode_tree
from support.dispatching import ALICE, BOB, READER, a_spec

pytestmark = pytest.mark.anyio
DAY_S = 86_400.0


async def _sent(dispatcher, data: bytes, caller=ALICE) -> str:
    entry = TreeEntry(
        name=b"f", kind="file", mode=0o644, mtime_ns=0, size_bytes=len(data), digests=(digest_of(data),)
    )
    root = encode_tree([entry])
    await dispatcher.put_blobs([(digest_of(one), one) for one in (data, root)], caller)
    return digest_of(root)


async def _ended(bench, cluster, dispatcher, caller=ALICE, size=1000, **more):
    job, _ = await dispatcher.submit(a_spec(in_place=False, workdir="", **more), caller)
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)
    (bench.places.project(f"{job.id}-1") / "out").write_bytes(b"x" * size)
    cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
    return await bench.until(job, lambda job: job.results.state is ResultsState.READY)


async def test_results_expire_after_30_days(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        await dispatcher.mark_pulled(job.id, ALICE)
        clock.advance(30 * DAY_S - 60)
        await dispatcher._expire.once()
        assert (await bench.stands(job)).results.state is ResultsState.READY
        clock.advance(61)
        await dispatcher._expire.once()
        job = await bench.stands(job)
        assert (job.state, job.results.state) == (State.COMPLETED, ResultsState.EXPIRED)
        assert not bench.places.work(f"{job.id}-1").exists()
        with pytest.raises(NotFound):
            async for _ in dispatcher.read_file(job.id, b"out", "project", ALICE):
                pass
        events, _ = await dispatcher.events(ALICE, after=0, job=job.id)
        assert events[-1].body["results"] == "expired"


async def test_kept_until_a_moment_or_for_good(bench, cluster, clock):
    async with bench.running() as dispatcher:
        longer = await _ended(bench, cluster, dispatcher)
        ever = await _ended(bench, cluster, dispatcher)
        await dispatcher.mark_pulled(longer.id, ALICE)
        until = clock.now() + timedelta(days=60)
        assert (await dispatcher.keep(longer.id, until, ALICE)).results.expires_at == until
        assert (await dispatcher.keep(ever.id, None, ALICE)).results.expires_at is None
        clock.advance(45 * DAY_S)
        await dispatcher._expire.once()
        assert (await bench.stands(longer)).results.state is ResultsState.READY
        clock.advance(20 * DAY_S)
        await dispatcher._expire.once()
        assert (await bench.stands(longer)).results.state is ResultsState.EXPIRED
        with pytest.raises(InvalidRequest, match="gone already"):
            await dispatcher.keep(longer.id, None, ALICE)
        clock.advance(1000 * DAY_S)
        for _ in range(3):
            await dispatcher._expire.once()
        assert (await bench.stands(ever)).results.state is ResultsState.READY
        assert (bench.places.project(f"{ever.id}-1") / "out").exists()


async def test_what_is_wrong_with_keep_is_told(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        with pytest.raises(InvalidRequest, match="in the future"):
            await dispatcher.keep(job.id, clock.now(), ALICE)
        with pytest.raises(NotAllowed):
            await dispatcher.keep(job.id, None, READER)
        living, _ = await dispatcher.submit(a_spec(), ALICE)
        with pytest.raises(InvalidRequest, match="not ended"):
            await dispatcher.keep(living.id, None, ALICE)


async def test_records_go_after_a_year_with_everything(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        clock.advance(364 * DAY_S)
        await dispatcher._expire.once()
        assert (await dispatcher.job(job.id, ALICE)).id == job.id
        clock.advance(2 * DAY_S)
        await dispatcher._expire.once()
        with pytest.raises(NotFound):
            await dispatcher.job(job.id, ALICE)
        assert f"{job.id}-1" in cluster.forgotten
        assert not bench.places.work(f"{job.id}-1").exists()
        assert await bench.store.read(lambda view: view.state_counts()) == {}


async def test_records_of_kept_results_do_not_hold_up_others(bench, cluster, clock, monkeypatch):
    monkeypatch.setattr("shorepower.dispatch.expire._PAGE", 2)
    async with bench.running() as dispatcher:
        kept = [await _ended(bench, cluster, dispatcher) for _ in range(3)]
        for job in kept:
            await dispatcher.keep(job.id, None, ALICE)
        clock.advance(10)
        old = [await _ended(bench, cluster, dispatcher) for _ in range(3)]
        clock.advance(400 * DAY_S)
        for _ in range(5):
            await dispatcher._expire.once()
        left = {job.id for job in (await dispatcher.jobs(_all(), ALICE))[0]}
        assert left == {job.id for job in kept}
        assert not any(bench.places.work(f"{job.id}-1").exists() for job in old)


async def test_the_folder_of_a_failed_collection_goes_with_the_record(bench, cluster, clock, monkeypatch):
    from shorepower.dispatch import files

    def fail(*_, **__):
        raise OSError("broken")

    monkeypatch.setattr(files, "list_results", fail)
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(in_place=False, workdir=""), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        (bench.places.project(f"{job.id}-1") / "out").write_bytes(b"x")
        cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
        await bench.until(job, lambda job: job.results.state is ResultsState.FAILED)
        clock.advance(300 * DAY_S)
        await dispatcher._expire.once()
        assert bench.places.work(f"{job.id}-1").exists()
        clock.advance(100 * DAY_S)
        await dispatcher._expire.once()
        assert not bench.places.work(f"{job.id}-1").exists()


async def test_output_goes_after_90_days_and_the_record_stays(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        clock.advance(91 * DAY_S)
        await dispatcher._expire.once()
        assert cluster.forgotten == [f"{job.id}-1"]
        assert (await dispatcher.job(job.id, ALICE)).state is State.COMPLETED


async def test_over_the_budget_the_longest_pulled_go_and_the_unpulled_stay(bench, cluster, clock):
    bench.settings = replace(bench.settings, budget_bytes=2500)
    async with bench.running() as dispatcher:
        jobs = [await _ended(bench, cluster, dispatcher) for _ in range(4)]
        for job in (jobs[1], jobs[0]):
            clock.advance(1)
            await dispatcher.mark_pulled(job.id, ALICE)
        await dispatcher._expire.once()
        states = [(await bench.stands(job)).results.state for job in jobs]
        assert states == [
            ResultsState.EXPIRED,
            ResultsState.EXPIRED,
            ResultsState.READY,
            ResultsState.READY,
        ]


async def test_output_counts_and_goes_by_age_but_not_that_of_what_nobody_pulled(bench, cluster, clock):
    bench.settings = replace(bench.settings, budget_bytes=60_000)
    async with bench.running() as dispatcher:
        unpulled = await _ended(bench, cluster, dispatcher)
        silent = []
        for _ in range(3):
            clock.advance(1)
            job, _ = await dispatcher.submit(a_spec(in_place=True, workdir="/tmp"), ALICE)
            await cluster.until(lambda job=job: f"{job.id}-1" in cluster.has)
            cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
            silent.append(await bench.until(job, lambda job: job.state.ended))
        for job in (unpulled, *silent):
            folder = bench.places.spool / f"{job.id}-1"
            folder.mkdir(parents=True)
            (folder / "stdout.0.0").write_bytes(b"x" * 16_000)
        await bench.until(silent[-1], lambda job: job.results.state is not ResultsState.SAVING)
        await dispatcher._expire.once()
        assert cluster.forgotten == [f"{silent[0].id}-1"]
        assert (await bench.stands(unpulled)).results.state is ResultsState.READY


async def test_prune_takes_what_is_asked_for_of_ones_own_and_tells_the_bytes(bench, cluster, clock):
    async with bench.running() as dispatcher:
        old = await _ended(bench, cluster, dispatcher, size=5000)
        clock.advance(DAY_S)
        new = await _ended(bench, cluster, dispatcher, size=7000)
        theirs = await _ended(bench, cluster, dispatcher, caller=BOB, size=9000)
        freed = await dispatcher.prune(ALICE, results=True, ended_before=clock.now() - timedelta(hours=1))
        assert freed.freed_bytes < 5000, "nobody fetched them"
        for job in (old, new):
            await dispatcher.mark_pulled(job.id, ALICE)
        hour_ago = clock.now() - timedelta(hours=1)
        freed = await dispatcher.prune(ALICE, results=True, ended_before=hour_ago)
        assert freed.freed_bytes >= 5000
        assert (await bench.stands(old)).results.state is ResultsState.EXPIRED
        assert (await bench.stands(new)).results.state is ResultsState.READY
        clock.advance(1)
        assert (await dispatcher.prune(ALICE, results=True)).freed_bytes >= 7000
        assert (await bench.stands(theirs)).results.state is ResultsState.READY
        with pytest.raises(NotAllowed):
            await dispatcher.prune(READER, results=True)


async def test_prune_tells_the_bytes_of_blobs(bench, cluster, clock):
    async with bench.running() as dispatcher:
        await _sent(dispatcher, b"y" * 100_000)
        clock.advance(2 * 3600)
        assert (await dispatcher.prune(ALICE)).freed_bytes >= 100_000
        assert (await dispatcher.prune(ALICE)).freed_bytes == 0


async def test_prune_takes_what_a_broken_upload_left_once_it_is_surely_broken(bench, cluster, clock):
    async with bench.running() as dispatcher:
        data = b"y" * 100_000
        await _sent(dispatcher, data)
        clock.advance(4 * 60)
        await dispatcher.missing_blobs([digest_of(data)], ALICE)
        clock.advance(4 * 60)
        still = await dispatcher.prune(ALICE)
        assert (still.freed_bytes, still.uploading) == (0, True)
        assert await dispatcher.get_blob(digest_of(data), ALICE) == data
        clock.advance(60)
        done = await dispatcher.prune(ALICE)
        assert done.freed_bytes >= 100_000
        assert not done.uploading
        with pytest.raises(NotFound):
            await dispatcher.get_blob(digest_of(data), ALICE)


async def test_prune_leaves_what_jobs_others_and_a_running_upload_need(bench, cluster, clock):
    async with bench.running() as dispatcher:
        needed, shared = b"n" * 100, b"s" * 100
        tree = await _sent(dispatcher, needed)
        job = await _ended(bench, cluster, dispatcher, tree=tree)
        await _sent(dispatcher, shared)
        await _sent(dispatcher, shared, BOB)
        await _sent(dispatcher, b"theirs", BOB)
        clock.advance(10 * 60)
        assert (await dispatcher.prune(ALICE)).freed_bytes == 0
        for data, caller in ((needed, ALICE), (shared, ALICE), (shared, BOB), (b"theirs", BOB)):
            assert await dispatcher.get_blob(digest_of(data), caller) == data
        assert (await bench.stands(job)).results.state is ResultsState.READY


async def test_an_upload_that_a_job_names_is_over(bench, cluster, clock):
    async with bench.running() as dispatcher:
        tree = await _sent(dispatcher, b"n" * 100)
        assert (await dispatcher.prune(ALICE)).uploading
        await _ended(bench, cluster, dispatcher, tree=tree)
        assert not (await dispatcher.prune(ALICE)).uploading
        assert await dispatcher.get_blob(tree, ALICE)


async def test_blobs_that_are_needed_do_not_hide_those_that_are_not(bench, cluster, clock, monkeypatch):
    monkeypatch.setattr("shorepower.dispatch.expire._BLOBS", 2)
    async with bench.running() as dispatcher:
        for number in range(3):
            tree = await _sent(dispatcher, b"n%d" % number)
            await _ended(bench, cluster, dispatcher, tree=tree)
        clock.advance(10)
        for number in range(3):
            await _sent(dispatcher, b"u%d" % number)
        clock.advance(2 * 3600)
        for _ in range(3):
            await dispatcher._expire.sweep_blobs()
        unneeded = [digest_of(b"u%d" % number) for number in range(3)]
        assert set(await dispatcher.missing_blobs(unneeded, ALICE)) == set(unneeded)


async def test_blobs_stay_while_leased_or_needed(bench, cluster, clock):
    async with bench.running() as dispatcher:
        needed, unneeded = b"n" * 100, b"u" * 100
        tree = await _sent(dispatcher, needed)
        await _sent(dispatcher, unneeded)
        job = await _ended(bench, cluster, dispatcher, tree=tree)
        await dispatcher._expire.sweep_blobs()
        assert await dispatcher.missing_blobs([digest_of(unneeded)], ALICE) == []
        clock.advance(2 * 3600)
        await dispatcher._expire.sweep_blobs()
        assert await dispatcher.missing_blobs([digest_of(needed), tree], ALICE) == []
        assert await dispatcher.missing_blobs([digest_of(unneeded)], ALICE) == [digest_of(unneeded)]
        await dispatcher.mark_pulled(job.id, ALICE)
        clock.advance(31 * DAY_S)
        await dispatcher._expire.once()
        assert (await bench.stands(job)).results.state is ResultsState.EXPIRED
        clock.advance(2 * 3600)
        await dispatcher._expire.sweep_blobs()
        assert set(await dispatcher.missing_blobs([digest_of(needed), tree], ALICE)) == {
            digest_of(needed),
            tree,
        }


async def test_what_is_sent_again_while_it_is_swept_is_there(bench, cluster, clock, monkeypatch):
    """A blob on its way out that somebody sends once more, at the worst moment."""
    async with bench.running() as dispatcher:
        data = b"d" * 1000
        await _sent(dispatcher, data)
        clock.advance(2 * 3600)
        trees = bench.store.read
        again = False

        async def in_between(unit):
            nonlocal again
            found = await trees(unit)
            if isinstance(found, list) and digest_of(data) in found and not again:
                again = True
                await dispatcher.put_blobs([(digest_of(data), data)], ALICE)
            return found

        monkeypatch.setattr(bench.store, "read", in_between)
        await dispatcher._expire.sweep_blobs()
        assert again
        assert await dispatcher.missing_blobs([digest_of(data)], ALICE) == []
        assert await dispatcher.get_blob(digest_of(data), ALICE) == data


async def test_a_crash_between_the_mark_and_the_removal_leaves_nothing(bench, cluster, clock, monkeypatch):
    from shorepower.dispatch import expire

    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        with monkeypatch.context() as patch:
            patch.setattr(expire, "remove", _die)
            with pytest.raises(RuntimeError):
                await dispatcher._expire.drop_results(job)
        assert (await bench.stands(job)).results.state is ResultsState.EXPIRED
    async with bench.running():
        from support.dispatching import eventually

        await eventually(lambda: not bench.places.work(f"{job.id}-1").exists())


async def test_the_footprint_is_ones_own(bench, cluster):
    async with bench.running() as dispatcher:
        await _ended(bench, cluster, dispatcher, size=5000)
        mine, theirs = await dispatcher.footprint(ALICE), await dispatcher.footprint(BOB)
        assert (mine.job_count, mine.results_bytes) == (1, 5000)
        assert (theirs.job_count, theirs.results_bytes) == (0, 0)
        assert mine.free_bytes > 0
        assert mine.budget_bytes > 0


async def test_the_footprint_counts_output_as_it_lies_on_disk(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _ended(bench, cluster, dispatcher)
        folder = bench.places.spool / f"{job.id}-1"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "stdout.0.0").open("wb") as file:
            file.seek(1 << 30)
            file.write(b"x" * 10_000)
        mine, theirs = await dispatcher.footprint(ALICE), await dispatcher.footprint(BOB)
        assert 10_000 <= mine.output_bytes < 1_000_000
        assert theirs.output_bytes == 0


def _die(*_, **__):
    raise RuntimeError("killed here")


def _all():
    from shorepower.dispatch.dispatcher import JobFilter

    return JobFilter(limit=100)
