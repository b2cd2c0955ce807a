"""Whatever a job becomes, all of it ends with it. Real processes."""

import os
import signal
import sys
import time

import anyio
import anyio.lowlevel
import pytest

from shorepower.host.processes import process_of
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.model.resources import Resources
from support.cluster_rigs import PATIENCE_S, PROFILES, rig_of

pytestmark = pytest.mark.anyio

LOCAL = next(profile for profile in PROFILES if profile.name == "local")


@pytest.fixture
async def rig(tmp_path):
    async with rig_of(LOCAL, tmp_path) as made:
        yield made


async def start(rig, *argv, name="job-1", until=b"up\n", **changes):
    order = rig.order(name, **changes)
    order = type(order)(
        **{field: getattr(order, field) for field in order.__struct_fields__} | {"argv": argv}
    )
    await rig.cluster.submit(order)
    if until:
        await rig.printed(name, until)
    return order


def python(code):
    return (sys.executable, "-c", code)


STRAYS = {
    "a session of its own": ("setsid sleep 300 & echo up; wait",),
    "nothing in common but the environment": (
        "(setsid sh -c 'sleep 300 & sleep 300' &) ; sleep 0.1; echo up; sleep 300",
    ),
    "deaf to everything it may be deaf to": (
        "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; sleep 300' & echo up; sleep 300; sleep 300",
    ),
    "stopped": ("sleep 300 & kill -STOP $!; sh -c 'kill -STOP $$' & echo up; sleep 300",),
    "many deep": (
        "f() { [ $1 = 0 ] && { sleep 300; return; }; (f $(($1-1))); }; f 40 & f 40 & echo up; wait",
    ),
}


@pytest.mark.parametrize("operation", [Operation.STOP, Operation.KILL])
@pytest.mark.parametrize("script", STRAYS.values(), ids=STRAYS)
async def test_the_whole_tree_ends(rig, script, operation):
    order = await start(rig, "sh", "-c", *script, grace_s=0.3)
    await rig.cluster.control(order, operation)
    end = await rig.end("job-1")
    assert end.state is State.CANCELED
    assert rig.processes() == []  # when the end is told, nothing is left


async def test_a_double_fork_without_a_trace_in_session_and_parent_is_found(rig):
    daemon = (
        "import os, sys, time\n"
        "if os.fork(): os.wait(); time.sleep(300)\n"
        "os.setsid()\n"
        "if os.fork(): os._exit(0)\n"
        "print('up', flush=True); time.sleep(300)\n"
    )
    order = await start(rig, *python(daemon))
    await rig.cluster.control(order, Operation.STOP)
    await rig.end("job-1")
    assert rig.processes() == []


async def test_a_child_without_our_environment_is_found_by_descent(rig):
    order = await start(rig, "sh", "-c", "setsid env -i sh -c 'echo $$; echo up; sleep 299' & wait")
    pid = int((await rig.printed("job-1", b"up")).split()[0])
    await rig.cluster.control(order, Operation.STOP)
    await rig.end("job-1")
    left = process_of(pid)
    assert left is None or not left.living


@pytest.mark.parametrize("operation", [Operation.STOP, Operation.KILL])
async def test_a_fork_bomb_is_stopped(rig, operation):
    bomb = (
        "import os, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "print('up', flush=True)\n"
        "depth, end = 0, float(os.environ['END'])\n"
        "while time.monotonic() < end and depth < 8:\n"
        "    if os.fork() == 0: depth += 1\n"  # children fork on, and end when they are deep
        "    else: time.sleep(0.03)\n"
    )
    env = {
        "PATH": os.environ["PATH"],
        "END": str(time.monotonic() + 20),
    }
    order = await start(rig, *python(bomb), env=env, grace_s=0.2)
    await anyio.sleep(0.1)
    await rig.cluster.control(order, operation)
    end = await rig.end("job-1")
    assert end.state is State.CANCELED
    assert rig.processes() == []


async def test_what_clears_up_after_a_sigterm_is_let_be(rig):
    script = "trap 'sh -c \"sleep 0.3; echo saved\"; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    order = await start(rig, "sh", "-c", script)
    await rig.cluster.control(order, Operation.STOP)
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.exit_code) == (State.CANCELED, Reason.STOPPED, 0)
    assert await rig.printed("job-1", b"saved") == b"up\nsaved\n"


async def test_each_process_gets_one_sigterm(rig):
    code = (
        "import os, signal, time\n"
        "got = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: got.append(1))\n"
        "child = os.fork()\n"
        "if child: print('up', flush=True)\n"
        "while not got: time.sleep(0.01)\n"
        "time.sleep(0.3)\n"
        "print('got', len(got), flush=True)\n"
        "if child: os.wait()\n"
    )
    order = await start(rig, *python(code))
    for _ in range(3):
        await rig.cluster.control(order, Operation.STOP)
    await rig.end("job-1")
    assert await rig.printed("job-1", b"got") == b"up\ngot 1\ngot 1\n"


async def test_stop_at_any_moment_of_a_start_ends_it(rig):
    for number in range(40):
        name = f"job-{number}"
        order = rig.order(name, "out:up", "hang", resources=Resources(cpu_count=0.01))
        await rig.cluster.submit(order)
        if number % 4:
            await anyio.sleep(0.001 * (number % 13))
        await rig.cluster.control(order, Operation.STOP)
    for number in range(40):
        end = await rig.end(f"job-{number}")
        assert (end.state, end.reason) == (State.CANCELED, Reason.STOPPED)
    assert rig.processes() == []


async def test_a_wrapper_that_cannot_end_is_killed(rig):
    """Somebody stops the wrapper itself, again and again."""
    order = await start(rig, "sh", "-c", "echo up; sleep 300")
    await rig.state("job-1", State.RUNNING)
    wrapper = rig.cluster._jobs["job-1"].wrapper
    async with anyio.create_task_group() as tg:

        async def pester():
            while True:
                try:
                    os.kill(wrapper.pid, signal.SIGSTOP)
                except ProcessLookupError:
                    return
                await anyio.lowlevel.checkpoint()

        tg.start_soon(pester)
        await rig.cluster.control(order, Operation.KILL)
        end = await rig.end("job-1")
        tg.cancel_scope.cancel()
    assert (end.state, end.reason) == (State.CANCELED, Reason.KILLED)


async def test_a_killed_wrapper_takes_everything_with_it(rig):
    await start(rig, "sh", "-c", "setsid sleep 300 & echo up; sleep 300")
    await rig.state("job-1", State.RUNNING)
    os.kill(rig.cluster._jobs["job-1"].wrapper.pid, signal.SIGKILL)
    end = await rig.end("job-1")
    assert (end.state, end.reason) == (State.FAILED, Reason.LOST)
    assert "wrapper" in end.why
    assert rig.processes() == []
    assert await rig.printed("job-1", b"up") == b"up\n"


async def test_what_a_normal_end_leaves_behind_ends_too(rig):
    await start(rig, "sh", "-c", "sleep 300 & (trap '' TERM; sleep 300; sleep 300) & echo up; exit 3")
    end = await rig.end("job-1")
    assert (end.state, end.exit_code) == (State.FAILED, 3)
    assert rig.processes() == []


async def test_what_ended_soon_is_told_to_run_while_something_of_it_is_left(rig):
    await start(rig, "sh", "-c", "sleep 300 & echo up")
    assert (await rig.end("job-1")).state is State.COMPLETED
    assert State.RUNNING in [seen.state for seen in rig.of("job-1")]


async def test_what_left_its_session_is_found_in_the_next_sweep(rig):
    await start(
        rig, "sh", "-c", "setsid sh -c 'trap \"\" TERM; echo up; while :; do sleep 1; done' & sleep 0.3"
    )
    assert (await rig.end("job-1")).state is State.COMPLETED
    await rig.nothing_left()


async def test_a_pipe_that_is_still_written_out_is_waited_for(rig):
    await start(rig, "bash", "-c", "exec > >(sleep 0.15; cat); echo up; echo last", until=None)
    assert (await rig.end("job-1")).state is State.COMPLETED
    assert await rig.printed("job-1", b"") == b"up\nlast\n"


async def test_a_suspended_tree_stands_still_and_keeps_its_cpus(rig):
    script = "setsid sh -c 'while :; do echo a; sleep 0.01; done' & while :; do echo b; sleep 0.01; done"
    order = await start(rig, "sh", "-c", script, until=b"b\n", resources=Resources(cpu_count=2))
    await rig.state("job-1", State.RUNNING)
    await rig.cluster.control(order, Operation.SUSPEND)
    source = rig.cluster.output("job-1", 0, 0)
    size = await source.size(Stream.STDOUT)
    await rig.cluster.submit(rig.order("job-2", "exit:0"))
    await rig.state("job-2", State.PENDING)
    await anyio.sleep(0.2)
    assert await source.size(Stream.STDOUT) == size
    assert not any(seen.state.ended for seen in rig.of("job-2"))
    await rig.cluster.control(order, Operation.RESUME)
    assert await source.grown(size, 0, PATIENCE_S)
    await rig.cluster.control(order, Operation.SUSPEND)
    await rig.cluster.control(order, Operation.KILL)
    await rig.end("job-1")
    assert rig.processes() == []
    assert (await rig.end("job-2")).state is State.COMPLETED


async def test_the_time_limit_asks_first(rig):
    script = "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    await start(rig, "sh", "-c", script, resources=Resources(cpu_count=1, wall_time_s=1))
    end = await rig.end("job-1")
    assert (end.state, end.reason, end.exit_code) == (State.FAILED, Reason.TIME_LIMIT, 0)
    assert await rig.printed("job-1", b"saved") == b"up\nsaved\n"
