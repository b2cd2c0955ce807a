"""What may be asked of a job in which state, and what is recorded of it."""

import pytest
from msgspec.structs import replace

from shorepower.dispatch.fold import fold, request
from shorepower.model.errors import Conflict
from shorepower.model.job import Job
from shorepower.model.lifecycle import Observation, Operation, Phase, Reason, State
from shorepower.store.contract import Store
from support.dispatching import NOW, on_record

pytestmark = pytest.mark.anyio


async def _handed(store: Store, state: State = State.PENDING) -> Job:
    """A job that a cluster has, seen in a state."""
    job = await on_record(store)

    def hand(tx):
        submission = tx.submissions(job.id)[0]
        tx.put_submission(replace(submission, phase=Phase.HANDED, handle="h"))
        _see(tx, job, state, 1.0)
        return tx.job(job.id)

    return await store.write(hand)


def _see(tx, job: Job, state: State, as_of: float, **more) -> None:
    fold(tx, [Observation(submission=f"{job.id}-1", as_of=as_of, source="t", state=state, **more)], NOW)


async def _ask(store: Store, job: Job, operation: Operation) -> Job:
    return await store.write(lambda tx: request(tx, tx.job(job.id), operation, "alice", NOW))


@pytest.mark.parametrize(
    ("operation", "reason", "status"),
    [(Operation.STOP, Reason.STOPPED, 143), (Operation.KILL, Reason.KILLED, 137)],
)
async def test_what_no_cluster_has_ends_at_once(store, operation, reason, status):
    job = await on_record(store)
    ended = await _ask(store, job, operation)
    assert (ended.state, ended.reason, ended.exit_status) == (State.CANCELED, reason, status)
    assert ended.ended_at == NOW
    assert "before it was handed over" in ended.why
    assert await store.read(lambda view: view.controls()) == []
    assert (await store.read(lambda view: view.submissions(job.id)))[0].phase is Phase.CLOSED


async def test_what_a_cluster_may_have_is_asked_to_stop(store):
    job = await _handed(store)
    asked = await _ask(store, job, Operation.STOP)
    assert (asked.state, asked.wanted) == (State.PENDING, Operation.STOP)
    (control,) = await store.read(lambda view: view.controls("fake"))
    assert (control.operation, control.requested_by) == (Operation.STOP, "alice")


async def test_every_operation_is_audited(store):
    job = await _handed(store, State.RUNNING)
    for operation in (Operation.SUSPEND, Operation.STOP, Operation.KILL):
        await _ask(store, job, operation)
    lines = await store.read(lambda view: view.audit())
    assert [(line["who"], line["what"], line["subject"]) for line in lines] == [
        ("alice", name, job.id) for name in ("suspend", "stop", "kill")
    ]


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELED])
async def test_nothing_is_asked_of_an_ended_job(store, operation, state):
    job = await _handed(store, state)
    with pytest.raises(Conflict, match=f"has ended .{state}"):
        await _ask(store, job, operation)


async def test_only_a_running_job_is_suspended(store):
    job = await _handed(store)
    with pytest.raises(Conflict, match="only a running job can suspend"):
        await _ask(store, job, Operation.SUSPEND)


async def test_only_a_suspended_job_is_resumed(store):
    job = await _handed(store)
    with pytest.raises(Conflict, match="only a suspended job can resume"):
        await _ask(store, job, Operation.RESUME)


@pytest.mark.parametrize(
    ("state", "operation"), [(State.RUNNING, Operation.RESUME), (State.SUSPENDED, Operation.SUSPEND)]
)
async def test_what_is_so_already_is_not_asked_for(store, state, operation):
    job = await _handed(store, state)
    assert await _ask(store, job, operation) == await store.read(lambda view: view.job(job.id))
    assert await store.read(lambda view: view.controls()) == []


async def test_a_suspend_is_over_once_it_is_seen(store):
    job = await _handed(store, State.RUNNING)
    await _ask(store, job, Operation.SUSPEND)
    await store.write(lambda tx: _see(tx, job, State.SUSPENDED, 2.0))
    told = await store.read(lambda view: view.job(job.id))
    assert (told.state, told.wanted) == (State.SUSPENDED, None)
    assert await store.read(lambda view: view.controls()) == []


async def test_a_suspend_not_seen_yet_can_be_taken_back_and_asked_again(store):
    job = await _handed(store, State.RUNNING)
    await _ask(store, job, Operation.SUSPEND)
    assert (await _ask(store, job, Operation.RESUME)).wanted is Operation.RESUME
    assert (await _ask(store, job, Operation.SUSPEND)).wanted is Operation.SUSPEND


async def test_a_resume_not_seen_yet_can_be_taken_back(store):
    job = await _handed(store, State.SUSPENDED)
    await _ask(store, job, Operation.RESUME)
    assert (await _ask(store, job, Operation.SUSPEND)).wanted is Operation.SUSPEND


@pytest.mark.parametrize("ending", [Operation.STOP, Operation.KILL])
@pytest.mark.parametrize(
    ("state", "other"), [(State.RUNNING, Operation.SUSPEND), (State.SUSPENDED, Operation.RESUME)]
)
async def test_nothing_takes_a_stop_back(store, ending, state, other):
    job = await _handed(store, state)
    await _ask(store, job, ending)
    with pytest.raises(Conflict, match="is being stopped"):
        await _ask(store, job, other)
    (control,) = await store.read(lambda view: view.controls())
    assert control.operation is ending


async def test_a_stop_after_a_kill_leaves_it_a_kill(store):
    job = await _handed(store, State.RUNNING)
    await _ask(store, job, Operation.KILL)
    assert (await _ask(store, job, Operation.STOP)).wanted is Operation.KILL
    (control,) = await store.read(lambda view: view.controls())
    assert control.operation is Operation.KILL


async def test_a_kill_after_a_stop_is_a_kill(store):
    job = await _handed(store, State.RUNNING)
    await _ask(store, job, Operation.STOP)
    assert (await _ask(store, job, Operation.KILL)).wanted is Operation.KILL


async def test_an_end_takes_what_was_wanted_with_it(store):
    job = await _handed(store, State.RUNNING)
    await _ask(store, job, Operation.STOP)
    await store.write(lambda tx: _see(tx, job, State.COMPLETED, 2.0, exit_code=0))
    told = await store.read(lambda view: view.job(job.id))
    assert (told.state, told.wanted, told.exit_status) == (State.COMPLETED, None, 0)
    assert await store.read(lambda view: view.controls()) == []


async def test_an_end_is_final(store):
    job = await _handed(store, State.COMPLETED)
    before = await store.read(lambda view: view.job(job.id))
    for state in State:
        await store.write(lambda tx, s=state: _see(tx, job, s, 99.0, exit_code=1, restart=3))
    assert await store.read(lambda view: view.job(job.id)) == before


async def test_a_start_and_an_end_in_one_batch_are_one_change(store):
    job = await on_record(store)

    def both(tx):
        tx.put_submission(replace(tx.submissions(job.id)[0], phase=Phase.HANDED))
        news = [
            Observation(
                submission=f"{job.id}-1", as_of=at, source="t", state=state, exit_code=code, started_at=NOW
            )
            for at, state, code in ((1.0, State.RUNNING, None), (2.0, State.COMPLETED, 0))
        ]
        return fold(tx, news, NOW)

    (told,) = await store.write(both)
    assert (told.state, told.started_at, told.revision) == (State.COMPLETED, NOW, job.revision + 1)
    events = await store.read(lambda view: view.events(0, job=job.id))
    assert [event.body["state"] for event in events] == ["PENDING", "COMPLETED"]


async def test_news_of_an_unknown_submission_is_no_news(store):
    seen = Observation(submission="abcdefghijkl-1", as_of=1.0, source="t", state=State.RUNNING)
    assert await store.write(lambda tx: fold(tx, [seen], NOW)) == []
