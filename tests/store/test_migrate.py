"""Schemas grow by numbered scripts; what is not ours, not known or edited is refused in words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import apsw
import pytest

from shorepower.model.errors import StateDirectoryFault
from shorepower.store.sqlite import SqliteStore, Tuning, open_store
from shorepower.store.sqlite import migrate as migrating
from shorepower.store.sqlite.migrate import bundled
from support.store_records import insert

pytestmark = pytest.mark.anyio

NEXT = len(bundled()) + 1
"""The number of a script that is yet to come."""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """The released scripts, in a folder that a test may add to."""
    folder = tmp_path / "scripts"
    shutil.copytree(Path(migrating.__file__).parent / "migrations", folder)
    return folder


async def opened(tmp_path: Path, scripts: Path | None = None) -> SqliteStore:
    return await open_store(tmp_path / "store.db", tuning=Tuning(migrations=scripts, busy_timeout_s=0.2))


def tables(path: Path) -> set[str]:
    connection = apsw.Connection(str(path))
    found = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    connection.close()
    return found


async def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    store = await opened(tmp_path)
    await store.aclose()
    assert os.listdir(tmp_path) == ["store.db"]
    wanted = {
        "jobs", "job_cards", "job_specs", "job_tags", "job_blobs", "idempotency_keys", "job_counts",
        "submissions", "dependencies", "task_chunks", "attempts", "controls", "journal", "audit", "callers",
        "tokens", "grants", "blobs", "blob_owners", "blob_leases", "totals", "results", "result_listings",
        "leases", "task_figures", "task_metrics", "task_controls", "schema_versions", "sqlite_sequence",
    }  # fmt: skip
    assert tables(tmp_path / "store.db") == wanted


async def test_an_existing_database_is_copied_and_brought_up(tmp_path: Path, scripts: Path) -> None:
    old = await opened(tmp_path)
    kept = await old.write(insert)
    await old.aclose()
    (scripts / f"{NEXT:04d}_more.sql").write_text(
        "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO more VALUES (1);"
    )
    (scripts / f"{NEXT + 1:04d}_rebuilt.sql").write_text(
        "CREATE TABLE new (user TEXT PRIMARY KEY, uid INTEGER) STRICT; DROP TABLE callers;"
        "ALTER TABLE new RENAME TO callers;"
    )
    for _ in range(2):
        new = await opened(tmp_path, scripts)
        assert await new.read(lambda view: view.job(kept.id)) == kept
        await new.aclose()
    assert "more" in tables(tmp_path / "store.db")
    copy = tmp_path / f"store.db.before-{NEXT + 1:04d}"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "more" not in tables(copy)
    back = await open_store(copy)
    assert await back.read(lambda view: view.job(kept.id)) == kept
    await back.aclose()


async def test_a_script_may_rebuild_a_table_that_others_hang_on(tmp_path: Path, scripts: Path) -> None:
    old = await opened(tmp_path)
    kept = await old.write(insert)
    await old.aclose()
    (scripts / f"{NEXT:04d}_rebuild.sql").write_text(
        "CREATE TABLE new AS SELECT * FROM job_cards; DROP TABLE job_cards;"
        "CREATE TABLE job_cards (job INTEGER PRIMARY KEY REFERENCES jobs (seq) ON DELETE CASCADE,"
        " queue TEXT, script TEXT, project TEXT, resources TEXT, tags TEXT, origin TEXT,"
        " task_count INTEGER, is_array INTEGER) STRICT;"
        "INSERT INTO job_cards SELECT * FROM new; DROP TABLE new;"
    )
    new = await opened(tmp_path, scripts)
    assert await new.read(lambda view: view.job(kept.id)) == kept
    assert await new.write(lambda tx: tx._run("PRAGMA foreign_keys")) == [(1,)]  # type: ignore[attr-defined]
    await new.aclose()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("CREATE TABLE more (x INTEGER) STRICT; CREATE TABLE jobs (x INTEGER);", "already exists"),
        ("SELECT 1; DELETE FROM jobs;", "hang on nothing"),
    ],
    ids=["fails half-way", "leaves orphans"],
)
async def test_a_script_that_fails_changes_nothing(
    tmp_path: Path, scripts: Path, script: str, says: str
) -> None:
    old = await opened(tmp_path)
    kept = await old.write(insert)
    await old.aclose()
    (scripts / f"{NEXT:04d}_bad.sql").write_text(script)
    with pytest.raises(StateDirectoryFault, match=says):
        await opened(tmp_path, scripts)
    assert "more" not in tables(tmp_path / "store.db")
    again = await opened(tmp_path)
    assert await again.read(lambda view: view.job(kept.id)) == kept
    await again.aclose()


async def test_a_copy_that_cannot_be_made_stops_the_migration(tmp_path: Path, scripts: Path) -> None:
    await (await opened(tmp_path)).aclose()
    (scripts / f"{NEXT:04d}_more.sql").write_text("CREATE TABLE more (x INTEGER) STRICT;")
    (tmp_path / f"store.db.before-{NEXT:04d}").mkdir()
    with pytest.raises(StateDirectoryFault, match="cannot be brought to this version"):
        await opened(tmp_path, scripts)
    assert "more" not in tables(tmp_path / "store.db")
    assert sorted(os.listdir(tmp_path)) == ["scripts", "store.db", f"store.db.before-{NEXT:04d}"]


async def test_a_database_from_the_future_is_refused(tmp_path: Path, scripts: Path) -> None:
    (scripts / f"{NEXT:04d}_more.sql").write_text("CREATE TABLE more (x INTEGER) STRICT;")
    await (await opened(tmp_path, scripts)).aclose()
    with pytest.raises(StateDirectoryFault, match=rf"schema {NEXT}.*schema {NEXT - 1}.*upgrade"):
        await opened(tmp_path)
    assert "more" in tables(tmp_path / "store.db")


async def test_an_edited_script_is_refused(tmp_path: Path, scripts: Path) -> None:
    await (await opened(tmp_path)).aclose()
    first = scripts / "0001_first.sql"
    first.write_bytes(first.read_bytes().replace(b"\n", b"\r\n"))
    await (await opened(tmp_path, scripts)).aclose()
    first.write_text(first.read_text() + "-- one word more\n")
    with pytest.raises(StateDirectoryFault, match="another text of migration 1"):
        await opened(tmp_path, scripts)


async def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    other = apsw.Connection(str(path))
    other.execute("CREATE TABLE recipes (x)")
    other.close()
    with pytest.raises(StateDirectoryFault, match="another program"):
        await opened(tmp_path)
    assert tables(path) == {"recipes"}
    path.write_bytes(b"not a database at all, " * 100)
    with pytest.raises(StateDirectoryFault, match="not a database"):
        await opened(tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(StateDirectoryFault, match="cannot be opened"):
        await opened(tmp_path)
    with pytest.raises(StateDirectoryFault, match="No such file"):
        await open_store(tmp_path / "nowhere" / "store.db")


@pytest.mark.parametrize("version", ["3.51.2", "3.40.1", "3.7.0"])
async def test_a_library_that_may_corrupt_is_refused(tmp_path: Path, version: str) -> None:
    with pytest.raises(StateDirectoryFault, match=rf"{version}.*3\.51\.3"):
        await open_store(tmp_path / "store.db", tuning=Tuning(library=version))
    assert not (tmp_path / "store.db").exists()


@pytest.mark.parametrize("version", ["3.51.3", "3.54.1", "4.0"])
async def test_a_good_library_is_taken(tmp_path: Path, version: str) -> None:
    await (await open_store(tmp_path / "store.db", tuning=Tuning(library=version))).aclose()


def test_scripts_are_numbered_without_gaps(scripts: Path) -> None:
    assert [one.number for one in bundled()] == list(range(1, len(bundled()) + 1))
    gap = scripts / f"{NEXT + 1:04d}_gap.sql"
    gap.write_text("")
    with pytest.raises(ValueError, match=f"not numbered 1 to {NEXT}"):
        bundled(scripts)
    gap.rename(scripts / "two.sql")
    with pytest.raises(ValueError, match=r"two\.sql"):
        bundled(scripts)
