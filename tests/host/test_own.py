import os
import resource
import signal
import subprocess
import sys
import threading
import time

import anyio
import pytest

from shorepower.host.contract import Spawn
from shorepower.host.looker import look_at, mount_of
from shorepower.host.own import OwnHost
from shorepower.host.processes import environment, find, parse_stat, process_of, send, sweep
from shorepower.model.errors import TooLarge

pytestmark = pytest.mark.anyio


@pytest.fixture
def host():
    made = OwnHost()
    yield made
    made.close()


async def run_out(host, argv, tmp_path, *, nice=0, env=None):
    """Spawn, wait for the end, (what it printed, how it ended)."""
    out = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    null = os.open("/dev/null", os.O_RDWR)
    try:
        spawned = await host.spawn(
            Spawn(
                argv=argv,
                env=env if env is not None else {"PATH": os.defpath},
                cwd="/",
                stdin=null,
                stdout=out,
                stderr=null,
                nice=nice,
            )
        )
        await anyio.wait_readable(spawned.pidfd)
        ended = host.reap(spawned)
        os.close(spawned.pidfd)
        return os.pread(out, 1 << 20, 0), ended
    finally:
        os.close(out)
        os.close(null)


async def test_a_program_gets_three_descriptors_a_session_and_its_environment(host, tmp_path):
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    code = (
        "import os; fds = os.listdir('/proc/self/fd'); "
        "print(len(fds), os.getsid(0) == os.getpid(), dict(os.environ))"
    )
    said, ended = await run_out(host, [sys.executable, "-c", code], tmp_path, env={"A": "\udcff"})
    os.close(leak)
    fds, session, env = said.split(b" ", 2)
    assert (int(fds), session) == (4, b"True")  # 0, 1, 2 and the listing's own
    assert b"'A': '\\udcff'" in env
    assert ended.exit_code == 0


def test_signals_ignored_here_are_default_there(tmp_path):
    code = (
        "import signal, sys, anyio, os\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "from shorepower.host.own import OwnHost\n"
        "from shorepower.host.contract import Spawn\n"
        "async def main():\n"
        "    host = OwnHost()\n"
        "    got = await host.spawn(Spawn(argv=['grep','Sig','/proc/self/status'],\n"
        "        env={'PATH': os.defpath}, cwd='/', stdin=0, stdout=1, stderr=2))\n"
        "    await anyio.wait_readable(got.pidfd)\n"
        "anyio.run(main)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    masks = dict(line.split(b":\t") for line in said.splitlines() if b":\t" in line)
    assert int(masks[b"SigBlk"], 16) == 0
    # 32 and 33 are the C library's own: a program can neither see nor set them. Source: signal(7).
    assert int(masks[b"SigIgn"], 16) & ~(3 << 31) == 0


async def test_niceness_is_added_for_that_program_alone(host, tmp_path):
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    code = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
    nicer, _ = await run_out(host, [sys.executable, "-c", code], tmp_path, nice=5)
    plain, _ = await run_out(host, [sys.executable, "-c", code], tmp_path)
    assert int(nicer) == min(19, mine + 5)
    assert int(plain) == mine == os.getpriority(os.PRIO_PROCESS, 0)


async def test_how_it_ended_is_told_once_with_what_it_used(host, tmp_path):
    _, ended = await run_out(host, ["/bin/sh", "-c", "kill -9 $$"], tmp_path)
    assert ended.exit_code == -9
    largest_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + 300  # more than our own peak
    code = f"import time\nwhile time.process_time() < 0.2: pass\nx = bytearray({largest_mib} << 20)"
    _, ended = await run_out(host, [sys.executable, "-c", code], tmp_path)
    assert ended.cpu_time_s >= 0.2
    assert ended.largest_process_mib >= largest_mib


async def test_nothing_waits_for_a_child_behind_our_back(host, tmp_path):
    null = os.open("/dev/null", os.O_RDWR)
    what = Spawn(argv=["true"], env={"PATH": os.defpath}, cwd="/", stdin=null, stdout=null, stderr=null)
    first = await host.spawn(what)
    await anyio.wait_readable(first.pidfd)
    second = await host.spawn(what)  # subprocess looks for ended children when it starts another
    await anyio.wait_readable(second.pidfd)
    assert host.reap(first).exit_code == host.reap(second).exit_code == 0
    assert host.reap(first) is None
    for fd in (null, first.pidfd, second.pidfd):
        os.close(fd)


async def test_a_missing_program_or_directory_is_an_error(host, tmp_path):
    null = os.open("/dev/null", os.O_RDWR)
    for argv, cwd in ((["/no/such"], "/"), (["/bin/true"], "/no/such")):
        with pytest.raises(FileNotFoundError):
            await host.spawn(Spawn(argv=argv, env={}, cwd=cwd, stdin=null, stdout=null, stderr=null))
    os.close(null)


async def test_run_gives_code_and_both_streams(host):
    code, out, err = await host.run(
        ["sh", "-c", "cat; echo two >&2; exit 7"], stdin=b"x" * 300_000, timeout_s=20
    )
    assert (code, out, err) == (7, b"x" * 300_000, b"two\n")


async def test_run_is_bounded_in_time_and_size(host):
    with pytest.raises(TimeoutError, match="sleep did not end in time"):
        await host.run(["sleep", "60"], timeout_s=0.2)
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        await host.run(["yes"], timeout_s=20, limit_bytes=1000)
    with pytest.raises(FileNotFoundError):
        await host.run(["/no/such"], timeout_s=1)


async def test_look_tells_what_a_path_is(host, tmp_path):
    (tmp_path / "script").write_text("#!/bin/sh\n")
    seen = await host.look([str(tmp_path), str(tmp_path / "script"), "/no/such", "/a\0b"], 5)
    assert seen[str(tmp_path)].is_directory
    assert seen[str(tmp_path / "script")].readable and not seen[str(tmp_path / "script")].executable
    assert not seen["/no/such"].exists
    assert not seen["/a\0b"].exists


async def test_a_path_that_never_answers_holds_up_nothing_else(host, monkeypatch):
    dead, release = "/proc/dead", threading.Event()

    def look(path):
        if path.startswith(dead):
            release.wait(30)
        return look_at(path)

    monkeypatch.setattr("shorepower.host.looker.look_at", look)
    try:
        for _ in range(10):
            seen = await host.look([f"{dead}/{n}" for n in range(100)] + ["/"], 0.05)
            assert set(seen) == {"/"}
        assert sum(host._looker._busy.values()) <= 4
    finally:
        release.set()


def test_mount_of_goes_by_name():
    mounts = ["/", "/home", "/home/u/nfs"]
    assert mount_of("/home/u/nfs/x", mounts) == "/home/u/nfs"
    assert mount_of("/home/u/nfsx", mounts) == "/home"
    assert mount_of("/home/../etc", mounts) == "/"


def test_a_process_name_may_hold_anything():
    line = b"12 (a) b) (c 1 2) S 1 3 4 0 -1 0 0 0 0 0 5 6 7 8 20 0 1 0 999 0 42 0"
    seen = parse_stat(line)
    assert (seen.pid, seen.parent, seen.group, seen.session) == (12, 1, 3, 4)
    assert (seen.cpu_ticks, seen.start_time, seen.resident_pages) == (26, 999, 42)


def test_a_signal_needs_the_very_process():
    child = subprocess.Popen(["sleep", "60"])
    me = process_of(child.pid)
    assert not send(child.pid, me.start_time + 1, signal.SIGKILL)
    assert find(child.pid, me.start_time).pid == child.pid
    assert send(child.pid, me.start_time, signal.SIGKILL)
    while find(child.pid, me.start_time):
        time.sleep(0.001)
    assert child.pid not in {one.pid for one in sweep()}  # a zombie does not live
    child.wait()
    assert not send(child.pid, me.start_time, signal.SIGKILL)


def test_environments_are_read_whole():
    child = subprocess.Popen(["sleep", "60"], env={"A": "x" * 120_000, "B": "1"})
    try:
        while len(entries := environment(child.pid) or []) < 3:
            time.sleep(0.001)
        assert entries[:2] == [b"A=" + b"x" * 120_000, b"B=1"]
    finally:
        child.kill()
        child.wait()
