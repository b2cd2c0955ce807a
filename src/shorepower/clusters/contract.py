"""What every place that runs jobs can do: the seam between the dispatcher and the backends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from enum import StrEnum

from anyio.abc import TaskStatus
from msgspec import Struct

from ..model.cluster import ClusterInfo
from ..model.job import Progress
from ..model.lifecycle import Observation, Operation
from ..model.output import Stream
from ..model.resources import Resources
from ..model.tasks import ONE_TASK, TaskSet
from ..model.usage import Usage

__all__ = ["Cluster", "Each", "Finding", "Live", "Order", "OutputSource", "TaskPlan", "Where"]


class TaskPlan(Struct, frozen=True, kw_only=True):
    """What one task of an array runs, in place of the same fields of its order."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Complete, facts included, the task's index and parameters among them."""
    cwd: str
    progress_file: str | None = None


class Each(ABC):
    """The tasks of an array order, by position. Blocking; any thread."""

    @abstractmethod
    def index(self, task: int) -> int:
        """The user's own number of a task, which its environment says. Never blocks."""

    @abstractmethod
    def plan(self, task: int) -> TaskPlan:
        """Lay out what the task starts in. Doing it again is harmless.

        Raises StorageFault (try again later), InvalidRequest (it cannot start).
        """

    @abstractmethod
    def clear(self, task: int) -> None:
        """It has ended: what it did not write itself goes from its folder. Harmless when repeated."""


class Order(Struct, frozen=True, kw_only=True):
    """One submission, ready to run: everything a backend needs to start it, now or after a restart."""

    submission: str
    """``<job id>-<serial>``: a DNS label, and the name of every native object."""
    job: str
    attempt: int = 1
    tasks: TaskSet = ONE_TASK
    name: str
    owner: str
    queue: str | None = None
    argv: tuple[str, ...]
    env: Mapping[str, str]
    """Complete, facts included; secrets are added by the backend from ``secrets_file``."""
    secrets_file: str | None = None
    """JSON object of secret variables, 0600; read at the moment of the start."""
    cwd: str
    """Absolute, exists."""
    stdin: str | None = None
    """Absolute path of a file, or None for empty input."""
    resources: Resources = Resources()
    grace_s: float = 30.0
    umask: int = 0o022
    progress_file: str | None = None
    """Where the job appends progress lines."""
    handle: str | None = None
    """What `Cluster.submit` returned; None while that is unknown."""
    each: Each | None = None
    """What tells the tasks of an array apart; None for the one task of a plain job."""
    max_parallel: int | None = None
    """So many tasks of it run at a time; None: as many as have room."""
    ended: TaskSet = TaskSet()
    """Tasks of an array of which the end is on record: they are never started or reported again."""
    begun: TaskSet = TaskSet()
    """Living tasks of an array that were observed to have started: one whose records are gone is lost and
    never started again."""
    seen_running: bool = False
    """The same of the one task of a plain job."""


class Where(StrEnum):
    """What looking for a submission found."""

    FOUND = "found"
    ABSENT = "absent"
    """Proved: it was never taken, and a late start cannot happen or would lose the fence."""
    UNKNOWN = "unknown"
    """Nobody could say; ask again."""


class Finding(Struct, frozen=True, kw_only=True):
    """The answer of `Cluster.adopt` for one submission."""

    submission: str
    where: Where
    handle: str | None = None
    observations: tuple[Observation, ...] = ()


class Live(Struct, frozen=True, kw_only=True):
    """What a running attempt uses and says of itself; in memory only."""

    usage: Usage | None = None
    progress: Progress | None = None


class OutputSource(ABC):
    """The two streams of one attempt of one task, readable while they grow."""

    @abstractmethod
    async def read(self, stream: Stream, offset: int, limit: int) -> tuple[int, bytes]:
        """(offset of the first byte, bytes). The offset is greater than asked when older bytes are
        no longer kept (an announced gap). Empty bytes: nothing there yet, or at the end."""

    @abstractmethod
    async def grown(self, stdout: int, stderr: int, timeout_s: float) -> bool:
        """Wait until a stream is longer than the given size or the timeout passes; True if so. Also of an
        attempt that has not started: its first byte is not to wait for the news that it runs."""

    @abstractmethod
    async def size(self, stream: Stream) -> int:
        """Bytes written so far, those no longer kept included."""


class Cluster(ABC):
    """A place that runs jobs."""

    name: str

    @abstractmethod
    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Whatever must go on in the background; ready once it does; ends by cancellation.

        Jobs live on when it ends.
        """

    @abstractmethod
    async def info(self) -> ClusterInfo:
        """Raises Unreachable."""

    @abstractmethod
    async def submit(self, order: Order) -> str:
        """Hand one submission to the scheduler; returns its handle.

        Raises SubmitRefused when the scheduler said no: nothing is queued. Any other failure leaves
        it unknown whether it was queued; `adopt` finds out. Sending the same submission again is
        safe if ``capabilities.fenced``.
        """

    @abstractmethod
    async def adopt(self, orders: Sequence[Order]) -> Sequence[Finding]:
        """Find submissions that may have been handed over before; one answer for each, in order.

        A FOUND one is watched from then on. Never raises for a scheduler that is silent: UNKNOWN.
        """

    @abstractmethod
    def watch(self) -> AsyncIterator[Sequence[Observation]]:
        """News of all submissions handed over or adopted, until closed. One consumer."""

    @abstractmethod
    async def control(self, order: Order, operation: Operation) -> None:
        """Ask for an operation on the tasks that the order names: all of its submission, or some.

        Returning means it was sent; observations tell that it happened.

        Repeating it is harmless. Raises Unreachable (try again), InvalidRequest (cannot be done here).
        """

    @abstractmethod
    def output(self, submission: str, task: int, restart: int) -> OutputSource:
        """The output of one attempt, whether it runs, has ended, or has not started."""

    async def next_output(self, submission: str, start: int, stop: int) -> int | None:
        """The first task from ``start`` up to, not including, ``stop`` that has written output in its first
        start; None when none has. Backends that can tell more cheaply do so."""
        for task in range(start, stop):
            source = self.output(submission, task, 0)
            for stream in Stream:
                if await source.size(stream):
                    return task
        return None

    @abstractmethod
    async def forget(self, submission: str) -> None:
        """Its records and output may go: it ended and everything worth keeping is kept."""

    def live(self) -> Mapping[str, Live]:
        """What is known of the running ones, by submission, or ``<submission>.<position>`` for a task of an
        array. Backends that measure nothing keep this."""
        return {}
