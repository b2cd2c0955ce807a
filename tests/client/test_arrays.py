"""Arrays as they are said: indices, grids, files; every fault at once."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shorepower.client.array_file import Row, read_rows
from shorepower.client.arrays import ArrayPlan, array_text, grid_of, plan_array, read_grid
from shorepower.client.options import Options
from shorepower.model.array import Range
from shorepower.model.errors import InvalidRequest
from shorepower.model.parameters import parameter_fault
from shorepower.model.tree import digest_of


def rows_of(data: bytes, name: str, *, whole_commands: bool = False) -> list[Row]:
    rows = read_rows(io.BytesIO(data), name, whole_commands=whole_commands)
    found = rows.first(1 << 20)
    assert len(found) == rows.count
    return found


def faults_of(data: bytes, name: str, *, whole_commands: bool = False) -> list[str]:
    with pytest.raises(InvalidRequest) as caught:
        read_rows(io.BytesIO(data), name, whole_commands=whole_commands)
    return [fault.message.removeprefix(f"--array-file {name}") for fault in caught.value.faults]


def planned(said: str | None = None, cwd: Path = Path(), **given: Any) -> ArrayPlan:
    return plan_array(Options(**given), said, cwd=cwd, own_stdin=None, nothing_to_run=False)


@pytest.mark.parametrize(
    ("name", "data", "rows"),
    [
        ("in.txt", b"a b\n\n  'c d' e\\ f \n", [{"args": ["a", "b"]}, {"args": ["c d", "e f"]}]),
        ("in", b"x # no comment\r\n", [{"args": ["x", "#", "no", "comment"]}]),
        ("in.txt", b"''\n", [{"args": [""]}]),
        (
            "in.csv",
            b'lr, depth\r\n0.1,2\r\n\r\n"a,b",\n',
            [{"env": {"lr": "0.1", "depth": "2"}}, {"env": {"lr": "a,b", "depth": ""}}],
        ),
        ("IN.CSV", b"\xef\xbb\xbflr\n1\n", [{"env": {"lr": "1"}}]),
        ("in.csv", b'lr,note\n1,"two\nlines"\n', [{"env": {"lr": "1", "note": "two\nlines"}}]),
        ("in.tsv", b"lr\tx\n1\ta b\n", [{"env": {"lr": "1", "x": "a b"}}]),
        ("in.json", b'[[1, "b", true], [1e-05]]', [{"args": ["1", "b", "true"]}, {"args": ["1e-05"]}]),
        (
            "in.json",
            b'[{"lr": 0.10, "l": [1, {"a": 2.50}]}]',
            [{"env": {"lr": "0.10", "l": '[1,{"a":2.5}]'}}],
        ),
        ("in.jsonl", b'["a"]\n\n[]\n', [{"args": ["a"]}, {"args": []}]),
        ("in.jsonl", b'{"x": 12345678901234567890}\n', [{"env": {"x": "12345678901234567890"}}]),
    ],
)
def test_rows_by_suffix(name: str, data: bytes, rows: list[Row]) -> None:
    assert rows_of(data, name) == rows


@pytest.mark.parametrize(
    ("name", "data"),
    [("c.txt", b"sort a | head -1\n\necho 'x'  y\n"), ("c.json", b'["sort a | head -1","echo \'x\'  y"]')],
)
def test_whole_commands_when_nothing_else_is_to_run(name: str, data: bytes) -> None:
    assert rows_of(data, name, whole_commands=True) == [
        {"command": "sort a | head -1"},
        {"command": "echo 'x'  y"},
    ]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        (
            "a.txt",
            b"ok\n'open\nx\n\"open\n",
            [", line 2: no closing quotation", ", line 4: no closing quotation"],
        ),
        ("a.txt", b"a\n\xff\n", [", line 2: this is not UTF-8"]),
        ("a.txt", b"a\nb\0c\n", [", line 2: an argument cannot hold a NUL byte"]),
        ("a.txt", b"x" * (128 << 10), [", line 1: one value is over 128 KiB"]),
        ("a.txt", b"\n \n", [": it holds no tasks"]),
        ("a.csv", b"lr\n", [": it holds no tasks"]),
        ("a.csv", b"lr,lr\n1,2\n", [", line 1: the column 'lr' is there twice"]),
        ("a.csv", b"lr;depth\n1;2\n", [", line 1: 'lr;depth' cannot name a parameter"]),
        ("a.csv", b"PATH,SLURM_X\n1,2\n", [", line 1: PATH cannot be", ", line 1: SLURM_X cannot be"]),
        (
            "a.csv",
            b"a,b\n1\n1,2\n1,2,3\n",
            [", line 2: 1 value for 2 columns", ", line 4: 3 values for 2"],
        ),
        ("a.csv", b'a,b\n1,2\n"x"y,2\n', [", line 3: this is no CSV"]),
        (
            "a.json",
            b'[\n["a"],\n{"x": null},\n3,\n["b" "c"]]',
            [", line 3: x is null", ", line 4: a task is a list", ", line 5: this is no JSON"],
        ),
        ("a.json", b'[\n["a"]\n["b"]]', [", line 3: a comma or the end"]),
        ("a.json", b'{"a": 1}', [", line 1: it has to be a list"]),
        (
            "a.json",
            b'[["a"], {"b": 1}]',
            [", line 1: values of parameters, but the file began with arguments"],
        ),
        ("a.json", b'["sort x"]', [", line 1: this is a whole command"]),
        ("a.json", b'[["a"]] x', [", line 1: something follows"]),
        ("a.json", b"[" * 100_000, [", line 1: this is no JSON"]),
        (
            "a.jsonl",
            b'["a"]\n["a"\n{"a b": 1}\n',
            [", line 2: this is no JSON", ", line 3: 'a b' cannot name"],
        ),
        ("a.jsonl", b'["\\ud800"]\n', [", line 1: this is not UTF-8"]),
    ],
)
def test_each_wrong_line_is_named(name: str, data: bytes, told: list[str]) -> None:
    found = faults_of(data, name)

    assert [fault[: len(start)] for fault, start in zip(found, told, strict=True)] == told


def test_a_file_that_is_wrong_in_each_line_is_not_told_line_by_line() -> None:
    found = faults_of(b"'\n" * 1000, "a.txt")

    assert len(found) == 21
    assert found[-1] == ": 980 more lines are wrong"


def test_arguments_need_something_to_run() -> None:
    assert faults_of(b"a,b\n1,2\n", "a.csv", whole_commands=True) == [
        ", line 2: it gives values of parameters, but nothing is given to run: name a script or command"
    ]


@given(
    st.lists(
        st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))), min_size=1
    )
)
def test_any_arguments_arrive_as_they_are(rows: list[list[str]]) -> None:
    assert rows_of(json.dumps(rows).encode(), "a.json") == [{"args": row} for row in rows]


def test_the_table_is_cut_at_ends_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shorepower.client.array_file.CHUNK_BYTES", 64)

    rows = read_rows(io.BytesIO(b"".join(b"%d x\n" % n for n in range(100))), "a.txt", whole_commands=False)

    rows.file.seek(0)
    whole = rows.file.read()
    pieces = [whole[blob.offset : blob.offset + blob.size] for blob in rows.blobs]
    assert b"".join(pieces) == whole
    assert all(piece.endswith(b"\n") and len(piece) <= 64 for piece in pieces)
    assert [digest_of(piece) for piece in pieces] == [blob.digest for blob in rows.blobs]
    assert rows.row(73) == {"args": ["73", "x"]}


def test_a_grid_counts_its_combinations() -> None:
    grid, faults = read_grid(["lr=0.1,0.01", 'names="a,b",c'])
    plan = planned(grid=grid)

    assert not faults
    assert plan.spec.ranges == (Range(0, 3),)
    assert [plan.told(index) for index in range(4)] == [
        "lr=0.1 names=a,b", "lr=0.1 names=c", "lr=0.01 names=a,b", "lr=0.01 names=c",
    ]  # fmt: skip
    assert plan.line() == "4 tasks (0-3) · lr: 2 values · names: 2 values"


def test_indices_choose_from_a_grid_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("a\nb\nc\n")

    plan = planned(array="1-2%1", array_file=Path("in.txt"), cwd=tmp_path)

    assert (plan.spec.ranges, plan.spec.max_parallel, plan.spec.row_count) == ((Range(1, 2),), 1, 3)
    assert plan.told(2) == "c"


def test_a_script_can_ask_for_its_array_and_options_win() -> None:
    from_script = planned(said="1-9:2%3")
    from_options = planned(said="1-9:2%3", grid={"x": ("1", "2")}, max_parallel=5)
    more_at_once = planned(said="1-9:2%3", max_parallel=5)

    assert (from_script.spec.ranges, from_script.spec.max_parallel) == ((Range(1, 9, 2),), 3)
    assert from_options.spec.count == 2
    assert from_options.notes == ("#SBATCH --array=1-9:2%3 gives way to --grid or --array-file",)
    assert more_at_once.spec.max_parallel == 5


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"max_parallel": 3}, ["--max-parallel is for arrays"]),
        ({"array": ""}, ["-a: '' names no tasks"]),
        ({"array": "", "said": "0-9"}, ["-a: '' names no tasks"]),
        ({"array": "0-9", "max_parallel": 0}, ["--max-parallel: at least one task runs at a time"]),
        ({"array": "9-1"}, ["-a: in '9-1' the first index is above"]),
        ({"said": "x"}, ["#SBATCH --array: 'x' names no tasks"]),
        (
            {"array": "0-4", "grid": {"x": ("1", "2")}},
            ["-a 0-4: index 4 is past the last of 2 combinations (0-1)"],
        ),
        ({"grid": {"PATH": ("a",), "y": ()}}, ["--grid: PATH cannot be", "--grid: y has no values"]),
        ({"grid": {"x": ("1",) * 2000, "y": ("1",) * 2000}}, ["--grid: 4,000,000 combinations are more"]),
        ({"array": "0-9%2", "max_parallel": 3}, ["-a 0-9%2 says %2, --max-parallel 3"]),
        (
            {"array_file": Path("none.csv"), "grid": {"x": ("1",)}},
            ["--grid and --array-file are two", "--array-file none.csv cannot be read"],
        ),
        ({"array_file": Path("-")}, ["--array-file -: there is no standard input"]),
        (
            {"array_file": Path("-"), "stdin": "-"},
            ["--array-file - and --stdin -", "--array-file -: there is"],
        ),
    ],
)
def test_what_is_wrong_with_an_array(given: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        planned(**given)

    found = [fault.message for fault in caught.value.faults]
    assert [fault[: len(start)] for fault, start in zip(found, told, strict=True)] == told


def test_what_is_wrong_with_a_grid() -> None:
    _, faults = read_grid(["lr", "x=", "y=1,,2", "z=1", "z=2", 'q="a"b'])

    assert [fault.message.partition(";")[0] for fault in faults] == [
        "--grid 'lr': write --grid NAME=V1,V2,V3",
        "--grid x=: there is no value",
        "--grid y=1,,2: value 2 is empty",
        "--grid z is there twice",
        "--grid q=\"a\"b: ',' expected after '\"'",
    ]


def test_programs_say_it_with_their_own_values() -> None:
    assert grid_of({"lr": [0.1, 0.01], "depth": "2,4", "n": range(2)}) == {
        "lr": ("0.1", "0.01"), "depth": ("2", "4"), "n": ("0", "1"),
    }  # fmt: skip
    assert array_text(range(0, 10, 2)) == "0-8:2"
    assert array_text("0-9%2") == "0-9%2"
    with pytest.raises(ValueError, match="lr: None is no value"):
        grid_of({"lr": [0.1, None]})
    for wrong in (100, [], [-1], ["a"]):
        with pytest.raises(ValueError, match=r"range\(100\)"):
            array_text(wrong)


@pytest.mark.parametrize("name", ["lr", "DATA_PATH", "_x1", "seed"])
def test_names_of_parameters(name: str) -> None:
    assert parameter_fault(name) == ""


@pytest.mark.parametrize(
    "name", ["", "1a", "a-b", "ä", "PATH", "LD_PRELOAD", "R_LIBS", "SHOREPOWER_X", "PYTHONPATH"]
)
def test_names_that_no_parameter_has(name: str) -> None:
    assert "parameter" in parameter_fault(name)
