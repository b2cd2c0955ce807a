"""The folder of a task: laid out by links, cleared of what the task did not write, never through a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from shorepower.files import mirror as mirroring
from shorepower.files.mirror import Mirror, indices_in
from shorepower.files.remove import remove
from support.ordinary import as_ordinary_user, ordinary_folder
from support.trees import grow, seen


class Array:
    """A staged tree and the folders of its tasks."""

    def __init__(self, root: Path) -> None:
        self.project, self.tasks = root / "project", root / "tasks"
        self.project.mkdir()
        self.tasks.mkdir()

    def put(self, path: str, text: str = "sent") -> None:
        file = self.project / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def mirror(self, start: str = "") -> Mirror:
        return Mirror(self.project, self.tasks, start)


@pytest.fixture
def array(tmp_path: Path) -> Array:
    return Array(tmp_path)


@pytest.fixture
def ordinary() -> Iterator[Path]:
    with ordinary_folder() as folder:
        yield folder


def test_folders_are_real_and_files_are_links(array: Array) -> None:
    array.put("fit.py")
    array.put("src/model/a.py")
    (array.project / "empty").mkdir()
    (array.project / "there").symlink_to("src")
    folder = array.mirror().lay_out(7)

    assert folder == array.tasks / "7"
    assert (folder / "fit.py").readlink() == array.project / "fit.py"
    assert (folder / "src/model/a.py").read_text() == "sent"
    assert not (folder / "src/model").is_symlink()
    assert (folder / "empty").is_dir()
    assert (folder / "there").readlink() == Path("src")
    (folder / "src/model/out.txt").write_text("a task's own")
    assert not (array.project / "src/model/out.txt").exists()


def test_what_a_task_did_not_write_goes_and_with_it_the_folder(array: Array) -> None:
    grow(array.project, 5)
    before = seen(array.project)
    mirror = array.mirror("deep/er")
    mirror.lay_out(0)
    mirror.lay_out(1)

    assert indices_in(array.tasks) == [0, 1]
    assert mirror.clear(0)
    assert not (array.tasks / "0").exists()
    assert mirror.clear(1)
    assert list(array.tasks.iterdir()) == []
    assert mirror.clear(1)
    assert seen(array.project) == before


def test_what_a_task_wrote_stays_whatever_it_put_in_place_of_a_link(array: Array) -> None:
    for name in (
        "kept",
        "rewritten",
        "relinked",
        "now_a_folder",
        "gone",
        "src/a",
        "src/b",
        "was_a_folder/x",
    ):
        array.put(name)
    mirror = array.mirror()
    folder = mirror.lay_out(3)
    for name in ("rewritten", "relinked", "now_a_folder", "gone", "src/b"):
        (folder / name).unlink()
    (folder / "rewritten").write_text("mine")
    (folder / "relinked").symlink_to("/etc/hostname")
    (folder / "now_a_folder").mkdir()
    (folder / "src/b").symlink_to("a")
    (folder / "was_a_folder/x").unlink()
    (folder / "was_a_folder").rmdir()
    (folder / "was_a_folder").write_text("mine")
    (folder / "made/empty").mkdir(parents=True)
    os.mkfifo(folder / "pipe")

    assert not mirror.clear(3)
    left = {os.fsdecode(path) for path in seen(folder)}
    assert left == {
        *("rewritten", "relinked", "now_a_folder", "src", "src/b", "was_a_folder"),
        *("made", "made/empty", "pipe"),
    }
    assert (array.project / "was_a_folder/x").read_text() == "sent"


def test_laid_out_again_it_keeps_what_is_there(array: Array) -> None:
    array.put("a")
    array.put("src/b")
    mirror = array.mirror()
    folder = mirror.lay_out(0)
    (folder / "a").unlink()
    (folder / "a").write_text("mine")
    (folder / "src/b").unlink()
    (folder / "src").rmdir()
    (folder / "src").symlink_to("/")
    mirror.lay_out(0)

    assert (folder / "a").read_text() == "mine"
    assert (folder / "src").readlink() == Path("/")


def test_no_link_is_followed_out_of_the_folder(array: Array, tmp_path: Path) -> None:
    """Not even to where the same links lie that are to go."""
    array.put("src/a")
    array.put("src/deep/b")
    mirror = array.mirror()
    mirror.lay_out(0)
    mirror.lay_out(1)
    other = array.tasks / "1"
    remove(array.tasks / "0" / "src")
    (array.tasks / "0" / "src").symlink_to(other / "src")
    assert not mirror.clear(0)
    assert (other / "src/deep/b").is_symlink()

    remove(array.tasks / "0")
    (array.tasks / "0").symlink_to(other)
    assert not mirror.clear(0)
    assert (other / "src/a").is_symlink()
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        mirror.lay_out(0)


def test_of_a_large_tree_what_lies_deep_is_reached_through_links_to_folders(
    array: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring, "MIRROR_ENTRIES", 20)
    array.put("fit.py")
    for number in range(30):
        array.put(f"data/{number}")
        array.put(f"work/here/{number}")
    array.put("src/a")
    array.put("src/deep/b")
    mirror = array.mirror("work/here")
    folder = mirror.lay_out(0)

    assert (folder / "data").readlink() == array.project / "data"
    assert not (folder / "work/here").is_symlink(), "a task has to be able to write where it starts"
    assert (folder / "work/here/7").is_symlink()
    assert (folder / "src/deep/b").read_text() == "sent"
    assert not (folder / "src").is_symlink()
    assert mirror.clear(0)


def test_where_it_starts_is_there_although_nothing_was_sent_of_it(array: Array) -> None:
    folder = array.mirror("a/b").lay_out(0)
    assert (folder / "a/b").is_dir()
    assert array.mirror("a/b").clear(0)

    folder = Mirror(None, array.tasks).lay_out(1)
    assert list(folder.iterdir()) == []


def test_caches_of_python_are_no_results(array: Array) -> None:
    array.put("pkg/a.py")
    mirror = array.mirror()
    folder = mirror.lay_out(0)
    (folder / "pkg/__pycache__").mkdir()
    (folder / "pkg/__pycache__/a.cpython-311.pyc").write_bytes(b"x")
    assert mirror.clear(0)

    folder = mirror.lay_out(1)
    (folder / "__pycache__/mine").mkdir(parents=True)
    assert not mirror.clear(1)


def test_a_staged_tree_that_is_gone_clears_nothing(array: Array) -> None:
    array.put("a")
    array.mirror().lay_out(0)
    remove(array.project)
    assert not array.mirror().clear(0)
    assert (array.tasks / "0/a").is_symlink()
    with pytest.raises(FileNotFoundError):
        array.mirror().lay_out(1)


def test_only_indices_are_tasks(array: Array) -> None:
    for name in ("10", "9", "007", "-1", "x", "²", "1.part"):
        (array.tasks / name).mkdir()
    assert indices_in(array.tasks) == [9, 10]


def test_as_an_ordinary_user_shared_files_cannot_be_written_and_shut_folders_stay(ordinary: Path) -> None:
    def play() -> None:
        array = Array(ordinary)
        array.put("a")
        array.put("src/b")
        (array.project / "a").chmod(0o444)
        (array.project / "src").chmod(0o555)
        mirror = array.mirror()
        folder = mirror.lay_out(0)
        for wrong in (folder / "a", array.project / "src" / "new"):
            with pytest.raises(PermissionError):
                wrong.write_text("mine")
        (folder / "src" / "new").write_text("mine")
        (folder / "shut").mkdir()
        (folder / "shut").chmod(0)
        (folder / "src").chmod(0)
        assert not mirror.clear(0)
        assert stat.S_IMODE((folder / "src").stat().st_mode) == 0
        assert remove(ordinary / "tasks") > 0

    as_ordinary_user(play)
