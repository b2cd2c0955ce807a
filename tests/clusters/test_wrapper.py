"""The script itself, in every shell there is."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from shorepower.clusters.records import Launch
from shorepower.clusters.spool import Spool
from shorepower.clusters.wrapper import (
    COULD_NOT_RECORD,
    LOST_THE_FENCE,
    Errand,
    carried,
    command,
)
from shorepower.host.processes import process_of, uptime_cs
from shorepower.model.lifecycle import Reason
from shorepower.testing.clock import FakeClock

SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"], "busybox": ["busybox", "sh"]}


@pytest.fixture(params=SHELLS)
def shell(request):
    if shutil.which(SHELLS[request.param][0]) is None:
        pytest.skip(f"{request.param} is not installed")
    return SHELLS[request.param]


class Bench:
    """Runs wrappers in one spool folder."""

    def __init__(self, shell, root):
        self.shell, self.spool = shell, Spool(root / "spool")
        self.cwd = root

    def part(self, name="abc-1"):
        return self.spool.part(name, 0, 0)

    def start(self, argv, name="abc-1", *, env=None, part=None, **changes):
        part = part or self.part(name)
        out, err = part.open_output()
        told = {
            "folder": str(part.folder),
            "submission": name,
            "task": 0,
            "restart": 0,
            "cwd": str(self.cwd),
            "zero_cs": int(time.time() * 100) - uptime_cs(),
        }
        argv, env = carried(argv, {"PATH": os.environ["PATH"], **(env or {})})
        try:
            return subprocess.Popen(
                command([shutil.which(self.shell[0]), *self.shell[1:]], Errand(**told | changes), argv),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=env,
                start_new_session=True,
            )
        finally:
            os.close(out)
            os.close(err)

    def run(self, argv, name="abc-1", **changes):
        code = self.start(argv, name, **changes).wait(30)
        return code, self.part(name).evidence()

    def output(self, stream="stdout", name="abc-1"):
        return (self.part(name).folder / f"{stream}.0.0").read_bytes()


@pytest.fixture
def bench(shell, tmp_path):
    return Bench(shell, tmp_path)


def test_records_tell_who_when_and_how(bench):
    before = time.time()
    wrapper = bench.start(["sh", "-c", "echo out; echo err >&2; sleep 0.03; exit 7"], facts="gpus=0,1")
    started = process_of(wrapper.pid).start_time
    assert wrapper.wait(30) == 7
    seen = bench.part().evidence()
    assert seen.fence.submission == "abc-1"
    assert seen.fence.gpus == ("0", "1")
    assert (seen.fence.pid, seen.fence.start_time) == (wrapper.pid, started)
    assert (seen.exit.pid, seen.exit.start_time, seen.exit.code) == (wrapper.pid, started, 7)
    assert seen.exit.launch is Launch.NOTHING
    assert before - 0.1 <= seen.exit.began_at.timestamp() <= seen.exit.at.timestamp() <= time.time() + 0.1
    assert seen.exit.began_at == seen.fence.at
    assert bench.output() == b"out\n"
    assert bench.output("stderr") == b"err\n"


def test_a_signal_is_128_and_more_and_says_nothing(bench):
    code, seen = bench.run(["sh", "-c", "kill -SEGV $$"])
    assert code == seen.exit.code == 128 + signal.SIGSEGV
    assert bench.output("stderr") == b""


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["no-such-program"], 127),
        (["./broken"], 127),
        (["./plain"], 126),
        (["./"], 126),
        (["exit", "3"], 127),
    ],
)
def test_a_program_that_cannot_start_is_told_apart(bench, argv, code):
    (bench.cwd / "broken").write_text("#!/no/such/interpreter\n")
    (bench.cwd / "broken").chmod(0o755)
    (bench.cwd / "plain").write_text("text")
    _, seen = bench.run(argv)
    assert (seen.exit.code, seen.exit.launch) == (code, Launch.PROGRAM)
    assert bench.output("stderr")  # what the shell says of it


@pytest.mark.parametrize("code", [126, 127])
def test_the_programs_own_126_and_127_are_its_own(bench, code):
    _, seen = bench.run(["sh", "-c", f"exit {code}"])
    assert (seen.exit.code, seen.exit.launch) == (code, Launch.NOTHING)


@pytest.mark.parametrize(
    ("changes", "launch"),
    [
        ({"cwd": "/no/such"}, Launch.DIRECTORY),
        ({"stdin": "/no/such"}, Launch.INPUT),
        ({"stdout": "/no/such/file"}, Launch.OUTPUT),
        ({"stderr": "/no/such/file"}, Launch.OUTPUT),
    ],
)
def test_places_that_are_not_there(bench, changes, launch):
    _, seen = bench.run(["touch", str(bench.cwd / "ran")], **changes)
    assert seen.exit.launch is launch
    assert not (bench.cwd / "ran").exists()


def test_files_are_opened_when_told(bench):
    (bench.cwd / "in put").write_bytes(b"given\n")
    names = {name: str(bench.cwd / f"my {name}") for name in ("stdout", "stderr")}
    bench.run(["sh", "-c", "cat; echo bad >&2"], stdin=str(bench.cwd / "in put"), **names)
    assert (bench.cwd / "my stdout").read_bytes() == b"given\n"
    assert (bench.cwd / "my stderr").read_bytes() == b"bad\n"
    assert bench.output() == bench.output("stderr") == b""


def test_who_loses_the_fence_touches_nothing(bench):
    bench.run(["echo", "first"])
    files = {file.name: file.read_bytes() for file in bench.part().folder.iterdir()}
    code, _ = bench.run(["echo", "second"])
    assert code == LOST_THE_FENCE
    assert {file.name: file.read_bytes() for file in bench.part().folder.iterdir()} == files


def test_two_racing_wrappers_start_the_program_once(bench, shell):
    rounds = 200 if shell == ["dash"] else 30
    for number in range(rounds):
        name = f"race-{number}"
        both = [bench.start(["echo", "ran"], name) for _ in range(2)]
        codes = sorted(wrapper.wait(30) for wrapper in both)
        assert codes == [0, LOST_THE_FENCE]
        assert bench.output(name=name) == b"ran\n"
        assert bench.part(name).evidence().exit.pid in {wrapper.pid for wrapper in both}


def test_a_forbidden_start_never_happens(bench):
    assert bench.part().forbid(Reason.STOPPED, FakeClock().now())
    assert not bench.part().forbid(Reason.KILLED, FakeClock().now())
    code, seen = bench.run(["touch", str(bench.cwd / "ran")])
    assert code == LOST_THE_FENCE
    assert seen.fence.forbidden is Reason.STOPPED
    assert not (bench.cwd / "ran").exists()


def test_no_folder_no_run(bench):
    part = bench.part()
    wrapper = bench.start(["touch", str(bench.cwd / "ran")], folder=str(bench.cwd / "gone"), part=part)
    assert wrapper.wait(30) == COULD_NOT_RECORD
    assert not (bench.cwd / "ran").exists()


def test_bytes_and_odd_names_arrive_as_given(bench):
    odd = "é \udcff\udc80 'quote' \"$HOME\" `x` \\n *\n\t;"
    env = {
        "PLAIN": odd,
        "out": "o",
        "dir": "d",
        "start": "s",
        "a.b": odd,
        "BASH_FUNC_m%%": "() { x; }",
        "IFS": "X",
        "PPID": "1",
        "OPTIND": "7",
        "SHELLOPTS": "xtrace",
        "BASH_ENV": "/no/such",
        "PS4": "p",
        "CDPATH": "/usr",
        "LC_ALL": "C.UTF-8",
        "EMPTY": "",
    }
    code = "import os, sys; print([sys.argv[1:], dict(os.environb)])"
    _, seen = bench.run([sys.executable, "-c", code, odd, "", "-n"], env=env)
    assert seen.exit.code == 0, bench.output("stderr")
    args, got = eval(bench.output())
    assert args == [odd, "", "-n"]
    want = {os.fsencode(k): os.fsencode(v) for k, v in env.items()}
    assert {k: v for k, v in got.items() if k in want} == want
    added = set(got) - set(want) - {b"PATH", b"PWD", b"SHLVL", b"_", b"LC_CTYPE"}
    assert not added
    assert got[b"PWD"] == os.fsencode(bench.cwd)


def test_the_program_has_three_descriptors_its_umask_and_default_signals(bench):
    code = (
        "import os; print(sorted(os.listdir('/proc/self/fd')), oct(os.umask(0)));"
        "print([l for l in open('/proc/self/status') if l.startswith(('SigIgn','SigBlk'))])"
    )
    bench.run([sys.executable, "-c", code], umask=0o027)
    fds, masks = bench.output().decode().splitlines()
    assert fds == "['0', '1', '2', '3'] 0o27"  # 3 is the listing's own
    blocked, ignored = eval(masks)
    assert int(blocked.split()[1], 16) == 0
    assert int(ignored.split()[1], 16) & (1 << signal.SIGTERM - 1 | 1 << signal.SIGINT - 1) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_what_ends_the_program_does_not_end_the_wrapper(bench, number):
    code = "import signal, time; signal.signal(2, signal.SIG_DFL); print('up', flush=True); time.sleep(60)"
    wrapper = bench.start([sys.executable, "-c", code])
    while bench.output() != b"up\n":
        time.sleep(0.002)
    os.killpg(wrapper.pid, number)
    assert wrapper.wait(30) == 128 + number
    assert bench.part().evidence().exit.code == 128 + number


def test_a_killed_wrapper_leaves_reserved_room(bench):
    wrapper = bench.start(["sh", "-c", "echo up; exec sleep 60"])
    while bench.output() != b"up\n":
        time.sleep(0.002)
    wrapper.kill()
    wrapper.wait()
    seen = bench.part().evidence()
    os.killpg(wrapper.pid, signal.SIGKILL)
    assert seen.fence is not None
    assert (seen.exit, seen.reserved) == (None, True)


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k,mode=0700", "tmpfs", str(place)], capture_output=True
    )
    if made.returncode:
        pytest.skip("a small file system can only be mounted by root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place):
    with open(place / "filler", "ab", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


def test_a_disk_that_is_full_at_the_start_runs_nothing(bench, small_disk):
    part = Spool(small_disk / "spool").part("abc-1", 0, 0)
    for fd in part.open_output():
        os.close(fd)
    fill(small_disk)
    wrapper = bench.start(["touch", str(bench.cwd / "ran")], part=part)
    assert wrapper.wait(30) == COULD_NOT_RECORD
    assert not (bench.cwd / "ran").exists()
    seen = part.evidence()
    assert seen.fenced
    assert not seen.reserved


def test_a_disk_that_is_full_at_the_end_loses_nothing(bench, small_disk):
    part = Spool(small_disk / "spool").part("abc-1", 0, 0)
    go = bench.cwd / "go"
    wrapper = bench.start(["sh", "-c", f"while [ ! -e '{go}' ]; do sleep 0.01; done; exit 9"], part=part)
    while not part.evidence().reserved:
        time.sleep(0.002)
    fill(small_disk)
    go.touch()
    assert wrapper.wait(30) == 9
    assert part.evidence().exit.code == 9
