"""Answers that go on: bounded, with signs of life, and over at once when the server closes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import anyio
from anyio import create_task_group
from litestar import Response
from litestar.connection import Request

from .life import Life

__all__ = ["Flow", "gone", "until_gone"]

_LAST_WORDS_S = 0.5


class ReaderTooSlow(Exception):
    """A reader took nothing for too long; its connection is cut, and it may come again."""


class Flow(Response[bytes]):
    """Sends what a generator yields as it comes.

    ``alive`` is sent when there was nothing for a while. The generator is closed in any case: at its
    end, when the reader goes, when the server closes. At most one piece is held for a slow reader.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        life: Life,
        *,
        media_type: str,
        alive: bytes = b"",
    ) -> None:
        super().__init__(b"", media_type=media_type)
        self._pieces, self._life, self._alive = pieces, life, alive
        self._turn = anyio.Lock()
        self._last_sent = 0.0

    def to_asgi_response(self, *args: Any, **kwargs: Any) -> Any:
        """What the framework calls as the answer's ASGI application."""
        return self._answer

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            with self._life.waiting():
                headers = [
                    (b"content-type", (self.media_type or "").encode()),
                    (b"cache-control", b"no-store"),
                ]
                headers.append((b"x-accel-buffering", b"no"))  # Source: nginx, proxy_buffering
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                if await self._flow(receive, send):
                    with anyio.move_on_after(_LAST_WORDS_S):
                        await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS_S):
                await self._pieces.aclose()

    async def _flow(self, receive: Any, send: Any) -> bool:
        """Send everything; False when the reader is gone."""
        here = True
        async with create_task_group() as tg:

            async def leave() -> None:
                nonlocal here
                await until_gone(receive)
                here = False
                tg.cancel_scope.cancel()

            async def close() -> None:
                await self._life.until_closing()
                tg.cancel_scope.cancel()

            tg.start_soon(leave)
            tg.start_soon(close)
            if self._alive:
                tg.start_soon(self._keep_alive, send)
            async for piece in self._pieces:
                await self._send(send, piece)
            tg.cancel_scope.cancel()
        return here

    async def _send(self, send: Any, piece: bytes) -> None:
        async with self._turn:
            with anyio.move_on_after(self._life.bounds.send_timeout_s) as patience:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if patience.cancelled_caught:
                raise ReaderTooSlow
            self._last_sent = anyio.current_time()

    async def _keep_alive(self, send: Any) -> None:
        period = self._life.bounds.keepalive_s
        self._last_sent = anyio.current_time()
        while True:
            await anyio.sleep_until(self._last_sent + period)
            if anyio.current_time() >= self._last_sent + period:
                await self._send(send, self._alive)


async def until_gone(receive: Any) -> None:
    """Returns when the other side has closed its connection; its body was read, or is of no interest."""
    while (await receive())["type"] != "http.disconnect":
        pass


def gone(request: Request[Any, Any, Any]) -> Any:
    """What `Life.patiently` waits for besides the answer."""

    async def wait() -> None:
        await until_gone(request.receive)

    return wait
