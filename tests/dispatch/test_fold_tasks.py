"""News of the tasks of an array, folded in packed and, beside it, one by one into plain records."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from shorepower.dispatch.fold import close, fold, request
from shorepower.dispatch.ledger import Ledger, tasks_in
from shorepower.model.array import Range
from shorepower.model.chunks import meaning_of
from shorepower.model.job import Job, submission_id
from shorepower.model.lifecycle import (
    Attempt,
    Observation,
    Operation,
    Phase,
    Reason,
    State,
    advance,
    combine,
)
from shorepower.model.tasks import TaskSet
from shorepower.model.usage import Usage
from shorepower.store.contract import Snapshot, Store
from shorepower.store.memory import open_memory_store
from support.dispatching import NOW, on_record, sweep

pytestmark = pytest.mark.anyio

COUNT = 9
_REASONS: dict[State, list[Reason | None]] = {
    State.COMPLETED: [None],
    State.FAILED: [Reason.EXIT_CODE, Reason.SIGNAL, Reason.LAUNCH, Reason.LOST],
    State.CANCELED: [Reason.STOPPED, Reason.KILLED],
}
_STATES = st.sampled_from(list(State))


@pytest.fixture(scope="module")
def portal():
    with start_blocking_portal("asyncio") as made:
        yield made


@st.composite
def observations(draw) -> Observation:
    state = draw(_STATES)
    figures = draw(st.booleans()) if state.ended else state is not State.PENDING
    started_at = NOW + timedelta(seconds=draw(st.integers(0, 9))) if figures else None
    return Observation(
        submission="",
        tasks=TaskSet.of(draw(st.sets(st.integers(0, COUNT + 1), min_size=1))),
        restart=draw(st.sampled_from([0, 0, 0, 1, 2])),
        as_of=float(draw(st.integers(0, 12))),
        source="squeue",
        state=state,
        reason=draw(st.sampled_from(_REASONS[state])) if state.ended else None,
        exit_code=draw(st.sampled_from([None, 0, 3])) if state.ended and figures else None,
        started_at=started_at,
        ended_at=started_at + timedelta(seconds=5) if state.ended and started_at else None,
        usage=Usage(wall_time_s=2.5, cpu_time_s=1.5, peak_memory_mib=8.0)
        if figures and state.ended
        else None,
    )


def naively(tasks: dict[int, Attempt], news: list[Observation]) -> None:
    """Each task by itself."""
    for seen in news:
        for position in seen.tasks:
            if position in tasks:
                told = advance(tasks[position], seen)
                if told is not tasks[position] and seen.state.ended and seen.started_at is None:
                    told = replace(told, restart=tasks[position].restart)  # it told nothing but its end
                tasks[position] = told


def packed(view: Snapshot, job: str) -> dict[int, tuple]:
    known = view.job(job)
    assert known is not None
    ledger = Ledger(view, known)
    told = {}
    for position in range(known.task_count):
        figures = ledger.figures(position)
        meaning = meaning_of(ledger.letter(position))
        told[position] = (*meaning, figures.restart, figures.exit_code, figures.started_at)
    return told


def plain(tasks: dict[int, Attempt]) -> dict[int, tuple]:
    def one(task: Attempt) -> tuple:
        started = None if task.started_at is None else task.started_at.timestamp()
        return task.state, task.reason if task.state.ended else None, task.restart, task.exit_code, started

    return {position: one(task) for position, task in tasks.items()}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(observations(), min_size=1, max_size=6), max_size=12))
def test_packed_or_one_by_one_it_comes_to_the_same(portal, batches):
    store = portal.call(open_memory_store)
    try:
        job = portal.call(on_record, store, sweep(COUNT))
        name = submission_id(job.id, 1)
        tasks = {position: Attempt(job=job.id, task=position, submission=name) for position in range(COUNT)}
        for batch in batches:
            news = [replace(seen, submission=name) for seen in batch]
            before = portal.call(store.read, lambda view: view.job(job.id))
            naively(tasks, news)
            changed = portal.call(store.write, lambda tx, news=news: fold(tx, news, NOW))
            if len(news) == 1:
                assert not portal.call(store.write, lambda tx, news=news: fold(tx, news, NOW)), "twice"
            now = portal.call(store.read, lambda view: view.job(job.id))
            if before.state.ended:
                assert (changed, now) == ([], before)
            told = portal.call(store.read, lambda view: packed(view, job.id))
            assert told == plain(tasks)
            counts = Counter(task.state for task in tasks.values())
            assert now.counts == counts
            assert now.state is combine(dict(counts))
            assert (now.ended_at is not None) == now.state.ended
            submission = portal.call(store.read, lambda view: view.submission(name))
            assert (submission.phase is Phase.CLOSED) == now.state.ended
    finally:
        portal.call(store.aclose)


async def sweeping(store: Store, count: int = 100, **more) -> tuple[Job, str]:
    job = await on_record(store, sweep(count, **more))
    return job, submission_id(job.id, 1)


def seen(name: str, state: State, tasks: TaskSet, as_of: float = 1.0, **more) -> Observation:
    return Observation(submission=name, tasks=tasks, as_of=as_of, source="local", state=state, **more)


async def folded(store: Store, *news: Observation, now: datetime = NOW) -> Job:
    changed = await store.write(lambda tx: fold(tx, news, now))
    assert len(changed) == 1
    return changed[0]


async def test_an_array_tells_how_far_it_is_and_which_tasks_failed(store: Store):
    job, name = await sweeping(store, ranges=(Range(1, 199, 2),))
    running = await folded(
        store,
        *(seen(name, State.RUNNING, TaskSet.of([n]), started_at=NOW, host="here") for n in range(4)),
    )
    assert (running.state, running.reason, running.why) == (State.RUNNING, None, "0 of 100 tasks done")
    assert (running.host, running.started_at) == ("here", NOW)
    later = NOW + timedelta(seconds=3)
    used = Usage(wall_time_s=3.0, cpu_time_s=2.0, peak_memory_mib=10.0)
    ends = [
        seen(name, State.COMPLETED, TaskSet.of([0]), 2, exit_code=0, ended_at=later, usage=used),
        seen(
            name,
            State.FAILED,
            TaskSet.of([2]),
            2,
            reason=Reason.EXIT_CODE,
            exit_code=7,
            why="it ended with exit code 7",
            ended_at=later,
            usage=replace(used, peak_memory_mib=30.0),
        ),
    ]
    some = await folded(store, *ends)
    assert some.why == "1 of 100 tasks done, 1 failed"
    assert some.counts == {State.COMPLETED: 1, State.FAILED: 1, State.RUNNING: 2, State.PENDING: 96}
    assert some.usage == Usage(wall_time_s=6.0, cpu_time_s=4.0, peak_memory_mib=30.0)
    assert await store.write(lambda tx: fold(tx, ends, NOW)) == []
    rows = await store.read(lambda view: view.attempts(job.id))
    assert [(row.task, row.exit_code, row.why) for row in rows] == [(2, 7, "it ended with exit code 7")]
    rest = TaskSet.first(100) - TaskSet.of([0, 2, 9])
    last = await folded(
        store,
        seen(name, State.COMPLETED, rest, 3, exit_code=0, ended_at=later),
        seen(name, State.FAILED, TaskSet.of([9]), 3, reason=Reason.EXIT_CODE, exit_code=1, ended_at=later),
    )
    assert (last.state, last.reason, last.exit_status) == (State.FAILED, Reason.EXIT_CODE, 1)
    assert last.why == "2 of 100 tasks failed: 5, 19"
    assert (last.ended_at, last.exit_code) == (later, None)


async def test_many_failures_are_named_in_part_and_not_all_have_a_row(store: Store, monkeypatch):
    monkeypatch.setattr("shorepower.dispatch.fold_tasks._MOST_FAILED", 3)
    job, name = await sweeping(store, 10_000)
    failing = seen(name, State.FAILED, TaskSet.of(range(0, 10_000, 2)), reason=Reason.SIGNAL, signal=9)
    await folded(store, failing)
    last = await folded(store, seen(name, State.COMPLETED, TaskSet.first(10_000), exit_code=0))
    assert last.why == "5,000 of 10,000 tasks failed: 0, 2, 4, 6, 8 and 4,995 more"
    assert last.reason is Reason.SIGNAL
    assert [row.task for row in await store.read(lambda view: view.attempts(job.id))] == [0, 2, 4]
    assert len(await store.read(lambda view: tasks_in(view, last, State.FAILED))) == 5_000


async def test_a_resume_is_over_when_nothing_is_suspended_any_more(store: Store):
    job, name = await sweeping(store, 4)
    both = [seen(name, State.RUNNING, TaskSet.of([n]), 1.0, started_at=NOW) for n in range(2)]
    await folded(store, *both)
    for operation in (Operation.SUSPEND, Operation.RESUME):

        def ask(tx, operation=operation):
            return request(tx, tx.job(job.id), operation, "alice", NOW)

        await store.write(ask)
    news = [
        (State.COMPLETED, 2, 2.0),  # the suspension is still on its way
        (State.SUSPENDED, 0, 2.0),
        (State.SUSPENDED, 1, 2.0),
        (State.RUNNING, 0, 3.0),
    ]
    for state, position, as_of in news:
        told = await folded(store, seen(name, state, TaskSet.of([position]), as_of, started_at=NOW))
        assert told.wanted is Operation.RESUME
    last = await folded(store, seen(name, State.RUNNING, TaskSet.of([1]), 3.0, started_at=NOW))
    assert (last.state, last.wanted) == (State.RUNNING, None)
    assert await store.read(lambda view: view.controls()) == []


async def test_a_resume_counts_while_some_tasks_run_and_others_are_suspended(store: Store):
    _, name = await sweeping(store, 4)

    async def ask(operation: Operation) -> Job:
        return await store.write(lambda tx: request(tx, tx.job(name[:-2]), operation, "alice", NOW))

    async def see(state: State, position: int, as_of: float) -> Job:
        return await folded(store, seen(name, state, TaskSet.of([position]), as_of, started_at=NOW))

    await see(State.RUNNING, 0, 1.0)
    await ask(Operation.SUSPEND)
    assert (await see(State.SUSPENDED, 0, 2.0)).wanted is None
    late = await see(State.RUNNING, 1, 1.0)  # it had begun before; its suspension is still on its way
    assert late.state is State.RUNNING
    assert (await ask(Operation.RESUME)).wanted is Operation.RESUME
    for state, as_of in ((State.SUSPENDED, 3.0), (State.RUNNING, 4.0)):
        assert (await see(state, 1, as_of)).wanted is Operation.RESUME
    last = await see(State.RUNNING, 0, 5.0)
    assert (last.state, last.wanted) == (State.RUNNING, None)


async def test_an_array_of_one_task_is_an_array(store: Store):
    _, name = await sweeping(store, 1, ranges=(Range(7, 7),))
    failing = seen(name, State.FAILED, TaskSet.first(1), reason=Reason.NODE_LOST, exit_code=3)
    last = await folded(store, failing)
    assert (last.why, last.exit_status) == ("1 of 1 task failed", 1)
    _, name = await sweeping(store, 1)
    last = await folded(store, seen(name, State.COMPLETED, TaskSet.first(1), exit_code=0))
    assert (last.state, last.exit_status, last.why) == (State.COMPLETED, 0, "1 of 1 task done")


async def test_why_an_array_waits(store: Store):
    _, name = await sweeping(store)
    waits = seen(name, State.PENDING, TaskSet.first(100), reason=Reason.RESOURCES, why="waits for 2 cpus")
    told = await folded(store, waits)
    assert (told.state, told.reason, told.why) == (State.PENDING, Reason.RESOURCES, "waits for 2 cpus")
    assert await store.write(lambda tx: fold(tx, [waits], NOW)) == []


async def test_a_million_tasks_are_refused_in_words_and_in_no_time(store: Store):
    job, name = await sweeping(store, 1_000_000)

    def refuse(tx):
        submission = tx.submission(name)
        return close(tx, submission, State.FAILED, Reason.LAUNCH, "the queue is closed", NOW)

    ended = await store.write(refuse)
    assert (ended.state, ended.reason, ended.exit_status) == (State.FAILED, Reason.LAUNCH, 1)
    assert ended.why == "all 1,000,000 tasks failed: the queue is closed"
    assert await store.read(lambda view: view.attempts(job.id)) == []
    assert await store.write(refuse) is None


async def test_a_requeued_task_waits_again_and_old_news_of_it_is_old(store: Store):
    _, name = await sweeping(store, 2)
    one = TaskSet.of([1])
    await folded(store, seen(name, State.RUNNING, one, 5.0, started_at=NOW))
    again = await folded(store, seen(name, State.PENDING, one, 6.0, restart=1))
    assert again.counts == {State.PENDING: 2}
    old = [
        seen(name, State.RUNNING, one, 7.0, started_at=NOW),
        seen(name, State.FAILED, one, 8.0, reason=Reason.EXIT_CODE, exit_code=1),
        seen(name, State.CANCELED, one, 8.0, reason=Reason.STOPPED),
    ]
    assert await store.write(lambda tx: fold(tx, old, NOW)) == []
    ended = await store.write(
        lambda tx: close(tx, tx.submission(name), State.FAILED, Reason.LOST, "it is gone", NOW)
    )
    assert ended.counts == {State.FAILED: 2}


async def test_metrics_are_kept_with_the_end_and_never_after(store: Store):
    job, name = await sweeping(store, 3)
    end = seen(name, State.COMPLETED, TaskSet.of([1]), exit_code=0)
    first = {(name, 1): b'{"auc":0.5}', (name, 2): b'{"auc":9}'}
    await store.write(lambda tx: fold(tx, [end], NOW, metrics=first))
    await store.write(lambda tx: fold(tx, [end], NOW, metrics={(name, 1): b'{"auc":0.9}'}))
    assert await store.read(lambda view: view.task_metrics(job.id, 0, 9)) == {1: b'{"auc":0.5}'}
