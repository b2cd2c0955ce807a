"""The HTTP front end over the stand-in, in a thread of its own, for clients that block."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

import shorepower
from shorepower.dispatch.dispatcher import TokenInfo
from shorepower.host.own import SystemClock
from shorepower.model.caller import Scope
from shorepower.server.app import make_app
from shorepower.server.life import Life
from shorepower.server.serve import serve
from shorepower.server.settings import Bounds, Listen, ServerFacts, ServeSettings
from shorepower.server.sockets import OwnSocket
from support.stand_in import StandIn

T = TypeVar("T")
USER = "ada"
TOKEN = "shp_test"


class FrontThread:
    """A running server; `do` touches its stand-in from the test's thread."""

    def __init__(self, path: Path, portal: BlockingPortal, version: str = shorepower.__version__) -> None:
        self.path, self._portal = path, portal
        self.dispatcher = StandIn()
        self.dispatcher.credentials[TOKEN] = TokenInfo(
            id="t1", name="t", user=USER, scope=Scope.FULL, created_at=datetime(2026, 1, 1, tzinfo=UTC)
        )
        self._settings = ServeSettings(
            listen=Listen(host="127.0.0.1", port=0), bounds=Bounds(keepalive_s=0.2, stop_s=0.5)
        )
        self._facts = ServerFacts(
            version=version,
            host="here",
            pid=os.getpid(),
            user=USER,
            uid=os.getuid(),
            private=True,
            state_dir="/state",
            started_at=datetime(2026, 1, 1, tzinfo=UTC),
        )
        self.port = 0

    @property
    def url(self) -> str:
        """For ``--server`` and ``SHORE_SERVER``."""
        return f"unix://{self.path}"

    def do(self, work: Callable[..., T], *args: Any, **more: Any) -> T:
        """Run something on the server's own loop."""

        async def run() -> T:
            return work(*args, **more)

        return self._portal.call(run)

    def wait_for(self, found: Callable[[], T], limit_s: float = 20.0) -> T:
        """Until something is so on the server's side."""

        async def run() -> T:
            with anyio.fail_after(limit_s):
                while not (value := found()):  # noqa: ASYNC110 - the stand-in tells nobody
                    await anyio.sleep(0.005)
            return value

        return self._portal.call(run)

    @contextmanager
    def life(self) -> Iterator[None]:
        """Serve within this block; another block is another life over the same jobs."""
        life = Life(SystemClock(), self._settings.bounds)
        app = make_app(self.dispatcher, self._facts, life, self._settings)
        own = OwnSocket(self.path, os.getuid())

        async def run(*, task_status: Any) -> None:
            await serve(app, life, own, self._settings, signals=False, task_status=task_status)

        future, self.port = self._portal.start_task(run)
        try:
            yield
        finally:
            self._portal.call(life.close)
            future.result(20)


@contextmanager
def front_thread(path: Path, **more: Any) -> Iterator[FrontThread]:
    """A server that runs."""
    with start_blocking_portal("asyncio") as portal:
        front = FrontThread(path, portal, **more)
        with front.life():
            yield front
