"""What every host promises: the same for the server's own user and for another one, through the helper."""

import os
import pwd
import shutil
import signal
import tempfile
import time
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import create_task_group

from shorepower.host.contract import Spawn, SpawnLater
from shorepower.host.own import OwnHost
from shorepower.host.processes import find, process_of
from shorepower.host.user import UserHost
from shorepower.model.errors import InvalidRequest, NotAllowed, TooLarge, Unreachable
from support.ordinary import as_ordinary_user
from support.people import HelperRig, needs_root, people
from support.waiting import eventually

pytestmark = pytest.mark.anyio
COMMANDS = "\n".join(f'{name} = "{shutil.which(name)}"' for name in ("sh", "sleep", "yes"))
PATH = {"PATH": os.defpath}


@pytest.fixture(scope="module")
def users():
    with people("ada", "bob", "cleo", system=("harbour",)) as made:
        yield made


@pytest.fixture
def rig(users):
    bob = pwd.getpwuid(users["bob"]).pw_name
    made = HelperRig(users["harbour"], f'denied_users = ["{bob}"]\n[commands]\n{COMMANDS}\n')
    made.start()
    yield made
    made.close()


@pytest.fixture
def ada(rig, users):
    host = UserHost(users["ada"], rig.socket, rig.connect)
    yield host
    host.close()


@pytest.fixture(params=["own", pytest.param("user", marks=needs_root)])
def host(request):
    if request.param == "user":
        yield request.getfixturevalue("ada")
        return
    own = OwnHost()
    yield own
    own.close()


@pytest.fixture
def folder(host):
    made = tempfile.mkdtemp(prefix="shore-host-")
    os.chown(made, host.uid, -1)
    yield made
    shutil.rmtree(made)


class Pipe:
    """Where a program prints to."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.null = os.open("/dev/null", os.O_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for fd in (self.reader, self.writer, self.null):
            os.close(fd)

    def spawn(self, line, *, env=PATH, cwd="/", **more):
        return Spawn(
            argv=["/bin/sh", "-c", line],
            env=env,
            cwd=cwd,
            stdin=self.null,
            stdout=self.writer,
            stderr=self.null,
            **more,
        )


async def ended(host, spawned):
    """How it ended."""
    with anyio.fail_after(30):
        await anyio.wait_readable(spawned.pidfd)
    end = host.reap(spawned)
    assert host.reap(spawned) is None  # told once
    os.close(spawned.pidfd)
    return end


async def said(host, line, **more):
    """What one line of shell prints, and how it ends."""
    with Pipe() as pipe:
        end = await ended(host, await host.spawn(pipe.spawn(line, **more)))
        os.set_blocking(pipe.reader, False)
        try:
            return os.read(pipe.reader, 1 << 16).decode(errors="surrogateescape").split("\n")[:-1], end
        except BlockingIOError:
            return [], end


async def test_a_program_is_its_users_with_three_descriptors_and_a_session_of_its_own(host, folder):
    line = "id -u; pwd; umask; cut -d' ' -f6 /proc/$$/stat; echo $$; ls /proc/$$/fd"
    leak = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leak, True)
    (uid, cwd, umask, session, pid, *fds), end = await said(host, line, cwd=folder, umask=0o027)
    os.close(leak)
    assert (uid, cwd, umask, fds) == (str(host.uid), folder, "0027", ["0", "1", "2"])
    assert session == pid
    assert end.exit_code == 0


async def test_its_environment_is_what_it_is_given_and_no_more(host):
    told, _ = await said(host, "env", env={**PATH, "A": "\udcff é\n"})
    assert {line.partition("=")[0] for line in told} - {"", "_", "PWD", "OLDPWD", "SHLVL"} == {"PATH", "A"}
    assert "A=\udcff é" in told


async def test_its_signals_are_at_their_defaults(host):
    told, _ = await said(host, "exec grep -E 'Sig(Blk|Ign)' /proc/self/status")
    # 32 and 33 are the C library's own: a program can neither see nor set them. Source: signal(7).
    assert all(int(line.split()[1], 16) & ~(3 << 31) == 0 for line in told) and len(told) == 2


async def test_niceness_is_added(host):
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    with Pipe() as pipe:
        for nice in (0, 5):
            spawned = await host.spawn(pipe.spawn("exec sleep 600", nice=nice))
            assert os.getpriority(os.PRIO_PROCESS, spawned.pid) == min(19, mine + nice)
            os.kill(spawned.pid, signal.SIGKILL)
            await ended(host, spawned)


async def test_how_it_ended_is_told_with_what_it_used(host):
    _, end = await said(host, "kill -9 $$")
    assert end.exit_code == -signal.SIGKILL
    _, end = await said(host, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 7")
    assert end.exit_code == 7
    assert end.cpu_time_s > 0.01


async def test_it_is_named_by_its_start_and_reaped_only_when_it_has_ended(host):
    with Pipe() as pipe:
        spawned = await host.spawn(pipe.spawn("exec sleep 600"))
        assert find(spawned.pid, spawned.start_time)
        assert host.reap(spawned) is None
        os.kill(spawned.pid, signal.SIGKILL)
        assert (await ended(host, spawned)).exit_code == -signal.SIGKILL


async def test_a_missing_directory_is_an_error(host):
    with Pipe() as pipe, pytest.raises(FileNotFoundError):
        await host.spawn(pipe.spawn(":", cwd="/no/such"))


async def test_files_are_opened_late_and_closed_when_they_are_passed(host):
    opened, closed = [], []
    with Pipe() as pipe:

        def make(files):
            opened.append(1)
            files.callback(closed.append, 1)
            return pipe.spawn("exit 3")

        spawned = await host.spawn(SpawnLater(make=make))
        assert (opened, closed) == ([1], [1])
        assert (await ended(host, spawned)).exit_code == 3

        def fail(files):
            files.callback(closed.append, 2)
            raise LookupError("not there")

        with pytest.raises(LookupError, match="not there"):
            await host.spawn(SpawnLater(make=fail))
        assert closed == [1, 2]


async def test_run_gives_code_and_both_streams(host):
    sent = b"x" * 300_000
    code, out, err = await host.run(["sh", "-c", "cat; echo two >&2; exit 7"], stdin=sent, timeout_s=30)
    assert (code, out, err) == (7, sent, b"two\n")
    assert await host.run(["sh", "-c", "kill -9 $$"], timeout_s=30) == (-9, b"", b"")


async def test_run_is_bounded_in_time_and_size_and_nothing_is_left(host):
    with pytest.raises(TimeoutError, match="sh did not end in time"):
        await host.run(["sh", "-c", "exec sleep 86399"], timeout_s=0.3)
    with pytest.raises(TooLarge, match="more than 1000 bytes"):
        await host.run(["yes"], timeout_s=30, limit_bytes=1000)


async def test_run_can_be_cancelled_and_the_program_ends(host, folder):
    number = Path(folder, "pid")
    async with create_task_group() as tg:
        tg.start_soon(partial(host.run, ["sh", "-c", f"echo $$ > {number}; exec sleep 600"], timeout_s=60))
        await eventually(lambda: number.exists() and number.read_text().endswith("\n"))
        assert process_of(int(number.read_text())).living
        tg.cancel_scope.cancel()
    await eventually(lambda: (one := process_of(int(number.read_text()))) is None or not one.living)


async def test_look_tells_what_a_path_is_to_this_user(host, folder):
    script = os.path.join(folder, "script \udcff")
    with open(script, "w"):
        os.chown(script, host.uid, -1)
        os.chmod(script, 0o500)
    seen = await host.look([folder, script, "/no/such", "/a\0b"], 30)
    assert seen[folder].is_directory and seen[folder].writable
    assert seen[script].readable and seen[script].executable and not seen[script].is_directory
    assert not seen["/no/such"].exists
    assert not seen["/a\0b"].exists


async def test_nothing_stays_open(host):
    async def once():
        await said(host, "true")
        await host.run(["sh", "-c", ":"], timeout_s=30)
        await host.look(["/"], 30)

    await once()
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        await once()
    assert len(os.listdir("/proc/self/fd")) <= len(before)


@needs_root
async def test_another_users_rights_are_hers_alone(ada, users):
    groups = " ".join(map(str, os.getgrouplist(ada.user, users["ada"])))
    (told, *_), _ = await said(ada, "id -G; cat /etc/shadow; ls /root", env=PATH)
    assert told == groups
    with Pipe() as pipe, tempfile.TemporaryDirectory() as roots, pytest.raises(PermissionError):
        await ada.spawn(pipe.spawn(":", cwd=roots))
    seen = await ada.look(["/etc/shadow", "/etc/passwd"], 30)
    assert not seen["/etc/shadow"].readable and not seen["/etc/passwd"].writable


@needs_root
async def test_who_is_denied_is_told_so(rig, users):
    bob = UserHost(users["bob"], rig.socket, rig.connect)
    with pytest.raises(NotAllowed, match="not served"):
        await bob.run(["sh"], timeout_s=30)
    with Pipe() as pipe, pytest.raises(NotAllowed):
        await bob.spawn(pipe.spawn(":"))


@needs_root
async def test_what_cannot_be_handed_on_is_refused_in_words(ada):
    with Pipe() as pipe, pytest.raises(InvalidRequest, match="at most 196608 are handed on"):
        await ada.spawn(pipe.spawn(":", env={"A": "x" * 200_000}))
    with pytest.raises(InvalidRequest, match="no command 'rm' is configured; there are: sh, sleep, yes"):
        await ada.run(["rm"], timeout_s=30)


@needs_root
async def test_a_job_outlives_the_helper_and_is_signalled_through_the_next(ada, rig):
    marks = {"SHOREPOWER_JOB_ID": "k3fq", "SHOREPOWER_ATTEMPT": "1"}
    with Pipe() as pipe:
        spawned = await ada.spawn(pipe.spawn("sleep 600 & wait", env=PATH | marks))
        await ada.signal(spawned.pid, spawned.start_time, signal.SIGCONT)  # its child: needs no proof
        rig.kill()
        assert find(spawned.pid, spawned.start_time)
        with pytest.raises(Unreachable, match="is shorepower-helper running"):
            await ada.signal(spawned.pid, spawned.start_time, signal.SIGKILL, marks)
        with pytest.raises(Unreachable):
            await ada.spawn(pipe.spawn(":"))
        rig.start()
        with pytest.raises(ProcessLookupError, match="no marks"):
            await ada.signal(spawned.pid, spawned.start_time, signal.SIGKILL)
        assert find(spawned.pid, spawned.start_time)
        await ada.signal(spawned.pid, spawned.start_time, signal.SIGKILL, marks)
        assert await ended(ada, spawned) is None  # its end is nobody's here to take
        with pytest.raises(ProcessLookupError):
            await ada.signal(spawned.pid, spawned.start_time, signal.SIGKILL, marks)
    assert (await said(ada, "echo again"))[0] == ["again"]


@needs_root
async def test_many_at_once(ada):
    ends = []

    async def one(number):
        ends.append((await said(ada, f"exit {number}"))[1].exit_code)

    began = time.monotonic()
    async with create_task_group() as tg:
        for number in range(100):
            tg.start_soon(one, number)
    print(f"100 programs through the helper: {time.monotonic() - began:.2f} s")
    assert sorted(ends) == list(range(100))


@needs_root
def test_a_server_without_any_rights_serves_two_users_apart(rig, users):
    marks = {"SHOREPOWER_JOB_ID": "k3fq", "SHOREPOWER_ATTEMPT": "1"}

    async def serve():
        ada, cleo = (UserHost(users[name], rig.socket) for name in ("ada", "cleo"))
        with tempfile.TemporaryDirectory() as open_to_all, Pipe() as pipe:
            os.chmod(open_to_all, 0o1777)
            for host in (ada, cleo):
                told, _ = await said(
                    host, f"id -u; echo mine > {host.uid}; cat {users['ada']}", cwd=open_to_all, umask=0o077
                )
                assert told == [str(host.uid), "mine"][: 1 + (host is ada)]
                assert os.stat(f"{open_to_all}/{host.uid}").st_uid == host.uid
            spawned = await ada.spawn(pipe.spawn("exec sleep 600", env=PATH | marks))
            with pytest.raises(PermissionError):
                os.kill(spawned.pid, signal.SIGKILL)
            with pytest.raises(ProcessLookupError, match="is another user's"):
                await cleo.signal(spawned.pid, spawned.start_time, signal.SIGKILL, marks)
            assert find(spawned.pid, spawned.start_time)
            await ada.signal(spawned.pid, spawned.start_time, signal.SIGKILL)
            assert (await ended(ada, spawned)).exit_code == -signal.SIGKILL

    anyio.run(anyio.sleep, 0)  # loaded before the child can read no more of Python's library
    as_ordinary_user(partial(anyio.run, serve), users["harbour"])
