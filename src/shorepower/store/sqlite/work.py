"""Units of work on their way to a thread and back."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, TypeAlias

from ...model.errors import Busy, StorageFault
from ...model.events import Event

__all__ = ["Deliver", "Kind", "Lane", "Work"]

_RETRY_AFTER_S = 1.0


class Kind(Enum):
    """What a unit may do."""

    READ = "read"
    WRITE = "write"
    ALONE = "alone"
    """Gets the connection itself, outside of any transaction."""


class Work:
    """One unit, and who waits for it."""

    __slots__ = ("answer", "error", "kind", "run", "value")

    def __init__(self, kind: Kind, run: Callable[[Any], Any], answer: asyncio.Future[Any]) -> None:
        self.kind, self.run, self.answer = kind, run, answer
        self.value: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits; on the event loop only."""
        if self.answer.done():
            return
        if self.error is None:
            self.answer.set_result(self.value)
        elif isinstance(self.error, StopIteration):  # a future cannot carry one
            self.answer.set_exception(RuntimeError("the unit of work raised StopIteration"))
        else:
            self.answer.set_exception(self.error)


Deliver: TypeAlias = Callable[[Sequence[Work], Sequence[Event]], None]
"""Takes finished units and the events they committed back to the event loop, from any thread."""


class Lane:
    """A bounded queue into threads; what was queued before it is closed is still served."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Work] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, work: Work) -> None:
        """Raises Busy when the queue is full, StorageFault when it is closed."""
        with self._changed:
            if self._closed:
                raise StorageFault("the store is closed; nothing was changed")
            if len(self._waiting) >= self._limit:
                raise Busy(f"{self._limit} requests are waiting for the store already", _RETRY_AFTER_S)
            self._waiting.append(work)
            self._changed.notify()

    def take(self, most: int) -> list[Work]:
        """Wait for work; all of it, up to ``most``. Empty: closed, and nothing is left."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]

    def close(self) -> None:
        """Take nothing new. Twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
