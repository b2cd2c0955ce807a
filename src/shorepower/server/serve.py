"""Serve the application until it is told to stop, or has nothing to do."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import anyio
import structlog
import uvicorn
from anyio import TASK_STATUS_IGNORED, create_task_group, to_thread
from anyio.abc import TaskStatus

from ..model.errors import Fault, InvalidRequest, ShorepowerError
from .connection import Connection
from .life import Life
from .logs import describe
from .settings import ServeSettings
from .sockets import OwnSocket, bind_port

__all__ = ["serve"]

log = structlog.get_logger(__name__)


async def serve(
    app: Any,
    life: Life,
    own: OwnSocket,
    settings: ServeSettings,
    *,
    idle_for_s: Callable[[], Awaitable[float]] | None = None,
    signals: Sequence[signal.Signals] = (),
    task_status: TaskStatus[int] = TASK_STATUS_IGNORED,
) -> None:
    """Listen until `Life.close`, a signal, or idleness; then end what is open, within seconds.

    Ready once it listens; the value is the TCP port (0 without one). ``idle_for_s`` tells how long the
    dispatcher has had nothing to do; None: never stop for that. ``signals`` end it. Raises
    StateDirectoryFault when it cannot listen, InvalidRequest for a certificate that is none.
    """
    listener = _Listener(app, life, settings)
    try:
        async with create_task_group() as tg:
            if signals:
                await tg.start(_heed_signals, life, signals)
            await tg.start(listener.run)
            port = await _open(listener, own, settings)
            tg.start_soon(_keep_socket, own, listener, settings.socket_check_s)
            if idle_for_s is not None and settings.idle_stop_s:
                tg.start_soon(_stop_when_idle, life, idle_for_s, settings)
            task_status.started(port)
            await life.until_closing()
            await to_thread.run_sync(own.remove)
            await listener.ended.wait()
            tg.cancel_scope.cancel()
    finally:
        own.remove()


async def _open(listener: _Listener, own: OwnSocket, settings: ServeSettings) -> int:
    """Listen on everything, the Unix socket last: who sees it finds the whole server. The TCP port."""
    port = 0
    if settings.listen:
        tls = await to_thread.run_sync(_tls, settings)
        port = await listener.listen(await to_thread.run_sync(bind_port, settings.listen), tls)
    await listener.listen(await to_thread.run_sync(own.bind))
    return port


class _Listener(uvicorn.Server):
    """uvicorn's server, which listens on what it is given and ends with a life."""

    def __init__(self, app: Any, life: Life, settings: ServeSettings) -> None:
        bounds = settings.bounds
        self._protocol: type[Connection] = type("BoundConnection", (Connection,), {"bounds": bounds})
        config = uvicorn.Config(
            app,
            http=self._protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=int(bounds.idle_connection_s),
            timeout_graceful_shutdown=max(1, int(bounds.stop_s)),
        )
        super().__init__(config)
        self._life = life
        self._ready = anyio.Event()
        self.ended = anyio.Event()

    async def run(self, *, task_status: TaskStatus[None]) -> None:  # type: ignore[override]
        """Answer until the life closes; ready once `listen` may be called."""
        async with create_task_group() as tg:
            tg.start_soon(self.serve)
            await self._ready.wait()
            task_status.started()
        self.ended.set()

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> int:
        """Take connections from one more listening socket; its port, if it has one."""
        loop = asyncio.get_running_loop()
        if sock.family == socket.AF_UNIX:
            self.servers.append(await loop.create_unix_server(self._connection, sock=sock))
            return 0
        port = sock.getsockname()[1]
        self.servers.append(await loop.create_server(self._connection, sock=sock, ssl=tls))
        return port

    def _connection(self) -> Connection:
        return self._protocol(self.config, self.server_state, self.lifespan.state)

    # What uvicorn calls, in its order.

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Signals are heeded elsewhere."""
        return nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Nothing is listened to before `listen`."""
        self.servers: list[asyncio.base_events.Server] = []
        self.started = True
        self._ready.set()

    async def main_loop(self) -> None:
        """Until the life closes."""
        await self._life.until_closing()


async def _heed_signals(
    life: Life, signals: Sequence[signal.Signals], *, task_status: TaskStatus[None]
) -> None:
    with anyio.open_signal_receiver(*signals) as received:
        task_status.started()
        async for number in received:
            log.info("stopping", why=signal.Signals(number).name)
            life.close()


async def _keep_socket(own: OwnSocket, listener: _Listener, period_s: float) -> None:
    """Make the socket anew when it has vanished: a tidied /tmp, a runtime folder that went at logout."""
    told = False
    while True:
        await anyio.sleep(period_s)
        if await to_thread.run_sync(own.is_there):
            continue
        try:
            await listener.listen(await to_thread.run_sync(own.bind))
        except ShorepowerError as fault:
            if not told:
                log.warning("socket gone and cannot be made anew yet", **describe(fault))
            told = True
        else:
            log.info("socket made anew")
            told = False


async def _stop_when_idle(
    life: Life, idle_for_s: Callable[[], Awaitable[float]], settings: ServeSettings
) -> None:
    limit = settings.idle_stop_s
    while True:
        await anyio.sleep(min(settings.idle_poll_s, limit))
        if life.quiet_for_s() < limit:
            continue
        try:
            idle = await idle_for_s()
        except ShorepowerError as fault:
            log.warning("cannot tell whether there is anything to do", **describe(fault))
            continue
        if idle >= limit and life.close_if_quiet(limit):
            log.info("stopping", why="nothing to do")
            return


def _tls(settings: ServeSettings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        why = error.strerror or str(error)
        raise InvalidRequest(
            [Fault("server.tls_cert", f"certificate and key cannot be used: {why}")]
        ) from None
    return context
