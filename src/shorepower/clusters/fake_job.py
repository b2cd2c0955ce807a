"""One submission of the fake cluster or one task of an array, and its output; and the array itself."""

from __future__ import annotations

from datetime import datetime

import anyio
import anyio.lowlevel
from msgspec.structs import replace

from ..model.lifecycle import Observation, Reason, State
from ..model.output import Stream
from ..model.tasks import TaskSet
from .contract import Order, OutputSource

__all__ = ["FakeArray", "FakeJob", "Outcome", "outcome"]


Outcome = tuple[State, Reason | None, int | None, int | None, str]
"""State, reason, exit code, signal, sentence."""


def outcome(code: int) -> Outcome:
    """How a program ends that ends with this code."""
    if code == 0:
        return State.COMPLETED, None, 0, None, ""
    if code > 128:
        return State.FAILED, Reason.SIGNAL, code, code - 128, f"it was ended by signal {code - 128}"
    return State.FAILED, Reason.EXIT_CODE, code, None, f"it ended with exit code {code}"


class FakeJob(OutputSource):
    """See the module."""

    def __init__(self, order: Order | None, array: FakeArray | None = None) -> None:
        self.order, self.array = order, array
        self.state, self.why = State.PENDING, ""
        self.reason: Reason | None = Reason.QUEUED
        self.code: int | None = None
        self.signal: int | None = None
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.as_of = 0.0
        self.stubborn = False
        self.step = 0
        self.ended, self.going = anyio.Event(), anyio.Event()
        self.going.set()
        self._data = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self._grew = anyio.Event()

    @property
    def name(self) -> str:
        """The submission; of a task ``<submission>.<position>``."""
        assert self.order is not None
        return self.order.submission if self.array is None else f"{self.order.submission}.{self.position}"

    @property
    def position(self) -> int:
        """Of the one task that it is."""
        assert self.order is not None
        return next(iter(self.order.tasks))

    @property
    def lives(self) -> bool:
        """It has started and not ended."""
        return self.started_at is not None and not self.ended.is_set()

    @property
    def printed(self) -> bool:
        """Whether there is output to read."""
        return any(self._data.values())

    def seen(self, now: float) -> Observation:
        """How it stands."""
        assert self.order is not None
        self.as_of = max(self.as_of + 1e-6, now)
        return Observation(
            submission=self.order.submission,
            tasks=self.order.tasks,
            as_of=self.as_of,
            source="fake",
            state=self.state,
            reason=self.reason,
            why=self.why,
            exit_code=self.code,
            signal=self.signal,
            host="fakehost" if self.started_at else "",
            started_at=self.started_at,
            ended_at=self.ended_at,
        )

    def write(self, stream: Stream, data: bytes) -> None:
        """More output."""
        self._data[stream] += data
        self.wake()

    def wake(self) -> None:
        """Readers look again."""
        grew, self._grew = self._grew, anyio.Event()
        grew.set()

    async def read(self, stream: Stream, offset: int, limit: int) -> tuple[int, bytes]:
        await anyio.lowlevel.checkpoint()
        return offset, bytes(self._data[stream][offset : offset + limit])

    async def grown(self, stdout: int, stderr: int, timeout_s: float) -> bool:
        def longer() -> bool:
            return len(self._data[Stream.STDOUT]) > stdout or len(self._data[Stream.STDERR]) > stderr

        await anyio.lowlevel.checkpoint()
        with anyio.move_on_after(timeout_s):
            while not longer():
                await self._grew.wait()
        return longer()

    async def size(self, stream: Stream) -> int:
        return len(self._data[stream])


class FakeArray:
    """The tasks of one array that wait, and how those ended that did not print anything."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.waiting = order.tasks - order.ended
        self.living = 0
        self.suspended = False
        self.ends: dict[int, Observation] = {}
        self.dropped: list[Observation] = []
        """What was told of tasks that were stopped while they waited."""
        self._as_of = 0.0

    @property
    def may_start(self) -> bool:
        """Whether one more of its tasks may run."""
        most = self.order.max_parallel
        return bool(self.waiting) and not self.suspended and (most is None or self.living < most)

    def take(self, position: int | None = None) -> FakeJob:
        """A task that waits, the first one if none is named; it waits no more."""
        task = TaskSet.of([self.waiting.spans[0][0] if position is None else position])
        self.waiting -= task
        return FakeJob(replace(self.order, tasks=task), self)

    def drop(self, tasks: TaskSet) -> TaskSet:
        """These wait no more; which of them did."""
        dropped = self.waiting & tasks
        self.waiting -= dropped
        return dropped

    def seen(
        self, now: float, tasks: TaskSet, state: State, reason: Reason | None, why: str
    ) -> Observation:
        """How tasks stand that have no life of their own."""
        self._as_of = max(self._as_of + 1e-6, now)
        return Observation(
            submission=self.order.submission,
            tasks=tasks,
            as_of=self._as_of,
            source="fake",
            state=state,
            reason=reason,
            why=why,
        )
