"""Many may pass at once, or one alone: what sends blobs and what clears them away exclude each other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

__all__ = ["Gate"]


class Gate:
    """On one event loop. Who wants to be alone waits for those inside, and those who come later wait."""

    def __init__(self) -> None:
        self._turn = anyio.Lock()
        self._inside = 0
        self._empty = anyio.Event()

    @asynccontextmanager
    async def many(self) -> AsyncIterator[None]:
        """Together with all others who use this."""
        async with self._turn:
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """With nobody else inside."""
        async with self._turn:
            while self._inside:
                self._empty = anyio.Event()
                await self._empty.wait()
            yield
