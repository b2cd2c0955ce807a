"""What comes out of a job: collected once it ended, listed, read, and where that stands."""

import anyio
import pytest

from shorepower.model.errors import NotAllowed, NotFound, StorageFault
from shorepower.model.lifecycle import State
from shorepower.model.output import Stream
from shorepower.model.results import ResultsState
from shorepower.model.tree import TreeEntry, digest_of, encode_tree
from support.dispatching import ALICE, BOB, NOW, READER, a_spec, eventually

pytestmark = pytest.mark.anyio

KEPT = b"kept as it was\n"


async def _project(dispatcher, caller=ALICE, **more):
    """A spec with a snapshot of one file, whose blobs are sent."""
    entry = TreeEntry(
        name=b"in.txt",
        kind="file",
        mode=0o644,
        mtime_ns=10**18,
        size_bytes=len(KEPT),
        digests=(digest_of(KEPT),),
    )
    root = encode_tree([entry])
    await dispatcher.put_blobs([(digest_of(data), data) for data in (KEPT, root)], caller)
    return a_spec(in_place=False, workdir="", tree=digest_of(root), **more)


async def _running(bench, cluster, dispatcher, spec):
    job, _ = await dispatcher.submit(spec, ALICE)
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)
    cluster.see(f"{job.id}-1", State.RUNNING, started_at=NOW)
    return await bench.until(job, lambda job: job.state is State.RUNNING)


async def _ended(bench, cluster, job, state=State.COMPLETED):
    cluster.see(f"{job.id}-1", state, exit_code=0 if state is State.COMPLETED else 1)
    return await bench.until(job, lambda job: job.state.ended and job.results.state != "saving")


async def _read(dispatcher, job, path, area="project", caller=ALICE, **more) -> bytes:
    return b"".join([piece async for piece in dispatcher.read_file(job.id, path, area, caller, **more)])


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELED])
async def test_results_are_ready_after_any_end(bench, cluster, clock, state):
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        work = bench.places.work(f"{job.id}-1")
        assert (work / "project" / "in.txt").read_bytes() == KEPT
        (work / "project" / "new.bin").write_bytes(b"\0" * 3_000_000)
        (work / "results" / "deep").mkdir()
        (work / "results" / "deep" / "r.txt").write_text("r")
        running = await dispatcher.files(job.id, ALICE)
        assert {(entry.area, entry.path, entry.digest) for entry in running} == {
            ("project", "new.bin", ""),
            ("results", "deep/r.txt", ""),
        }
        job = await _ended(bench, cluster, job, state)
        assert (job.results.state, job.results.file_count) == (ResultsState.READY, 2)
        assert job.results.size_bytes == 3_000_001
        assert (job.results.expires_at - clock.now()).days == 30
        listed = {entry.path: entry for entry in await dispatcher.files(job.id, READER)}
        assert listed["new.bin"].digest == digest_of(b"\0" * 3_000_000)
        assert await _read(dispatcher, job, b"new.bin") == b"\0" * 3_000_000
        assert await _read(dispatcher, job, b"new.bin", offset=2_999_990, length=5) == b"\0" * 5
        assert await _read(dispatcher, job, b"deep/r.txt", "results") == b"r"


async def test_unchanged_inputs_go_once_results_are_kept(bench, cluster):
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        await _ended(bench, cluster, job)
        await eventually(lambda: not (bench.places.project(f"{job.id}-1") / "in.txt").exists())


async def test_in_place_nothing_but_the_results_folder_is_collected(bench, cluster, tmp_path):
    (tmp_path / "here").mkdir()
    async with bench.running() as dispatcher:
        spec = a_spec(workdir=str(tmp_path / "here"))
        job = await _running(bench, cluster, dispatcher, spec)
        (tmp_path / "here" / "made.txt").write_text("stays")
        (bench.places.work(f"{job.id}-1") / "results" / "r.txt").write_text("r")
        job = await _ended(bench, cluster, job)
        assert (job.results.state, job.results.file_count) == (ResultsState.READY, 1)
        assert [entry.area for entry in await dispatcher.files(job.id, ALICE)] == ["results"]


async def test_what_cannot_be_read_makes_them_partial_and_keeps_the_folder(bench, cluster, monkeypatch):
    from shorepower.dispatch import files
    from shorepower.files.collect import Listing
    from shorepower.model.errors import Fault

    monkeypatch.setattr(
        files, "list_results", lambda *_, **__: Listing(faults=(Fault("secret.bin", "is unreadable"),))
    )
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        job = await _ended(bench, cluster, job)
        assert job.results.state is ResultsState.PARTIAL
        assert "secret.bin is unreadable" in job.results.why
        assert (bench.places.project(f"{job.id}-1") / "in.txt").exists()


@pytest.mark.parametrize("fault", [StorageFault("input/output error"), ValueError("nobody foresaw this")])
async def test_a_failed_collection_keeps_the_folder_and_stops_nobody_else(
    bench, cluster, monkeypatch, fault
):
    from shorepower.dispatch import files

    right = files.list_results
    broken = set()

    def sometimes(blobs, spec, work, *more, **told):
        if work.name in broken:
            raise fault
        return right(blobs, spec, work, *more, **told)

    monkeypatch.setattr(files, "list_results", sometimes)
    async with bench.running() as dispatcher:
        bad = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        broken.add(f"{bad.id}-1")
        bad = await _ended(bench, cluster, bad)
        assert bad.results.state is ResultsState.FAILED
        assert str(fault) in bad.results.why
        assert (bench.places.project(f"{bad.id}-1") / "in.txt").exists()
        good = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        good = await _ended(bench, cluster, good)
        assert good.results.state is ResultsState.READY


async def test_a_store_that_cannot_be_read_for_a_while_does_not_end_the_collector(
    bench, cluster, monkeypatch
):
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        read, refused = bench.store.read, 0

        async def refuse(unit):
            nonlocal refused
            refused += 1
            if refused < 10:
                raise StorageFault("input/output error")
            return await read(unit)

        monkeypatch.setattr(bench.store, "read", refuse)
        cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
        with anyio.fail_after(20):
            while refused < 10:
                dispatcher._news.tell("saving", "due:fake", "control:fake")
                await anyio.sleep(0.01)
        monkeypatch.undo()
        await bench.until(job, lambda job: job.results.state is ResultsState.READY)


async def test_collecting_goes_on_in_a_new_life(bench, cluster, monkeypatch):
    from shorepower.dispatch import files

    with monkeypatch.context() as patch:
        patch.setattr(files.Files, "_collect", lambda self, job: anyio.sleep_forever())
        async with bench.running() as dispatcher:
            job = await _running(bench, cluster, dispatcher, await _project(dispatcher))
            cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
            job = await bench.until(job, lambda job: job.state.ended)
            assert job.results.state is ResultsState.SAVING
    async with bench.running():
        await bench.until(job, lambda job: job.results.state is ResultsState.READY)


async def test_a_job_that_never_started_has_none(bench, cluster, monkeypatch):
    async with bench.running() as dispatcher:
        spec = a_spec(in_place=False, workdir="a" * 300)
        job, _ = await dispatcher.submit(spec, ALICE)
        job = await bench.until(job, lambda job: job.state.ended)
        assert job.results.state is ResultsState.NONE
        assert await dispatcher.files(job.id, ALICE) == ()
        with pytest.raises(NotFound):
            await _read(dispatcher, job, b"x")


async def test_pulled_is_noted_once_and_only_of_an_ended_job(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        await dispatcher.mark_pulled(job.id, ALICE)
        assert (await bench.stands(job)).results.pulled_at is None
        job = await _ended(bench, cluster, job)
        first = clock.now()
        await dispatcher.mark_pulled(job.id, ALICE)
        clock.advance(60)
        await dispatcher.mark_pulled(job.id, ALICE)
        assert (await bench.stands(job)).results.pulled_at == first
        with pytest.raises(NotAllowed):
            await dispatcher.mark_pulled(job.id, READER)


@pytest.mark.parametrize(
    "path", [b"../stdin", b"/etc/passwd", b"a/../../x", b"link", b"folder", b"gone", b""]
)
async def test_nothing_outside_is_read(bench, cluster, path):
    from shorepower.model.errors import InvalidRequest

    async with bench.running() as dispatcher:
        job = await _running(bench, cluster, dispatcher, await _project(dispatcher))
        project = bench.places.project(f"{job.id}-1")
        (project / "link").symlink_to("/etc/passwd")
        (project / "folder").mkdir()
        with pytest.raises((NotFound, InvalidRequest)):
            await _read(dispatcher, job, path)
        with pytest.raises(NotFound):
            await _read(dispatcher, job, b"in.txt", caller=BOB)


async def _saved(bench, cluster, dispatcher, before=lambda output, work: None, **asked):
    """A job that wrote to both streams, ended; its listed files in the project by path."""
    spec = await _project(dispatcher, **asked)
    job = await _running(bench, cluster, dispatcher, spec)
    output = cluster.output(f"{job.id}-1", 0, 0)
    output.write(b"out\n")
    output.write(b"err\n", Stream.STDERR)
    before(output, bench.places.work(f"{job.id}-1"))
    job = await _ended(bench, cluster, job, State.FAILED)
    listed = await dispatcher.files(job.id, ALICE)
    return job, {one.path: one for one in listed if one.area == "project"}


async def test_output_is_also_saved_under_the_names_that_are_asked_for(bench, cluster):
    async with bench.running() as dispatcher:
        asked = {"stdout_file": "logs/%x-%j.out", "stderr_file": "%u.err"}
        job, files = await _saved(bench, cluster, dispatcher, name="fit", **asked)
        path = f"logs/fit-{job.id}.out"
        assert set(files) == {path, "alice.err"}
        assert (job.results.state, files[path].mode) == (ResultsState.READY, 0o644)
        assert await _read(dispatcher, job, path.encode()) == b"out\n"
        assert await _read(dispatcher, job, b"alice.err") == b"err\n"
        assert files["alice.err"].digest == digest_of(b"err\n")


async def test_both_streams_of_one_name_are_one_file(bench, cluster):
    async with bench.running() as dispatcher:
        asked = {"stdout_file": "%j.out", "stderr_file": "%A.out"}
        job, files = await _saved(bench, cluster, dispatcher, **asked)
        assert set(files) == {f"{job.id}.out"}
        assert await _read(dispatcher, job, f"{job.id}.out".encode()) == b"out\nerr\n"


@pytest.mark.parametrize("narrow", [{"results": ("*.csv",)}, {"hold_back": ("logs/", "*.out")}])
async def test_saved_output_comes_home_whatever_is_held_back(bench, cluster, narrow):
    def others(output, work):
        (work / "project" / "logs").mkdir()
        (work / "project" / "logs" / "other.txt").write_text("stays")
        (work / "project" / "other.out").write_text("stays")
        (work / "project" / "r.csv").write_text("r")

    async with bench.running() as dispatcher:
        asked = {"stdout_file": "logs/a.out", **narrow}
        _, files = await _saved(bench, cluster, dispatcher, others, **asked)
        assert set(files) == {"logs/a.out", "r.csv"}


async def test_saved_output_takes_the_place_of_what_was_sent_and_goes_through_no_link(
    bench, cluster, tmp_path
):
    def linked(output, work):
        (work / "project" / "logs").symlink_to(tmp_path)

    async with bench.running() as dispatcher:
        asked = {"stdout_file": "in.txt", "stderr_file": "logs/e.txt"}
        job, files = await _saved(bench, cluster, dispatcher, linked, **asked)
        assert "in.txt" in files
        assert await _read(dispatcher, job, b"in.txt") == b"out\n"
        assert job.results.state is ResultsState.PARTIAL
        assert "logs/e.txt output could not be saved there" in job.results.why
        assert not (tmp_path / "e.txt").exists()


async def test_saved_output_tells_what_is_no_longer_kept(bench, cluster):
    def cut(output, work):
        output.first[Stream.STDOUT] = 2

    async with bench.running() as dispatcher:
        job, _ = await _saved(bench, cluster, dispatcher, cut, stdout_file="o.txt")
        gap = b"[shorepower: 2 bytes of stdout are no longer kept]\n"
        assert await _read(dispatcher, job, b"o.txt") == gap + b"t\n"


async def test_in_place_output_is_saved_among_the_results(bench, cluster, tmp_path):
    async with bench.running() as dispatcher:
        spec = a_spec(workdir=str(tmp_path), stdout_file="o.txt")
        job = await _running(bench, cluster, dispatcher, spec)
        cluster.output(f"{job.id}-1", 0, 0).write(b"out")
        job = await _ended(bench, cluster, job)
        assert await _read(dispatcher, job, b"o.txt") == b"out"
        assert list(tmp_path.glob("o.txt")) == []


async def test_what_left_nothing_has_none_and_its_folder_goes(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(in_place=False, workdir=""), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
        job = await bench.until(job, lambda job: job.state.ended)
        assert job.results.state is ResultsState.NONE
        assert await dispatcher.files(job.id, ALICE) == ()
        work = bench.places.work(f"{job.id}-1")
        with anyio.fail_after(10):
            while work.exists():  # noqa: ASYNC110 - a folder has no event
                await anyio.sleep(0.01)


@pytest.mark.parametrize("place", ["project/made", "results/made", "metrics"])
async def test_one_file_is_enough_to_be_collected(bench, cluster, place):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(in_place=False, workdir=""), ALICE)
        await cluster.until(lambda: f"{job.id}-1" in cluster.has)
        (bench.places.work(f"{job.id}-1") / place).write_bytes(b"x")
        cluster.see(f"{job.id}-1", State.COMPLETED, exit_code=0)
        job = await bench.until(job, lambda job: job.results.state is ResultsState.READY)
        assert bench.places.work(f"{job.id}-1").exists()
