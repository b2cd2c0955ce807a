"""Calls for programs with an event loop: those of `calls`, each wait in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ...model.errors import ShorepowerError

if TYPE_CHECKING:
    from ..handle import JobHandle
    from .calls import Calls
    from .outcome import Outcome

__all__ = ["AsyncCalls"]

T = TypeVar("T")

WAIT_S = 10.0
"""One wait; one that was cancelled holds its thread for no longer."""
STOP_S = 10.0
"""How long a cancelled call waits until its job's stop is on record."""
_OVER = object()


class AsyncCalls:
    """See `AsyncClient.with_options`."""

    def __init__(self, calls: Calls, in_thread: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        self._calls, self._in_thread = calls, in_thread

    async def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """See `Client.call`. Cancelling stops the job: nobody has it in hand any more."""
        spawning = asyncio.ensure_future(self.spawn(function, *args, **kwargs))
        try:
            handle = await asyncio.shield(spawning)
            return (await self._outcome(handle)).get()
        except asyncio.CancelledError:
            with suppress(ShorepowerError, OSError, RuntimeError, TimeoutError):
                await asyncio.wait_for(self._stop(spawning), STOP_S)
            raise

    async def _stop(self, spawning: asyncio.Future[JobHandle]) -> None:
        """It may be on its way still. RuntimeError: the client was closed."""
        handle = await spawning
        await self._in_thread(handle.stop)

    async def spawn(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> JobHandle:
        """See `Client.spawn`."""
        return await self._in_thread(partial(self._calls.spawn, function, *args, **kwargs))

    async def map(
        self, function: Callable[..., Any], /, *iterables: Iterable[Any], chunksize: int | None = None
    ) -> AsyncIterator[Any]:
        """The values in order."""
        job = await self._in_thread(partial(self._calls.map, function, *iterables, chunksize=chunksize))
        values = iter(job)
        while (value := await self._in_thread(partial(next, values, _OVER))) is not _OVER:
            yield value

    async def result(self, name: str) -> Any:
        """See `AsyncClient.result`."""
        return (await self._find(name)).get()

    async def exception(self, name: str) -> BaseException | None:
        """See `AsyncClient.exception`."""
        return (await self._find(name)).error

    async def _find(self, name: str) -> Outcome:
        handle = await self._in_thread(partial(self._calls.client.handle, name))
        return await self._outcome(handle)

    async def _outcome(self, handle: JobHandle) -> Outcome:
        while True:
            began = time.monotonic()
            try:
                return await self._in_thread(partial(handle._outcome, WAIT_S))
            except TimeoutError:
                if time.monotonic() - began < WAIT_S / 2:
                    raise  # not of the waiting
