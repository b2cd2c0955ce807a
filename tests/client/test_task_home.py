"""What the tasks of an array wrote comes home, with a table of all of them."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shorepower.client.pull import undo
from shorepower.client.task_home import IndexFile, index_file, only
from shorepower.client.task_table import gather, write_csv
from shorepower.model.lifecycle import Reason, State
from shorepower.model.results import FileEntry
from shorepower.model.task import Task
from shorepower.model.tree import digest_of
from support.home import Ran, World

END = datetime(2030, 1, 1, tzinfo=UTC)
GOOD = Task(
    index=3, state=State.COMPLETED, exit_code=0, wall_time_s=1.25, peak_memory_mib=12.0,
    parameters={"lr": "0.1"}, metrics={"auc": 0.9, "done": True},
)  # fmt: skip
BAD = Task(index=7, state=State.FAILED, reason=Reason.SIGNAL, signal=9, parameters={"lr": '=1+"a",2'})
LATE = Task(index=9, state=State.PENDING, metrics={"lr": 5, "note": "a\nb"})


def table_of(*tasks: Task) -> list[list[str]]:
    out = io.StringIO()
    write_csv(gather(tasks), out)
    return list(csv.reader(io.StringIO(out.getvalue(), newline="")))


class TaskFiles:
    """Files that tasks wrote, as a server lists and reads them."""

    def __init__(self, **files: str) -> None:
        self.data = {path.replace("__", "/").lstrip("t"): text.encode() for path, text in files.items()}

    def entries(self) -> list[FileEntry]:
        return [
            FileEntry(path=path, kind="file", size_bytes=len(data), digest=digest_of(data), area="tasks")
            for path, data in self.data.items()
        ]

    def fetch(self, entries: Sequence[Mapping[str, Any]]) -> Any:
        for one in entries:
            data = self.data[one["path"]][one["offset"] :]
            yield {"path": one["path"], "area": "tasks", "offset": one["offset"], "eof": True}, data


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    world = World(tmp_path)
    world.write(train_dot_R="x")
    return world.submit(name="fit")


def folder_of(ran: Ran) -> Path:
    return ran.world.home / "shore-results" / f"fit-{ran.job.id}"


def pulled(ran: Ran, files: TaskFiles, index: IndexFile, **more: Any) -> Any:
    return ran.pull(entries=files.entries(), fetch=files.fetch, index=index, **more)


def test_a_row_a_task_and_a_column_a_name() -> None:
    assert table_of(GOOD, BAD, LATE) == [
        ["index", "lr", "state", "reason", "exit_code", "seconds", "peak_memory_mib",
         "auc", "done", "metrics.lr", "note"],
        ["3", "0.1", "COMPLETED", "", "0", "1.250", "12.0", "0.9", "true", "", ""],
        ["7", '=1+"a",2', "FAILED", "SIGNAL", "137", "", "", "", "", "", ""],
        ["9", "", "PENDING", "", "", "", "", "", "", "5", "a\nb"],
    ]  # fmt: skip


def test_a_parameter_called_like_a_column_of_ours() -> None:
    task = Task(index=0, state=State.COMPLETED, parameters={"state": "CA"}, metrics={"seconds": 1.5})

    heading, row = table_of(task)

    assert dict(zip(heading, row, strict=True)) == {
        "index": "0", "parameters.state": "CA", "state": "COMPLETED", "reason": "", "exit_code": "",
        "seconds": "", "peak_memory_mib": "", "metrics.seconds": "1.5",
    }  # fmt: skip


def test_each_task_comes_home_into_a_folder_of_its_own(ran: Ran) -> None:
    files = TaskFiles(t3__out="three", t7__sub__out="seven")

    report = pulled(ran, files, index_file([GOOD, BAD], END))

    home = folder_of(ran)
    assert report.complete
    assert (home / "3" / "out").read_text() == "three"
    assert (home / "7" / "sub" / "out").read_text() == "seven"
    assert (home / "index.csv").read_text().splitlines()[0].startswith("index,lr,state")
    assert (home / "index.csv").stat().st_mtime == END.timestamp()
    assert not (ran.world.home / "3").exists()


def test_the_table_follows_the_tasks_and_can_be_undone(ran: Ran) -> None:
    files = TaskFiles(t3__out="three")
    pulled(ran, files, index_file([LATE], None))
    first = (folder_of(ran) / "index.csv").read_text()

    report = pulled(ran, files, index_file([GOOD, BAD], END))
    again = pulled(ran, files, index_file([GOOD, BAD], END))

    assert (folder_of(ran) / "index.csv").read_text() != first
    assert [path.rpartition("/")[2] for path in report.written] == ["index.csv"]
    assert not again.written
    undo(ran.job.id, ran.world.ledger)
    assert not folder_of(ran).exists()


def test_a_table_of_the_users_own_stays(ran: Ran) -> None:
    files = TaskFiles(t3__out="three")
    pulled(ran, files, index_file([LATE], None))
    (folder_of(ran) / "index.csv").write_text("mine")

    report = pulled(ran, files, index_file([GOOD], END))

    assert (folder_of(ran) / "index.csv").read_text() == "mine"
    assert [Path(instead).name for _, instead in report.beside] == [f"index.{ran.job.id}.csv"]


def test_a_glob_is_of_what_a_task_wrote(ran: Ran) -> None:
    files = TaskFiles(t3__fig__a_png="a", t3__out="b", t7__fig__b_png="c")

    pulled(ran, files, index_file([GOOD], END), globs=["fig/*"])

    found = {path.relative_to(folder_of(ran)).as_posix() for path in folder_of(ran).rglob("*_png")}
    assert found == {"3/fig/a_png", "7/fig/b_png"}
    assert not (folder_of(ran) / "3" / "out").exists()
    assert (folder_of(ran) / "index.csv").exists()


def test_a_table_of_several_pieces(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shorepower.client.task_home._PIECE_BYTES", 7)
    index = index_file([GOOD, BAD, LATE], END)

    pulled(ran, TaskFiles(), index)

    assert len((folder_of(ran) / "index.csv").read_bytes()) == index.entry.size_bytes


def test_only_some_tasks() -> None:
    entries = TaskFiles(t3__a="", t4__a="", t10__a="", t12__a="").entries()
    entries.append(FileEntry(path="3/a", kind="file", area="project"))

    assert [entry.path for entry in only(entries, "3,10-12:2")] == ["3/a", "10/a", "12/a"]
