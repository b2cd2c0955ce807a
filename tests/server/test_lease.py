"""One server for each state directory: on one host, on two hosts, after a kill, in hostile folders."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import anyio
import pytest

from shorepower.host import lease as leases
from shorepower.host.contract import Clock
from shorepower.host.folders import private_folder
from shorepower.host.lease import (
    AlreadyServed,
    Lease,
    LeaseLost,
    LeaseRules,
    Surroundings,
    read_lease,
    surroundings,
)
from shorepower.host.mounts import filesystem_at, filesystem_of, is_network
from shorepower.model.errors import StateDirectoryFault
from shorepower.wire.places import socket_path

pytestmark = pytest.mark.anyio

QUICK = LeaseRules(renew_s=0.01, poll_s=0.001, watch_poll_s=0.0)
START = datetime(2026, 1, 1, tzinfo=UTC)


class StepClock(Clock):
    """A second passes with every look at it."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> datetime:
        return START + timedelta(seconds=self.looks)

    def steady(self) -> float:
        self.looks += 1
        return float(self.looks)


def here(host: str = "login1", filesystem: str = "ext4", pid: int = 1) -> Surroundings:
    return Surroundings(
        host=host, boot_id=f"boot of {host}", pid=pid, uid=os.getuid(), filesystem=lambda _: filesystem
    )


async def take(folder: Path, around: Surroundings | None = None, **more: object) -> Lease:
    options = {"answers": lambda _: False, "clock": StepClock(), "rules": QUICK, **more}
    around = around or here()
    return await Lease.take(
        folder, partial(socket_path, runtime_dir="/run/x", uid=7), around=around, **options
    )


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "shorepower"


async def test_a_free_directory_is_made_private_and_taken(state: Path) -> None:
    lease = await take(state)

    assert state.stat().st_mode & 0o777 == 0o700
    assert (state / "server.lock").stat().st_mode & 0o777 == 0o600
    record = json.loads((state / "lease.json").read_text())
    assert set(record) == {"v", "host", "pid", "boot_id", "started_at", "renewed_at", "socket"}
    assert record["socket"] == str(socket_path(state.resolve(), "/run/x", 7))
    assert not lease.network
    lease.release()
    lease.release()
    assert not (state / "lease.json").exists()
    assert (state / "server.lock").exists()


async def test_the_second_server_is_told_who_is_first_once_that_one_answers(state: Path) -> None:
    lease = await take(state, here(pid=41))
    asked: list[str] = []

    with pytest.raises(AlreadyServed, match=r"already runs \(process 41\)") as caught:
        await take(state, here(pid=42), answers=lambda path: bool(asked.append(path)) or len(asked) > 3)

    assert caught.value.answers
    assert caught.value.record == lease.record
    assert asked == [lease.record.socket] * 4
    lease.release()


async def test_who_comes_while_the_first_one_ends_gets_the_directory(state: Path) -> None:
    first = await take(state)
    polls = 0

    def end_it(path: str) -> bool:
        nonlocal polls
        polls += 1
        if polls == 3:
            first.release()
        return False

    second = await take(state, here(pid=2), answers=end_it, rules=QUICK)
    assert read_lease(state) == second.record
    second.release()


async def test_a_holder_that_never_answers_is_told_in_words(state: Path) -> None:
    lease = await take(state, here(pid=41))

    with pytest.raises(AlreadyServed, match=r"process 41 holds .* does not answer") as caught:
        await take(state, here(pid=42))
    assert not caught.value.answers
    lease.release()


async def test_after_kill_9_the_next_one_starts_at_once(state: Path, tmp_path: Path) -> None:
    state.mkdir(parents=True, mode=0o700)
    code = (
        "import fcntl,os,sys,time\n"
        "f=os.open(sys.argv[1],os.O_RDWR|os.O_CREAT,0o600); fcntl.flock(f,fcntl.LOCK_EX)\n"
        "print('held',flush=True); time.sleep(100)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(state / "server.lock")], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    stale = await anyio.to_thread.run_sync(lambda: state / "lease.json")
    stale.write_text(
        '{"v":1,"host":"login1","pid":1,"boot_id":"b","started_at":"2026-01-01T00:00:00Z",'
        '"renewed_at":"2026-01-01T00:00:00Z","socket":"/x"}'
    )
    with pytest.raises(AlreadyServed):
        await take(state, here("login1", "nfs4", pid=2))
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    clock = StepClock()

    lease = await take(state, here("login1", "nfs4", pid=2), clock=clock)

    assert lease.network
    assert clock.looks <= 2
    lease.release()


async def test_another_host_that_renews_keeps_its_lease_even_without_its_lock(state: Path) -> None:
    other = await take(state, here("login1", "nfs4"))
    assert other._lock is not None
    os.close(other._lock)
    other._lock = None
    ticks = 0

    class Renewing(StepClock):
        def steady(self) -> float:
            nonlocal ticks
            ticks += 1
            if ticks == 30:
                other._renew(leases.replace(other.record, renewed_at=START + timedelta(seconds=99)))
            return super().steady()

    said: list[str] = []
    with pytest.raises(AlreadyServed, match=r"your server runs on login1 .*ssh://login1"):
        await take(state, here("login2", "nfs4"), clock=Renewing(), say=said.append)
    assert "login1" in said[0]


async def test_another_host_that_is_silent_for_a_minute_loses_it(state: Path) -> None:
    other = await take(state, here("login1", "nfs4"))
    assert other._lock is not None
    os.close(other._lock)
    other._lock = None
    clock = StepClock()

    mine = await take(state, here("login2", "nfs4"), clock=clock)

    assert clock.looks >= 60
    with pytest.raises(LeaseLost, match="login2"):
        await other.renew(START)
    assert read_lease(state) == mine.record
    other.release()
    assert read_lease(state) == mine.record
    mine.release()


async def test_another_host_that_holds_the_lock_is_named(state: Path) -> None:
    other = await take(state, here("login1", "nfs4"))
    with pytest.raises(AlreadyServed, match="runs on login1"):
        await take(state, here("login2", "nfs4"), answers=lambda _: pytest.fail("its socket is not here"))
    other.release()
    mine = await take(state, here("login2", "nfs4"))
    mine.release()


async def test_on_a_local_file_system_the_lock_alone_decides(state: Path) -> None:
    other = await take(state, here("container"))
    assert other._lock is not None
    os.close(other._lock)
    other._lock = None
    clock = StepClock()

    lease = await take(state, here("host"), clock=clock)

    assert clock.looks <= 2
    lease.release()


async def test_without_locks_it_is_refused_and_take_over_still_watches(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(StateDirectoryFault, match=r"no locks .*--take-over"):
        await take(state, here("login1", "lustre"))

    lease = await take(state, here("login1", "lustre"), take_over=True)
    clock = StepClock()
    again = await take(state, here("login1", "lustre", pid=2), take_over=True, clock=clock)
    assert clock.looks >= 60
    with pytest.raises(LeaseLost):
        await lease.renew(START)
    again.release()


async def test_a_directory_that_was_removed_ends_the_server(state: Path) -> None:
    lease = await take(state)
    for file in state.iterdir():
        file.unlink()
    with pytest.raises(LeaseLost, match="removed or replaced"):
        await lease.renew(START)
    second = await take(state, here(pid=2))
    with pytest.raises(LeaseLost):
        await lease.renew(START)
    lease.release()
    assert read_lease(state) == second.record
    second.release()


async def test_a_renewal_that_cannot_be_written_is_told_and_tried_again(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await take(state)
    clock = StepClock()
    clock.looks = 50
    before = lease.record
    real = Lease._write
    told: list[OSError] = []
    renewed = anyio.Event()

    def full(self: Lease, record: object) -> None:
        if len(told) < 2:
            raise OSError(errno.ENOSPC, "full")
        real(self, record)  # type: ignore[arg-type]
        anyio.from_thread.run_sync(renewed.set)

    monkeypatch.setattr(Lease, "_write", full)
    async with anyio.create_task_group() as tg:
        tg.start_soon(lease.keep, clock, QUICK, told.append)
        with anyio.fail_after(5):
            await renewed.wait()
        tg.cancel_scope.cancel()
    assert [error.errno for error in told] == [errno.ENOSPC] * 2
    assert (read_lease(state) or before).renewed_at > before.renewed_at
    lease.release()


async def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to make a folder of another user")
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 1234, 1234)
    with pytest.raises(StateDirectoryFault, match=r"belongs to user 1234, not to you; set SHORE_STATE_DIR"):
        await take(theirs)


@pytest.mark.parametrize("parts", ["file", "file/below"])
async def test_a_path_that_is_no_directory_is_refused(tmp_path: Path, parts: str) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateDirectoryFault, match="not a directory"):
        await take(tmp_path / parts)


async def test_a_circle_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(StateDirectoryFault, match=r"cannot be used|not a directory"):
        await take(tmp_path / "a")


async def test_a_lock_that_is_a_link_is_refused(state: Path) -> None:
    state.mkdir(parents=True, mode=0o700)
    (state / "server.lock").symlink_to("/etc/passwd")
    with pytest.raises(StateDirectoryFault, match="cannot be used"):
        await take(state)


@pytest.mark.parametrize("content", [(), ("server.log", "client"), ("store.db", "anything")])
async def test_an_open_directory_of_ours_is_closed_and_that_is_said(
    state: Path, content: tuple[str, ...]
) -> None:
    state.mkdir(parents=True)
    state.chmod(0o777)
    for name in content:
        (state / name).touch()
    said: list[str] = []

    (await take(state, say=said.append)).release()

    assert state.stat().st_mode & 0o777 == 0o700
    assert "closed" in said[0]


async def test_an_open_directory_with_other_things_is_left_alone(state: Path) -> None:
    state.mkdir(parents=True)
    state.chmod(0o755)
    (state / "thesis.tex").touch()
    with pytest.raises(StateDirectoryFault, match=r"thesis\.tex"):
        await take(state)
    assert state.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EACCES, "denied"),
    ],
)
async def test_what_the_system_says_no_with_is_told_in_words(
    state: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    real = os.open

    def refuse(path: object, *rest: object, **more: object) -> int:
        if str(path).endswith("server.lock"):
            raise OSError(number, "x")
        return real(path, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StateDirectoryFault, match=words):
        await take(state)


def test_a_folder_for_sockets_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert private_folder(tmp_path / "link", os.getuid(), remedy="r") == tmp_path / "real"
    with pytest.raises(StateDirectoryFault, match="symbolic link; r"):
        private_folder(tmp_path / "link", os.getuid(), remedy="r", follow=False)


TABLE = """\
22 27 0:21 / / rw - ext4 /dev/vda rw
23 27 0:22 / /home rw shared:1 - nfs4 server:/home rw
24 27 0:22 / /home/ada/my\\040disk rw master:2 - fuse.sshfs a: rw
25 27 0:23 / /mnt/a rw - ext4 /dev/vdb rw
26 27 0:24 / /mnt/a rw - tmpfs tmpfs rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "ext4"),
        ("/etc/x", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/.local/state", "nfs4"),
        ("/homes/ada", "ext4"),
        ("/home/ada/my disk/x", "fuse.sshfs"),
        ("/mnt/a/b", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    assert filesystem_at(path, TABLE) == kind


def test_which_file_systems_others_may_see() -> None:
    assert [kind for kind in ("nfs4", "lustre", "fuse.sshfs", "9p", "beegfs") if not is_network(kind)] == []
    assert [
        kind for kind in ("ext4", "xfs", "tmpfs", "overlay", "fuse.ntfs", "fuse", "") if is_network(kind)
    ] == []


def test_this_machine_says_something() -> None:
    assert filesystem_of(Path("/proc/self")) in ("proc", "")
    assert surroundings().pid == os.getpid()
