"""What is shown: figures, tables, lines of a run, JSON; and hints for what failed."""

import base64
import json
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Union

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from shorepower.cli.commands.token import note_of
from shorepower.cli.hints import rerun_hint, unpassed
from shorepower.cli.offer import say_pulled
from shorepower.cli.render import figures
from shorepower.cli.render.json import OutputLines
from shorepower.cli.render.page import job_page
from shorepower.cli.render.quiet import (
    beside_lines,
    home_line,
    live_line,
    running_line,
    summary,
    waiting_line,
)
from shorepower.cli.render.table import columns, jobs_table, why_of
from shorepower.cli.voice import clean
from shorepower.client.asked import asked_for
from shorepower.client.home import OVER_THE_LIMIT
from shorepower.client.options import Options
from shorepower.client.pull import PullReport
from shorepower.client.requests import TokenInfo
from shorepower.client.sbatch import read_directives
from shorepower.client.settings import RunDefaults, Settings, places_of
from shorepower.model.job import Job, JobSpec, Progress
from shorepower.model.lifecycle import Attempt, Operation, Reason, State
from shorepower.model.output import OutputPiece, Stream
from shorepower.model.resources import Resources
from shorepower.model.results import ResultsState, ResultsSummary
from shorepower.model.usage import Usage
from shorepower.wire.lines import LINES

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JOB = Job(
    id="k3fqxyzabcde", name="train.R", owner="ada", cluster="local", created_at=NOW - timedelta(minutes=3)
)
RUNNING = replace(JOB, state=State.RUNNING, started_at=NOW - timedelta(minutes=2))
ENDED = replace(RUNNING, state=State.COMPLETED, ended_at=NOW, exit_status=0)
FAILED = replace(ENDED, state=State.FAILED, reason=Reason.EXIT_CODE, exit_code=3)


def used(cpu_time_s: float, peak_mib: float) -> Usage:
    return Usage(wall_time_s=120, cpu_time_s=cpu_time_s, peak_memory_mib=peak_mib)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (41_000, "41 kB"),
        (4_200_000_000, "4.2 GB"),
        (9_960_000, "10 MB"),
        (2e12, "2.0 TB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    assert figures.format_bytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_ages(seconds: int, text: str) -> None:
    assert figures.age(NOW - timedelta(seconds=seconds), NOW) == text


@given(st.sets(st.text("abc2", min_size=12, max_size=12), max_size=20))
def test_short_ids_tell_jobs_apart(ids: set[str]) -> None:
    short = figures.short_ids(ids)

    assert len(set(short.values())) == len(ids)
    for job, prefix in short.items():
        assert [other for other in ids if other.startswith(prefix)] == [job]
        assert len(prefix) >= 5


def test_long_lists_are_counted() -> None:
    assert figures.listed("abcdef") == "a, b, c, d, e, f"
    assert figures.listed("abcdefg") == "a, b, c, d, e and 2 more"


@given(st.text())
def test_nothing_shown_can_steer_a_terminal(text: str) -> None:
    shown = clean(text)

    assert all(unicodedata.category(letter) != "Cc" for letter in shown)
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    shown.encode()


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (ENDED, "completed in 2 min 00 s"),
        (FAILED, "failed after 2 min 00 s: exit code 3"),
        (replace(FAILED, reason=Reason.SIGNAL, signal=11), "failed after 2 min 00 s: ended by SIGSEGV"),
        (replace(FAILED, reason=Reason.TIME_LIMIT), "time limit reached after 2 min 00 s"),
        (replace(FAILED, state=State.CANCELED, reason=Reason.STOPPED), "stopped after 2 min 00 s"),
        (
            replace(FAILED, state=State.CANCELED, reason=Reason.STOPPED, why="given up", started_at=None),
            "never started: given up",
        ),
        (
            replace(FAILED, reason=Reason.LAUNCH, why="no such program", started_at=None),
            "could not be started: no such program",
        ),
        (
            replace(ENDED, resources=Resources(memory_mib=65536, cpu_count=4), usage=used(444, 3174)),
            "completed in 2 min 00 s · asked 64 GiB, used 3.1 GiB · 3.7 of 4 cpus busy",
        ),
        (
            replace(ENDED, resources=Resources(memory_mib=8192), usage=used(1, 6000)),
            "completed in 2 min 00 s · peak 5.9 of 8 GiB",
        ),
        (
            replace(ENDED, usage=used(119, 214)),
            "completed in 2 min 00 s · peak 214 MiB · 1 cpu busy",
        ),
    ],
)  # fmt: skip
def test_how_a_job_ended(job: Job, line: str) -> None:
    assert summary(job) == line


def test_lines_of_a_run() -> None:
    progress = Progress(fraction=0.4, text="fold 2", at=NOW)
    job = replace(
        RUNNING, progress=progress, usage=Usage(memory_mib=2867), resources=Resources(memory_mib=8192)
    )

    assert live_line(job, 72) == "40 %  fold 2  1 min 12 s  2.8 of 8 GiB"
    assert (
        running_line(JOB, "Rscript 4.2.2 (PATH)") == "k3fqx… running on this machine · Rscript 4.2.2 (PATH)"
    )
    assert running_line(replace(JOB, host="lap"), "", "lap") == "k3fqx… running on this machine"
    assert running_line(replace(JOB, host="far"), "", "lap") == "k3fqx… running on far"
    assert running_line(replace(JOB, cluster="hpc", host="n042"), "") == "k3fqx… running on n042"
    assert waiting_line(replace(JOB, queue="cpu", why="3 before it")) == "k3fqx… queued in cpu: 3 before it"


def test_what_came_home() -> None:
    report = PullReport(
        folder=Path(),
        written=("model.rds",),
        beside=(("a.csv", "a.k3fq.csv"),),
        left=(
            ("big.bin", 2 << 30, OVER_THE_LIMIT),
            ("fit.png", 5, "the result of job m2v6x, submitted later, is there"),
        ),
    )

    assert (
        home_line(report, ENDED)
        == "home: model.rds, a.k3fq.csv · left there: big.bin 2.1 GB, fetched by: shore pull k3fqx"
    )
    assert beside_lines(report) == [
        "a.csv here is yours and stays; the job's is a.k3fq.csv",
        "left there: fit.png: the result of job m2v6x, submitted later, is there",
    ]
    assert home_line(report, FAILED).startswith("home so far: ")
    assert home_line(PullReport(folder=Path()), ENDED) == ""


def test_the_table_of_jobs() -> None:
    waiting = replace(JOB, id="m2v6xyzabcde", name="swe\nep", why="no room")
    lines = jobs_table([RUNNING, waiting, ENDED], NOW).splitlines()

    assert lines[0].split() == ["ID", "NAME", "CLUSTER", "STATE", "AGE", "WHY", "/", "PROGRESS"]
    assert lines[2] == "m2v6x  swe\\nep  local    PENDING    3 min  no room"
    assert lines[3].endswith("took 2 min 00 s")


def test_wide_letters_are_counted_as_they_are_drawn() -> None:
    rows = columns(("A", "B"), [("分析", "x"), ("abcd", "y")]).splitlines()

    assert rows[1] == "分析  x"
    assert rows[2] == "abcd  y"


@pytest.mark.parametrize(
    ("job", "why"),
    [
        (replace(RUNNING, progress=Progress(fraction=0.4, text="fold 2", at=NOW)), "40 %  fold 2"),
        (replace(RUNNING, wanted=Operation.STOP), "(stop asked for)"),
        (replace(FAILED, why="out of memory"), "out of memory"),
    ],
)
def test_why(job: Job, why: str) -> None:
    assert why_of(job) == why


def test_everything_about_a_job() -> None:
    spec = JobSpec(name="n", argv=("Rscript", "a b.R"), workdir="sub", secrets=("PW",))
    job = replace(
        FAILED,
        project="/p",
        tags={"k": "v"},
        resources=Resources(cpu_count=4, memory_mib=8192, wall_time_s=7200, gpu_count=2, gpu_type="a100"),
        usage=Usage(wall_time_s=120, cpu_time_s=60, peak_memory_mib=100),
        results=ResultsSummary(state=ResultsState.READY, file_count=2, size_bytes=3000),
    )
    attempts = [Attempt(job=job.id, submission="s", number=number, state=State.FAILED) for number in (1, 2)]

    shown = job_page(job, spec, attempts, NOW)

    for text in (
        "FAILED (EXIT_CODE)", "Rscript 'a b.R'", "/p, starting in sub", "k=v", "PW=***", "code 3",
        "4 cpus · 8 GiB · 2 GPUs a100 · at most 2 h 00 min", "2 files, 3.0 kB · shore pull k3fqx",
        "peak 100 MiB · 1 min 00 s of cpu · 0.5 cpus busy",
        "attempt 2", "shore logs k3fqx",
    ):  # fmt: skip
        assert text in shown


def told(lines: OutputLines, piece: OutputPiece) -> list[dict[str, Any]]:
    """The lines of a piece as a program reads them, each in one of the published forms."""
    made = [msgspec.json.encode(line) for line in lines.lines(piece)]
    for line in made:
        msgspec.json.decode(line, type=Union[LINES])  # noqa: UP007 - a tuple of types
    return [json.loads(line) for line in made]


@given(st.binary(max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=8), st.booleans())
def test_output_as_json_is_whole_however_it_arrives(data: bytes, sizes: list[int], text: bool) -> None:
    if text:
        data = data.decode("latin-1").encode()
    lines, made, place = OutputLines("j"), [], 0
    while place < len(data):
        piece = data[place : place + sizes[len(made) % len(sizes)]]
        made += told(lines, OutputPiece(kind="output", offset=place, data=piece))
        place += len(piece)
    made += told(lines, OutputPiece(kind="end"))

    whole = b""
    for line in made:
        assert line["offset"] == len(whole)
        whole += line["text"].encode() if "text" in line else base64.b64decode(line["base64"])
    assert whole == data
    if text:
        assert all("text" in line for line in made)


def test_a_gap_is_told_between_what_it_is_between() -> None:
    lines = OutputLines("j")

    made = [
        *told(lines, OutputPiece(kind="output", stream=Stream.STDERR, offset=0, data=b"a\xc3")),
        *told(lines, OutputPiece(kind="gap", stream=Stream.STDERR, offset=2, missing_bytes=8)),
        *told(lines, OutputPiece(kind="output", stream=Stream.STDERR, offset=10, data=b"z")),
    ]

    assert [(line["type"], line["offset"]) for line in made] == [
        ("output", 0),
        ("output", 1),
        ("gap", 2),
        ("output", 10),
    ]
    assert made[2]["missing_bytes"] == 8


def test_variables_that_a_script_reads_and_does_not_get() -> None:
    source = """
os.environ["A_KEY"]; os.environ.get('B_KEY'); os.getenv("C_KEY")
Sys.getenv("D_KEY"); ENV["E_KEY"]; echo $F_KEY ${G_KEY}; $lower; environ["UNSET"]
"""
    environ = dict.fromkeys(["A_KEY", "B_KEY", "C_KEY", "D_KEY", "E_KEY", "F_KEY", "G_KEY", "lower"], "x")

    assert unpassed(source, {"A_KEY"}, environ) == ["B_KEY", "C_KEY", "D_KEY", "E_KEY", "F_KEY", "G_KEY"]


def test_how_to_run_again_what_asked_for_too_little() -> None:
    short = replace(FAILED, reason=Reason.OUT_OF_MEMORY, resources=Resources(memory_mib=4096))
    assert rerun_hint(short) == "try: shore rerun k3fqx -m 8G"
    late = replace(FAILED, reason=Reason.TIME_LIMIT, resources=Resources(wall_time_s=60))
    assert rerun_hint(late) == "try: shore rerun k3fqx -t 120s"
    assert rerun_hint(FAILED) == ""


def test_flags_before_lines_of_the_script_before_settings() -> None:
    run = RunDefaults(cpus=1, mem="1G", time="1h", gpus="1")
    settings = Settings(places=places_of({"HOME": "/h"}), run=run)
    said = read_directives(["#SBATCH -c 2 --mem=2G"])

    asked, faults = asked_for(Options(cpus=3), said, settings)

    assert asked == Resources(cpu_count=3, memory_mib=2048, wall_time_s=3600, gpu_count=1)
    assert faults == []


def test_what_is_locked_and_what_is_wrong_in_settings_is_told() -> None:
    run = RunDefaults(cpus=1, mem="lots")
    settings = Settings(places=places_of({"HOME": "/h"}), run=run, locked=("run.cpus",))

    _, faults = asked_for(Options(cpus=8), read_directives([]), settings)

    assert [fault.field for fault in faults] == ["run.cpus", "run.mem"]


def test_a_pull_says_what_could_not_be_collected(capsys: pytest.CaptureFixture[str]) -> None:
    why = "b could not be collected: Permission denied"
    partial = replace(ENDED, results=ResultsSummary(state=ResultsState.PARTIAL, why=why))

    say_pulled(partial, PullReport(folder=Path.cwd(), written=("a",)), "")

    told = capsys.readouterr().err.splitlines()
    assert told == ["shore: home: a", f"shore: results: {why}; the working folder is kept"]


def test_whether_a_token_still_works() -> None:
    token = TokenInfo(id="t1", name="ci", user="ada", scope="full", created_at=NOW)

    assert note_of(token, NOW) == ""
    assert note_of(replace(token, expires_at=NOW), NOW) == "expired"
    assert note_of(replace(token, expires_at=NOW + timedelta(days=2)), NOW).startswith("until 2026-03-0")
    assert note_of(replace(token, expires_at=NOW, revoked_at=NOW), NOW) == "revoked"
