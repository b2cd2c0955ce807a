"""Wake-ups: who waits for news of what.

Nothing is queued here. A waiter is told that something changed and reads it from the store, so a slow
reader holds nothing up and loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import anyio

from ..model.events import Event

__all__ = ["News", "Waiter"]


class Waiter:
    """A flag that news raises and its one reader lowers."""

    def __init__(self) -> None:
        self._raised = anyio.Event()

    def wake(self) -> None:
        """There is news."""
        self._raised.set()

    async def wait(self, timeout_s: float) -> bool:
        """Until there is news (True) or the time is over; then the flag is down again."""
        with anyio.move_on_after(timeout_s):
            await self._raised.wait()
        told = self._raised.is_set()
        if told:
            self._raised = anyio.Event()
        return told


class News:
    """Waiters by topic: a job's id, ``owner:NAME``, ``due:CLUSTER``, ``control:CLUSTER``, ``saving``."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[Waiter]] = {}

    @contextmanager
    def listen(self, *topics: str, waiter: Waiter | None = None) -> Iterator[Waiter]:
        """A waiter (this one, or another) on these topics for the length of the block."""
        waiter = waiter or Waiter()
        for topic in topics:
            self._waiters.setdefault(topic, set()).add(waiter)
        try:
            yield waiter
        finally:
            for topic in topics:
                waiters = self._waiters[topic]
                waiters.discard(waiter)
                if not waiters:
                    del self._waiters[topic]

    def tell(self, *topics: str) -> None:
        """Wake everyone who listens to one of these."""
        for topic in topics:
            for waiter in self._waiters.get(topic, ()):
                waiter.wake()

    def hear(self, events: Sequence[Event]) -> None:
        """Committed events; what the store calls."""
        for event in events:
            self.tell(event.job, f"owner:{event.owner}")

    @property
    def listeners(self) -> int:
        """How many topics somebody listens to."""
        return len(self._waiters)
