"""The journal, its subscribers, and the audit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import anyio
import pytest

from shorepower.model.events import Event
from shorepower.model.lifecycle import State
from shorepower.store.contract import Store, Transaction
from support.store_records import NOW, after, insert, job, submit

pytestmark = pytest.mark.anyio


async def test_events_come_in_order_and_can_be_narrowed(store: Store) -> None:
    mine, other = await store.write(insert), await store.write(lambda tx: insert(tx, owner="bob"))
    assert await store.read(lambda view: view.last_event()) == 0
    told = [
        await store.write(lambda tx, n=n, of=of: tx.append_event(after(-n), "job.state", of, {"n": n}))
        for n, of in enumerate((mine, other, mine, other))
    ]
    assert [event.seq for event in told] == [1, 2, 3, 4]
    assert await store.read(lambda view: view.events(0)) == told
    assert await store.read(lambda view: view.events(1, limit=2)) == told[1:3]
    assert await store.read(lambda view: view.events(1, owner="ada")) == [told[2]]
    assert await store.read(lambda view: view.events(0, job=other.id)) == [told[1], told[3]]
    assert await store.read(lambda view: view.events(0, job=other.id, owner="ada")) == []
    assert await store.read(lambda view: view.last_event()) == 4


async def test_a_body_reads_the_same_for_subscribers_and_later(store: Store) -> None:
    of = await store.write(insert)
    body: dict[str, object] = {"state": State.RUNNING, "at": NOW, "set": (1, 2), "none": None, "ä": 0.5}
    told = await store.write(lambda tx: tx.append_event(NOW, "job.state", of, body))
    assert await store.read(lambda view: view.events(0)) == [told]
    assert told.body == {
        "state": "RUNNING",
        "at": "2026-11-20T09:30:00.123456Z",
        "set": [1, 2],
        "none": None,
        "ä": 0.5,
    }


async def test_sequence_numbers_are_not_used_twice(store: Store) -> None:
    first = await store.write(submit)
    await store.write(lambda tx: tx.delete_job(first.id))
    assert await store.read(lambda view: view.events(0)) == []
    assert await store.read(lambda view: view.last_event()) == 1
    second = await store.write(submit)
    assert [event.seq for event in await store.read(lambda view: view.events(0))] == [2]

    def forget(tx: Transaction) -> None:
        tx.append_event(NOW, "job.forgotten", second, {})
        tx.delete_job(second.id)

    await store.write(forget)
    left = await store.read(lambda view: view.events(0))
    assert [(event.seq, event.type) for event in left] == [(3, "job.forgotten")], "told in the same unit"


async def test_subscribers_hear_what_was_committed_in_order(store: Store) -> None:
    heard: list[Event] = []
    store.subscribe(heard.extend)

    def refuse(tx: Transaction) -> None:
        submit(tx)
        raise LookupError("undone")

    async def one(number: int) -> None:
        if number % 3:
            await store.write(submit)
            return
        with pytest.raises(LookupError):
            await store.write(refuse)

    async with anyio.create_task_group() as group:
        for number in range(60):
            group.start_soon(one, number)
    assert len(heard) == 40
    assert heard == await store.read(lambda view: view.events(0))
    assert [event.seq for event in heard] == sorted({event.seq for event in heard})


async def test_a_subscriber_hears_before_the_writer_goes_on_and_can_leave(store: Store) -> None:
    heard: list[Sequence[Event]] = []
    leave = store.subscribe(heard.append)
    kept = await store.write(submit)
    assert [[event.job for event in batch] for batch in heard] == [[kept.id]]
    await store.write(insert)
    assert len(heard) == 1, "a commit without events is no news"
    leave()
    leave()
    await store.write(submit)
    assert len(heard) == 1


async def test_a_subscriber_that_fails_harms_nobody(store: Store) -> None:
    said: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))

    def fail(_: Sequence[Event]) -> None:
        raise LookupError("mine")

    heard: list[Event] = []
    store.subscribe(fail)
    store.subscribe(heard.extend)
    kept = await store.write(submit)
    assert [event.job for event in heard] == [kept.id]
    assert [type(context["exception"]) for context in said] == [LookupError]


async def test_a_subscriber_may_leave_while_it_hears(store: Store) -> None:
    heard: list[int] = []

    def once(batch: Sequence[Event]) -> None:
        heard.append(len(batch))
        leave()

    leave = store.subscribe(once)
    await store.write(submit)
    await store.write(submit)
    assert heard == [1]


async def test_audit_lines_come_in_order_and_outlive_the_job(store: Store) -> None:
    of = job()
    for number in range(3):
        await store.write(
            lambda tx, number=number: tx.append_audit(after(number), "ada", f"do {number}", of.id)
        )
    lines = await store.read(lambda view: view.audit())
    assert [line["what"] for line in lines] == ["do 0", "do 1", "do 2"]
    assert lines[0] == {
        "seq": "1",
        "at": "2026-11-20T09:30:00.123456+00:00",
        "who": "ada",
        "what": "do 0",
        "subject": of.id,
    }
    assert await store.read(lambda view: view.audit(1, 1)) == [lines[1]]
