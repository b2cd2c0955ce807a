"""One attempt as this cluster holds it in memory. What must survive is in the spool folder."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec import Struct

from ...host.contract import Clock, Host, Spawned
from ...host.families import Families, Family
from ...model.errors import SubmitRefused
from ...model.lifecycle import Observation, Reason, State
from ...model.tasks import TaskSet
from ...model.usage import Usage
from ..contract import Order
from ..records import Note
from ..spool import Part, Spool
from ..tail import Tails
from .mailbox import Mailbox
from .outcome import End
from .queue import Demand, Grant
from .tree import Tree

__all__ = ["Ending", "LocalJob", "Settings", "Site", "Stage", "end_seen", "marks_of", "only_task"]

T = TypeVar("T")

_SPOOL_THREADS = 8
_SIGNAL_THREADS = 4


class Settings(Struct, frozen=True, kw_only=True):
    """Figures of a local cluster."""

    shell: tuple[str, ...] = ("/bin/sh",)
    """Runs the wrapper."""
    period_s: float = 1.0
    """Between two sweeps of /proc, and between two looks at who waits for what."""
    patience_s: float = 300.0
    """How long smaller jobs may pass one that does not fit."""
    linger_s: float = 1.0
    """What the program leaves behind may end by itself for so long (a ``tee`` that still writes)."""
    leftover_grace_s: float = 2.0
    """Between SIGTERM and SIGKILL for what is left behind."""
    wrapper_grace_s: float = 5.0
    """After the last SIGKILL to its program, before the wrapper itself is killed."""
    output_limit_bytes: int = 1 << 30
    """The newest so many bytes of a stream are kept."""
    nice: int = 5
    """Added for jobs that ask nothing."""


class Site:
    """What the parts of one local cluster share."""

    def __init__(self, name: str, spool: Spool, host: Host, clock: Clock, settings: Settings) -> None:
        self.name, self.spool, self.host, self.clock, self.settings = name, spool, host, clock, settings
        self.oom_kills = 0
        """As last counted."""
        self.hostname = socket.gethostname()
        self.mail = Mailbox()
        self.closing = False
        """The server ends: no lane begins another task."""
        self.tails = Tails()
        self.families = Families()
        self._files = CapacityLimiter(_SPOOL_THREADS)
        self._signals = CapacityLimiter(_SIGNAL_THREADS)

    async def file_work(self, work: Callable[..., T], *args: object) -> T:
        """Blocking work on spool files."""
        return await to_thread.run_sync(partial(work, *args), limiter=self._files)

    async def tree_work(self, work: Callable[..., T], *args: object) -> T:
        """Blocking work on processes; apart, so that a hanging file system delays no stop."""
        return await to_thread.run_sync(partial(work, *args), limiter=self._signals)


class Stage(Enum):
    """Where a submission stands here."""

    WAITING = auto()
    STARTING = auto()
    RUNNING = auto()
    ENDED = auto()


class Ending:
    """An attempt is being ended from outside."""

    def __init__(self, cause: Reason, kill_at: float, up_cs: int) -> None:
        self.cause, self.kill_at, self.up_cs = cause, kill_at, up_cs
        """``kill_at``: steady seconds. ``up_cs``: when this began, before the first signal."""
        self.sent = anyio.Event()
        """The first signal is on its way, or there was nobody left to send it to."""

    def note(self, now: datetime) -> Note:
        """As it is written down."""
        return Note(cause=self.cause, at=now, up_cs=self.up_cs)


class LocalJob:
    """A plain job, or a task of an array that takes long."""

    def __init__(self, order: Order, part: Part, demand: Demand) -> None:
        self.order, self.part, self.demand = order, part, demand
        self.grant: Grant | None = None
        self.stage = Stage.WAITING
        self.ahead = 0
        """How many waited when it was queued."""
        self.spawned = anyio.Event()
        """It has a wrapper, or ended without one."""
        self.wrapper: Spawned | None = None
        """While its pidfd is open."""
        self._leader = (0, 0)
        self.gone = anyio.Event()
        """The wrapper has ended."""
        self.started_at: datetime | None = None
        self.deadline: float | None = None
        """Steady seconds."""
        self.ending: Ending | None = None
        self.operating = anyio.Lock()
        """Held while its processes are signalled."""
        self._woken = anyio.Event()
        self.suspended = False
        self.usage = Usage()
        self.exit_code: int | None = None
        """The wrapper's own, where it was our child."""
        self.too_much_mib = 0.0
        """What it was last seen to take, if that is more memory than it asked for; else 0."""
        self.oom_before = 0
        self.said = ("", "")
        """Reason and sentence last told while it waited."""
        self._as_of = 0.0

    def wake(self) -> None:
        """Something changed for who is ending it."""
        self._woken.set()
        self._woken = anyio.Event()

    async def wait_woken(self, timeout_s: float) -> None:
        """Until something changed, or the time is over."""
        with anyio.move_on_after(timeout_s):
            await self._woken.wait()

    @property
    def name(self) -> str:
        """The submission's id, or ``<submission>.<position>`` for a task of an array."""
        if self.order.each is None:
            return self.order.submission
        return f"{self.order.submission}.{self.part.task}"

    @property
    def family(self) -> Family:
        """How its processes are recognised."""
        leader, start_time = self._leader
        return Family(leader=leader, start_time=start_time, marks=marks_of(self.order))

    def hold(self, wrapper: Spawned) -> None:
        """This is its wrapper now."""
        self.wrapper, self._leader = wrapper, (wrapper.pid, wrapper.start_time)

    def tree(self, families: Families) -> Tree:
        """Its processes."""
        return Tree(self.name, self.family, families)

    def seen(
        self, clock: Clock, host: str, state: State, reason: Reason | None = None, why: str = ""
    ) -> Observation:
        """An observation of a living state."""
        return Observation(
            submission=self.order.submission,
            tasks=self.order.tasks,
            as_of=self._next_as_of(clock),
            source="local",
            state=state,
            reason=reason,
            why=why,
            host=host if self.started_at else "",
            started_at=self.started_at,
        )

    def seen_end(self, clock: Clock, host: str, end: End) -> Observation:
        """The observation of its end."""
        return end_seen(self.order, self._next_as_of(clock), host, end, self.usage)

    def _next_as_of(self, clock: Clock) -> float:
        self._as_of = max(clock.now().timestamp(), self._as_of + 1e-6)
        return self._as_of


def end_seen(order: Order, as_of: float, host: str, end: End, used: Usage) -> Observation:
    """The observation of an end."""
    began, ended = end.started_at, end.ended_at
    wall_time_s = max(0.0, (ended - began).total_seconds()) if began and ended else 0.0
    return Observation(
        submission=order.submission,
        tasks=order.tasks,
        as_of=as_of,
        source="local",
        state=end.state,
        reason=end.reason,
        why=end.why,
        exit_code=end.exit_code,
        signal=end.signal,
        host=host if began else "",
        started_at=began,
        ended_at=ended,
        usage=Usage(
            wall_time_s=wall_time_s, cpu_time_s=used.cpu_time_s, peak_memory_mib=used.peak_memory_mib
        )
        if began
        else None,
    )


def only_task(tasks: TaskSet) -> int:
    """The position of the one task there is. Raises SubmitRefused for several: they need an ``each``."""
    if len(tasks) != 1:
        raise SubmitRefused(f"nothing tells these {len(tasks)} tasks apart")
    return next(iter(tasks))


def marks_of(order: Order) -> tuple[bytes, ...]:
    """What the environment of each of its processes says. The values of `families.MARKS`."""
    task = only_task(order.tasks)
    index = task if order.each is None else order.each.index(task)
    return (order.job.encode(), str(order.attempt).encode(), str(index).encode())
