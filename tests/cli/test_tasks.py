"""Arrays as they are shown: counts, tables that fit, lines with the index of their task."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shorepower.cli.prefix import HELD_BYTES, prefixed
from shorepower.cli.render import tasks as rendering
from shorepower.cli.render.counts import after_failures, counts_line, home_words, live_words, progress_words
from shorepower.cli.render.page import job_page
from shorepower.cli.render.quiet import home_line, live_line, summary
from shorepower.cli.render.table import jobs_table, why_of
from shorepower.cli.sorting import server_sorts, sort_name, sorted_tasks
from shorepower.client.pull import PullReport
from shorepower.client.task_table import gather
from shorepower.model.array import ArraySpec, Range
from shorepower.model.job import Job, JobSpec
from shorepower.model.lifecycle import Reason, State
from shorepower.model.output import OutputPiece, Stream
from shorepower.model.task import Task

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RUNNING = Job(
    id="k3fqxyzabcde", name="fit.R", owner="ada", cluster="local", created_at=NOW - timedelta(minutes=3),
    state=State.RUNNING, started_at=NOW - timedelta(minutes=2), array=True, task_count=100,
    counts={State.RUNNING: 12, State.COMPLETED: 80, State.FAILED: 3, State.PENDING: 5},
)  # fmt: skip
FAILED = replace(
    RUNNING, state=State.FAILED, ended_at=NOW, counts={State.COMPLETED: 97, State.FAILED: 3},
    why="3 of 100 tasks failed: 17, 56, 99",
)  # fmt: skip
DONE = replace(RUNNING, state=State.COMPLETED, ended_at=NOW, counts={State.COMPLETED: 100})


def task(index: int, **more: object) -> Task:
    known = {"state": State.COMPLETED, "exit_code": 0, "wall_time_s": 61.0, "peak_memory_mib": 310.0}
    return Task(index=index, **{**known, **more})  # type: ignore[arg-type]


def test_how_far_an_array_is() -> None:
    assert (
        counts_line(RUNNING, [17, 56, 99])
        == "100 tasks: 12 running, 80 done, 3 failed (17, 56, 99), 5 waiting"
    )
    assert progress_words(RUNNING) == "80 of 100 done, 3 failed"
    assert live_words(RUNNING) == "80 of 100 done, 3 failed, 12 running"
    assert live_line(RUNNING, 72) == "80 of 100 done, 3 failed, 12 running  1 min 12 s"
    assert why_of(RUNNING) == "80 of 100 done, 3 failed"
    assert "80 of 100 done" in jobs_table([RUNNING], NOW)


def test_many_failed_tasks_are_not_all_named() -> None:
    job = replace(RUNNING, task_count=10_000, counts={State.FAILED: 9000})

    assert counts_line(job, range(6)) == "10,000 tasks: 9,000 failed (0, 1, 2, 3, 4, …), 1,000 waiting"


def test_how_an_array_ended() -> None:
    assert summary(DONE) == "100 tasks completed in 2 min 00 s"
    assert why_of(DONE) == "100 tasks took 2 min 00 s"
    assert summary(FAILED) == "failed after 2 min 00 s: 3 of 100 tasks failed: 17, 56, 99"
    assert (
        after_failures(FAILED)
        == "look: shore show k3fqx --state failed · again: shore rerun --failed k3fqx"
    )
    assert after_failures(DONE) == after_failures(RUNNING) == ""


def test_what_came_home_is_counted() -> None:
    paths = [f"shore-results/fit-k3/{index}/{name}" for index in range(100) for name in ("a", "b.csv")]
    report = PullReport(folder=Path("/p"), written=(*paths, "shore-results/fit-k3/index.csv"))

    assert home_words(report, DONE) == (
        "home: 200 files of 100 tasks in shore-results/fit-k3/, index.csv tells all"
    )
    assert home_line(PullReport(folder=Path("/p")), DONE) == ""
    table_alone = PullReport(folder=Path("/p"), written=("shore-results/fit-k3/index.csv",))
    assert home_line(table_alone, FAILED) == "home: shore-results/fit-k3/index.csv"


def test_everything_about_an_array() -> None:
    array = ArraySpec(
        ranges=(Range(0, 99),), max_parallel=10, grid={"lr": ("0.1", "0.01"), "n": ("1",) * 50}
    )
    spec = JobSpec(name="fit.R", argv=("Rscript", "fit.R"), array=array)

    page = job_page(RUNNING, spec, (), NOW, tasks="100 tasks: …")

    assert "tasks      100 tasks: …" in page
    assert "array      0-99 · 10 at a time · lr=0.1,0.01 · n=1,1,1" in page
    assert "table      shore show k3fqx --table" in page


def test_the_table_of_tasks() -> None:
    tasks = [
        task(3, parameters={"lr": "0.1", "kind": "tree"}, metrics={"auc": 0.91234567}),
        task(20, state=State.FAILED, reason=Reason.EXIT_CODE, exit_code=2, parameters={"lr": "0.01"}),
        task(21, state=State.FAILED, reason=Reason.TIME_LIMIT, exit_code=None, peak_memory_mib=None),
        Task(index=100, state=State.RUNNING, started_at=NOW - timedelta(seconds=9)),
    ]

    lines, left = rendering.tasks_table(gather(tasks), NOW)

    assert lines.splitlines() == [
        "INDEX  STATE      EXIT              TIME   MEMORY    lr  kind       auc",
        "    3  COMPLETED  0           1 min 01 s  310 MiB   0.1  tree  0.912346",
        "   20  FAILED     2           1 min 01 s  310 MiB  0.01",
        "   21  FAILED     time_limit  1 min 01 s",
        "  100  RUNNING                     9.0 s",
    ]
    assert left == []


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_table_fits_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "is_terminal", lambda stream: True)
    monkeypatch.setattr(rendering, "terminal_width", lambda: width)
    wide = {f"parameter_{number}": "long words " * 4 for number in range(6)}
    tasks = [task(index, parameters=wide, metrics={"auc": 0.5, "loss": 1.25}) for index in range(3)]

    lines, left = rendering.tasks_table(gather(tasks), NOW, "-auc")

    assert max(map(len, lines.splitlines())) <= width
    assert "auc" in lines.splitlines()[0]
    assert set(left) <= {*wide, "loss", "MEMORY", "TIME"} | {name[:7] + "…" for name in wide}


def test_the_order_of_tasks() -> None:
    values = ["2", "10", "x", None, "nan", "1e-3"]
    tasks = [task(place, parameters={"n": value} if value else {}) for place, value in enumerate(values)]

    assert [one.index for one in sorted_tasks(tasks, "n")] == [5, 0, 1, 4, 2, 3]
    assert [one.index for one in sorted_tasks(tasks, "-n")] == [1, 0, 5, 2, 4, 3]
    assert [one.index for one in sorted_tasks([task(0), Task(index=1, state=State.FAILED)], "-state")] == [
        1,
        0,
    ]
    assert (sort_name("-memory"), sort_name("seconds"), sort_name("-auc")) == (
        "-peak_memory_mib", "wall_time_s", "-auc",
    )  # fmt: skip


def test_who_puts_tasks_in_order() -> None:
    swept = ArraySpec(ranges=(Range(0, 1),), grid={"lr": ("1", "2")})
    from_file = ArraySpec(ranges=(Range(0, 1),), rows=("sha256:x",), row_count=2)

    assert (
        server_sorts("-lr", swept) and server_sorts("auc", swept) and server_sorts("exit_code", from_file)
    )
    assert not server_sorts("lr", from_file)
    assert not server_sorts("state", swept)


def test_nothing_that_a_task_says_steers_the_terminal() -> None:
    lines, _ = rendering.tasks_table(
        gather([task(0, parameters={"x": "\x1b[2J"}, metrics={"m": "\r"})]), NOW
    )

    assert "\x1b" not in lines
    assert "\r" not in lines


def test_one_task_by_itself() -> None:
    page = rendering.task_page(
        FAILED,
        task(17, state=State.FAILED, reason=Reason.EXIT_CODE, exit_code=2, why="exit code 2",
             parameters={"lr": "0.1"}, metrics={"auc": 0.5}),
        NOW,
    )  # fmt: skip

    assert "task    17 of fit.R  k3fqxyzabcde_17" in page
    assert "state   FAILED (EXIT_CODE)" in page
    assert "  lr    0.1" in page
    assert "  auc   0.5" in page
    assert "output  shore logs k3fqx_17" in page


def piece(index: int, data: bytes, stream: Stream = Stream.STDOUT) -> OutputPiece:
    return OutputPiece(kind="output", stream=stream, task=index, data=data)


def joined(*pieces: OutputPiece) -> bytes:
    return b"".join(one.data for one in prefixed(pieces))


def test_each_line_bears_the_index_of_its_task() -> None:
    assert joined(piece(7, b"a\nb"), piece(7, b"c\n\n"), piece(12, b"x"), piece(12, b"y")) == (
        b"7| a\n7| bc\n7| \n12| xy\n"
    )
    assert joined(piece(7, b"no end"), piece(8, b"next\n")) == b"7| no end\n8| next\n"
    assert joined(piece(7, b"o"), piece(7, b"e\n", Stream.STDERR), piece(7, b"ut\n")) == b"7| e\n7| out\n"
    assert joined() == b""


def test_a_line_without_an_end_is_not_held_for_ever() -> None:
    long = b"x" * (HELD_BYTES + 1)

    first = next(iter(prefixed([piece(7, long)])))

    assert first.data == b"7| " + long + b"\n"


@given(st.lists(st.text("ab\n"), max_size=8))
def test_lines_are_the_same_however_they_arrive(parts: list[str]) -> None:
    whole = "".join(parts)
    expected = [f"7| {line}" for line in whole.split("\n")]
    if not expected[-1][3:]:
        expected.pop()

    told = joined(*(piece(7, part.encode()) for part in parts))

    assert told.decode().split("\n")[:-1] == expected
