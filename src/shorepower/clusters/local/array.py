"""An array as this cluster holds it: which of its tasks wait, how many are under way.

However many tasks there are, what is held are spans; a `LocalJob` exists only for a task that takes long.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import datetime

import anyio
from msgspec.structs import replace

from ...model.errors import Unreachable
from ...model.lifecycle import Observation, Reason, State
from ...model.tasks import TaskSet
from ..contract import Order
from ..records import Refusal
from .outcome import RECORDS_GONE, forbidden
from .queue import Demand

__all__ = ["LocalArray", "task_name", "task_order"]

_LANES_TAKE_S = 5.0
"""For the lanes of an array to come to the end of the task they are at."""


def task_name(submission: str, task: int) -> str:
    """How one task of an array is called here."""
    return f"{submission}.{task}"


def task_order(order: Order, task: int) -> Order:
    """The order of one task."""
    return replace(order, tasks=TaskSet(((task, task + 1),)))


class LocalArray:
    """The tasks of one order that have not been given away, in order of position.

    `take` is called from lanes, everything else on the event loop.
    """

    def __init__(self, order: Order, demand: Demand, waiting: TaskSet, late: Collection[int] = ()) -> None:
        self.order, self.demand = order, demand
        self.late = set(late)
        """Tasks that wait although a server before this one may just have started them."""
        self.place: int | None = None
        """In the queue; kept while it has tasks to give."""
        self.ahead = 0
        """How many waited when it was queued."""
        self.said = ("", "")
        """Reason and sentence last told while nothing of it had begun."""
        self.busy = 0
        """Grants it has: a lane, or a task that takes long, has one each."""
        self.paused = False
        """Suspended: nothing more starts."""
        self._lanes = self._halts = 0
        self._idle = anyio.Event()
        self._waiting = waiting
        self._lock = threading.Lock()
        self._as_of = 0.0

    @property
    def name(self) -> str:
        """The submission's id."""
        return self.order.submission

    @property
    def waiting(self) -> TaskSet:
        """The tasks not given away."""
        return self._waiting

    @property
    def may_start(self) -> bool:
        """Whether another of its tasks may start if there is room."""
        most = self.order.max_parallel
        return bool(self._waiting) and not (self.paused or self._halts) and (not most or self.busy < most)

    @property
    def over(self) -> bool:
        """Whether nothing of it waits or is under way."""
        return not self._waiting and not self.busy

    def take(self) -> int | None:
        """The next task; None when no more may start. Any thread."""
        with self._lock:
            if not self._waiting or self.paused or self._halts:
                return None
            (first, stop), *rest = self._waiting.spans
            left = ((first + 1, stop),) if first + 1 < stop else ()
            self._waiting = TaskSet((*left, *rest))
            return first

    def withdraw(self, tasks: TaskSet) -> TaskSet:
        """Those of ``tasks`` that waited; they wait no more."""
        with self._lock:
            gone = self._waiting & tasks
            self._waiting = self._waiting - gone
        return gone

    def put_back(self, task: int) -> None:
        """It was withdrawn, but nobody can say where it stands: it waits again."""
        with self._lock:
            self._waiting = self._waiting | TaskSet.of([task])

    def lane_begun(self) -> None:
        """A lane begins to take tasks."""
        self._lanes += 1

    def lane_over(self) -> None:
        """A lane has ended."""
        self._lanes -= 1
        if not self._lanes:
            self._idle.set()
            self._idle = anyio.Event()

    @asynccontextmanager
    async def halted(self) -> AsyncIterator[None]:
        """No lane is at a task, and none begins one. Raises Unreachable when a lane takes too long."""
        self._halts += 1
        try:
            try:
                with anyio.fail_after(_LANES_TAKE_S):
                    while self._lanes:
                        await self._idle.wait()
            except TimeoutError:
                raise Unreachable("a task of it is just being started; try again") from None
            yield
        finally:
            self._halts -= 1

    def seen(
        self, tasks: TaskSet | Iterable[int], now: datetime, state: State, reason: Reason | None, why: str
    ) -> Observation:
        """An observation of tasks that have not begun."""
        self._as_of = max(now.timestamp(), self._as_of + 1e-6)
        return Observation(
            submission=self.name,
            tasks=tasks if isinstance(tasks, TaskSet) else TaskSet.of(tasks),
            as_of=self._as_of,
            source="local",
            state=state,
            reason=reason,
            why=why,
            ended_at=now if state.ended else None,
        )

    def waits(self, now: datetime) -> Observation:
        """Of all its tasks that wait."""
        reason, why = self.said
        return self.seen(
            self._waiting, now, State.PENDING, Reason(reason) if reason else Reason.QUEUED, why
        )

    def lost(self, tasks: TaskSet, now: datetime) -> Observation:
        """They had begun, and nothing is known of them here."""
        return self.seen(tasks, now, State.FAILED, Reason.LOST, RECORDS_GONE)

    def refused(self, tasks: TaskSet, refusal: Refusal) -> Observation:
        """They were stopped while they waited."""
        end = forbidden(refusal.forbidden, refusal.at)
        return self.seen(tasks, refusal.at, end.state, end.reason, end.why)
