"""Whether the server is open, and what goes on in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
from anyio import create_task_group

from ..host.contract import Clock
from ..model.errors import Busy
from .settings import Bounds

__all__ = ["Life"]

T = TypeVar("T")


class Life:
    """One server's life: open, then closing; never the other way. Counts what must be bounded."""

    def __init__(self, clock: Clock, bounds: Bounds) -> None:
        self._clock, self.bounds = clock, bounds
        self._closing = anyio.Event()
        self._requests = 0
        self._waiting = 0
        self._quiet_since = clock.steady()

    @property
    def closing(self) -> bool:
        """No request is taken any more."""
        return self._closing.is_set()

    def close(self) -> None:
        """Begin to end: streams and long polls end now. Twice is harmless."""
        self._closing.set()

    async def until_closing(self) -> None:
        """Returns when it begins to end."""
        await self._closing.wait()

    def quiet_for_s(self) -> float:
        """Seconds since the last request ended; 0 while one is under way."""
        return 0.0 if self._requests else self._clock.steady() - self._quiet_since

    def close_if_quiet(self, for_s: float) -> bool:
        """Close, in one step with looking whether there was a request meanwhile."""
        if self.quiet_for_s() < for_s:
            return False
        self.close()
        return True

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request under way. Raises Busy when there are too many, or the server is on its way out."""
        if self.closing:
            raise Busy("the server is stopping; jobs live on", retry_after_s=1.0)
        if self._requests >= self.bounds.requests_at_once:
            raise Busy(f"{self._requests} requests are under way; come again in a second")
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1
            self._quiet_since = self._clock.steady()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A stream or a long poll under way. Raises Busy when there are too many."""
        if self._waiting >= self.bounds.waiting_at_once:
            raise Busy(f"{self._waiting} readers are waiting already; come again later", retry_after_s=5.0)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def patiently(
        self, ask: Callable[[float], Awaitable[T]], wait_s: float, gone: Callable[[], Awaitable[None]]
    ) -> T:
        """The answer of ``ask(wait_s)``; of ``ask(0)`` when the server closes or the reader goes
        (``gone`` returns) meanwhile."""
        wait_s = min(wait_s, self.bounds.wait_s)
        if wait_s <= 0:
            return await ask(0.0)
        answers: list[T] = []
        failed: list[Exception] = []
        with self.waiting():
            async with create_task_group() as tg:

                async def cut(event: Callable[[], Awaitable[None]]) -> None:
                    await event()
                    tg.cancel_scope.cancel()

                tg.start_soon(cut, self.until_closing)
                tg.start_soon(cut, gone)
                try:
                    answers.append(await ask(wait_s))
                except Exception as error:  # told alone, not in a group
                    failed.append(error)
                tg.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return answers[0] if answers else await ask(0.0)
