"""Every kind of cluster behind one handle, for the contract suite. How they differ is data in `Profile`."""

from __future__ import annotations

import os
import shlex
import signal
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from shorepower.clusters.contract import Cluster, Order
from shorepower.clusters.fake import FakeCluster
from shorepower.clusters.local.cluster import LocalCluster
from shorepower.clusters.local.job import Settings
from shorepower.clusters.local.machine import Machine, Pressure
from shorepower.host.own import OwnHost, SystemClock
from shorepower.host.processes import environment, sweep
from shorepower.model.lifecycle import Attempt, Observation, State, advance
from shorepower.model.output import Stream
from shorepower.model.resources import Resources

PATIENCE_S = 30.0
"""How long a test waits for something that has to happen."""


class Rig:
    """A cluster that runs, what it told, and orders for it."""

    def __init__(self, profile: Profile, folder: Path) -> None:
        self.profile, self.folder = profile, folder
        self._mark = uuid.uuid4().hex[:8]
        self.told: list[Observation] = []
        self._news = anyio.Event()
        self._life = AsyncExitStack()
        self.cluster: Cluster = profile.make(folder)

    async def begin(self) -> None:
        """Run and watch."""
        tasks = await self._life.enter_async_context(anyio.create_task_group())
        self._life.callback(tasks.cancel_scope.cancel)
        await tasks.start(self._run)
        tasks.start_soon(self._watch)

    async def _run(self, *, task_status) -> None:
        await self.cluster.run(task_status=task_status)

    async def _watch(self) -> None:
        async for batch in self.cluster.watch():
            self.told += batch
            self._news.set()
            self._news = anyio.Event()

    async def stop(self) -> None:
        """As if the server were killed, as far as that goes in one process."""
        await self._life.aclose()
        self._life = AsyncExitStack()

    async def restart(self) -> None:
        """A new server over the same state."""
        await self.stop()
        self.cluster = self.profile.remake(self.cluster, self.folder)
        await self.begin()

    def order(self, submission: str, *steps: str, **changes: object) -> Order:
        """``steps`` are those of the fake cluster."""
        job = self.job_of(submission)
        said = {
            "submission": submission,
            "job": job,
            "name": "test",
            "owner": "me",
            "argv": self.profile.argv(steps),
            "env": {"PATH": os.environ["PATH"], "SHOREPOWER_JOB_ID": job, "SHOREPOWER_ATTEMPT": "1"},
            "cwd": str(self.folder),
            "resources": Resources(cpu_count=1),
            "grace_s": 20.0,
        }
        return Order(**(said | changes))

    def processes(self) -> list[int]:
        """Everything on this machine that says it belongs to a job of this rig."""
        found = []
        for one in sweep():
            for entry in environment(one.pid) or ():
                name, _, value = entry.partition(b"=")
                if name == b"SHOREPOWER_JOB_ID" and value.endswith(self._mark.encode()):
                    found.append(one.pid)
        return found

    async def nothing_left(self, most: int = 0) -> None:
        """Until no more than so many of them live."""
        with anyio.fail_after(PATIENCE_S):
            while len(self.processes()) > most:  # noqa: ASYNC110 - nobody could tell us
                await anyio.sleep(0.01)

    def kill_all(self) -> None:
        """Whatever a failed test has left."""
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def job_of(self, submission: str) -> str:
        """An id that no other test's processes carry."""
        return f"{submission.replace('-', '')}{self._mark}"

    def of(self, submission: str) -> list[Observation]:
        """What was told of one submission so far."""
        return [seen for seen in self.told if seen.submission == submission]

    async def until(self, submission: str, fits: Callable[[Observation], bool]) -> Observation:
        """The first observation that fits."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                for seen in self.of(submission):
                    if fits(seen):
                        return seen
                await self._news.wait()

    async def state(self, submission: str, *states: State) -> Observation:
        """The first observation in one of these states."""
        return await self.until(submission, lambda seen: seen.state in states)

    async def end(self, submission: str) -> Observation:
        """How it ended."""
        return await self.until(submission, lambda seen: seen.state.ended)

    async def printed(self, submission: str, text: bytes, stream: Stream = Stream.STDOUT) -> bytes:
        """Everything printed, once ``text`` is in it."""
        source = self.cluster.output(submission, 0, 0)
        with anyio.fail_after(PATIENCE_S):
            while True:
                sizes = [await source.size(one) for one in Stream]
                if text in (data := (await source.read(stream, 0, 1 << 20))[1]):
                    return data
                await source.grown(*sizes, PATIENCE_S)

    def folded(self, submission: str, seen: Sequence[Observation] | None = None) -> Attempt:
        """Where the attempt stands for whoever folds in what was told."""
        attempt = Attempt(job="job", submission=submission)
        for one in self.of(submission) if seen is None else seen:
            attempt = advance(attempt, one)
        return attempt


@dataclass
class Profile:
    """How one kind of cluster differs from the others."""

    name: str
    make: Callable[[Path], Cluster]
    remake: Callable[[Cluster, Path], Cluster]
    """What a server that comes back talks to."""
    argv: Callable[[Sequence[str]], tuple[str, ...]]
    runs_at_once: int = 2
    adopts_unknown: bool = False
    """A submission it has never seen is queued by `adopt`, instead of being told absent."""
    arrays: bool = True
    """It runs arrays."""
    records: Callable[[Path, str], bool] = field(default=lambda folder, submission: False)
    """Whether anything of a submission is left on disk."""


_SHELL = {
    "out": lambda text: f"printf '%s\\n' {shlex.quote(text)}",
    "err": lambda text: f"printf '%s\\n' {shlex.quote(text)} >&2",
    "wait": lambda seconds: f"sleep {seconds}",
    "exit": lambda code: f"exit {code}",
    "signal": lambda number: f"kill -{number} $$; sleep 60",
    "stubborn": lambda _: "trap '' TERM",
    "hang": lambda _: "while :; do sleep 0.05; done",
}


def shell_script(steps: Sequence[str]) -> tuple[str, ...]:
    """The steps of the fake cluster for a real shell."""
    lines = []
    for step in steps:
        verb, _, value = step.partition(":")
        lines.append(_SHELL[verb](value))
    return ("sh", "-c", "\n".join(lines))


def make_local(folder: Path, **changes: object) -> LocalCluster:
    """A quick one, of two cpus whatever machine this is."""
    settings = {"period_s": 0.05, "linger_s": 0.3, "leftover_grace_s": 0.3, "wrapper_grace_s": 1.0}
    return LocalCluster(
        "local",
        folder / "spool",
        changes.pop("host", None) or OwnHost(),
        changes.pop("clock", None) or SystemClock(),
        machine=changes.pop("machine", None) or Machine(cpu_count=2, memory_mib=1000),
        pressure=changes.pop("pressure", None) or (lambda: Pressure(1.0, 1.0)),
        settings=Settings(**(settings | changes)),
    )


PROFILES = (
    Profile(
        name="fake",
        make=lambda folder: FakeCluster(clock=SystemClock(), slots=2),
        remake=lambda cluster, folder: cluster,
        argv=lambda steps: ("fake", *steps),
    ),
    Profile(
        name="local",
        make=make_local,
        remake=lambda cluster, folder: make_local(folder),
        argv=shell_script,
        adopts_unknown=True,
        records=lambda folder, submission: (folder / "spool" / submission).exists(),
    ),
)


@asynccontextmanager
async def rig_of(profile: Profile, folder: Path) -> AsyncIterator[Rig]:
    """A rig that runs; whatever still runs at the end is killed."""
    rig = Rig(profile, folder)
    await rig.begin()
    try:
        yield rig
    finally:
        await rig.stop()
        rig.kill_all()
