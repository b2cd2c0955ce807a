"""Submissions, attempts and controls."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from shorepower.model.errors import NotFound
from shorepower.model.job import Submission
from shorepower.model.lifecycle import Attempt, Operation, Phase, Reason, State
from shorepower.model.tasks import TaskSet
from shorepower.model.usage import Usage
from shorepower.store.contract import Store, Transaction
from support.store_records import NOW, after, insert, job, submission, submit

pytestmark = pytest.mark.anyio


async def test_a_submission_comes_back_as_it_was_last_put(store: Store) -> None:
    of = await store.write(insert)
    first = submission(of)
    second = submission(
        of,
        2,
        attempt=3,
        tasks=TaskSet.of([1, 2, 3, 9]),
        phase=Phase.HELD,
        not_before=after(5),
        handle="4711",
        workdir="/state/work/x",
        tries=2,
        why="waits for its time",
    )
    for put in (second, replace(first, why="older text"), first):
        await store.write(lambda tx, put=put: tx.put_submission(put))
    assert await store.read(lambda view: view.submission(first.id)) == first
    assert await store.read(lambda view: view.submissions(of.id)) == [first, second]


async def test_submissions_of_phases_and_clusters_come_oldest_first(store: Store) -> None:
    def fill(tx: Transaction) -> list[Submission]:
        made = []
        for cluster, phase in (
            ("local", Phase.DUE),
            ("hpc", Phase.HANDING),
            ("local", Phase.HANDED),
            ("local", Phase.DUE),
            ("hpc", Phase.DUE),
            ("local", Phase.CLOSED),
        ):
            of = insert(tx, cluster=cluster)
            made.append(submission(of, phase=phase))
            tx.put_submission(made[-1])
        tx.put_submission(made[0])
        return made

    made = await store.write(fill)

    async def found(cluster: str | None, *phases: Phase, limit: int | None = None) -> list[int]:
        listed = await store.read(lambda view: view.submissions_in(cluster, phases, limit))
        return [made.index(one) for one in listed]

    assert await found("local", Phase.DUE) == [0, 3], "putting again does not change the order"
    assert await found("local", Phase.HANDED, Phase.DUE) == [0, 2, 3]
    assert await found(None, Phase.DUE, Phase.HANDING) == [0, 1, 3, 4]
    assert await found(None, Phase.DUE, Phase.HANDING, limit=2) == [0, 1]
    assert await found("local", Phase.CLOSED, Phase.CLOSED) == [5]
    assert await found("local") == []
    assert await found("nowhere", *Phase) == []


async def test_attempts_come_by_task_and_number(store: Store) -> None:
    of = await store.write(submit)
    full = Attempt(
        job=of.id,
        task=7,
        number=2,
        submission=f"{of.id}-2",
        restart=1,
        state=State.FAILED,
        reason=Reason.SIGNAL,
        why="killed by signal 11",
        exit_code=139,
        signal=11,
        host="node1",
        started_at=NOW,
        ended_at=after(1),
        usage=Usage(cpu_time_s=0.25),
        seen={"local": (1, 12.5), "wrapper": (0, 3.0)},
    )
    first = replace(full, number=1, state=State.RUNNING, reason=None)
    for attempt in (full, first, replace(first, state=State.CANCELED)):
        await store.write(lambda tx, attempt=attempt: tx.put_attempt(attempt))
    assert await store.read(lambda view: view.attempt(of.id, 7, 2)) == full
    told = await store.read(lambda view: view.attempts(of.id))
    assert [(one.task, one.number, one.state) for one in told] == [
        (0, 1, State.PENDING),
        (7, 1, State.CANCELED),
        (7, 2, State.FAILED),
    ]
    assert await store.read(lambda view: view.attempts(of.id, 7)) == told[1:]
    assert await store.read(lambda view: view.attempts("nothing")) == []


async def test_what_hangs_on_no_job_is_refused(store: Store) -> None:
    stranger = job()
    units = (
        lambda tx: tx.put_submission(submission(stranger)),
        lambda tx: tx.put_attempt(Attempt(job=stranger.id, submission="x")),
        lambda tx: tx.put_control(stranger.id, Operation.STOP, "ada", NOW),
    )
    for unit in units:
        with pytest.raises(NotFound, match=stranger.id):
            await store.write(unit)


async def test_a_submission_stays_with_its_job(store: Store) -> None:
    mine, other = await store.write(insert), await store.write(insert)
    await store.write(lambda tx: tx.put_submission(submission(mine)))
    with pytest.raises(NotFound):
        await store.write(lambda tx: tx.put_submission(submission(other, id=f"{mine.id}-1")))


async def test_a_later_control_replaces_an_earlier_one(store: Store) -> None:
    of, other = await store.write(insert), await store.write(lambda tx: insert(tx, cluster="hpc"))
    stop = await store.write(lambda tx: tx.put_control(of.id, Operation.STOP, "ada", NOW))
    aside = await store.write(lambda tx: tx.put_control(other.id, Operation.SUSPEND, "bob", NOW))
    kill = await store.write(lambda tx: tx.put_control(of.id, Operation.KILL, "ada", after(1)))
    assert kill.serial > aside.serial > stop.serial
    assert await store.read(lambda view: view.controls()) == [aside, kill]
    assert await store.read(lambda view: view.controls("local")) == [kill]
    assert await store.read(lambda view: [view.control(of.id), view.control("nothing")]) == [kill, None]
    await store.write(lambda tx: tx.drop_control(of.id, stop.serial))
    assert await store.read(lambda view: view.controls("local")) == [kill], "the later one stays"
    await store.write(lambda tx: tx.drop_control(of.id, kill.serial))
    await store.write(lambda tx: tx.drop_control(of.id))
    assert await store.read(lambda view: view.controls()) == [aside]
    again = await store.write(lambda tx: tx.put_control(of.id, Operation.RESUME, "ada", NOW))
    assert again.serial > kill.serial
    await store.write(lambda tx: tx.drop_control(of.id))
    assert await store.read(lambda view: view.controls("local")) == []
