"""Whole servers, as processes: started at once, killed, idle, in the wrong place."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from shorepower.client.settings import places_of
from shorepower.compose import serve_private
from shorepower.config.find import load
from shorepower.host.lease import LeaseLost, LeaseRules
from shorepower.server.sockets import answers
from support.talk import Talk
from support.waiting import eventually

pytestmark = pytest.mark.anyio

RUN = "import sys; from shorepower.compose import run_private; sys.exit(run_private())"
START_S, STOP_S = 30.0, 15.0


class Servers:
    """Starts servers of one state directory, and sees that none is left."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(root),
            "SHORE_STATE_DIR": str(root / "state"),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        }
        (root / "run").mkdir(mode=0o700)
        self.started: list[subprocess.Popen[str]] = []

    @property
    def socket(self) -> Path:
        return Path(places_of(self.environ).socket)

    def start(self, **environ: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN],
            env=self.environ | environ,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def wait(self, path: Path | None = None) -> None:
        _until(lambda: answers(str(path or self.socket)), START_S)

    def end(self) -> None:
        for process in self.started:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()


def _until(what: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.read()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    made = Servers(tmp_path)
    yield made
    made.end()


async def ask(path: Path, method: str, target: str, body: object = None) -> dict:
    talk = await Talk.to(path)
    try:
        answer = await talk.ask(method, target, body)
    finally:
        talk.close()
    assert answer.status < 300, answer.body
    return answer.json()


async def test_a_server_runs_a_job_and_stops_cleanly(servers: Servers, tmp_path: Path) -> None:
    process = servers.start()
    servers.wait()
    spec = {
        "name": "greet",
        "argv": ["sh", "-c", 'echo "hello $WHO"'],
        "env": {"PATH": os.environ["PATH"], "WHO": "hunter2"},
        "in_place": True,
        "workdir": str(tmp_path),
    }
    job = await ask(servers.socket, "POST", "/v1/jobs", {"spec": spec})
    while not job["ended_at"]:
        query = f"revision={job['revision']}&wait=30"
        job = await ask(servers.socket, "GET", f"/v1/jobs/{job['id']}?{query}")
    output = await ask(servers.socket, "GET", f"/v1/jobs/{job['id']}/output")

    assert (job["state"], job["exit_code"]) == ("COMPLETED", 0)
    assert [piece["text"] for piece in output["pieces"]] == ["hello hunter2\n"]
    process.terminate()
    assert process.wait(STOP_S) == 0
    assert not servers.socket.exists()
    state = tmp_path / "state"
    assert not (state / "lease.json").exists()
    log = (state / "server.log").read_text()
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert (events[0], events[-1]) == ("started", "stopped")
    assert "hunter2" not in log
    assert str(tmp_path) not in log


async def test_of_two_that_start_at_once_one_serves_and_the_other_says_so(servers: Servers) -> None:
    both = [servers.start(), servers.start()]
    servers.wait()
    _until(lambda: any(process.poll() is not None for process in both), START_S)
    winner = next(process for process in both if process.poll() is None)
    loser = next(process for process in both if process.poll() is not None)

    assert loser.returncode == 0
    assert f"your server already runs (process {winner.pid})" in said(loser)
    assert (await ask(servers.socket, "GET", "/v1/server"))["pid"] == winner.pid


async def test_after_kill_9_the_next_one_starts_at_once(servers: Servers) -> None:
    first = servers.start()
    servers.wait()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert servers.socket.exists()
    second = servers.start()
    servers.wait()

    assert (await ask(servers.socket, "GET", "/v1/server"))["pid"] == second.pid


async def test_who_starts_while_the_old_one_ends_takes_over(servers: Servers) -> None:
    first = servers.start()
    servers.wait()
    first.send_signal(signal.SIGSTOP)  # as one that has closed its socket and still writes
    servers.socket.unlink()
    second = servers.start()
    assert second.stderr is not None
    assert f"waiting for process {first.pid}" in second.stderr.readline()
    first.send_signal(signal.SIGKILL)
    first.wait()
    servers.wait()

    assert (await ask(servers.socket, "GET", "/v1/server"))["pid"] == second.pid


async def test_another_kind_of_login_is_led_to_the_same_server(servers: Servers, tmp_path: Path) -> None:
    first = servers.start()
    servers.wait()
    (tmp_path / "cron").mkdir(mode=0o700)
    second = servers.start(XDG_RUNTIME_DIR=str(tmp_path / "cron"))
    assert second.wait(START_S) == 0
    there = tmp_path / "cron" / "shorepower" / servers.socket.name

    assert (await ask(there, "GET", "/v1/server"))["pid"] == first.pid


def test_a_signal_that_is_ignored_stays_ignored(servers: Servers) -> None:
    code = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {RUN}"
    process = subprocess.Popen([sys.executable, "-c", code], env=servers.environ, stderr=subprocess.DEVNULL)
    servers.started.append(process)
    servers.wait()
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_S) == 0
    assert "SIGINT" in (servers.root / "state" / "server.log").read_text()
    assert "SIGHUP" not in (servers.root / "state" / "server.log").read_text()


def test_a_server_with_nothing_to_do_ends_itself(servers: Servers) -> None:
    process = servers.start(SHORE_IDLE_MINUTES="0.005")
    assert process.wait(START_S) == 0
    log = (servers.root / "state" / "server.log").read_text()
    assert "nothing to do" in log


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"SHORE_STATE_DIR": "/dev/null"}, "is not a directory; set SHORE_STATE_DIR"),
        ({"SHORE_LISTEN": "0.0.0.0:8080"}, "plain http is for this machine only"),
        ({"SHORE_LISTEN": "8080"}, "no address to listen on"),
        ({"SHORE_IDLE_MINUTES": "soon"}, "expected a number, got text"),
    ],
)
def test_what_cannot_work_is_told_in_a_sentence(
    servers: Servers, environ: dict[str, str], words: str
) -> None:
    process = servers.start(**environ)
    assert process.wait(START_S) == 1
    told = said(process)
    assert words in told
    assert "Traceback" not in told


@pytest.mark.usefixtures("logging_restored")
async def test_a_server_whose_state_is_removed_ends(servers: Servers) -> None:
    places = places_of(servers.environ)
    config = load(servers.environ)
    with pytest.raises(ExceptionGroup) as caught:
        async with anyio.create_task_group() as tg:
            rules = LeaseRules(renew_s=0.02)

            async def run() -> None:
                await serve_private(places, config, rules=rules)

            tg.start_soon(run)
            await eventually(lambda: answers(str(servers.socket)))
            shutil.rmtree(servers.root / "state", ignore_errors=True)
    assert caught.group_contains(LeaseLost, depth=None)
    assert not servers.socket.exists()
