"""A front end over the stand-in, listening for real."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
import structlog
from msgspec.structs import replace

from shorepower.dispatch.dispatcher import TokenInfo
from shorepower.host.own import SystemClock
from shorepower.model.caller import Scope
from shorepower.server.app import make_app
from shorepower.server.life import Life
from shorepower.server.serve import serve
from shorepower.server.settings import Bounds, Listen, ServerFacts, ServeSettings
from shorepower.server.sockets import OwnSocket
from support.stand_in import StandIn
from support.talk import Answer, Talk

USER = "ada"


class Front:
    """A running server and how to reach it."""

    def __init__(self, socket: Path, settings: ServeSettings, *, private: bool = True) -> None:
        self.dispatcher = StandIn()
        self.settings = settings
        self.socket = OwnSocket(socket, os.getuid())
        self.life = Life(SystemClock(), settings.bounds)
        self.facts = ServerFacts(
            version="1.2.3",
            host="here",
            pid=os.getpid(),
            user=USER,
            uid=os.getuid(),
            private=private,
            state_dir="/state",
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        self.port = 0
        self.stopped = anyio.Event()
        self._talks: list[Talk] = []

    async def talk(self, port: bool = False) -> Talk:
        talk = await Talk.to(self.port if port else self.socket.path)
        self._talks.append(talk)
        return talk

    async def ask(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        """One request over the Unix socket; ``_`` in a header's name stands for ``-``."""
        return await self._once(False, method, target, body, headers)

    async def ask_port(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        return await self._once(True, method, target, body, headers)

    async def _once(
        self, port: bool, method: str, target: str, body: Any, headers: dict[str, str]
    ) -> Answer:
        talk = await self.talk(port)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await talk.ask(method, target, body, named)
        finally:
            talk.close()

    def token(self, scope: Scope, user: str = USER) -> str:
        secret = f"shp_{scope}_{user}"
        self.dispatcher.credentials[secret] = TokenInfo(
            id=f"t-{scope}", name=scope, user=user, scope=scope, created_at=self.facts.started_at
        )
        return f"Bearer {secret}"

    @contextlib.asynccontextmanager
    async def running(
        self,
        idle_for_s: Callable[[], Awaitable[float]] | None = None,
        signals: tuple[signal.Signals, ...] = (),
    ) -> AsyncIterator[Front]:
        app = make_app(self.dispatcher, self.facts, self.life, self.settings)

        async def run(*, task_status: Any) -> None:
            await serve(
                app,
                self.life,
                self.socket,
                self.settings,
                idle_for_s=idle_for_s,
                signals=signals,
                task_status=task_status,
            )
            self.stopped.set()

        async with anyio.create_task_group() as tg:
            self.port = await tg.start(run)
            try:
                yield self
            finally:
                for talk in self._talks:
                    talk.close()
                self.life.close()
                with anyio.CancelScope(shield=True), anyio.move_on_after(10):
                    await self.stopped.wait()
                tg.cancel_scope.cancel()


QUICK = Bounds(keepalive_s=0.05, stop_s=1.0)


@pytest.fixture
def make_front(tmp_path: Path) -> Callable[..., Front]:
    """Makes a front; keyword arguments change its settings or, by name, its bounds."""

    def make(**changes: Any) -> Front:
        bounds = {name: changes.pop(name) for name in list(changes) if name in Bounds.__struct_fields__}
        private = changes.pop("private", True)
        settings = ServeSettings(
            listen=Listen(host="127.0.0.1", port=0),
            socket_check_s=0.02,
            bounds=replace(QUICK, **bounds),
        )
        return Front(tmp_path / "run" / "a.sock", replace(settings, **changes), private=private)

    return make


@pytest.fixture
async def front(make_front: Callable[..., Front]) -> AsyncIterator[Front]:
    async with make_front().running() as running:
        yield running


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """A server sends all logging to its file: put things back as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
