"""Many tasks as one job, by whole command lines against a private server."""

import csv
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.place import Place, a_place

pytestmark = pytest.mark.flow

FIT = """\
echo "lr=$lr depth=$depth" "$@"
echo "auc of task $SHOREPOWER_TASK_INDEX" > model.txt
echo "{\\"auc\\": 0.$depth$SHOREPOWER_TASK_INDEX}" >> "$SHOREPOWER_METRICS"
"""
GATED = """\
echo "task $SHOREPOWER_TASK_INDEX"
while [ ! -e {gate}/$SHOREPOWER_TASK_INDEX ]; do sleep 0.02; done
exit $(cat {gate}/$SHOREPOWER_TASK_INDEX)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One server for tests that only add jobs."""
    with a_place(tmp_path_factory.mktemp("shared")) as made:
        yield made


class Gate:
    """Tasks that end when they are told, with the exit code that they are told."""

    def __init__(self, place: Place) -> None:
        self._folder = place.home / f"gate{time.monotonic_ns()}"
        self._folder.mkdir()
        place.write("gated.sh", GATED.format(gate=self._folder))

    def open(self, *indices: int, code: int = 0) -> None:
        for index in indices:
            made = self._folder / f"{index}.new"
            made.write_text(str(code))
            made.rename(self._folder / str(index))


@pytest.fixture
def gate(shared: Place) -> Gate:
    return Gate(shared)


def home_of(place: Place, job: str, name: str) -> Path:
    return place.project / "shore-results" / f"{name}-{job}"


def tasks_of(place: Place, job: str, *words: str) -> dict[int, dict]:
    done = place.shore("show", job, "--table", "--json", *words)
    assert done.code == 0, done
    return {task["index"]: task for task in done.json["tasks"]}


def test_a_grid_from_the_command_line_to_a_table_at_home(shared: Place) -> None:
    shared.write("fit.sh", FIT)

    run = shared.shore(
        "run", "-J", "grid", "--grid", "lr=0.1,0.01", "--grid", "depth=2,4", "fit.sh", "{lr}"
    )

    assert run.code == 0, run
    assert sorted(run.stdout.splitlines()) == [
        "0| lr=0.1 depth=2 0.1",
        "1| lr=0.1 depth=4 0.1",
        "2| lr=0.01 depth=2 0.01",
        "3| lr=0.01 depth=4 0.01",
    ]
    assert "4 tasks (0-3) · lr: 2 values · depth: 2 values" in run.stderr
    assert "4 tasks completed in" in run.stderr
    job = shared.shore("ps", "--ids", "-J", "grid").stdout.strip()
    home = home_of(shared, job, "grid")
    assert (home / "3" / "model.txt").read_text() == "auc of task 3\n"
    rows = list(csv.DictReader((home / "index.csv").open(newline="")))
    assert [(row["index"], row["lr"], row["depth"], row["auc"], row["state"]) for row in rows] == [
        ("0", "0.1", "2", "0.2", "COMPLETED"),
        ("1", "0.1", "4", "0.41", "COMPLETED"),
        ("2", "0.01", "2", "0.22", "COMPLETED"),
        ("3", "0.01", "4", "0.43", "COMPLETED"),
    ]
    assert not (shared.project / "model.txt").exists()
    best = shared.shore("show", job, "--table", "--sort=-auc", "--csv").stdout.splitlines()
    assert [line.split(",")[0] for line in best] == ["index", "3", "1", "2", "0"]


def test_rows_of_a_csv_file_and_only_some_of_them(shared: Place) -> None:
    shared.write("in.csv", 'lr,depth\n0.5,1\n"a, b",2\n0.7,3\n')
    shared.write("fit.sh", FIT)

    run = shared.shore("run", "--array-file", "in.csv", "-a", "1-2", "--no-pull", "fit.sh")

    assert run.stdout.splitlines() == ["1| lr=a, b depth=2", "2| lr=0.7 depth=3"]
    assert "2 tasks (1-2)" in run.stderr


def test_lines_are_arguments_or_whole_commands(shared: Place) -> None:
    shared.write("args.sh", 'printf "[%s]" "$@"; echo')
    shared.write("lines.txt", "a 'b c'\n\n\"x\"\n")
    shared.write("commands.txt", "echo one | tr a-z A-Z\necho $SHOREPOWER_TASK_INDEX\n")

    arguments = shared.shore("run", "--array-file", "lines.txt", "--no-pull", "args.sh", "first")
    commands = shared.shore("run", "--array-file", "commands.txt", "--no-pull")

    assert arguments.stdout.splitlines() == ["0| [first][a][b c]", "1| [first][x]"]
    assert commands.stdout.splitlines() == ["0| ONE", "1| 1"]


def test_json_rows_from_standard_input_of_a_shell(shared: Place) -> None:
    shared.write("in.jsonl", '["-n", "x"]\n["y z"]\n')

    rows = shared.shore("run", "--array-file", "in.jsonl", "--no-pull", "--", "echo")
    lines = shared.shore("run", "--array-file", "-", "--no-pull", "--", "echo", stdin=b"one\ntwo\n")

    assert rows.stdout.splitlines() == ["0| x", "1| y z"]
    assert lines.stdout.splitlines() == ["0| one", "1| two"]


def test_a_script_asks_for_its_array_as_in_slurm(shared: Place) -> None:
    facts = " ".join(f"$SLURM_ARRAY_TASK_{name}" for name in ("ID", "COUNT", "MIN", "MAX"))
    shared.write("slurm.sh", f"#!/bin/sh\n#SBATCH --array=3-9:3%2\necho {facts}\n")

    run = shared.shore("run", "--no-pull", "slurm.sh")

    assert run.stdout.splitlines() == ["3| 3 3 3 9", "6| 6 3 3 9", "9| 9 3 3 9"]
    assert "3 tasks (3-9:3), 2 at a time" in run.stderr


def test_every_fault_of_a_file_and_of_the_rest_at_once(shared: Place) -> None:
    shared.write("bad.csv", "lr,PATH\n1,2\n1\n")

    done = shared.shore("submit", "--array-file", "bad.csv", "-c", "many", "none.R")

    assert done.code == 2
    assert "bad.csv, line 1: PATH cannot be a parameter" in done.stderr
    assert "-c: 'many'" in done.stderr
    assert "no script 'none.R'" in done.stderr


def test_a_dry_run_shows_the_first_tasks(shared: Place) -> None:
    shared.write("fit.sh", FIT)

    done = shared.shore("run", "--dry-run", "--grid", "lr=1,2,3", "--grid", "depth=1,2,3", "fit.sh")
    document = shared.shore("run", "--dry-run", "--json", "--grid", "lr=1,2", "fit.sh").json

    assert "task 4: lr=2 depth=2" in done.stderr
    assert "and 4 more" in done.stderr
    assert document["task_count"] == 2
    assert document["tasks"] == [{"index": 0, "env": {"lr": "1"}}, {"index": 1, "env": {"lr": "2"}}]


def test_some_fail_and_only_those_run_again(shared: Place) -> None:
    shared.write("some.sh", 'echo "$x" > out.txt; [ -e "$OK" ] || [ $((x % 3)) -ne 0 ]\n')
    ok = shared.home / "ok"

    run = shared.shore(
        "run", "-J", "some", "-e", f"OK={ok}", "--grid", "x=1,2,3,4,5,6,7", "-a", "1-6", "some.sh"
    )
    job = shared.shore("ps", "--ids", "-J", "some").stdout.split()[0]
    failed = tasks_of(shared, job, "--state", "failed")
    ok.touch()
    again = shared.shore("rerun", "--failed", job)

    assert run.code == 1
    assert f"shore rerun --failed {job[:5]}" in run.stderr
    assert list(failed) == [2, 5]
    assert [task["exit_code"] for task in failed.values()] == [1, 1]
    assert again.code == 0, again
    new = shared.shore("ps", "--ids", "-J", "some").stdout.split()[0]
    assert {index: task["parameters"] for index, task in tasks_of(shared, new).items()} == {
        2: {"x": "3"},
        5: {"x": "6"},
    }
    assert "2 failed (2, 5)" in shared.shore("show", job).stdout
    assert shared.shore("rerun", "--failed", new).code == 123


def test_single_tasks_are_waited_for_read_and_stopped(shared: Place, gate: Gate) -> None:
    job = shared.shore("submit", "-c", "0.1", "-a", "0-4", "gated.sh").stdout.strip()
    gate.open(3)
    gate.open(1, code=4)

    done = shared.shore("wait", f"{job}_3")
    failed = shared.shore("wait", f"{job}_1")
    several = shared.shore("wait", f"{job}_1,3")
    stopped = shared.shore("stop", f"{job}_0,2")
    ended = shared.shore("wait", f"{job}_0-2")
    one = shared.shore("logs", f"{job}_3")
    some = shared.shore("logs", f"{job}_1,3")

    assert (done.code, failed.code, several.code) == (0, 4, 1), (done, failed, several)
    assert "did not complete: 1" in several.stderr
    assert (stopped.code, ended.code) == (0, 1)
    assert one.stdout == "task 3\n"
    assert some.stdout == "1| task 1\n3| task 3\n"
    states = {index: task["state"] for index, task in tasks_of(shared, job).items()}
    assert states == {0: "CANCELED", 1: "FAILED", 2: "CANCELED", 3: "COMPLETED", 4: "RUNNING"}
    page = shared.shore("show", f"{job}_1").stdout
    assert "FAILED (EXIT_CODE)" in page
    assert "1 of 5 done, 1 failed, 2 stopped" in shared.shore("ps").stdout
    gate.open(4)
    assert shared.shore("wait", job).code == 1


def test_a_running_array_is_pulled_as_far_as_it_is(shared: Place) -> None:
    gate = Gate(shared)
    shared.write(
        "writes.sh", "echo $SHOREPOWER_TASK_INDEX > out.txt\n" + (shared.project / "gated.sh").read_text()
    )
    job = shared.shore("submit", "-J", "part", "-c", "0.1", "-a", "0-2", "writes.sh").stdout.strip()
    gate.open(0)
    assert shared.shore("wait", f"{job}_0").code == 0

    first = shared.shore("pull", f"{job}_0")
    home = home_of(shared, job, "part")
    at_first = sorted(path.name for path in home.iterdir())
    gate.open(1, 2)
    assert shared.shore("wait", job).code == 0
    shared.shore("pull", job)

    assert first.code == 0, first
    assert at_first == ["0", "index.csv"]
    assert sorted(path.name for path in home.iterdir()) == ["0", "1", "2", "index.csv"]
    assert "shore-results" not in shared.shore("run", "--dry-run", "writes.sh").stdout
    assert shared.shore("pull", "--undo", job).code == 0
    assert not home.exists()


def test_no_task_of_that_index(shared: Place) -> None:
    shared.write("one.sh", "true\n")
    plain = shared.shore("submit", "one.sh").stdout.strip()
    job = shared.shore("submit", "-a", "1-9:2", "one.sh").stdout.strip()

    absent = shared.shore("logs", f"{job}_2")
    no_array = shared.shore("logs", f"{plain}_0")
    wrong = shared.shore("wait", f"{job}_5-3")

    for verb in ("pull", "ls", "show", "wait", "rerun", "stop"):
        assert shared.shore(verb, f"{job}_2").code == 123
    assert (absent.code, no_array.code, wrong.code) == (123, 2, 2)
    assert "its tasks are 1-9:2" in absent.stderr
    assert "is one task, not an array" in no_array.stderr
    assert "first index is above the last" in wrong.stderr


def test_a_job_whose_name_looks_like_a_task(shared: Place) -> None:
    shared.write("one.sh", "echo one\n")
    shared.shore("run", "-J", "fit_7", "one.sh")

    assert shared.shore("logs", "@fit_7").stdout == "one\n"
    shared.shore("run", "-J", "fat", "-a", "7,8", "--no-pull", "one.sh")
    assert shared.shore("logs", "@fat_7").stdout == "one\n"


def test_programs_have_the_same(shared: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    from shorepower import Client

    shared.write("fit.sh", FIT)
    monkeypatch.chdir(shared.project)
    with Client(environ=shared.env) as client:
        job = client.submit("fit.sh", grid={"lr": [0.1, 0.2], "depth": range(2)}, max_parallel=2)
        job.wait()

        tasks = list(job.tasks(sort="-auc"))
        logs = job.logs(task=2)

    assert [task.metrics["auc"] for task in tasks] == sorted(
        (task.metrics["auc"] for task in tasks), reverse=True
    )
    assert logs == "lr=0.2 depth=0\n"


def test_an_array_goes_on_over_a_kill_of_the_server(tmp_path: Path) -> None:
    with a_place(tmp_path) as place:
        gate = Gate(place)
        job = place.shore(
            "submit", "-c", "0.1", "-a", "0-9", "--max-parallel", "3", "gated.sh"
        ).stdout.strip()
        gate.open(0, 1)
        place.shore("wait", f"{job}_0-1")
        place.kill()
        gate.open(*range(2, 10))

        assert place.shore("wait", job).code == 0
        output = place.shore("logs", job).stdout.splitlines()

    assert output == [f"{index}| task {index}" for index in range(10)]


def test_a_million_tasks_cost_nothing_until_they_run(tmp_path: Path) -> None:
    with a_place(tmp_path) as place:
        gate = Gate(place)
        place.shore("ps")
        job = place.shore("submit", "-a", "0-999999", "--max-parallel", "1", "gated.sh").stdout.strip()

        listed = place.shore("show", job, "--table", "--limit", "3", "--csv")
        stopped = place.shore("stop", job)
        assert place.shore("wait", job).code == 143

        assert [line.split(",")[0] for line in listed.stdout.splitlines()] == ["index", "0", "1", "2"]
        assert stopped.code == 0
        assert (
            "999,999 stopped" in place.shore("show", job).stdout
            or "1,000,000 stopped" in place.shore("show", job).stdout
        )
        gate.open(0)
        with sqlite3.connect(f"file:{place.state}/store.db?mode=ro", uri=True) as store:
            assert store.execute("SELECT count(*) FROM attempts").fetchone()[0] < 10_100


def test_output_of_an_array_as_json_names_the_task(shared: Place) -> None:
    shared.write("one.sh", "echo hello\n")

    lines = shared.shore("run", "--json", "-a", "5,9", "--no-pull", "one.sh").lines

    told = [(line["task"], line["text"]) for line in lines if line["type"] == "output"]
    assert told == [(5, "hello\n"), (9, "hello\n")]
    assert json.dumps(lines[-1]["job"]["counts"]) == '{"COMPLETED": 2}'
