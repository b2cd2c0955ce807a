"""Whole command lines against a private server that starts by itself."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.place import SHORE, Place, a_place

pytestmark = pytest.mark.flow

COUNTING = "for i in $(seq 1 40); do echo line $i; sleep 0.05; done; seq 1 100 > numbers.txt\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One server for tests that only add jobs."""
    with a_place(tmp_path_factory.mktemp("shared")) as made:
        yield made


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


# the private server


def test_the_first_run_needs_nothing_set_up(place: Place) -> None:
    place.write("train.sh", "echo hello; echo x > out.txt; mkdir fig; echo y > fig/a.png; exit 3\n")

    first = place.shore("run", "train.sh")

    assert (first.code, first.stdout) == (3, "hello\n")
    assert first.stderr.splitlines()[0] == "shore: starting your server"
    assert "bash (PATH)" in first.stderr
    assert "failed after" in first.stderr
    assert (place.project / "out.txt").read_text() == "x\n"
    assert (place.project / "fig" / "a.png").read_text() == "y\n"
    assert (place.state.stat().st_mode & 0o777, place.pid() > 0) == (0o700, True)
    second = place.shore("run", "train.sh")
    assert "starting" not in second.stderr
    assert len(second.stderr.splitlines()) <= 4


def test_streams_that_were_closed_before_it_began_are_no_other_files(place: Place) -> None:
    job = ["sh", "-c", "cat; echo out; echo err >&2; echo home > home.txt"]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&- 2>&-', "sh", *SHORE, "run", "--stdin", "-", "--", *job],
        env=place.env,
        cwd=place.project,
        stdout=subprocess.PIPE,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, b"out\n")
    assert (place.project / "home.txt").read_text() == "home\n"
    closed = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *SHORE, "logs", "@-1"],
        env=place.env,
        cwd=place.project,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert (closed.returncode, closed.stderr) == (0, b"err\n")


def test_two_first_runs_in_the_same_instant(place: Place) -> None:
    runs = [place.start("run", "--", "echo", str(number)) for number in range(4)]

    done = [run.communicate(timeout=60) for run in runs]

    assert [(run.returncode, out) for run, (out, _) in zip(runs, done, strict=True)] == [
        (0, f"{number}\n".encode()) for number in range(4)
    ], done
    assert len(place.shore("ps", "--ids").stdout.split()) == 4


def test_a_run_goes_on_over_kills_of_the_server(place: Place) -> None:
    place.write("count.sh", COUNTING)
    run = place.start("run", "count.sh")
    assert run.stdout is not None
    first = run.stdout.readline()
    for _ in range(2):
        place.kill()
        place.shore("ps")

    stdout, stderr = run.communicate(timeout=60)

    assert first + stdout == b"".join(b"line %d\n" % number for number in range(1, 41))
    assert run.returncode == 0, stderr
    assert len((place.project / "numbers.txt").read_text().splitlines()) == 100


def test_jobs_outlive_a_stopped_server(place: Place) -> None:
    place.write("count.sh", COUNTING)
    job = place.shore("submit", "count.sh").stdout.strip()

    stopped = place.shore("server", "stop")
    assert stopped.code == 0
    assert "1 job goes on" in stopped.stderr
    assert place.shore("server", "status").code == 121
    assert place.shore("server", "stop").stderr == "shore: no server was running\n"

    assert place.shore("wait", job).code == 0
    assert place.shore("logs", job).stdout.splitlines()[-1] == "line 40"


def test_a_stale_socket_is_no_obstacle(place: Place) -> None:
    place.shore("ps")
    place.kill()
    (socket,) = (place.runtime / "shorepower").glob("*.sock")
    assert socket.exists()

    assert place.shore("run", "--", "echo", "a").stdout == "a\n"


def test_without_a_runtime_directory_it_finds_a_place(place: Place) -> None:
    del place.env["XDG_RUNTIME_DIR"]

    assert place.shore("run", "--", "echo", "a").stdout == "a\n"


def test_a_server_that_cannot_start_says_why(place: Place) -> None:
    place.state.mkdir(mode=0o700)
    (place.state / "store.db").write_bytes(b"this is no database at all" * 100)

    done = place.shore("ps")

    assert done.code == 121
    assert "your server ended with exit code" in done.stderr
    assert "store.db" in done.stderr
    assert str(place.state / "server.log") in done.stderr


def test_a_state_directory_that_cannot_be_one(place: Place) -> None:
    place.state.write_text("a file")

    done = place.shore("ps")

    assert done.code == 121
    assert "SHORE_STATE_DIR" in done.stderr


@pytest.fixture
def serve_as(place: Place) -> Iterator[Callable[[str], None]]:
    """Starts a server of another version in the place of the private one."""
    made: list[subprocess.Popen[bytes]] = []

    def serve(version: str) -> None:
        code = (
            f"import shorepower; shorepower.__version__ = {version!r}\n"
            "from shorepower.cli.main import main; main(['serve', '--private'])"
        )
        place.state.mkdir(mode=0o700, exist_ok=True)
        with (place.state / "server.log").open("ab") as log:
            made.append(
                subprocess.Popen(
                    [sys.executable, "-c", code], env=place.env, cwd="/", stdout=log, stderr=log
                )
            )
        deadline = time.monotonic() + 30
        while not list((place.runtime / "shorepower").glob("*.sock")):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    yield serve
    for one in made:
        one.terminate()
        one.wait(30)


@pytest.mark.parametrize("version", ["0.0.9", "0.0.1"])
def test_an_older_private_server_is_replaced_and_its_jobs_live_on(
    place: Place, serve_as: Callable[[str], None], version: str
) -> None:
    serve_as(version)
    older = place.env | {"SHORE_AUTOSTART": "0"}
    job = place.shore("submit", "--", "sh", "-c", "sleep 1; echo done", env=older).stdout.strip()

    done = place.shore("ps", "--json")

    assert f"replacing your server {version} by 0.1.0; jobs go on" in done.stderr
    assert [one["id"] for one in done.json["jobs"]] == [job]
    assert place.shore("server", "status", "--json").json["version"] == "0.1.0"
    assert place.shore("wait", job).code == 0
    assert place.shore("logs", job).stdout == "done\n"


def test_a_newer_private_server_is_used_and_never_replaced(
    place: Place, serve_as: Callable[[str], None]
) -> None:
    serve_as("0.2.1")

    assert place.shore("run", "--", "echo", "a").stdout == "a\n"
    assert place.shore("server", "status", "--json").json["version"] == "0.2.1"


def test_a_private_server_too_new_is_named_with_the_remedy(
    place: Place, serve_as: Callable[[str], None]
) -> None:
    serve_as("0.3.0")

    done = place.shore("run", "--", "echo", "a")

    assert (done.code, done.stdout) == (121, "")
    assert "0.3.0" in done.stderr
    assert "0.1.0" in done.stderr
    assert "uv tool upgrade shorepower" in done.stderr
