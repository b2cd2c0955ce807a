"""A disk that refuses: everyone of the batch hears of it, nothing stays, and it goes on by itself."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import anyio
import apsw
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from shorepower.model.errors import StateDirectoryFault, StorageFault
from shorepower.model.events import Event
from shorepower.model.lifecycle import Operation, Phase
from shorepower.store.contract import JobQuery, Store, Transaction
from shorepower.store.sqlite import Tuning, open_store
from shorepower.store.sqlite.faults import DamagedRow, disk_refused
from support.store_records import insert, spec, submit, writer_held
from support.store_records import job as new_job

pytestmark = pytest.mark.anyio


def run(tx: object, statement: str) -> list[tuple[object, ...]]:
    """A statement that no contract offers."""
    return tx._run(statement)  # type: ignore[attr-defined]


async def refused(store: Store, unit: object, words: str) -> None:
    with pytest.raises(StorageFault, match=words):
        await store.write(unit)  # type: ignore[arg-type]


async def test_a_full_disk_refuses_in_words_and_is_got_over(store: Store) -> None:
    kept = await store.write(submit)
    heard: list[Event] = []
    store.subscribe(heard.extend)
    await store.write(lambda tx: run(tx, "PRAGMA max_page_count = 1"))  # never less than it has

    def large(tx: Transaction) -> None:
        submit(tx)
        tx.insert_job(new_job(), spec(env={"LARGE": "x" * 1_000_000}))

    async with anyio.create_task_group() as group, writer_held(store) as release:
        for unit in (submit, large, submit):
            group.start_soon(refused, store, unit, "full.*nothing was changed")
        await anyio.wait_all_tasks_blocked()
        release()
    assert heard == []
    assert [one.id for _, one in await store.read(lambda view: view.jobs(JobQuery()))] == [kept.id]
    assert sum((await store.read(lambda view: view.state_counts())).values()) == 1
    await store.write(lambda tx: run(tx, "PRAGMA max_page_count = 1000000"))
    await store.write(large)
    assert [event.seq for event in heard] == [2]
    assert len(await store.read(lambda view: view.jobs(JobQuery()))) == 3


FULL_AT_COMMIT = """
import resource, sys, anyio
from support.store_records import submit
from shorepower.model.errors import StorageFault
from shorepower.store.contract import JobQuery
from shorepower.store.sqlite import open_store

async def refused(store):
    try:
        await store.write(submit)
    except StorageFault as fault:
        print(fault)

async def main():
    store = await open_store(sys.argv[1], exclusive=sys.argv[2] == "exclusive")
    heard = []
    store.subscribe(heard.extend)
    await store.write(submit)
    for _ in range(2):
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, resource.RLIM_INFINITY))
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(refused, store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await store.write(submit)
    print(len(heard), len(await store.read(lambda view: view.jobs(JobQuery()))))
    await store.aclose()

anyio.run(main)
"""


@pytest.mark.parametrize("how", ["shared", "exclusive"])
async def test_a_write_that_fails_at_the_commit_is_got_over(tmp_path: Path, how: str) -> None:
    """The kernel refuses to let the log grow (RLIMIT_FSIZE), so the commit itself fails."""
    command = [sys.executable, "-c", FULL_AT_COMMIT, str(tmp_path / "store.db"), how]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = await anyio.run_process(command, env=environment, check=False)
    assert told.returncode == 0, told.stderr.decode()
    lines = told.stdout.decode().splitlines()
    faults = [line for line in lines if line.endswith("; nothing was changed")]
    assert len(faults) == 6
    assert sum("input/output error (SQLITE_IOERR_WRITE)" in line for line in faults) >= 2, "once a round"
    assert lines[-1] == "3 3"
    store = await open_store(tmp_path / "store.db")
    assert len(await store.read(lambda view: view.jobs(JobQuery()))) == 3
    await store.aclose()


LOCK = """
import apsw, sys
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
connection.close()
"""


async def test_a_database_locked_by_another_program(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(path, tuning=Tuning(busy_timeout_s=0.05))
    await store.write(insert)
    command = [sys.executable, "-c", LOCK, str(path)]
    async with await anyio.open_process(command, stderr=None) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert await BufferedByteReceiveStream(other.stdout).receive_until(b"\n", 100) == b"locked"
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(refused, store, insert, "locked")
        assert len(await store.read(lambda view: view.jobs(JobQuery()))) == 1, "reading goes on"
        with pytest.raises(StateDirectoryFault, match="locked"):
            await open_store(path, exclusive=True, tuning=Tuning(busy_timeout_s=0.05))
        await other.stdin.aclose()
        assert await other.wait() == 0
    await store.write(insert)
    assert len(await store.read(lambda view: view.jobs(JobQuery()))) == 2
    await store.aclose()


async def test_a_file_that_can_only_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await (await open_store(path)).aclose()
    header = bytearray(path.read_bytes())
    header[18] = (
        3  # a write version above 2 makes it read-only, also for root. Source: sqlite.org/fileformat
    )
    path.write_bytes(header)
    with pytest.raises(StateDirectoryFault, match="only be read"):
        await open_store(path)


async def test_a_connection_that_turned_read_only_is_replaced(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    await store.write(lambda tx: run(tx, "PRAGMA query_only = ON"))
    await refused(store, insert, "only be read")
    await store.write(insert)
    assert len(await store.read(lambda view: view.jobs(JobQuery()))) == 1
    await store.aclose()


async def test_a_database_that_was_taken_away_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(path)
    await store.write(insert)
    path.rename(tmp_path / "aside.db")
    for _ in range(2):
        await refused(store, insert, "moved, removed or replaced.*nothing was changed")
    assert not path.exists()
    shutil.copy(tmp_path / "aside.db", path)
    await refused(store, insert, "moved, removed or replaced")
    path.unlink()
    (tmp_path / "aside.db").rename(path)
    await store.write(insert)
    assert len(await store.read(lambda view: view.jobs(JobQuery()))) == 2
    await store.aclose()


async def test_a_damaged_database_is_said_to_be_damaged(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = await open_store(path)
    kept = [await store.write(submit) for _ in range(300)]
    await store.aclose()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    try:
        store = await open_store(path)
    except StateDirectoryFault:
        return
    with pytest.raises(StorageFault, match="damaged"):
        await store.read(lambda view: view.job(kept[0].id))
    await refused(store, submit, "damaged")
    await store.aclose()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE jobs SET state = 'EXPLODED'",
        "UPDATE jobs SET reason = 'BORED'",
        "UPDATE jobs SET wanted = 'dance'",
        "UPDATE jobs SET counts = '{\"EXPLODED\": 1}'",
        "UPDATE jobs SET usage = '[]'",
        "UPDATE jobs SET created_at = 9000000000000000000",
        "UPDATE results SET state = 'lost'",
        "UPDATE job_cards SET tags = 'x'",
        "UPDATE submissions SET phase = 'flying'",
        "UPDATE submissions SET tasks = '7'",
        "UPDATE attempts SET state = 'EXPLODED'",
        "UPDATE attempts SET seen = '{\"local\": 1}'",
        "UPDATE controls SET operation = 'dance'",
        "UPDATE job_counts SET state = 'EXPLODED'",
        "UPDATE journal SET body = 'x'",
        "UPDATE job_specs SET spec = x'00'",
        "DELETE FROM totals",
    ],
)
async def test_a_word_that_nobody_knows_is_never_guessed(memory: Store, damage: str) -> None:
    def fill(tx: Transaction) -> str:
        kept = submit(tx)
        tx.put_control(kept.id, Operation.STOP, "ada", kept.created_at)
        return kept.id

    kept = await memory.write(fill)
    looks = [
        lambda view: view.job(kept),
        lambda view: view.jobs(JobQuery()),
        lambda view: view.submissions_in(None, list(Phase)),
        lambda view: view.submissions(kept),
        lambda view: view.attempts(kept),
        lambda view: view.controls(),
        lambda view: view.state_counts(),
        lambda view: view.events(0),
        lambda view: view.spec(kept),
        lambda view: view.blob_bytes(),
    ]
    for look in looks:
        await memory.read(look)
    await memory.write(lambda tx: run(tx, damage))
    raised = 0
    for look in looks:
        try:
            await memory.read(look)
        except DamagedRow as fault:
            assert "job database" in str(fault)
            raised += 1
    assert raised


async def test_a_word_that_nobody_knows_is_not_written(memory: Store) -> None:
    with pytest.raises(ValueError, match="EXPLODED"):
        await memory.write(lambda tx: insert(tx, state="EXPLODED"))


def test_our_own_mistakes_are_not_blamed_on_the_disk() -> None:
    assert disk_refused(apsw.FullError("x"))
    assert not disk_refused(apsw.ConstraintError("x"))
    assert not disk_refused(apsw.SQLError("x"))
    assert not disk_refused(ValueError("x"))
