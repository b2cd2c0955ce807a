"""What is due is handed over once: marked before it is sent, found again when in doubt."""

import threading
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from msgspec.structs import replace

from shorepower.clusters.contract import Where
from shorepower.dispatch.prepare import prepare
from shorepower.model.errors import StorageFault, SubmitRefused, Unreachable
from shorepower.model.lifecycle import Operation, Phase, Reason, State
from support.dispatching import ALICE, a_spec, eventually, on_record

pytestmark = pytest.mark.anyio


async def _phase(bench, job) -> Phase:
    return (await bench.store.read(lambda view: view.submissions(job.id)))[0].phase


async def _until_phase(bench, job, phase: Phase) -> None:
    with anyio.fail_after(10):
        while await _phase(bench, job) is not phase:
            await anyio.lowlevel.checkpoint()


async def test_what_is_due_is_handed_over(bench, cluster):
    async with bench.running() as dispatcher:
        job, new = await dispatcher.submit(a_spec(argv=("echo", "x")), ALICE)
        assert new
        await _until_phase(bench, job, Phase.HANDED)
    (order,) = cluster.submitted
    assert (order.submission, order.job, order.argv) == (f"{job.id}-1", job.id, ("echo", "x"))
    submission = await bench.store.read(lambda view: view.submission(order.submission))
    assert submission.handle == f"handle of {order.submission}"
    assert submission.workdir == str(bench.places.work(order.submission))


async def test_it_is_marked_before_it_is_sent(bench, cluster):
    phases = []

    async def look(order):
        submission = await bench.store.read(lambda view: view.submission(order.submission))
        phases.append(submission.phase)

    cluster.before_submit = look
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, job, Phase.HANDED)
    assert phases == [Phase.HANDING]


async def test_many_more_than_a_batch_all_go(bench, cluster):
    bench.settings = replace(bench.settings, handover_batch=3, retry_most_s=30.0)
    async with bench.running() as dispatcher:
        jobs = [(await dispatcher.submit(a_spec(), ALICE))[0] for _ in range(20)]
        await cluster.until(lambda: len(cluster.submitted) == 20)
        for job in jobs:
            await _until_phase(bench, job, Phase.HANDED)
    assert len({order.submission for order in cluster.submitted}) == 20


async def test_what_was_due_at_the_start_goes_however_much_it_is(bench, cluster):
    bench.settings = replace(bench.settings, handover_batch=4, stage_workers=8, retry_most_s=30.0)
    for _ in range(30):
        await on_record(bench.store)
    async with bench.running():
        await cluster.until(lambda: len(cluster.submitted) == 30)


async def test_a_refusal_ends_the_job_in_the_schedulers_words(bench, cluster):
    cluster.submit_faults.append(SubmitRefused("no such account"))
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        job = await bench.until(job, lambda job: job.state.ended)
    assert (job.state, job.reason, job.exit_status) == (State.FAILED, Reason.LAUNCH, 120)
    assert job.why == "no such account"
    assert await _phase(bench, job) is Phase.CLOSED


@pytest.mark.parametrize("fault", [Unreachable("no answer"), OSError("broken pipe"), RuntimeError("?")])
async def test_in_doubt_and_arrived_it_is_found_and_not_sent_again(bench, cluster, fault):
    cluster.submit_faults.append(fault)
    cluster.arrives_anyway = True
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, job, Phase.HANDED)
    assert len(cluster.submitted) == 1


async def test_in_doubt_and_absent_it_is_sent_again(bench, cluster):
    cluster.submit_faults.extend([Unreachable("no answer"), Unreachable("no answer"), None])
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, job, Phase.HANDED)
    assert [order.submission for order in cluster.submitted] == [f"{job.id}-1"] * 3
    assert (await bench.store.read(lambda view: view.submissions(job.id)))[0].tries == 2


async def test_while_nobody_can_say_it_is_asked_again_and_not_sent(bench, cluster):
    cluster.submit_faults.append(Unreachable("no answer"))
    async with bench.running() as dispatcher:
        cluster.answers = _Always(Where.UNKNOWN)
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: len(cluster.adopted) >= 4)
        assert await _phase(bench, job) is Phase.HANDING
        assert (await bench.stands(job)).state is State.PENDING
        assert len(cluster.submitted) == 1
        cluster.answers = {}
        await _until_phase(bench, job, Phase.HANDED)
    assert len(cluster.submitted) == 2


async def test_a_new_life_asks_for_everything_that_may_have_been_sent(bench, cluster):
    async with bench.running() as dispatcher:
        handed, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, handed, Phase.HANDED)
        ended, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, ended, Phase.HANDED)
        cluster.see(f"{ended.id}-1", State.COMPLETED, exit_code=0)
        await bench.until(ended, lambda job: job.state.ended)
    cluster.observation(f"{handed.id}-1", State.RUNNING)
    cluster.adopted.clear()
    async with bench.running():
        job = await bench.until(handed, lambda job: job.state is State.RUNNING)
    assert cluster.adopted == [[f"{handed.id}-1"]]
    assert job.state is State.RUNNING


async def test_marked_but_never_sent_it_is_sent_by_the_next_life(bench, cluster):
    """The server died between the mark and the sending."""
    job = await on_record(bench.store)
    await _mark(bench, job)
    async with bench.running():
        await _until_phase(bench, job, Phase.HANDED)
    assert cluster.adopted[0] == [f"{job.id}-1"]
    assert len(cluster.submitted) == 1


async def test_sent_but_the_handle_lost_it_is_found_by_the_next_life(bench, cluster):
    """The server died between the sending and keeping the handle."""
    job = await on_record(bench.store)
    await _mark(bench, job)
    cluster.has[f"{job.id}-1"] = None
    async with bench.running():
        await _until_phase(bench, job, Phase.HANDED)
    assert cluster.submitted == []


async def test_what_ended_while_no_server_lived_is_told_at_the_start(bench, cluster):
    job = await on_record(bench.store)
    await _mark(bench, job)
    cluster.has[f"{job.id}-1"] = None
    cluster.observation(f"{job.id}-1", State.FAILED, reason=Reason.EXIT_CODE, exit_code=3)
    async with bench.running():
        job = await bench.until(job, lambda job: job.state.ended)
    assert (job.state, job.exit_status) == (State.FAILED, 3)


async def test_handed_over_and_proved_absent_it_is_sent_again(bench, cluster):
    """A scheduler that lost its queue: nothing ever started, so nothing is lost."""
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, job, Phase.HANDED)
    cluster.has.clear()
    async with bench.running():
        await cluster.until(lambda: len(cluster.submitted) == 2)
        await _until_phase(bench, job, Phase.HANDED)


async def test_seen_running_and_then_absent_it_is_lost(bench, cluster):
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, job, Phase.HANDED)
        cluster.see(f"{job.id}-1", State.RUNNING)
        await bench.until(job, lambda job: job.state is State.RUNNING)
    cluster.has.clear()
    async with bench.running():
        job = await bench.until(job, lambda job: job.state.ended)
    assert (job.state, job.reason, len(cluster.submitted)) == (State.FAILED, Reason.LOST, 1)


# stopping before, while and after


async def test_stopped_before_it_is_handed_over_it_never_is(bench, cluster):
    held = anyio.Event()
    cluster.before_submit = lambda order: held.wait()
    async with bench.running() as dispatcher:
        first, _ = await dispatcher.submit(a_spec(), ALICE)  # holds the line up
        await cluster.until(lambda: cluster.submitted)
        second, _ = await dispatcher.submit(a_spec(), ALICE)
        stopped = await dispatcher.control(second.id, Operation.STOP, ALICE)
        assert (stopped.state, stopped.reason) == (State.CANCELED, Reason.STOPPED)
        held.set()
        await _until_phase(bench, first, Phase.HANDED)
        third, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, third, Phase.HANDED)
    assert [order.job for order in cluster.submitted] == [first.id, third.id]


async def test_stopped_while_it_is_sent_it_is_stopped_after(bench, cluster):
    held = anyio.Event()
    cluster.before_submit = lambda order: held.wait()
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: cluster.submitted)
        asked = await dispatcher.control(job.id, Operation.STOP, ALICE)
        assert (asked.state, asked.wanted) == (State.PENDING, Operation.STOP)
        held.set()
        await _until_phase(bench, job, Phase.HANDED)
        before = len(cluster.controls)
        await cluster.until(lambda: len(cluster.controls) > before)
        cluster.see(f"{job.id}-1", State.CANCELED, reason=Reason.STOPPED)
        job = await bench.until(job, lambda job: job.state.ended)
    assert job.exit_status == 143


@pytest.mark.parametrize(
    ("operation", "reason"), [(Operation.STOP, Reason.STOPPED), (Operation.KILL, Reason.KILLED)]
)
async def test_stopped_while_in_doubt_and_absent_it_is_not_sent_again(bench, cluster, operation, reason):
    cluster.submit_faults.append(Unreachable("no answer"))
    async with bench.running() as dispatcher:
        cluster.answers = _Always(Where.UNKNOWN)
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        await cluster.until(lambda: len(cluster.adopted) >= 2)
        await dispatcher.control(job.id, operation, ALICE)
        cluster.answers = {}
        job = await bench.until(job, lambda job: job.state.ended)
    assert (job.state, job.reason) == (State.CANCELED, reason)
    assert len(cluster.submitted) == 1


# nothing is left behind


async def test_stopped_while_it_is_laid_out_it_leaves_no_folder(bench, cluster, monkeypatch):
    laying_out, stopped = threading.Event(), threading.Event()

    def slowly(blobs, spec, work):
        prepare(blobs, spec, work)
        laying_out.set()
        assert stopped.wait(10)

    monkeypatch.setattr("shorepower.dispatch.handover.prepare", slowly)
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        assert await to_thread.run_sync(laying_out.wait, 10)
        assert bench.places.work(f"{job.id}-1").is_dir()
        await dispatcher.control(job.id, Operation.STOP, ALICE)
        stopped.set()
        await eventually(lambda: not bench.places.work(f"{job.id}-1").exists())
    assert cluster.submitted == []


async def test_folders_that_no_job_needs_are_swept_at_the_start(bench, cluster):
    """Laid out, and then the server died; before the next one took it up again, it was stopped."""
    job = await on_record(bench.store)
    stray, stopped = bench.places.work("zzzzzzzzzzzz-1"), bench.places.work(f"{job.id}-1")
    foreign = bench.places.work("notes of mine")
    for folder in (stray, stopped, foreign):
        (folder / "results").mkdir(parents=True)
    await bench.dispatcher().control(job.id, Operation.STOP, ALICE)
    async with bench.running():
        await eventually(lambda: not stray.exists() and not stopped.exists())
    assert foreign.exists()


async def test_what_cannot_be_laid_out_fails_and_leaves_no_folder(bench, cluster):
    async with bench.running() as dispatcher:
        spec = a_spec(in_place=False, workdir="a" * 300)
        job, _ = await dispatcher.submit(spec, ALICE)
        job = await bench.until(job, lambda job: job.state.ended)
        assert (job.state, job.reason) == (State.FAILED, Reason.LAUNCH)
        assert "cannot be laid out" in job.why
        await eventually(lambda: not bench.places.work(f"{job.id}-1").exists())
        other, _ = await dispatcher.submit(a_spec(), ALICE)
        await _until_phase(bench, other, Phase.HANDED)


# a disk that refuses


async def test_a_full_disk_leaves_it_due_with_the_reason_and_is_tried_again(bench, cluster, monkeypatch):
    full = True

    def prepare(blobs, spec, work):
        if full:
            raise StorageFault("the working folder cannot be made: No space left on device")

    monkeypatch.setattr("shorepower.dispatch.handover.prepare", prepare)
    async with bench.running() as dispatcher:
        job, _ = await dispatcher.submit(a_spec(), ALICE)
        told = await bench.until(job, lambda job: "No space left" in job.why)
        assert told.state is State.PENDING
        assert await _phase(bench, job) is Phase.DUE
        full = False
        await _until_phase(bench, job, Phase.HANDED)
    assert len(cluster.submitted) == 1


async def _mark(bench, job) -> None:
    def mark(tx):
        (submission,) = tx.submissions(job.id)
        work = bench.places.work(submission.id)
        Path(work / "results").mkdir(parents=True, exist_ok=True)
        tx.put_submission(replace(submission, phase=Phase.HANDING, workdir=str(work)))

    await bench.store.write(mark)


class _Always(dict):
    """The same answer for every submission."""

    def __init__(self, answer: Where) -> None:
        self._answer = answer

    def get(self, name, default=None):
        return self._answer
