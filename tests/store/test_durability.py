"""What was acknowledged is there: after closing, after SIGKILL, in a backup."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio
import apsw
import pytest

from shorepower.model.errors import InvalidRequest, StorageFault
from shorepower.model.lifecycle import Phase
from shorepower.store.contract import JobQuery, Snapshot, Store
from shorepower.store.sqlite import SqliteStore, open_store
from support.store_records import insert, submit

pytestmark = pytest.mark.anyio

CHILD = """
import sys, anyio
from support.store_records import submit
from shorepower.store.sqlite import open_store

async def main():
    store = await open_store(sys.argv[1], exclusive=sys.argv[2] == "exclusive")
    async def call():
        while True:
            kept = await store.write(submit)
            print(kept.id, flush=True)
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(call)

anyio.run(main)
"""


def whole(view: Snapshot) -> set[str]:
    """Every job has all that one unit wrote."""
    jobs = [one for _, one in view.jobs(JobQuery(limit=100_000))]
    for one in jobs:
        assert view.spec(one.id) is not None
        assert len(view.submissions(one.id)) == len(view.attempts(one.id)) == 1
        assert len(view.events(0, job=one.id)) == 1
    assert len(view.submissions_in(None, list(Phase))) == len(jobs)
    assert sum(view.state_counts().values()) == len(jobs)
    return {one.id for one in jobs}


async def killed_after(path: Path, how: str, lines: int) -> list[str]:
    """The ids that a writing process told of before it was killed, those still in the pipe included."""
    command = [sys.executable, "-c", CHILD, str(path), how]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told, killed = b"", False
    async with await anyio.open_process(command, env=environment, stderr=None) as child:
        assert child.stdout is not None
        async for piece in child.stdout:
            told += piece
            if not killed and told.count(b"\n") >= lines:
                child.send_signal(signal.SIGKILL)
                killed = True
        assert await child.wait() == -signal.SIGKILL
    return told.decode().rpartition("\n")[0].split()


@pytest.mark.parametrize("how", ["shared", "exclusive"])
async def test_acknowledged_is_there_after_sigkill(tmp_path: Path, how: str) -> None:
    path = tmp_path / "store.db"
    acknowledged = await killed_after(path, how, 300)
    assert len(acknowledged) >= 300
    store = await open_store(path, exclusive=how == "exclusive")
    assert set(acknowledged) <= await store.read(whole)
    checked = await store.write(lambda tx: tx._run("PRAGMA integrity_check"))  # type: ignore[attr-defined]
    assert checked == [("ok",)]
    await store.aclose()


async def test_all_is_there_when_opened_again(tmp_path: Path) -> None:
    made = []
    for exclusive in (False, True, False):
        store = await open_store(tmp_path / "store.db", exclusive=exclusive)
        made.append((await store.write(submit)).id)
        assert await store.read(whole) == set(made)
        await store.aclose()


async def test_every_commit_is_flushed(store: SqliteStore, request: pytest.FixtureRequest) -> None:
    def setting(tx: object, name: str) -> object:
        rows = tx._run(f"PRAGMA {name}")  # type: ignore[attr-defined]
        return rows[0][0] if rows else None

    wanted = {
        "synchronous": 2,
        "foreign_keys": 1,
        "cell_size_check": 1,
        "trusted_schema": 0,
        "temp_store": 2,
    }
    if "memory" not in request.node.callspec.params.values():
        wanted |= {"mmap_size": 0, "wal_autocheckpoint": 4000, "journal_size_limit": 64 << 20}
        assert await store.write(lambda tx: setting(tx, "journal_mode")) == "wal"
    for name, value in wanted.items():
        assert await store.write(lambda tx, name=name: setting(tx, name)) == value, name


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = await open_store(tmp_path / "store.db")
        await store.write(insert)
        await store.backup(str(tmp_path / "copy.db"))
        modes = {name: (tmp_path / name).stat().st_mode & 0o777 for name in os.listdir(tmp_path)}
        await store.aclose()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["store.db", "store.db-wal", "store.db-shm", "copy.db"], 0o600)


async def test_a_backup_is_whole_while_jobs_come_in(store: Store, tmp_path: Path) -> None:
    target = tmp_path / "copies" / "copy.db"
    target.parent.mkdir()
    target.write_text("an older copy")
    first = await store.write(submit)
    done = anyio.Event()

    async def call() -> None:
        while not done.is_set():
            await store.write(submit)

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(call)
        await store.backup(str(target))
        done.set()
    assert os.listdir(target.parent) == ["copy.db"]
    copy = await open_store(target)
    found = await copy.read(whole)
    assert first.id in found
    assert found <= await store.read(whole)
    seq = await store.read(lambda view: view.last_event())
    assert await copy.read(lambda view: view.last_event()) <= seq
    await copy.aclose()


async def test_a_backup_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    with pytest.raises(StorageFault, match="no backup was made"):
        await store.backup(str(tmp_path / "nowhere" / "copy.db"))
    for own in (tmp_path / "store.db", tmp_path / "." / "store.db"):
        with pytest.raises(InvalidRequest, match="another place"):
            await store.backup(str(own))
    await store.write(insert)
    assert [name for name in os.listdir(tmp_path) if not name.startswith("store.db")] == []
    await store.aclose()


LOOK = """
import apsw, sys
connection = apsw.Connection(sys.argv[1], flags=apsw.SQLITE_OPEN_READONLY)
print(connection.execute("select count(*) from jobs").get)
"""


@pytest.mark.parametrize("exclusive", [True, False])
async def test_an_exclusive_store_keeps_everyone_out(tmp_path: Path, exclusive: bool) -> None:
    store = await open_store(tmp_path / "store.db", exclusive=exclusive)
    await store.write(insert)
    told = await anyio.run_process([sys.executable, "-c", LOOK, str(tmp_path / "store.db")], check=False)
    assert ("BusyError" in told.stderr.decode()) is exclusive
    assert (told.stdout == b"1\n") is not exclusive
    assert (tmp_path / "store.db-shm").exists() is not exclusive
    await store.aclose()


def test_the_library_is_a_fixed_one() -> None:
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)
