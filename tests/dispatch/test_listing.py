"""What comes out of an array, by task, while it runs and at its end; and whether shared files changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shorepower.dispatch.listing import list_results, tidy
from shorepower.files.collect import Listing, open_result, read
from shorepower.files.remove import remove
from shorepower.files.stage import objects
from shorepower.model.errors import NotFound
from shorepower.model.job import Link
from shorepower.model.tree import digest_of
from support.arrays import Laid, an_array
from support.ordinary import as_ordinary_user, ordinary_folder

FILES = {"fit.py": "sent", "src/a.py": "sent", "src/deep/b.py": "sent", "data/in.csv": "sent"}


class Ran(Laid):
    """An array whose tasks a test plays."""

    def __init__(self, root: Path, indices: str = "0-3", **more: Any) -> None:
        super().__init__(root, an_array(indices), FILES, **more)
        self.prepare()
        assert self.order.each is not None
        self.each = self.order.each
        self.folders = [Path(self.each.plan(task).env["SHOREPOWER_RESULTS_DIR"]) for task in self.tasks]

    def listing(self, *, digests: bool = True) -> Listing:
        return list_results(self.server.blobs, self.spec, self.work, {}, digests=digests)

    def tidy(self, out: Listing) -> None:
        tidy(self.server.blobs, self.spec, self.work, out)

    def paths(self) -> list[str]:
        listing = self.listing()
        assert listing.faults == ()
        return [entry.path for entry in listing.entries]


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path)


@pytest.fixture
def ordinary() -> Iterator[Path]:
    with ordinary_folder() as folder:
        yield folder


def test_what_a_task_wrote_is_listed_under_its_index_and_nothing_else(tmp_path: Path) -> None:
    ran = Ran(tmp_path, "2,10,100")
    two, ten, _ = ran.folders
    (two / "out.txt").write_text("two")
    (ten / "src/made.txt").write_text("ten")
    (ten / "new/empty").mkdir(parents=True)
    (ten / "fit.py").unlink()
    (ten / "fit.py").write_text("mine")
    (ten / "data/in.csv").unlink()
    (ten / "link").symlink_to("fit.py")
    os.mkfifo(ten / "pipe")
    ran.each.clear(2)
    running = ran.listing(digests=False)
    ended = ran.listing()

    assert [(entry.path, entry.kind) for entry in ended.entries] == [
        ("2/out.txt", "file"),
        ("10/fit.py", "file"),
        ("10/link", "link"),
        ("10/new/empty", "dir"),
        ("10/src/made.txt", "file"),
    ]
    assert {entry.area for entry in ended.entries} == {"tasks"}
    assert ended.entries[0].digest == digest_of(b"two")
    assert [entry.path for entry in running.entries] == [entry.path for entry in ended.entries]
    assert (ended.faults, ended.notes) == ((), ())


def test_a_listed_file_is_read_and_a_link_into_the_shared_tree_is_none(ran: Ran) -> None:
    (ran.folders[1] / "out.txt").write_text("mine")
    assert read(ran.work, b"1/out.txt", "tasks") == b"mine"
    for path in (b"1/fit.py", b"1", b"9/out.txt", b"1/src"):
        with pytest.raises(NotFound):
            open_result(ran.work, path, "tasks")


def test_globs_and_what_is_held_back_go_by_paths_in_a_tasks_own_folder(tmp_path: Path) -> None:
    ran = Ran(tmp_path, "0-1", results=("/out/", "*.rds"), hold_back=("*.log", "/1"))
    for folder in ran.folders:
        for name in ("out/a", "out/b.log", "src/m.rds", "src/out/c", "plain"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("x")
    assert ran.paths() == ["0/out/a", "0/src/m.rds", "1/out/a", "1/src/m.rds"]
    named = list_results(ran.server.blobs, ran.spec, ran.work, {1: ["out/b.log"]}, digests=True)
    assert "1/out/b.log" in [entry.path for entry in named.entries]
    assert "0/out/b.log" not in [entry.path for entry in named.entries]


def test_links_of_the_job_are_no_results(tmp_path: Path) -> None:
    links = (Link(path="data/big", target="/srv/big"), Link(path="venv", target="/srv/venv"))
    ran = Ran(tmp_path, "0", links=links)
    assert (ran.folders[0] / "data/big").readlink() == Path("/srv/big")
    assert ran.paths() == []
    (ran.folders[0] / "venv").unlink()
    (ran.folders[0] / "venv").mkdir()
    assert ran.paths() == ["0/venv"]


def test_many_files_and_folders_that_are_none(ran: Ran) -> None:
    many = ran.folders[0] / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number}").touch()
    remove(ran.folders[1])
    (ran.folders[1]).symlink_to(ran.folders[0])
    (ran.work / "tasks" / "stray").mkdir()
    (ran.work / "tasks" / "stray" / "x").touch()
    for task in ran.tasks:
        ran.each.clear(task)
    listing = ran.listing()

    assert len(listing.entries) == 3000
    assert [fault.field for fault in listing.faults] == ["1"]


def test_at_the_end_only_what_tasks_wrote_is_left(ran: Ran) -> None:
    (ran.folders[0] / "src/out").write_text("mine")
    out = ran.listing()
    ran.tidy(out)
    ran.tidy(out)

    assert os.listdir(ran.work / "tasks") == ["0"]
    assert sorted(os.listdir(ran.work / "tasks/0")) == ["src"]
    assert not (ran.work / "project").exists()
    assert read(ran.work, b"0/src/out", "tasks") == b"mine"
    assert remove(ran.work) > 0
    assert not ran.work.exists()


def test_a_task_that_wrote_through_a_link_is_told_of_and_fails_nothing(ran: Ran) -> None:
    shared = ran.work / "project"
    assert ran.listing().notes == ()
    for path in (shared / "fit.py", shared / "src/deep"):
        path.chmod(0o755)
    (ran.folders[0] / "fit.py").write_text("rewritten through the link")
    (shared / "src/deep/new.txt").write_text("x")
    (shared / "src/deep/__pycache__/b.pyc").touch()
    listing = ran.listing()

    assert listing.notes == (
        "tasks changed the shared file 'fit.py'",
        "tasks changed the shared file 'src/deep/new.txt'",
    )
    assert (listing.faults, listing.entries) == ((), ())
    assert ran.listing(digests=False).notes == ()
    ran.tidy(listing)
    assert (shared / "fit.py").read_text() == "rewritten through the link"
    assert not (shared / "data/in.csv").exists()


def test_of_many_changes_some_are_named(ran: Ran) -> None:
    shared = ran.work / "project"
    shared.chmod(0o755)
    for number in range(9):
        (shared / f"new{number}").touch()
    notes = ran.listing().notes
    assert (len(notes), notes[-1]) == (6, "and others")


def test_a_snapshot_that_is_lost_hides_no_results(ran: Ran) -> None:
    (ran.folders[0] / "out").write_text("mine")
    ran.server.blobs.delete(list(objects(ran.server.blobs, ran.spec.tree)))  # type: ignore[arg-type]
    assert ran.paths() == ["0/out"]


def test_a_working_folder_that_is_gone_is_told(ran: Ran) -> None:
    remove(ran.work)
    with pytest.raises(NotFound):
        ran.listing()


def test_in_place_only_the_folders_of_the_tasks_count(tmp_path: Path) -> None:
    ran = Ran(tmp_path, "0-1", in_place=True, workdir="/srv")
    (ran.folders[1] / "out").write_text("mine")
    assert ran.paths() == ["1/out"]
    ran.tidy(ran.listing())
    assert os.listdir(ran.work / "tasks") == ["1"]


def test_what_an_ordinary_user_shut_is_named_and_the_others_are_listed(ordinary: Path) -> None:
    def play() -> None:
        ran = Ran(ordinary)
        for folder in ran.folders:
            (folder / "out").write_text("mine")
        (ran.folders[0] / "shut").mkdir()
        (ran.folders[0] / "shut").chmod(0)
        ran.folders[1].chmod(0)
        (ran.folders[2] / "out").chmod(0)
        with pytest.raises(PermissionError):
            (ran.folders[3] / "fit.py").write_text("through the link")
        for task in ran.tasks:
            ran.each.clear(task)
        listing = ran.listing()
        assert [entry.path for entry in listing.entries] == ["0/out", "3/out"]
        assert [fault.field for fault in listing.faults] == ["0/shut", "1", "2/out"]
        assert remove(ran.work) > 0

    as_ordinary_user(play)
