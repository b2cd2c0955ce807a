"""Units of work: alone in what they undo, together in what they flush."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from shorepower.model.errors import Busy, StorageFault
from shorepower.model.job import Job
from shorepower.model.lifecycle import State
from shorepower.store.contract import JobQuery, Snapshot, Store, Transaction
from shorepower.store.memory import open_memory_store
from shorepower.store.sqlite import SqliteStore, Tuning, open_store
from support.store_records import WAIT_S, insert, job, submit, writer_held

pytestmark = pytest.mark.anyio


async def count(store: Store) -> int:
    return sum((await store.read(lambda view: view.state_counts())).values())


async def test_units_that_wait_together_share_one_commit(store: SqliteStore) -> None:
    before = store.commits
    async with anyio.create_task_group() as group, writer_held(store) as release:
        for _ in range(50):
            group.start_soon(store.write, insert)
        await anyio.wait_all_tasks_blocked()
        release()
    assert store.commits - before == 2
    assert await count(store) == 50


async def test_a_batch_has_a_limit(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db", tuning=Tuning(batch_limit=10))
    async with anyio.create_task_group() as group, writer_held(store) as release:
        for _ in range(25):
            group.start_soon(store.write, insert)
        await anyio.wait_all_tasks_blocked()
        release()
    assert store.commits == 1 + 3
    await store.aclose()


async def test_an_exception_undoes_its_own_unit_in_the_batch_alone(store: SqliteStore) -> None:
    undone, before = job(), store.commits
    failed: list[str] = []

    def fail(tx: Transaction) -> None:
        submit(tx, id=undone.id)
        raise LookupError("mine")

    def conflict(tx: Transaction) -> None:
        insert(tx)
        insert(tx, id="aaaaaaaaaaaa")

    async def expect_failure(unit: Callable[[Transaction], object]) -> None:
        try:
            await store.write(unit)
        except Exception as error:
            failed.append(type(error).__name__)

    async with anyio.create_task_group() as group, writer_held(store) as release:
        group.start_soon(store.write, lambda tx: insert(tx, id="aaaaaaaaaaaa"))
        group.start_soon(expect_failure, fail)
        group.start_soon(store.write, insert)
        group.start_soon(expect_failure, conflict)
        await anyio.wait_all_tasks_blocked()
        release()
    assert store.commits - before == 2
    assert failed == ["LookupError", "Conflict"]
    assert await count(store) == 2
    assert await store.read(lambda view: view.job(undone.id)) is None
    assert await store.read(lambda view: view.events(0)) == []


async def test_later_units_of_a_batch_see_the_earlier_ones(store: Store) -> None:
    seen: list[Job | None] = []
    kept = job()

    async def look() -> None:
        seen.append(await store.write(lambda tx: tx.job(kept.id)))

    async with anyio.create_task_group() as group, writer_held(store) as release:
        group.start_soon(store.write, lambda tx: insert(tx, kept))
        await anyio.wait_all_tasks_blocked()
        group.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        release()
    assert seen == [kept]


async def test_a_reader_never_sees_what_may_still_be_undone(store: Store) -> None:
    undone, seen = job(), []

    def fail(tx: Transaction) -> None:
        insert(tx, undone)
        raise LookupError("mine")

    async def write() -> None:
        with pytest.raises(LookupError):
            await store.write(fail)

    async def look() -> None:
        seen.append(await store.read(lambda view: view.job(undone.id)))

    async with anyio.create_task_group() as group, writer_held(store) as release:
        for _ in range(10):
            group.start_soon(write)
            group.start_soon(look)
        await anyio.wait_all_tasks_blocked()
        release()
    assert seen == [None] * 10


async def test_readers_do_not_wait_for_the_writer(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await store.write(insert)
    async with writer_held(store):
        with anyio.fail_after(WAIT_S):
            assert await count(store) == 1
    await store.aclose()


async def test_a_busy_event_loop_does_not_starve_the_threads(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")

    async def burn() -> None:
        while True:
            until = time.perf_counter() + 0.002
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    async with anyio.create_task_group() as group:
        group.start_soon(burn)
        with anyio.fail_after(WAIT_S / 2):
            for _ in range(10):
                await store.write(submit)
                await store.read(lambda view: view.jobs(JobQuery()))
        group.cancel_scope.cancel()
    await store.aclose()


async def test_one_read_sees_one_state(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    entered, release = anyio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    seen: list[dict[State, int]] = []

    def look_twice(view: Snapshot) -> None:
        seen.append(view.state_counts())
        loop.call_soon_threadsafe(entered.set)
        assert release.wait(WAIT_S)
        seen.append(view.state_counts())

    async with anyio.create_task_group() as group:
        group.start_soon(store.read, look_twice)
        await entered.wait()
        await store.write(insert)
        release.set()
    assert seen == [{}, {}]
    assert await count(store) == 1
    await store.aclose()


async def test_a_read_that_fails_raises_its_own_exception(store: Store) -> None:
    def fail(view: Snapshot) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await store.read(fail)
    assert await count(store) == 0


async def test_a_full_queue_is_busy_and_takes_nothing(anyio_backend: str) -> None:
    store = await open_memory_store(tuning=Tuning(queue_limit=3))
    async with anyio.create_task_group() as group, writer_held(store) as release:
        for _ in range(3):
            group.start_soon(store.write, insert)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(Busy, match="3 requests") as caught:
            await store.write(insert)
        assert caught.value.retry_after_s > 0
        release()
    assert await count(store) == 3
    await store.aclose()


async def test_whoever_leaves_before_the_batch_begins_has_not_written(store: Store) -> None:
    async with writer_held(store) as release:
        with anyio.move_on_after(0):
            await store.write(insert)
        async with anyio.create_task_group() as group:
            group.start_soon(store.write, insert)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        release()
    assert await count(store) == 0


async def test_a_unit_is_of_no_use_when_it_is_over(store: Store) -> None:
    transaction = await store.write(lambda tx: tx)
    view = await store.read(lambda view: view)
    with pytest.raises(RuntimeError, match="over"):
        transaction.job("x")
    with pytest.raises(RuntimeError, match="over"):
        insert(transaction)
    with pytest.raises(RuntimeError, match="over"):
        view.jobs(JobQuery())


async def test_an_exception_that_no_future_can_carry(store: Store) -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        await store.write(lambda tx: next(iter(())))
    await store.write(insert)
    assert await count(store) == 1


async def test_another_event_loop_is_refused(store: Store) -> None:
    with pytest.raises(RuntimeError, match="event loop that opened it"):
        await to_thread.run_sync(lambda: asyncio.run(store.read(lambda view: view.last_event())))


async def test_closing_does_what_is_queued(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    async with anyio.create_task_group() as group, writer_held(store) as release:
        for _ in range(20):
            group.start_soon(store.write, insert)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(store.aclose)
        group.start_soon(store.aclose)
        await anyio.wait_all_tasks_blocked()
        release()
    await store.aclose()
    assert os.listdir(tmp_path) == ["store.db"], "the log is in the database"
    again = await open_store(tmp_path / "store.db")
    assert await count(again) == 20
    await again.aclose()


async def test_a_closed_store_says_so(store: Store) -> None:
    await store.aclose()
    with pytest.raises(StorageFault, match="closed"):
        await store.write(insert)
    with pytest.raises(StorageFault, match="closed"):
        await store.read(lambda view: view.last_event())


async def test_stores_in_memory_are_private(anyio_backend: str) -> None:
    one, other = await open_memory_store(), await open_memory_store()
    await one.write(insert)
    assert (await count(one), await count(other)) == (1, 0)
    await one.aclose()
    await other.aclose()
