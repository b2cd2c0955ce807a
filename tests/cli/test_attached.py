"""Attached runs over the real front end: whose stream is whose, signals, JSON, exit codes."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from shorepower.model.job import Progress
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.resources import Resources
from shorepower.model.usage import Usage
from support.front_thread import FrontThread, front_thread
from support.terminal import Terminal

SHORE = [sys.executable, "-m", "shorepower"]
STARTED = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[FrontThread]:
    with front_thread(tmp_path / "run" / "s.sock") as running:
        yield running


@pytest.fixture
def env(front: FrontThread, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "p").mkdir()
    return {
        "HOME": str(tmp_path),
        "PATH": os.environ["PATH"],
        "SHORE_SERVER": front.url,
        "SHORE_STATE_DIR": str(tmp_path / "state"),
        "TERM": "xterm",
        "LANG": "C.UTF-8",
    }


def shore(env: dict[str, str], *words: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run([*SHORE, *words], env=env, capture_output=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


class Run:
    """One ``shore`` under way, and the job it made."""

    def __init__(
        self, front: FrontThread, env: dict[str, str], *words: str, stdout: Any = subprocess.PIPE
    ) -> None:
        self.front = front
        before = set(front.dispatcher.known)
        self.process = subprocess.Popen(
            [*SHORE, *words],
            env=env,
            cwd=Path(env["HOME"], "p"),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
        )
        self.job = front.wait_for(lambda: next(iter(set(front.dispatcher.known) - before), None))

    def start(self) -> None:
        self.front.do(self.front.dispatcher.change, self.job, state=State.RUNNING, started_at=STARTED)

    def write(self, data: bytes) -> None:
        self.front.do(self.front.dispatcher.write, self.job, data)

    def end(self, **how: Any) -> tuple[int, bytes, str]:
        """(exit code, stdout, stderr) once the job has ended."""
        told = {
            "state": State.COMPLETED,
            "ended_at": STARTED + timedelta(seconds=42),
            "exit_status": 0,
            **how,
        }
        self.front.do(self.front.dispatcher.change, self.job, **told)
        return self.over()

    def over(self) -> tuple[int, bytes, str]:
        stdout, stderr = self.process.communicate(timeout=30)
        return self.process.returncode, stdout, stderr.decode()


def test_stdout_is_the_jobs_alone_byte_for_byte(front: FrontThread, env: dict[str, str]) -> None:
    run = Run(front, env, "run", "--no-pull", "--", "true")
    data = bytes(range(256)) * 20_000 + b"no newline"
    run.start()
    run.write(data)

    code, stdout, stderr = run.end()

    assert (code, stdout) == (0, data)
    lines = stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("shore: local · ")
    assert lines[1] == f"shore: {run.job[:5]}… running on this machine"
    assert lines[2] == "shore: completed in 42 s"


def test_the_exit_code_is_the_jobs_and_the_end_is_told(front: FrontThread, env: dict[str, str]) -> None:
    run = Run(front, env, "run", "-m", "4G", "-c", "2", "--no-pull", "--", "true")
    asked = front.dispatcher.specs[run.job].resources
    assert asked == Resources(cpu_count=2, memory_mib=4096)
    run.start()
    usage = Usage(wall_time_s=42, cpu_time_s=63, peak_memory_mib=4096)

    code, _, stderr = run.end(
        state=State.FAILED,
        reason=Reason.OUT_OF_MEMORY,
        exit_status=137,
        why="asked 4 GiB, reached 4.0",
        usage=usage,
        resources=asked,
    )

    assert code == 137
    assert (
        "shore: out of memory after 42 s: asked 4 GiB, reached 4.0 · peak 4 of 4 GiB · 1.5 of 2 cpus busy"
        in stderr
    )
    assert f"shore: try: shore rerun {run.job[:5]} -m 8G" in stderr


def test_a_job_that_waits_is_said_to_wait(front: FrontThread, env: dict[str, str]) -> None:
    run = Run(front, env, "run", "--no-pull", "--", "true")
    front.do(front.dispatcher.change, run.job, why="2 jobs before it")
    assert run.process.stderr is not None
    told = [run.process.stderr.readline().decode() for _ in range(2)]

    run.start()
    run.end()

    assert told[1] == f"shore: {run.job[:5]}… queued: 2 jobs before it\n"


def test_json_is_one_object_a_line_and_nothing_else(front: FrontThread, env: dict[str, str]) -> None:
    run = Run(front, env, "run", "--json", "--no-pull", "--", "true")
    run.start()
    run.write("grün".encode()[:3])
    front.wait_for(lambda: front.dispatcher.followers)
    run.write("grün".encode()[3:] + b"\xff\xfe")

    code, stdout, stderr = run.end(state=State.FAILED, exit_status=2, exit_code=2, reason=Reason.EXIT_CODE)

    lines = [json.loads(line) for line in stdout.splitlines()]
    assert code == 2
    assert stderr == ""
    assert all(line["v"] == 1 for line in lines)
    assert lines[0]["type"] == "job"
    assert (lines[-1]["type"], lines[-1]["job"]["state"], lines[-1]["job"]["id"]) == (
        "end",
        "FAILED",
        run.job,
    )

    output = [line for line in lines if line["type"] == "output"]
    data = b"".join(
        line["text"].encode() if "text" in line else base64.b64decode(line["base64"]) for line in output
    )
    assert data == "grün".encode() + b"\xff\xfe"
    assert [line["offset"] for line in output] == [
        sum(
            len(base64.b64decode(o["base64"])) if "base64" in o else len(o["text"].encode())
            for o in output[:n]
        )
        for n in range(len(output))
    ]


def test_json_tells_the_progress_as_it_is_made(front: FrontThread, env: dict[str, str]) -> None:
    run = Run(front, env, "run", "--json", "--no-pull", "--", "true")
    run.start()
    assert run.process.stdout is not None
    assert [json.loads(run.process.stdout.readline())["type"] for _ in range(2)] == ["job", "job"]
    progress = Progress(fraction=0.4, text="fold 2", at=STARTED)
    known = front.dispatcher.known[run.job]
    front.dispatcher.known[run.job] = replace(known, progress=progress)  # no news: its revision stays

    line = json.loads(run.process.stdout.readline())

    assert (line["type"], line["fraction"], line["text"]) == ("progress", 0.4, "fold 2")
    assert run.end()[0] == 0


def test_without_a_terminal_ctrl_c_leaves_it_running(front: FrontThread, env: dict[str, str]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        run = Run(front, env, "run", "--no-pull", "--", "true")
        run.start()
        run.write(b"begun\n")
        assert run.process.stdout is not None
        assert run.process.stdout.readline() == b"begun\n"

        run.process.send_signal(number)

        code, _, stderr = run.over()
        assert code == 130
        assert f"left running: {run.job[:5]} (true)" in stderr
        assert front.dispatcher.known[run.job].wanted is None


def test_ctrl_c_while_the_submit_is_on_its_way_leaves_nothing(
    front: FrontThread, env: dict[str, str]
) -> None:
    arrived, go_on = front.do(anyio.Event), front.do(anyio.Event)
    submit = front.dispatcher.submit

    async def slow(*args: Any, **more: Any) -> Any:
        arrived.set()
        await go_on.wait()
        return await submit(*args, **more)

    front.dispatcher.submit = slow
    process = subprocess.Popen(
        [*SHORE, "run", "--", "true"], env=env, cwd=Path(env["HOME"], "p"), stderr=subprocess.PIPE
    )
    front.wait_for(arrived.is_set)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.3)
    front.do(go_on.set)

    _, stderr = process.communicate(timeout=30)

    (job,) = front.dispatcher.known.values()
    assert process.returncode == 130
    assert job.wanted is Operation.KILL
    assert f"withdrawn: {job.id[:5]} (true)" in stderr.decode()


def test_a_reader_who_goes_away_costs_the_output_not_the_job(
    front: FrontThread, env: dict[str, str]
) -> None:
    run = Run(front, env, "run", "--no-pull", "--", "true")
    run.start()
    run.write(b"one\n")
    assert run.process.stdout is not None
    assert run.process.stdout.readline() == b"one\n"
    run.process.stdout.close()
    run.process.stdout = None
    run.write(b"two\n")

    code, _, stderr = run.end(exit_status=7, state=State.FAILED, reason=Reason.EXIT_CODE, exit_code=7)

    assert code == 7
    assert "nobody reads the output any more" in stderr


def test_output_that_cannot_be_written_is_no_success(front: FrontThread, env: dict[str, str]) -> None:
    with Path("/dev/full").open("wb") as full:
        run = Run(front, env, "run", "--no-pull", "--", "true", stdout=full)
        run.start()
        run.write(b"one\n")
        front.wait_for(lambda: front.dispatcher.followers)

        code, _, stderr = run.end()

    assert code == 1
    assert f"could not be written: no space left on device; all of it: shore logs {run.job[:5]}" in stderr


@pytest.mark.parametrize("words", [["ps"], ["ps", "--json"]])
def test_an_answer_that_cannot_be_written_is_told_once(
    front: FrontThread, env: dict[str, str], words: list[str]
) -> None:
    front.do(front.dispatcher.add, "ada", name="fit")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run([*SHORE, *words], env=env, stdout=full, stderr=subprocess.PIPE, timeout=30)

    assert done.returncode == 1
    assert done.stderr == b"shore: standard output could not be written: no space left on device\n"


def test_logs_follow_to_the_end_and_leave_the_job_alone(front: FrontThread, env: dict[str, str]) -> None:
    job = front.do(front.dispatcher.add, "ada", name="fit")
    front.do(front.dispatcher.write, job.id, b"a\nb\nc\n")

    done = subprocess.run([*SHORE, "logs", "@fit"], env=env, capture_output=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == (b"a\nb\nc\n", b"")
    done = subprocess.run(
        [*SHORE, "logs", "--tail", "1", "@fit"], env=env, capture_output=True, timeout=30, check=True
    )
    assert done.stdout == b"c\n"
    follower = subprocess.Popen(
        [*SHORE, "logs", "-f", "@fit"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    front.wait_for(lambda: front.dispatcher.followers)
    front.do(front.dispatcher.end, job.id)
    stdout, stderr = follower.communicate(timeout=30)
    assert (follower.returncode, stdout) == (0, b"a\nb\nc\n")
    assert stderr.startswith(b"shore: completed")


def test_waiting_for_several_is_1_if_any_failed(front: FrontThread, env: dict[str, str]) -> None:
    good = front.do(front.dispatcher.add, "ada", name="good", state=State.COMPLETED, exit_status=0).id
    bad = front.do(front.dispatcher.add, "ada", name="bad", state=State.FAILED, exit_status=9).id

    def wait(*words: str) -> int:
        return subprocess.run([*SHORE, "wait", *words], env=env, capture_output=True, timeout=30).returncode

    assert [wait(good), wait(bad), wait(good, bad), wait(good, good)] == [0, 9, 1, 0]
    assert wait("none") == 123
    pending = front.do(front.dispatcher.add, "ada", name="pending").id
    assert wait("--timeout", "1s", pending) == 124


# at a terminal


def at_terminal(
    front: FrontThread, env: dict[str, str], *words: str, command: list[str] = SHORE
) -> tuple[Terminal, str]:
    before = set(front.dispatcher.known)
    terminal = Terminal([*command, *words], env, Path(env["HOME"], "p"))
    job = front.wait_for(lambda: next(iter(set(front.dispatcher.known) - before), None))
    front.do(front.dispatcher.change, job, state=State.RUNNING, started_at=datetime.now(UTC))
    front.do(front.dispatcher.write, job, b"fold 1\n")
    terminal.expect("fold 1")
    return terminal, job


def test_that_it_runs_is_said_before_output_that_is_faster_than_the_news(
    front: FrontThread, env: dict[str, str]
) -> None:
    before = set(front.dispatcher.known)
    terminal = Terminal([*SHORE, "run", "--no-pull", "--", "true"], env, Path(env["HOME"], "p"))
    job = front.wait_for(lambda: next(iter(set(front.dispatcher.known) - before), None))

    front.do(front.dispatcher.write, job, b"fold 1\n")
    terminal.expect("running on this machine\nfold 1\n")
    front.do(front.dispatcher.change, job, state=State.RUNNING, started_at=datetime.now(UTC))
    front.do(front.dispatcher.change, job, state=State.COMPLETED, exit_status=0)

    assert terminal.end() == 0
    assert terminal.seen.count("running on this machine") == 1


def test_ctrl_c_asks_and_enter_leaves_it_running(front: FrontThread, env: dict[str, str]) -> None:
    terminal, job = at_terminal(front, env, "run", "--no-pull", "--", "true")

    terminal.type("\x03")
    terminal.expect("Enter leaves it running, s stops it")
    terminal.type("\n")

    assert terminal.end() == 130
    assert f"left running: {job[:5]}" in terminal.seen
    assert front.dispatcher.known[job].wanted is None


def test_ctrl_c_twice_leaves(front: FrontThread, env: dict[str, str]) -> None:
    terminal, job = at_terminal(front, env, "run", "--no-pull", "--", "true")

    terminal.type("\x03")
    terminal.expect("Enter leaves it running")
    terminal.type("\x03")

    assert terminal.end() == 130
    assert front.dispatcher.known[job].wanted is None


def test_ctrl_c_and_s_stops_it(front: FrontThread, env: dict[str, str]) -> None:
    terminal, job = at_terminal(front, env, "run", "--no-pull", "--", "true")

    terminal.type("\x03")
    terminal.expect("s stops it")
    terminal.type("s")
    front.wait_for(lambda: front.dispatcher.known[job].wanted)
    front.do(
        front.dispatcher.change,
        job,
        state=State.CANCELED,
        reason=Reason.STOPPED,
        exit_status=143,
        why="stopped by ada",
    )

    assert terminal.end() == 143
    assert "stopping" in terminal.seen


def test_ctrl_c_and_w_watches_on(front: FrontThread, env: dict[str, str]) -> None:
    terminal, job = at_terminal(front, env, "run", "--no-pull", "--", "true")

    terminal.type("\x03")
    terminal.expect("w watches on")
    front.do(front.dispatcher.write, job, b"fold 2\n")
    terminal.type("w")
    terminal.expect("fold 2")
    front.do(front.dispatcher.change, job, state=State.COMPLETED, exit_status=0)

    assert terminal.end() == 0


def test_configuration_can_answer_for_the_person(front: FrontThread, env: dict[str, str]) -> None:
    terminal, _ = at_terminal(
        front, {**env, "SHORE_ON_INTERRUPT": "leave"}, "run", "--no-pull", "--", "true"
    )

    terminal.type("\x03")

    assert terminal.end() == 130
    assert "Enter leaves" not in terminal.seen


def test_a_live_line_shows_progress_and_goes_before_output(front: FrontThread, env: dict[str, str]) -> None:
    terminal, job = at_terminal(front, env, "run", "-m", "8G", "--no-pull", "--", "true")
    progress = Progress(fraction=0.4, text="fold 2\x1b[2J", at=datetime.now(UTC))
    told = {"progress": progress, "usage": Usage(memory_mib=2867), "resources": Resources(memory_mib=8192)}
    front.do(front.dispatcher.change, job, **told)

    terminal.expect("40 %  fold 2\\x1b[2J")
    terminal.expect("2.8 of 8 GiB")
    front.do(front.dispatcher.write, job, b"fold 2\n")
    front.wait_for(lambda: front.dispatcher.followers)
    front.do(front.dispatcher.change, job, state=State.COMPLETED, exit_status=0)

    assert terminal.end() == 0
    assert "\x1b[2Kfold 2\r\n" in terminal.seen
    assert "\x1b[2J" not in terminal.seen


def test_the_live_line_comes_back_under_output_that_does_not_pause(
    front: FrontThread, env: dict[str, str]
) -> None:
    never_quiet = (
        "from shorepower.cli import attached, main;"
        "attached.TICK_S, attached.WATCH_LIVE_S = 3600, 20;"
        "main.main()"
    )
    terminal, job = at_terminal(
        front, env, "run", "--no-pull", "--", "true", command=[sys.executable, "-c", never_quiet]
    )
    front.do(front.dispatcher.change, job, progress=Progress(fraction=0.4, text="", at=datetime.now(UTC)))
    terminal.expect("40 %")

    for fold in ("fold 2", "fold 3"):
        terminal.seen = ""
        front.do(front.dispatcher.write, job, f"{fold}\n".encode())
        terminal.expect(f"{fold}\nshore: 40 %", limit_s=10)

    front.do(front.dispatcher.change, job, state=State.COMPLETED, exit_status=0)
    assert terminal.end() == 0


def test_no_colour_when_it_is_not_wanted(front: FrontThread, env: dict[str, str]) -> None:
    front.do(front.dispatcher.add, "ada", name="a\x1b[31m\nb", state=State.RUNNING)

    plain = Terminal([*SHORE, "ps"], {**env, "NO_COLOR": "1"}, Path(env["HOME"]))
    assert plain.end() == 0
    assert "\x1b[" not in plain.seen
    assert "a\\x1b[31m\\nb" in plain.seen
    painted = Terminal([*SHORE, "ps"], env, Path(env["HOME"]))
    assert painted.end() == 0
    assert "\x1b[34mRUNNING\x1b[0m" in painted.seen
