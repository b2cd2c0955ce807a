"""One connection: uvicorn's, with the peer's identity and with bounds."""

from __future__ import annotations

import asyncio
import socket
from asyncio import TimerHandle
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..host.peer import peer_uid
from .auth import PEER
from .settings import Bounds

__all__ = ["Connection"]

_TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)
_HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
)
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Connection(HttpToolsProtocol):
    """Puts the uid at the other end of a Unix socket into each request's scope."""

    bounds = Bounds()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Called by the loop."""
        super().connection_made(transport)
        self._peer = _peer(transport)
        self._in_head, self._head_bytes = True, 0
        self._head_timer: TimerHandle | None = None
        if len(self.connections) > self.bounds.connections:
            self._refuse(_TOO_MANY)
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Called by the loop."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.bounds.head_bytes:
            self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Called by the parser."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._expect_head()
        if self._peer is not None:
            self.scope["extensions"] = {PEER: {"uid": self._peer}}  # type: ignore[typeddict-item]

    def on_headers_complete(self) -> None:
        """Called by the parser."""
        self._in_head = False
        self._head_came()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_came()
        self._head_timer = self.loop.call_later(self.bounds.head_timeout_s, self._refuse, _TOO_SLOW)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, answer: bytes) -> None:
        self._head_came()
        if not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(answer)
            self.transport.close()


def _peer(transport: asyncio.Transport) -> int | None:
    """The uid at the other end of a Unix socket; None on a port."""
    sock: Any = transport.get_extra_info("socket")
    if sock is None or sock.family != socket.AF_UNIX:
        return None
    try:
        return peer_uid(sock)
    except OSError:
        return -1  # it is gone already; nobody is let in
