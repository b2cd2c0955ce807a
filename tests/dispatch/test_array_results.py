"""What comes out of an array, from its tasks' folders to readers, until it expires."""

import os
from datetime import timedelta
from pathlib import Path

import pytest

from shorepower.model.errors import NotFound
from shorepower.model.lifecycle import State
from shorepower.model.output import Stream
from shorepower.model.results import ResultsState
from shorepower.model.tasks import TaskSet
from shorepower.model.tree import TreeEntry, digest_of, encode_tree
from support.arrays import an_array
from support.dispatching import ALICE, NOW, a_spec, eventually

pytestmark = pytest.mark.anyio

SENT = b"sent\n"


async def _running(bench, cluster, dispatcher, indices="1-3", **more):
    """An array over a snapshot of one file, all of whose tasks run; (job, their folders)."""
    entry = TreeEntry(
        name=b"in.txt",
        kind="file",
        mode=0o644,
        mtime_ns=10**18,
        size_bytes=len(SENT),
        digests=(digest_of(SENT),),
    )
    root = encode_tree([entry])
    await dispatcher.put_blobs([(digest_of(data), data) for data in (SENT, root)], ALICE)
    told = {"in_place": False, "workdir": "", "tree": digest_of(root), "array": an_array(indices)}
    job, _ = await dispatcher.submit(a_spec(**(told | more)), ALICE)
    await cluster.until(lambda: f"{job.id}-1" in cluster.has)
    order = cluster.has[f"{job.id}-1"]
    folders = [Path(order.each.plan(task).cwd) for task in order.tasks]
    cluster.see(order.submission, State.RUNNING, tasks=order.tasks, started_at=NOW)
    return await bench.until(job, lambda job: job.state is State.RUNNING), folders


async def _ended(bench, cluster, job):
    tasks = TaskSet.first(job.task_count)
    order = cluster.has[f"{job.id}-1"]
    for task in tasks:
        order.each.clear(task)
    cluster.see(f"{job.id}-1", State.COMPLETED, tasks=tasks, exit_code=0)
    return await bench.until(job, lambda job: job.state.ended and job.results.state != "saving")


async def _paths(dispatcher, job):
    return [(entry.area, entry.path) for entry in await dispatcher.files(job.id, ALICE)]


async def _read(dispatcher, job, path):
    return b"".join([piece async for piece in dispatcher.read_file(job.id, path, "tasks", ALICE)])


async def test_results_are_listed_while_tasks_run_and_kept_when_all_have_ended(bench, cluster, clock):
    async with bench.running() as dispatcher:
        job, (first, second, _) = await _running(bench, cluster, dispatcher)
        assert (second / "in.txt").read_bytes() == SENT
        (first / "out.txt").write_text("one")
        assert await _paths(dispatcher, job) == [("tasks", "1/out.txt")]
        assert await _read(dispatcher, job, b"1/out.txt") == b"one"
        (second / "in.txt").unlink()
        (second / "in.txt").write_text("mine")

        job = await _ended(bench, cluster, job)
        assert (job.results.state, job.results.file_count, job.results.why) == (ResultsState.READY, 2, "")
        assert await _paths(dispatcher, job) == [("tasks", "1/out.txt"), ("tasks", "2/in.txt")]
        assert await _read(dispatcher, job, b"2/in.txt") == b"mine"
        with pytest.raises(NotFound):
            await _read(dispatcher, job, b"3/in.txt")
        work = bench.places.work(f"{job.id}-1")
        await eventually(lambda: not (work / "project").exists())
        assert sorted(os.listdir(work / "tasks")) == ["1", "2"]

        clock.advance(timedelta(days=90).total_seconds())
        await dispatcher.prune(ALICE, results=True)
        assert not work.exists()
        assert (await bench.stands(job)).results.state is ResultsState.EXPIRED


async def test_a_shared_file_that_changed_is_told_with_the_results(bench, cluster):
    async with bench.running() as dispatcher:
        job, folders = await _running(bench, cluster, dispatcher)
        shared = (folders[0] / "in.txt").resolve()
        shared.chmod(0o644)
        (folders[0] / "in.txt").write_text("through the link")
        job = await _ended(bench, cluster, job)
        assert job.results.state is ResultsState.READY
        assert job.results.why == "tasks changed the shared file 'in.txt'"


async def test_output_is_saved_in_the_folder_of_each_task_that_wrote_some(bench, cluster):
    async with bench.running() as dispatcher:
        asked = {"stdout_file": "logs/%A_%2a.out", "stderr_file": "in.txt"}
        job, _ = await _running(bench, cluster, dispatcher, "7-9", results=("*.csv",), **asked)
        cluster.output(f"{job.id}-1", 0, 0).write(b"seven\n")
        cluster.output(f"{job.id}-1", 2, 0).write(b"nine\n", Stream.STDERR)
        job = await _ended(bench, cluster, job)
        name = f"{job.id}_07.out"
        listed = [path for _, path in await _paths(dispatcher, job)]
        assert listed == ["7/in.txt", f"7/logs/{name}", "9/in.txt", f"9/logs/{job.id}_09.out"]
        assert await _read(dispatcher, job, f"7/logs/{name}".encode()) == b"seven\n"
        assert await _read(dispatcher, job, b"9/in.txt") == b"nine\n"
        assert job.results.why == ""
