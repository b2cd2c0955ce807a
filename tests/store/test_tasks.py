"""Tasks of arrays: letters, figures, metrics, operations on some of them."""

from __future__ import annotations

import pytest

from shorepower.model.array import ArraySpec, Range
from shorepower.model.errors import NotFound
from shorepower.model.lifecycle import Operation
from shorepower.model.payload import Payload
from shorepower.model.tasks import TaskSet
from shorepower.store.contract import Store
from support.store_records import NOW, after, insert, job, spec

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("what", ["letters", "figures", "metrics"])
async def test_what_was_put_comes_back_by_place(store: Store, what: str) -> None:
    one, other = await store.write(lambda tx: (insert(tx), insert(tx)))
    put, get = f"put_task_{what}", f"task_{what}"
    for written in ({0: b"{}", 3: b'{"a":1}', 9: b'{"b":2}'}, {3: b'{"a":2}'}):
        await store.write(lambda tx, told=written: getattr(tx, put)(one.id, told))
    assert await store.read(lambda view: getattr(view, get)(one.id, 0, 8)) == {0: b"{}", 3: b'{"a":2}'}
    assert await store.read(lambda view: getattr(view, get)(one.id, 9, 9)) == {9: b'{"b":2}'}
    assert await store.read(lambda view: getattr(view, get)(other.id, 0, 9)) == {}
    with pytest.raises(NotFound):
        await store.write(lambda tx: getattr(tx, put)("zzzzzzzzzzzz", {0: b"{}"}))


async def test_an_operation_on_some_tasks_is_replaced_by_the_same_operation_alone(store: Store) -> None:
    of = await store.write(insert)
    one = await store.write(
        lambda tx: tx.put_task_control(of.id, Operation.STOP, TaskSet.of([1]), "ada", NOW)
    )
    kill = await store.write(
        lambda tx: tx.put_task_control(of.id, Operation.KILL, TaskSet.of([2]), "ada", NOW)
    )
    more = await store.write(
        lambda tx: tx.put_task_control(of.id, Operation.STOP, TaskSet.of([1, 7]), "bob", after(1))
    )
    assert one.serial < kill.serial < more.serial
    assert await store.read(lambda view: view.task_controls(job=of.id)) == [kill, more]
    assert await store.read(lambda view: view.task_controls("local")) == [kill, more]
    assert await store.read(lambda view: view.task_controls("hpc")) == []
    assert await store.read(lambda view: view.task_controls("hpc", of.id)) == []
    assert await store.read(lambda view: view.control(of.id)) is None
    await store.write(lambda tx: tx.drop_task_control(of.id, one.serial))
    await store.write(lambda tx: tx.drop_task_control(of.id, kill.serial))
    assert await store.read(lambda view: view.task_controls()) == [more]
    await store.write(lambda tx: tx.drop_task_control(of.id))
    assert await store.read(lambda view: view.task_controls()) == []
    with pytest.raises(NotFound):
        await store.write(
            lambda tx: tx.put_task_control("zzzzzzzzzzzz", Operation.STOP, TaskSet.of([1]), "ada", NOW)
        )


async def test_an_array_is_known_as_one_and_holds_its_blobs(store: Store) -> None:
    kept = job(array=True, task_count=1_000_000)
    array = ArraySpec(ranges=(Range(0, 999_999),), rows=("sha256:1",), row_count=1_000_000)
    asked = spec(tree="sha256:0", array=array, input=Payload(blobs=("sha256:2",)))
    await store.write(lambda tx: tx.insert_job(kept, asked))
    found = await store.read(lambda view: view.job(kept.id))
    assert found is not None
    assert (found.array, found.task_count) == (True, 1_000_000)
    assert await store.read(lambda view: view.spec(kept.id)) == asked
    assert await store.read(lambda view: view.trees()) == {"sha256:0", "sha256:1", "sha256:2"}
