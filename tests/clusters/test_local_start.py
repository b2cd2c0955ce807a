"""What a job gets, what it may take, and what keeps it from starting. Real processes."""

import errno
import json
import os
import sys

import anyio
import msgspec
import pytest

from shorepower.clusters.local.machine import Gpu, Machine, Pressure
from shorepower.host.own import OwnHost
from shorepower.host.processes import command_line
from shorepower.model.errors import SubmitRefused
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.model.resources import Resources
from shorepower.model.tasks import TaskSet
from support.cluster_rigs import PATIENCE_S, PROFILES, make_local, rig_of

pytestmark = pytest.mark.anyio

LOCAL = next(profile for profile in PROFILES if profile.name == "local")


@pytest.fixture
async def rig(tmp_path):
    async with rig_of(LOCAL, tmp_path) as made:
        yield made


async def other(rig, **changes):
    """The same rig with another cluster."""
    await rig.stop()
    rig.cluster = make_local(rig.folder, **changes)
    await rig.begin()


async def run(rig, *argv, name="job-1", **changes):
    order = msgspec.structs.replace(rig.order(name, **changes), argv=argv)
    await rig.cluster.submit(order)
    return order


async def said(rig, *argv, **changes):
    await run(rig, *argv, **changes)
    end = await rig.end("job-1")
    assert end.state is State.COMPLETED, (end, await rig.printed("job-1", b"", Stream.STDERR))
    return await rig.printed("job-1", b"")


async def test_the_environment_is_the_orders_and_nothing_else(rig, monkeypatch):
    monkeypatch.setenv("OF_THE_SERVER", "1")
    odd = "\udcff\udc80 ' \" $HOME\n"
    env = {"PATH": os.environ["PATH"], "out": "x", "A.B": odd, "ODD": odd}
    code = "import os, sys; print(dict(os.environb), sys.argv[1:])"
    got = await said(
        rig, sys.executable, "-c", code, odd, env=env, resources=Resources(cpu_count=1, wall_time_s=60)
    )
    told, args = eval(b"".join((b"(", got.replace(b"} [", b"}, ["), b")")))
    assert args == [odd]
    assert told.pop(b"SHOREPOWER_JOB_ID").decode() == rig.job_of("job-1")
    assert told.pop(b"SHOREPOWER_DEADLINE").endswith(b"Z")
    for name in (b"SHOREPOWER_ATTEMPT", b"SHOREPOWER_TASK_INDEX", b"PWD", b"LC_CTYPE"):
        told.pop(name, None)
    assert told == {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


async def test_the_umask_is_the_jobs(rig):
    got = await said(rig, "sh", "-c", "umask; touch made", umask=0o077)
    assert got.strip() == b"0077"
    assert (rig.folder / "made").stat().st_mode & 0o777 == 0o600


async def test_what_asks_nothing_is_nicer(rig):
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    code = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"
    assert int(await said(rig, sys.executable, "-c", code, resources=Resources())) == min(19, mine + 5)
    await run(rig, sys.executable, "-c", code, name="job-2", resources=Resources(cpu_count=1))
    await rig.end("job-2")
    assert int(await rig.printed("job-2", b"\n")) == mine


async def test_standard_input(rig):
    (rig.folder / "given").write_bytes(b"given")
    assert await said(rig, "cat", stdin=str(rig.folder / "given")) == b"given"
    await run(rig, "cat", name="job-2")
    assert (await rig.end("job-2")).state is State.COMPLETED


async def test_secrets_reach_the_job_and_no_command_line(rig):
    secrets = rig.folder / "secrets"
    secrets.write_text(json.dumps({"TOKEN": "s3cr3t-value"}))
    await run(rig, "sh", "-c", "echo ${#TOKEN}; sleep 60", secrets_file=str(secrets))
    assert await rig.printed("job-1", b"\n") == b"12\n"
    family = rig.processes()
    assert len(family) >= 2
    for pid in family:
        assert b"s3cr3t" not in (command_line(pid) or b"")
    for file in (rig.folder / "spool" / "job-1").iterdir():
        assert b"s3cr3t" not in file.read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "secrets are gone"), ("[1]", "cannot be read"), ('{"a.b": "x"}', "secret named 'a.b'")],
)
async def test_secrets_that_cannot_be_given(rig, content, words):
    secrets = rig.folder / "secrets"
    if content is not None:
        secrets.write_text(content)
    await run(rig, "touch", "ran", secrets_file=str(secrets))
    end = await rig.end("job-1")
    assert (end.state, end.reason) == (State.FAILED, Reason.LAUNCH)
    assert words in end.why
    assert end.why != "x"
    assert not (rig.folder / "ran").exists()


@pytest.mark.parametrize(
    ("argv", "changes", "words"),
    [
        (("no-such-program",), {}, "was not found"),
        (("/etc/passwd",), {}, "cannot be started"),
        (("true",), {"cwd": "/no/such"}, "folder"),
        (("true",), {"stdin": "/no/such"}, "standard input"),
        (("true", "a\0b"), {}, "null byte"),
        (("true", "x" * 200_000), {}, "too long"),
    ],
)
async def test_what_cannot_start_says_why(rig, argv, changes, words):
    await run(rig, *argv, **changes)
    end = await rig.end("job-1")
    assert (end.state, end.reason) == (State.FAILED, Reason.LAUNCH)
    assert words in end.why
    assert (await rig.cluster.info()).cpus_free == 2


async def test_a_spool_that_is_in_the_way_is_a_launch_failure(rig):
    (rig.folder / "spool").mkdir(mode=0o700)
    (rig.folder / "spool" / "job-1").write_text("a file")
    await run(rig, "touch", "ran")
    assert (await rig.end("job-1")).reason is Reason.LAUNCH
    assert not (rig.folder / "ran").exists()


class Busy(OwnHost):
    """Cannot start a process the first few times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    async def spawn(self, what):
        if self.times:
            self.times -= 1
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return await super().spawn(what)


async def test_a_machine_that_is_full_of_processes_is_waited_for(rig):
    await other(rig, host=Busy(2))
    await run(rig, "true")
    waits = await rig.until("job-1", lambda seen: "cannot start a process now" in seen.why)
    assert waits.state is State.PENDING
    assert (await rig.end("job-1")).state is State.COMPLETED


async def test_a_stop_while_no_process_can_be_started(rig):
    await other(rig, host=Busy(10**6))
    order = await run(rig, "touch", "ran")
    await rig.until("job-1", lambda seen: "cannot start a process now" in seen.why)
    await rig.cluster.control(order, Operation.STOP)
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.started_at) == (State.CANCELED, Reason.STOPPED, None)


async def test_never_more_than_the_machine_has(rig):
    log = rig.folder / "log"
    script = f"echo + $N >>{log}; sleep 0.02; echo - $N >>{log}"
    asked = [0.5, 1, 2, 1.5, 0.25]
    for number in range(40):
        cpus = asked[number % 5]
        env = {"PATH": os.environ["PATH"], "N": str(cpus)}
        resources = Resources(cpu_count=cpus, memory_mib=300)
        await run(rig, "sh", "-c", script, name=f"job-{number}", env=env, resources=resources)
    for number in range(40):
        assert (await rig.end(f"job-{number}")).state is State.COMPLETED
    taken, most, running = 0.0, 0.0, 0
    for line in log.read_text().splitlines():
        sign, cpus = line.split()
        taken += float(cpus) if sign == "+" else -float(cpus)
        running += 1 if sign == "+" else -1
        most = max(most, taken)
        assert taken <= 2
        assert running <= 3  # memory
    assert most == 2


async def test_more_than_the_machine_is_refused_in_words(rig):
    with pytest.raises(SubmitRefused, match="asks 3 cpus; this machine has 2"):
        await run(rig, "true", resources=Resources(cpu_count=3))
    with pytest.raises(SubmitRefused, match="nothing tells these 2 tasks apart"):
        await run(rig, "true", tasks=TaskSet.first(2))


async def test_a_smaller_machine_after_a_restart_explains_itself(rig):
    order = rig.order("job-1", resources=Resources(cpu_count=3))
    await rig.cluster.adopt([order])
    waits = await rig.until("job-1", lambda seen: bool(seen.why))
    assert (waits.state, waits.reason) == (State.PENDING, Reason.RESOURCES)
    assert waits.why == "it asks 3 cpus; this machine has 2, so it cannot start here"
    await rig.cluster.control(order, Operation.STOP)
    assert (await rig.end("job-1")).state is State.CANCELED


async def test_who_waits_is_told_where_and_for_what(rig):
    blocker = await run(rig, "sleep", "60", name="block-1", resources=Resources(cpu_count=2))
    await rig.state("block-1", State.RUNNING)
    for number in range(120):
        await run(rig, "true", name=f"job-{number}")
    first = await rig.until("job-0", lambda seen: bool(seen.why))
    assert (first.reason, first.why) == (Reason.RESOURCES, "next in line; needs 1 cpu (0 of 2 free)")
    assert (await rig.until("job-9", lambda seen: bool(seen.why))).why.startswith("number 10 in line")
    late = await rig.until("job-119", lambda seen: bool(seen.why))
    assert late.why == "in line; 119 were ahead of it when it was queued"
    await rig.cluster.control(blocker, Operation.KILL)
    for number in range(120):
        await rig.end(f"job-{number}")


async def test_nothing_starts_while_memory_is_short(rig):
    left = [Pressure(40.0, 1000.0)]
    await other(rig, pressure=lambda: left[0])
    await run(rig, "true")
    waits = await rig.until("job-1", lambda seen: seen.reason is Reason.MEMORY_PRESSURE)
    assert waits.why == "only 40 MiB of 1000 MiB of memory are available; nothing starts below 5 %"
    left[0] = Pressure(60.0, 1000.0)
    assert (await rig.end("job-1")).state is State.COMPLETED


async def test_gpus_are_told_by_number(rig):
    await other(rig, machine=Machine(cpu_count=2, memory_mib=10, gpus=(Gpu("0", "t4"), Gpu("3", "a100"))))
    env = {"PATH": os.environ["PATH"], "CUDA_VISIBLE_DEVICES": "7"}
    resources = Resources(cpu_count=1, gpu_count=1, gpu_type="a100")
    script = "echo $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"
    assert await said(rig, "sh", "-c", script, env=env, resources=resources) == b"3 PCI_BUS_ID\n"
    await run(rig, "sh", "-c", script, name="job-2", env=env)
    await rig.end("job-2")
    assert await rig.printed("job-2", b"\n") == b"7\n"


async def test_use_and_progress_are_told_while_it_runs(rig):
    progress = rig.folder / "progress"
    code = (
        "import os, time\n"
        "x = b'x' * (80 << 20)\n"
        "if os.fork() == 0: y = b'y' * (40 << 20); time.sleep(60)\n"
        "end = time.process_time() + 0.3\n"
        "while time.process_time() < end: pass\n"
        f"open({str(progress)!r}, 'w').write('0.5 half\\n')\n"
        "time.sleep(60)\n"
    )
    order = await run(rig, sys.executable, "-c", code, progress_file=str(progress))
    with anyio.fail_after(PATIENCE_S):
        while (live := rig.cluster.live().get("job-1")) is None or live.progress is None:  # noqa: ASYNC110
            await anyio.sleep(0.02)
        assert live.progress.text == "half"
        while rig.cluster.live()["job-1"].usage.memory_mib < 190:  # noqa: ASYNC110 - both copies count
            await anyio.sleep(0.02)
    usage = rig.cluster.live()["job-1"].usage
    assert usage.process_count == 3
    assert usage.cpu_time_s >= 0.3
    await rig.cluster.control(order, Operation.KILL)
    end = await rig.end("job-1")
    assert end.usage.peak_memory_mib >= 190
    assert end.usage.cpu_time_s >= 0.3
    assert end.usage.wall_time_s > 0.3
    assert rig.cluster.live() == {}


async def test_a_short_job_tells_its_cpu_time(rig):
    await run(rig, sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass")
    assert (await rig.end("job-1")).usage.cpu_time_s >= 0.2


async def test_a_job_may_print_for_ever(rig):
    await other(rig, output_limit_bytes=1 << 20)
    code = "import os, time\nfor n in range(4000): os.write(1, b'%07d\\n' % n * 128)\ntime.sleep(60)\n"
    await run(rig, sys.executable, "-c", code)
    source = rig.cluster.output("job-1", 0, 0)
    with anyio.fail_after(PATIENCE_S):
        while await source.size(Stream.STDOUT) < 4000 * 1024:  # noqa: ASYNC110
            await anyio.sleep(0.01)
        while (await source.read(Stream.STDOUT, 0, 8))[0] == 0:  # noqa: ASYNC110
            await anyio.sleep(0.01)
    offset, data = await source.read(Stream.STDOUT, 0, 4 << 20)
    assert (2 << 20) < offset <= 4000 * 1024 - (1 << 20)
    assert data == b"".join(b"%07d\n" % n * 128 for n in range(4000))[offset:]
    disk = (rig.folder / "spool" / "job-1" / "stdout.0.0").stat().st_blocks * 512
    assert disk < 2 << 20


async def test_out_of_memory_is_told_when_the_kernel_counted_it(rig, monkeypatch):
    kills = [3]
    monkeypatch.setattr("shorepower.clusters.local.supervisor.oom_kills", lambda: kills[0])
    monkeypatch.setattr("shorepower.clusters.local.sweep.oom_kills", lambda: kills[0])
    await run(rig, "sleep", "0.3", name="job-0")
    await rig.end("job-0")
    await run(rig, "sh", "-c", "kill -9 $$", name="job-2")
    assert (await rig.end("job-2")).reason is Reason.SIGNAL
    await run(rig, "sh", "-c", "echo up; sleep 0.2; kill -9 $$")
    await rig.printed("job-1", b"up")
    kills[0] = 4
    assert (await rig.end("job-1")).reason is Reason.OUT_OF_MEMORY


async def test_a_full_disk_at_the_start_is_told_and_nothing_ran(rig, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shorepower.clusters.spool.Part.open_output", full)
        await run(rig, "touch", "ran")
        end = await rig.end("job-1")
    assert (end.state, end.reason) == (State.FAILED, Reason.LAUNCH)
    assert "No space left on device" in end.why
    assert not (rig.folder / "ran").exists()


async def test_a_full_disk_keeps_nobody_from_stopping(rig, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    order = await run(rig, "sleep", "60")
    await rig.state("job-1", State.RUNNING)
    with monkeypatch.context() as patch:
        patch.setattr("shorepower.clusters.spool.Part.write_note", full)
        await rig.cluster.control(order, Operation.STOP)
        end = await rig.end("job-1")
    assert (end.state, end.reason) == (State.CANCELED, Reason.STOPPED)


async def test_a_fault_nobody_foresaw_leaves_the_other_jobs_alone(rig, monkeypatch):
    monkeypatch.setattr("shorepower.clusters.local.supervisor._RETRY_MOST_S", 0.05)
    from shorepower.clusters.local.supervisor import Supervisor

    real, broken = Supervisor._conclude, []

    async def conclude(self, job, seen):
        if job.name == "job-1" and not broken:
            broken.append(1)
            raise RuntimeError("a mistake")
        return await real(self, job, seen)

    monkeypatch.setattr(Supervisor, "_conclude", conclude)
    await run(rig, "sh", "-c", "exit 4")
    await run(rig, "sh", "-c", "exit 5", name="job-2")
    assert (await rig.end("job-2")).exit_code == 5
    assert (await rig.end("job-1")).exit_code == 4
    assert (await rig.cluster.info()).cpus_free == 2
