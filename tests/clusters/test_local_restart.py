"""A server that comes back finds every job where it is. Real processes, records as a crash leaves them."""

import os
import shutil
import signal
import time
from datetime import timedelta

import anyio
import pytest

from shorepower.clusters.contract import Where
from shorepower.clusters.local.machine import Gpu, Machine
from shorepower.clusters.records import Note, write_note
from shorepower.host.own import SystemClock
from shorepower.host.processes import uptime_cs
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.model.resources import Resources
from shorepower.testing.clock import FakeClock
from support.cluster_rigs import PROFILES, make_local, rig_of

pytestmark = pytest.mark.anyio

LOCAL = next(profile for profile in PROFILES if profile.name == "local")


@pytest.fixture
async def rig(tmp_path):
    async with rig_of(LOCAL, tmp_path) as made:
        yield made


async def up(rig, *steps, name="job-1", **changes):
    """A job that runs, and its order."""
    order = rig.order(name, "out:up", *steps, **changes)
    await rig.cluster.submit(order)
    await rig.printed(name, b"up\n")
    await rig.state(name, State.RUNNING)
    return order


async def adopt(rig, order):
    (finding,) = await rig.cluster.adopt([order])
    assert finding.where is Where.FOUND
    return finding.observations[-1]


def records(rig, name="job-1"):
    return rig.folder / "spool" / name


def wrapper_of(rig, name="job-1"):
    return rig.cluster._site.spool.part(name, 0, 0).evidence().fence


async def test_the_time_limit_is_over_when_the_server_comes_back(rig):
    order = await up(rig, "hang", resources=Resources(cpu_count=1, wall_time_s=3600))
    await rig.stop()
    clock = FakeClock(SystemClock().now() + timedelta(hours=2))
    rig.cluster = make_local(rig.folder, clock=clock)
    await rig.begin()
    assert (await adopt(rig, order)).state is State.RUNNING
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.signal) == (State.FAILED, Reason.TIME_LIMIT, signal.SIGTERM)


async def test_time_goes_on_counting(rig):
    order = await up(rig, "hang", resources=Resources(cpu_count=1, wall_time_s=3600))
    await rig.stop()
    clock = FakeClock(SystemClock().now() + timedelta(seconds=3000))
    rig.cluster = make_local(rig.folder, clock=clock)
    await rig.begin()
    await adopt(rig, order)
    await anyio.sleep(0.2)
    assert not any(seen.state.ended for seen in rig.told)
    clock.jump(7200)  # somebody sets the clock: no time has passed
    await anyio.sleep(0.2)
    assert not any(seen.state.ended for seen in rig.told)
    clock.advance(601)
    assert (await rig.end("job-1")).reason is Reason.TIME_LIMIT


@pytest.mark.parametrize("cause", [Reason.STOPPED, Reason.KILLED, Reason.TIME_LIMIT])
async def test_what_was_noted_is_done(rig, cause):
    """Killed between the note and the signal."""
    order = await up(rig, "hang")
    await rig.stop()
    note = Note(cause=cause, at=SystemClock().now(), up_cs=uptime_cs())
    (records(rig) / "note.0.0").write_bytes(write_note(note))
    await rig.restart()
    await adopt(rig, order)
    assert (await rig.end("job-1")).reason is cause
    assert rig.processes() == []


async def test_a_grace_goes_on_where_it_was(rig):
    order = await up(rig, "stubborn", "out:deaf", "hang", grace_s=600)
    await rig.printed("job-1", b"deaf")
    await rig.cluster.control(order, Operation.STOP)
    await rig.stop()
    late = Note(
        cause=Reason.STOPPED, at=SystemClock().now() - timedelta(seconds=601), up_cs=uptime_cs() - 60100
    )
    (records(rig) / "note.0.0").write_bytes(write_note(late))
    await rig.restart()
    await adopt(rig, order)
    end = await rig.end("job-1")
    assert (end.reason, end.signal) == (Reason.STOPPED, signal.SIGKILL)


async def test_a_job_that_was_being_stopped_and_ended_meanwhile_is_stopped(rig):
    order = await up(rig, "hang")
    await rig.cluster.control(order, Operation.STOP)
    await rig.stop()
    await rig.nothing_left()
    await rig.restart()
    end = await adopt(rig, order)
    assert (end.state, end.reason) == (State.CANCELED, Reason.STOPPED)


@pytest.mark.parametrize("frozen", ["all of it", "the wrapper alone"])
async def test_a_stop_that_was_cut_off_while_all_stood_still(rig, frozen):
    order = await up(rig, "hang")
    await rig.stop()
    wrapper = wrapper_of(rig)
    note = Note(cause=Reason.STOPPED, at=SystemClock().now(), up_cs=uptime_cs())
    (records(rig) / "note.0.0").write_bytes(write_note(note))
    if frozen == "all of it":
        os.killpg(wrapper.pid, signal.SIGSTOP)
    else:
        os.kill(wrapper.pid, signal.SIGSTOP)
    await rig.restart()
    await adopt(rig, order)
    assert (await rig.end("job-1")).reason is Reason.STOPPED


async def test_a_wrapper_killed_while_nobody_looked(rig):
    order = await up(rig, "hang")
    await rig.stop()
    os.kill(wrapper_of(rig).pid, signal.SIGKILL)
    await rig.nothing_left(2)
    await rig.restart()
    end = await adopt(rig, order)
    assert (end.state, end.reason) == (State.FAILED, Reason.LOST)
    await rig.nothing_left()
    assert await rig.printed("job-1", b"up") == b"up\n"


async def test_the_machine_was_restarted(rig):
    order = await up(rig, "hang")
    await rig.stop()
    rig.kill_all()
    fence = records(rig) / "start.0.0"
    boot = wrapper_of(rig).boot
    fence.write_text(fence.read_text().replace(boot, "0" * len(boot)))
    (records(rig) / "exit.0.0").write_bytes(b"v=1 reserved\n")
    await rig.restart()
    end = await adopt(rig, order)
    assert (end.state, end.reason) == (State.FAILED, Reason.NODE_LOST)
    assert "machine was restarted" in end.why


async def test_a_number_that_was_given_out_again_is_not_the_wrapper(rig):
    """Our own pid stands in for a stranger that got the wrapper's."""
    order = await up(rig, "hang")
    await rig.stop()
    rig.kill_all()
    fence = records(rig) / "start.0.0"
    pid = wrapper_of(rig).pid
    fence.write_text(fence.read_text().replace(f"pid={pid} ", f"pid={os.getpid()} "))
    (records(rig) / "exit.0.0").write_bytes(b"v=1 reserved\n")
    await rig.restart()
    assert (await adopt(rig, order)).reason is Reason.LOST


@pytest.mark.parametrize(("age_s", "reason"), [(0, Reason.LAUNCH), (10**9, Reason.NODE_LOST)])
async def test_a_fence_without_words_is_never_started_again(rig, age_s, reason, monkeypatch):
    part = rig.cluster._site.spool.part("job-1", 0, 0)
    for fd in part.open_output():
        os.close(fd)
    part.fence.touch()
    if age_s:  # as if it were older than this boot
        monkeypatch.setattr("shorepower.clusters.local.find.uptime_cs", lambda: -age_s)
    order = rig.order("job-1", "out:ran")
    assert (await adopt(rig, order)).reason is reason
    await rig.cluster.submit(order)
    await rig.end("job-1")
    assert await rig.cluster.output("job-1", 0, 0).size(Stream.STDOUT) == 0


async def test_a_start_that_is_just_happening_is_waited_for(rig, tmp_path):
    """A wrapper of the server before has created the fence and has not written it yet."""
    part = rig.cluster._site.spool.part("job-1", 0, 0)
    for fd in part.open_output():
        os.close(fd)
    part.fence.touch()
    order = rig.order("job-1", "out:ran")
    slow = await anyio.open_process(["sleep", "60"], env=dict(order.env))
    findings = []
    async with anyio.create_task_group() as tg:

        async def look():
            findings.extend(await rig.cluster.adopt([order]))

        tg.start_soon(look)
        await anyio.sleep(0.1)
        assert not findings
        slow.kill()
        await slow.wait()
    assert findings[0].observations[-1].reason is Reason.LAUNCH


async def test_who_loses_the_fence_follows_the_winner(rig):
    """A server that was not told of a running job and starts it again."""
    order = await up(rig, "wait:0.4", "exit:9")
    await rig.restart()
    rig.told.clear()
    await rig.cluster.submit(order)
    running = await rig.state("job-1", State.RUNNING)
    assert running.started_at is not None
    assert (await rig.end("job-1")).exit_code == 9
    assert await rig.printed("job-1", b"up") == b"up\n"


async def test_who_loses_the_fence_and_the_winner_has_ended(rig):
    order = rig.order("job-1", "out:up", "exit:9")
    await rig.cluster.submit(order)
    await rig.end("job-1")
    await rig.restart()
    rig.told.clear()
    await rig.cluster.submit(order)
    assert (await rig.end("job-1")).exit_code == 9
    assert await rig.printed("job-1", b"up") == b"up\n"


async def test_one_that_was_seen_running_and_has_no_records_is_lost(rig):
    order = rig.order("job-1", "out:ran", seen_running=True)
    end = await adopt(rig, order)
    assert (end.state, end.reason) == (State.FAILED, Reason.LOST)
    assert await rig.cluster.output("job-1", 0, 0).size(Stream.STDOUT) == 0


async def test_a_spool_that_cannot_be_read_is_unknown(rig, monkeypatch):
    order = await up(rig, "hang")
    await rig.restart()

    def broken(*_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("shorepower.clusters.spool.Part.evidence", broken)
        (finding,) = await rig.cluster.adopt([order])
        assert finding.where is Where.UNKNOWN
        patch.setattr("shorepower.clusters.spool.Spool.begun", broken)
        (finding,) = await rig.cluster.adopt([order])
        assert finding.where is Where.UNKNOWN
    assert (await adopt(rig, order)).state is State.RUNNING


async def test_adopting_again_tells_the_same(rig):
    order = await up(rig, "hang")
    assert (await adopt(rig, order)).state is State.RUNNING
    await rig.restart()
    for _ in range(3):
        assert (await adopt(rig, order)).state is State.RUNNING
    assert len(rig.cluster._running) == 1


async def test_resources_and_gpus_stay_taken(tmp_path):
    machine = Machine(cpu_count=4, memory_mib=1000, gpus=(Gpu("0", "t4"), Gpu("1", "t4")))
    async with rig_of(LOCAL, tmp_path) as rig:
        await rig.stop()
        rig.cluster = make_local(rig.folder, machine=machine)
        await rig.begin()
        first = rig.order("job-0", "wait:0", resources=Resources(cpu_count=1, gpu_count=1))
        await rig.cluster.submit(first)
        second = await up(rig, "hang", resources=Resources(cpu_count=3, memory_mib=900, gpu_count=1))
        await rig.end("job-0")
        given = wrapper_of(rig).gpus
        await rig.stop()
        rig.cluster = make_local(rig.folder, machine=machine)
        await rig.begin()
        await adopt(rig, second)
        info = await rig.cluster.info()
        assert (info.cpus_free, info.memory_free_mib, info.gpu_count, info.gpu_types) == (
            1,
            100,
            2,
            ("t4",),
        )
        env = dict(os.environ) | second.env
        third = rig.order("job-3", env=env, resources=Resources(cpu_count=1, gpu_count=1))
        third = type(third)(
            **{field: getattr(third, field) for field in third.__struct_fields__}
            | {"argv": ("sh", "-c", "echo $CUDA_VISIBLE_DEVICES")}
        )
        await rig.cluster.submit(third)
        await rig.end("job-3")
        other = (await rig.printed("job-3", b"\n")).strip().decode()
        assert {other, *given} == {"0", "1"}
        await rig.cluster.control(second, Operation.KILL)
        await rig.end("job-1")
        assert (await rig.cluster.info()).cpus_free == 4


async def test_thousands_that_wait_are_taken_in_again(rig):
    orders = [rig.order(f"job-{number}", "exit:0") for number in range(3000)]
    began = time.monotonic()
    findings = await rig.cluster.adopt(orders)
    assert {finding.where for finding in findings} == {Where.FOUND}
    assert time.monotonic() - began < 20
    for order in orders[5:]:
        rig.cluster._line.withdraw(
            rig.cluster._jobs.pop(order.submission, None) or rig.cluster._make(order)
        )


async def test_the_exit_code_survives_its_records(rig):
    await up(rig, "wait:0.3", "exit:7")
    shutil.rmtree(records(rig))
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.exit_code) == (State.FAILED, Reason.EXIT_CODE, 7)
