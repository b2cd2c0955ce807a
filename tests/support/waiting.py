"""Waiting for something that no event tells of."""

from __future__ import annotations

from collections.abc import Callable

import anyio

__all__ = ["eventually"]

LIMIT_S = 10.0


async def eventually(what: Callable[[], bool]) -> None:
    """Until it is so. Raises TimeoutError when that takes too long."""
    with anyio.fail_after(LIMIT_S):
        while not what():  # noqa: ASYNC110 - what is watched is another task's plain value
            await anyio.sleep(0.001)
