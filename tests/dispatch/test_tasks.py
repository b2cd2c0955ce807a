"""What each task of an array is given: its folder, its arguments, its environment, its parameters."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from shorepower.clusters.contract import TaskPlan
from shorepower.dispatch.parameters import Parameters
from shorepower.dispatch.prepare import is_untouched
from shorepower.files.mirror import indices_in
from shorepower.files.remove import remove
from shorepower.model.errors import InvalidRequest, StorageFault
from shorepower.model.payload import Payload
from shorepower.model.tree import digest_of
from support.arrays import Laid, an_array, table

GRID = {"lr": ("0.1", "0.01"), "depth": ("2", "4", "8")}


def plans(laid: Laid) -> list[TaskPlan]:
    assert laid.order.each is not None
    return [laid.order.each.plan(task) for task in laid.tasks]


def with_rows(root: Path, rows: list[object], pieces: int = 1, **more: Any) -> Laid:
    blobs = table(rows, pieces)
    array = an_array(f"0-{len(rows) - 1}", rows=tuple(map(digest_of, blobs)), row_count=len(rows))
    return Laid(root, array, {}, blobs=blobs, **more).prepare()


def test_a_task_starts_in_a_folder_of_its_own_and_is_told_its_index(tmp_path: Path) -> None:
    laid = Laid(tmp_path, an_array("5,7-9:2%2"), {"fit.py": "x", "src/a.py": "y"}, workdir="src").prepare()
    found = plans(laid)

    assert laid.order.max_parallel == 2
    assert [plan.env["SHOREPOWER_TASK_INDEX"] for plan in found] == ["5", "7", "9"]
    last = found[-1]
    assert last.cwd == str(laid.work / "tasks/9/src")
    assert (Path(last.cwd) / "a.py").read_text() == "y"
    told = {name.removeprefix("SHOREPOWER_"): value for name, value in last.env.items()}
    assert told["PROJECT_DIR"] == told["RESULTS_DIR"] == str(laid.work / "tasks/9")
    assert told["PROGRESS"] == last.progress_file == str(laid.work / "progress/9")
    assert told["METRICS"] == str(laid.work / "metrics/9")
    assert told["RESULT"] == str(laid.work / "values/9")
    assert "INPUT" not in told
    assert all(Path(told[name]).parent.is_dir() for name in ("PROGRESS", "METRICS", "RESULT"))
    assert [laid.order.each.index(task) for task in laid.tasks] == [5, 7, 9]  # type: ignore[union-attr]
    with pytest.raises(InvalidRequest, match="no task at position 3"):
        laid.order.each.plan(3)  # type: ignore[union-attr]


def test_the_shared_tree_is_read_only(tmp_path: Path) -> None:
    laid = Laid(tmp_path, an_array(), {"src/a.py": "y"}).prepare()
    for folder, folders, files in os.walk(laid.work / "project"):
        for name in (".", *folders, *files):
            is_open = Path(folder, name).stat().st_mode & 0o222 != 0
            assert is_open == (name == "__pycache__" or folder.endswith("__pycache__"))
    assert remove(laid.work) > 0


def test_python_compiles_a_module_once_for_all_tasks(tmp_path: Path) -> None:
    """However it comes to be imported: beside the script, or from where the task starts."""
    laid = Laid(tmp_path, an_array(), {"fit.py": "import mine", "mine.py": "print(__cached__)"}).prepare()
    compiled = set()
    for plan, argv in zip(plans(laid), (["fit.py"], ["-m", "fit"], ["-c", "import mine"]), strict=True):
        program = [sys.executable, *argv]
        found = subprocess.run(program, cwd=plan.cwd, env={}, check=True, capture_output=True, text=True)
        compiled.add(Path(plan.cwd, found.stdout.strip()).resolve())
    assert len(compiled) == 1
    for task in laid.tasks:
        laid.order.each.clear(task)  # type: ignore[union-attr]
    assert indices_in(laid.work / "tasks") == []
    assert {path.parent for path in compiled} == {laid.work / "project" / "__pycache__"}
    assert all(path.exists() for path in compiled)


def test_a_grid_is_environment_arguments_and_input(tmp_path: Path) -> None:
    argv = ("fit", "--lr={lr}", "{depth}{depth}", "{other}", "{", "{}", "{{lr}}")
    laid = Laid(tmp_path, an_array("0-5", grid=GRID), {}, argv=argv, env={"lr": "of the job"}).prepare()
    found = plans(laid)

    assert found[3].argv == ("fit", "--lr=0.01", "22", "{other}", "{", "{}", "{0.01}")
    assert [(plan.env["lr"], plan.env["depth"]) for plan in found] == [
        (lr, depth) for lr in GRID["lr"] for depth in GRID["depth"]
    ]
    for plan in found:
        file = Path(plan.env["SHOREPOWER_INPUT"])
        assert json.loads(file.read_text()) == {"lr": plan.env["lr"], "depth": plan.env["depth"]}


def test_a_value_that_holds_braces_is_data(tmp_path: Path) -> None:
    grid = {"a": ("{b}",), "b": ("{a}",)}
    laid = Laid(tmp_path, an_array("0", grid=grid), {}, argv=("run", "{a} {b}")).prepare()
    assert plans(laid)[0].argv == ("run", "{b} {a}")


def test_a_parameter_goes_over_a_thread_cap_but_not_over_a_fact(tmp_path: Path) -> None:
    grid = {"OMP_NUM_THREADS": ("8",)}
    laid = Laid(tmp_path, an_array("0", grid=grid), {}).prepare()
    assert plans(laid)[0].env["OMP_NUM_THREADS"] == "8"


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_rows_add_arguments_environment_or_are_whole_commands(tmp_path: Path, pieces: int) -> None:
    rows: list[object] = [
        {"args": ["a b", "{x}"]},
        {"env": {"x": "é\n1", "y": ""}},
        {"command": "echo '{x}' | cat"},
        {"args": []},
    ]
    laid = with_rows(tmp_path, rows, pieces, argv=("run", "{x}"))
    args, env, command, nothing = plans(laid)

    assert args.argv == ("run", "{x}", "a b", "{x}")
    assert json.loads(Path(args.env["SHOREPOWER_INPUT"]).read_text()) == {"args": ["a b", "{x}"]}
    assert (env.argv, env.env["x"], env.env["y"]) == (("run", "é\n1"), "é\n1", "")
    assert json.loads(Path(env.env["SHOREPOWER_INPUT"]).read_text()) == {"x": "é\n1", "y": ""}
    assert command.argv == ("sh", "-c", "echo '{x}' | cat")
    assert nothing.argv == ("run", "{x}")

    parameters = Parameters(laid.spec.array, laid.work / "rows")  # type: ignore[arg-type]
    assert [parameters.told(index) for index in range(5)] == [
        {"args": "'a b' '{x}'"},
        {"x": "é\n1", "y": ""},
        {"command": "echo '{x}' | cat"},
        {},
        {},
    ]
    assert Parameters(laid.spec.array, tmp_path / "gone").told(0) == {}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"env": {"PATH": "/tmp"}}, "PATH"),
        ({"env": {"a=b": "1"}}, "a=b"),
        ({"env": {"a": 1}}, "cannot be read"),
        ({"args": ["a\0b"]}, "NUL"),
        (7, "cannot be read"),
    ],
)
def test_a_row_that_no_program_can_be_given_is_told(tmp_path: Path, row: object, why: str) -> None:
    laid = with_rows(tmp_path, [{"args": []}, row])
    assert laid.order.each is not None
    laid.order.each.plan(0)
    with pytest.raises(InvalidRequest, match=why):
        laid.order.each.plan(1)
    assert indices_in(laid.work / "tasks") == [0]


def test_a_table_that_is_shorter_than_it_should_be_is_told(tmp_path: Path) -> None:
    laid = with_rows(tmp_path, [{"args": []}])
    parameters = Parameters(laid.spec.array, laid.work / "rows")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="task 1 has no row"):
        parameters.of(1)


def test_a_task_of_a_script_with_sbatch_lines_finds_the_array(tmp_path: Path) -> None:
    env = {"SLURM_SUBMIT_DIR": "/home/ada"}
    laid = Laid(tmp_path, an_array("2-10:4"), {}, env=env).prepare()
    told = plans(laid)[1].env
    job = laid.job.id

    assert (told["SLURM_ARRAY_JOB_ID"], told["SLURM_JOB_ID"]) == (job, f"{job}_6")
    names = ("ID", "COUNT", "MIN", "MAX", "STEP")
    assert [told[f"SLURM_ARRAY_TASK_{name}"] for name in names] == ["6", "3", "2", "10", "4"]


def test_in_place_all_start_there_and_have_results_of_their_own(tmp_path: Path) -> None:
    laid = Laid(tmp_path, an_array(), in_place=True, workdir="/srv").prepare()
    plan = plans(laid)[1]

    assert (plan.cwd, plan.env["SHOREPOWER_PROJECT_DIR"]) == ("/srv", "/srv")
    assert plan.env["SHOREPOWER_RESULTS_DIR"] == str(laid.work / "tasks/1")
    assert list((laid.work / "tasks/1").iterdir()) == []


def test_an_input_is_one_file_for_all(tmp_path: Path) -> None:
    laid = Laid(tmp_path, an_array(), {}, input=Payload(inline=b"one")).prepare()
    assert {Path(plan.env["SHOREPOWER_INPUT"]).read_bytes() for plan in plans(laid)} == {b"one"}


def test_a_plain_job_has_its_input_and_a_place_for_its_value(tmp_path: Path) -> None:
    pieces = (b"a" * 1000, b"b")
    payload = Payload(blobs=tuple(map(digest_of, pieces)))
    laid = Laid(tmp_path, None, {}, blobs=pieces, input=payload).prepare()
    env = laid.order.env

    assert laid.order.each is None
    assert Path(env["SHOREPOWER_INPUT"]).read_bytes() == b"".join(pieces)
    assert env["SHOREPOWER_RESULT"] == str(laid.work / "values/0")
    assert not is_untouched(laid.work)


def test_a_value_alone_is_something_to_keep(tmp_path: Path) -> None:
    laid = Laid(tmp_path, None).prepare()
    assert is_untouched(laid.work)
    Path(laid.order.env["SHOREPOWER_RESULT"]).write_bytes(b"v")
    assert not is_untouched(laid.work)


def test_what_a_task_left_untouched_goes_when_it_ended(tmp_path: Path) -> None:
    laid = Laid(tmp_path, an_array("0-3", grid={"x": ("1", "2", "3", "4")}), {"a": "1"}).prepare()
    each = laid.order.each
    assert each is not None
    idle, busy, broken, waiting = plans(laid)
    for plan in (idle, busy):
        Path(plan.env["SHOREPOWER_PROGRESS"]).write_text("0.5 half\n")
    Path(idle.env["SHOREPOWER_METRICS"]).touch()
    Path(idle.env["SHOREPOWER_RESULT"]).touch()
    Path(busy.env["SHOREPOWER_METRICS"]).write_text("{}")
    Path(busy.env["SHOREPOWER_RESULT"]).write_text("v")
    Path(busy.cwd, "out").write_text("mine")
    Path(broken.env["SHOREPOWER_METRICS"]).mkdir()
    for task in (0, 1, 2, 0):
        each.clear(task)

    def left(folder: str) -> list[str]:
        return sorted(os.listdir(laid.work / folder))

    assert left("tasks") == ["1", "3"]
    assert os.listdir(laid.work / "tasks/1") == ["out"]
    assert (left("inputs"), left("progress")) == (["3.json"], [])
    assert (left("metrics"), left("values")) == (["1", "2"], ["1"])
    assert Path(waiting.cwd, "a").read_text() == "1"


def test_a_plan_is_made_again_as_it_was(tmp_path: Path) -> None:
    laid = Laid(tmp_path, an_array("0-1", grid={"x": ("1", "2")}), {"a": "1"}).prepare()
    first = plans(laid)
    Path(first[0].cwd, "out").write_text("kept over a restart")
    laid.prepare()
    assert plans(laid) == first
    assert Path(first[0].cwd, "out").read_text() == "kept over a restart"


def test_a_working_folder_that_is_gone_is_no_reason_to_try_again(tmp_path: Path) -> None:
    laid = Laid(tmp_path, an_array("0"), {"a": "1"}).prepare()
    remove(laid.work)
    with pytest.raises(InvalidRequest, match="No such file"):
        plans(laid)


def test_a_full_disk_is_a_reason_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid = Laid(tmp_path, an_array("0"), {"a": "1"}).prepare()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "symlink", full)
    with pytest.raises(StorageFault, match="No space left"):
        plans(laid)
