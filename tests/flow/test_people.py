"""Who may come, as whom it runs, and how one leaves: real users, real processes, a real terminal."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import shorepower
import support.place
from support.ordinary import NOBODY, as_ordinary_user, ordinary_folder
from support.place import Place, a_place
from support.terminal import Terminal

pytestmark = pytest.mark.flow

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
LIMIT_S = 60.0


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with a_place(tmp_path) as made:
        yield made


# another user


@needs_root
def test_another_user_is_refused_even_where_the_modes_let_them_in(place: Place) -> None:
    place.shore("ps")
    (path,) = (place.runtime / "shorepower").glob("*.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o666)
    for folder in (path.parent, *path.parents):
        if folder.stat().st_uid == os.getuid() and folder not in (Path("/"), Path("/tmp")):
            folder.chmod(folder.stat().st_mode | 0o055)

    def come() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(LIMIT_S)
            line.connect(str(path))
            line.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = b""
            while data := line.recv(65536):
                answer += data
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.split()[1] in (b"401", b"403"), answer
        assert b'"jobs"' not in body

    as_ordinary_user(come)
    assert place.shore("ps", "--json").code == 0


@needs_root
def test_state_of_another_user_is_not_used(tmp_path: Path) -> None:
    with ordinary_folder() as theirs:
        place = Place(tmp_path)
        place.env["SHORE_STATE_DIR"] = str(theirs)

        done = place.shore("run", "--", "true")

        assert done.code == 121
        assert f"belongs to user number {NOBODY}" in done.stderr
        assert list(theirs.iterdir()) == []


# an ordinary user


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_an_ordinary_user_needs_nothing_set_up(umask: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with ordinary_folder() as home, ordinary_folder() as apart:
        monkeypatch.setattr(support.place, "SHORE", (_python_for_all(apart), "-m", "shorepower"))

        def live() -> None:
            os.umask(umask)
            with a_place(home) as place:
                _work(place, umask)

        as_ordinary_user(live)


def _python_for_all(folder: Path) -> str:
    """An interpreter that an ordinary user may run, with what is installed here."""
    real = Path(sys.executable).resolve()
    if os.getuid() != 0 or all(path.stat().st_mode & 0o005 == 0o005 for path in (real, *real.parents)):
        return sys.executable
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    system = Path("/usr/bin", version)
    if not system.exists():
        pytest.skip(f"{real} is root's alone, and there is no {system} beside it")
    subprocess.run([system, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    site = folder / "venv" / "lib" / version / "site-packages"
    there = [path for path in sys.path if path.endswith("site-packages")]
    (site / "here.pth").write_text("\n".join([str(Path(shorepower.__file__).parents[1]), *there]))
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
    return str(folder / "venv" / "bin" / "python")


def _work(place: Place, umask: int) -> None:
    place.env["USER"] = "somebody"
    place.write("pyproject.toml", "")
    place.write("in.txt", "in\n").chmod(0o640)
    place.write("a.sh", 'umask; id -u; cat in.txt; echo out > out.txt; stat -c %a in.txt; echo "$PW"\n')

    done = place.shore("run", "--secret", "PW", "a.sh", env={"PW": "geheim"})

    assert (done.code, done.stdout) == (0, f"{umask:04o}\n{os.getuid()}\nin\n640\ngeheim\n"), done
    assert (place.project / "out.txt").read_text() == "out\n"
    assert stat.S_IMODE((place.project / "out.txt").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE(place.state.stat().st_mode) == 0o700
    for folder in ("work", "spool"):
        for path in (place.state / folder).iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o700, path
    for path in (*place.state.glob("*"), *(place.state / "blobs").rglob("*")):
        if path.is_file():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
    place.kill()
    assert place.shore("run", "--", "echo", "again").stdout == "again\n"
    assert place.shore("wait", "@-1").code == 0
    assert {job["owner"] for job in place.shore("ps", "-a", "--json").json["jobs"]} == {
        place.shore("whoami", "--json").json["caller"]["user"]
    }


# leaving


def _sleeper(place: Place) -> None:
    place.write("slow.sh", "echo ready; sleep 2; echo done; echo x > out.txt\n")


def _ends_well(place: Place) -> None:
    assert place.shore("wait", "@-1").code == 0
    assert place.shore("logs", "@-1").stdout == "ready\ndone\n"
    assert len(place.shore("ps", "-a", "--ids").stdout.split()) == 1


@pytest.mark.parametrize(
    ("number", "codes"),
    [(signal.SIGINT, {130}), (signal.SIGTERM, {130, 143, -15}), (signal.SIGHUP, {129, 130, -1})],
)
def test_without_a_terminal_a_signal_leaves_the_job_running(
    place: Place, number: signal.Signals, codes: set[int]
) -> None:
    _sleeper(place)
    run = place.start("run", "slow.sh")
    assert run.stdout is not None
    assert run.stdout.readline() == b"ready\n"

    run.send_signal(number)
    _, stderr = run.communicate(timeout=LIMIT_S)

    assert run.returncode in codes, stderr
    assert b"goes on" in stderr or b"running" in stderr
    _ends_well(place)


def test_at_a_terminal_enter_leaves_it_running(place: Place) -> None:
    _sleeper(place)
    terminal = _attached(place)
    terminal.expect("ready")
    terminal.type("\x03")
    terminal.expect("Enter")
    terminal.type("\n")

    assert terminal.end() == 130, terminal.seen
    _ends_well(place)


def test_at_a_terminal_a_second_ctrl_c_leaves_it_running(place: Place) -> None:
    _sleeper(place)
    terminal = _attached(place)
    terminal.expect("ready")
    terminal.type("\x03")
    terminal.expect("Enter")
    terminal.type("\x03")

    assert terminal.end() == 130, terminal.seen
    _ends_well(place)


def test_at_a_terminal_s_stops_it_with_all_it_started(place: Place) -> None:
    mark = f"900{os.getpid()}.5"
    place.write("tree.sh", f"sleep {mark} & setsid sleep {mark} & (sleep {mark} &) ; echo ready; wait\n")
    terminal = _attached(place, "tree.sh")
    terminal.expect("ready")
    deadline = time.monotonic() + 30
    while len(_running(mark)) < 3:  # ready is said before the last of them has become what it is
        assert time.monotonic() < deadline, _running(mark)
        time.sleep(0.02)
    terminal.type("\x03")
    terminal.expect("Enter")
    terminal.type("s")

    assert terminal.end() == 143, terminal.seen
    assert _running(mark) == []
    assert place.shore("show", "--json", "@-1").json["reason"] == "STOPPED"


def test_a_closed_terminal_leaves_it_running(place: Place) -> None:
    _sleeper(place)
    terminal = _attached(place)
    terminal.expect("ready")

    terminal.signal(signal.SIGHUP)

    terminal.end()
    _ends_well(place)


def _attached(place: Place, script: str = "slow.sh") -> Terminal:
    place.shore("ps")
    env = place.env | {"TERM": "xterm"}
    return Terminal([sys.executable, "-m", "shorepower", "run", script], env, place.project)


def _running(mark: str) -> list[str]:
    """Processes that sleep this long."""
    found = []
    for line in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if line.read_bytes().split(b"\0")[:2] == [b"sleep", mark.encode()]:
                found.append(line.parent.name)
        except OSError:
            continue  # it ended meanwhile
    return found


# stopping


@pytest.mark.parametrize(("verb", "code"), [("stop", 143), ("kill", 137)])
def test_a_stop_ends_the_whole_tree_and_nothing_else(place: Place, verb: str, code: int) -> None:
    mark, other = f"901{os.getpid()}.5", f"902{os.getpid()}.5"
    bystander = subprocess.Popen(["sleep", other])
    try:
        place.write(
            "tree.sh",
            f"trap '' TERM\nsleep {mark} & setsid sleep {mark} &\n"
            f"nohup sh -c 'trap \"\" TERM HUP; sleep {mark}' & echo ready; wait\n",
        )
        place.write("config.json", json.dumps({}))
        job = place.shore("submit", "tree.sh").stdout.strip()
        deadline = time.monotonic() + LIMIT_S
        while "ready" not in place.shore("logs", job).stdout:
            assert time.monotonic() < deadline
        if verb == "stop":
            place.shore("stop", job)  # ignores SIGTERM: the grace is 30 s, so it is killed at last
            assert place.shore("kill", job).code == 0
        else:
            assert place.shore("kill", job).code == 0

        ended = place.shore("wait", job)

        assert ended.code in (code, 137), ended
        assert _running(mark) == []
        assert len(_running(other)) == 1
    finally:
        bystander.kill()
        bystander.wait()
