"""The dispatcher over the real local cluster: real processes, several lives, nothing started twice."""

import random
from pathlib import Path

import anyio
import pytest

from shorepower.clusters.local.cluster import LocalCluster
from shorepower.host.own import OwnHost, SystemClock
from shorepower.model.errors import Conflict
from shorepower.model.lifecycle import Operation, Reason, State
from shorepower.model.output import Stream
from shorepower.model.results import ResultsState
from support.dispatching import ALICE, Bench, a_spec

pytestmark = pytest.mark.anyio

PATH = {"PATH": "/usr/bin:/bin"}


class Machine(Bench):
    """Surroundings whose cluster is this machine; each life gets a cluster of its own, as a server does."""

    def dispatcher(self):
        self.clusters = {
            "local": LocalCluster("local", self.places.spool, self.host, self.clock),
        }
        return super().dispatcher()


@pytest.fixture
def machine(store, tmp_path: Path) -> Machine:
    made = Machine(store, {}, SystemClock(), tmp_path / "state")
    made.host = OwnHost()
    return made


def shell(script: str, **more):
    """A spec that runs a script in an empty folder."""
    told = {"cluster": "local", "in_place": False, "workdir": "", "env": PATH, "grace_s": 0.5}
    return a_spec(argv=("/bin/sh", "-c", script), **(told | more))


async def _whole(dispatcher, job) -> dict[Stream, bytes]:
    have = dict.fromkeys(Stream, b"")
    async for piece in dispatcher.follow(job.id, ALICE):
        if piece is not None and piece.kind == "output":
            assert piece.offset == len(have[piece.stream])
            have[piece.stream] += piece.data
    return have


async def test_a_job_runs_and_everything_is_known_of_it(machine):
    async with machine.running() as dispatcher:
        spec = shell("echo out; echo err >&2; echo made > made.txt; exit 3")
        job, _ = await dispatcher.submit(spec, ALICE)
        have = await _whole(dispatcher, job)
        job = await machine.until(job, lambda job: job.results.state is ResultsState.READY)
        assert have == {Stream.STDOUT: b"out\n", Stream.STDERR: b"err\n"}
        assert (job.state, job.reason, job.exit_code) == (State.FAILED, Reason.EXIT_CODE, 3)
        assert job.started_at is not None
        assert job.ended_at >= job.started_at
        assert [entry.path for entry in await dispatcher.files(job.id, ALICE)] == ["made.txt"]


async def test_a_secret_reaches_the_job_and_only_the_job(machine):
    async with machine.running() as dispatcher:
        job, _ = await dispatcher.submit(
            shell('[ "$PW" = "a b\'c" ] && echo fits', secrets=("PW",)), ALICE, secrets={"PW": "a b'c"}
        )
        assert (await _whole(dispatcher, job))[Stream.STDOUT] == b"fits\n"


async def test_a_job_goes_on_while_no_server_lives(machine, tmp_path):
    go, starts = tmp_path / "go", tmp_path / "starts"
    script = f"echo $$ >> {starts}; echo one; while [ ! -e {go} ]; do sleep 0.02; done; echo two; exit 5"
    async with machine.running() as dispatcher:
        job, _ = await dispatcher.submit(shell(script), ALICE)
        await machine.until(job, lambda job: job.state is State.RUNNING)
    async with machine.running() as dispatcher:
        assert (await machine.stands(job)).state is State.RUNNING
    go.touch()
    async with machine.running() as dispatcher:
        have = await _whole(dispatcher, job)
        job = await machine.until(job, lambda job: job.state.ended)
    assert have[Stream.STDOUT] == b"one\ntwo\n"
    assert (job.state, job.exit_code) == (State.FAILED, 5)
    assert len(starts.read_text().split()) == 1


async def test_what_waits_in_the_queue_is_started_once_by_a_later_life(machine, tmp_path):
    go, starts = tmp_path / "go", tmp_path / "starts"
    held = shell(f"while [ ! -e {go} ]; do sleep 0.02; done")
    async with machine.running() as dispatcher:
        cpus = (await dispatcher.clusters(ALICE))[0].cpu_count
        first = [(await dispatcher.submit(held, ALICE))[0] for _ in range(int(cpus))]
        for job in first:
            await machine.until(job, lambda job: job.state is State.RUNNING)
        waits, _ = await dispatcher.submit(shell(f"echo $$ >> {starts}"), ALICE)
        assert (await machine.stands(waits)).state is State.PENDING
    go.touch()
    async with machine.running():
        job = await machine.until(waits, lambda job: job.state.ended)
        assert job.state is State.COMPLETED
        for one in first:
            await machine.until(one, lambda job: job.state is State.COMPLETED)
    assert len(starts.read_text().split()) == 1


@pytest.mark.parametrize("operation", [Operation.STOP, Operation.KILL])
async def test_stopped_at_any_moment_it_ends_as_stopped(machine, operation):
    """Before, while and after it is handed over and started."""
    dice = random.Random(seed := random.SystemRandom().randrange(10**6))
    print(f"seed {seed}")
    reason = Reason.STOPPED if operation is Operation.STOP else Reason.KILLED

    async def one(dispatcher, pause_s: float) -> None:
        job, _ = await dispatcher.submit(shell("sleep 100 & setsid sleep 100 & wait"), ALICE)
        await anyio.sleep(pause_s)  # the moment is the experiment
        await dispatcher.control(job.id, operation, ALICE)
        job = await machine.until(job, lambda job: job.state.ended)
        assert (job.state, job.reason, job.wanted) == (State.CANCELED, reason, None)

    async with machine.running() as dispatcher, anyio.create_task_group() as tg:
        for _ in range(16):
            tg.start_soon(one, dispatcher, dice.uniform(0.0, 0.1))
    assert _tree(machine) == []


async def test_suspended_it_stands_still_and_resumed_it_goes_on(machine, tmp_path):
    go = tmp_path / "go"
    async with machine.running() as dispatcher:
        job, _ = await dispatcher.submit(
            shell(f"while [ ! -e {go} ]; do sleep 0.02; done; echo end; exit 0"), ALICE
        )
        await machine.until(job, lambda job: job.state is State.RUNNING)
        await dispatcher.control(job.id, Operation.SUSPEND, ALICE)
        await machine.until(job, lambda job: job.state is State.SUSPENDED)
        go.touch()
    async with machine.running() as dispatcher:
        assert (await machine.stands(job)).state is State.SUSPENDED
        await dispatcher.control(job.id, Operation.RESUME, ALICE)
        job = await machine.until(job, lambda job: job.state.ended)
        assert job.state is State.COMPLETED
        assert (await _whole(dispatcher, job))[Stream.STDOUT] == b"end\n"


async def test_a_resume_right_after_a_suspend_settles(machine, tmp_path):
    go = tmp_path / "go"
    async with machine.running() as dispatcher:
        job, _ = await dispatcher.submit(shell(f"while [ ! -e {go} ]; do sleep 0.02; done"), ALICE)
        await machine.until(job, lambda job: job.state is State.RUNNING)
        for _ in range(10):
            await dispatcher.control(job.id, Operation.SUSPEND, ALICE)
            await dispatcher.control(job.id, Operation.RESUME, ALICE)
        await machine.until(job, lambda job: job.wanted is None and job.state is State.RUNNING)
        go.touch()
        job = await machine.until(job, lambda job: job.state.ended)
        assert job.state is State.COMPLETED
        with pytest.raises(Conflict):
            await dispatcher.control(job.id, Operation.SUSPEND, ALICE)


def _tree(machine) -> list[str]:
    """Processes whose environment names a working folder of this machine."""
    mark = str(machine.places.state_dir).encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in file.read_bytes():
                found.append(file.parent.name)
        except OSError:
            continue  # it ended meanwhile
    return found
