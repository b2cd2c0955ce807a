"""What every request passes first: bounds, who asks, and a problem for whatever goes wrong."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import msgspec
import structlog

from ..model.errors import Busy, TooLarge
from ..wire.http.headers import VERSION
from ..wire.http.problems import PROBLEM_TYPE
from .auth import Door, need_caller
from .life import Life
from .logs import describe
from .replies import answer_to, stopping

__all__ = ["Gate", "restore_slashes"]

log = structlog.get_logger(__name__)

_OPEN = ("/healthz", "/v1/openapi.json")
"""Need no credential."""
_SLASH = "\x1f"
"""Stands for an encoded slash in a part of a path, until a route has its parts."""


class Gate:
    """The outermost ASGI application."""

    def __init__(self, app: Any, life: Life, door: Door, version: str, base_path: str = "") -> None:
        self._app, self._life, self._door, self._base = app, life, door, base_path
        self._headers = [
            (VERSION.lower().encode(), version.encode()),
            (b"x-content-type-options", b"nosniff"),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Called by the server for each request."""
        if scope["type"] != "http":
            raise ValueError("only http is spoken here")
        started = False

        async def send_marked(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        try:
            with self._life.request():
                _set_path(scope, self._base, self._life.bounds.path_bytes)
                await self._admit(scope)
                await self._app(scope, receive, send_marked)
        except Exception as error:
            if started:
                log.warning("answer cut off", route=scope.get("path_template", ""), **describe(error))
                raise
            await self._refuse(error, send_marked)

    async def _admit(self, scope: Any) -> None:
        caller = await self._door.caller(scope)
        if scope["path"] not in _OPEN:
            need_caller(caller)
        scope.setdefault("state", {})["caller"] = caller

    async def _refuse(self, error: Exception, send: Any) -> None:
        problem, headers = answer_to(error)
        if isinstance(error, Busy) and self._life.closing:
            problem = stopping(problem)
            headers["Connection"] = "close"
        body = msgspec.json.encode(problem)
        told = {"Content-Type": PROBLEM_TYPE, "Content-Length": str(len(body)), **headers}
        encoded = [(name.lower().encode(), value.encode()) for name, value in told.items()]
        await send({"type": "http.response.start", "status": problem.status, "headers": encoded})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def _set_path(scope: Any, base: str, limit_bytes: int) -> None:
    """Decode each part of the path by itself, so that a name may hold a slash; take the base off.

    Raises TooLarge.
    """
    raw = scope.get("raw_path") or scope["path"].encode()
    if len(raw) > limit_bytes:
        raise TooLarge(f"a path has at most {limit_bytes} bytes")
    text = raw.decode("latin-1").partition("?")[0]
    if base and (text == base or text.startswith(base + "/")):
        text = text[len(base) :] or "/"
    parts = (unquote(part, errors="replace").replace("/", _SLASH) for part in text.split("/"))
    scope["path"], scope["raw_path"] = "/".join(parts), text.encode("latin-1")


async def restore_slashes(connection: Any, _: Any) -> None:
    """A guard that runs before a route's arguments are taken from the path."""
    given = connection.scope["path_params"]
    if any(_SLASH in value for value in given.values()):
        connection.scope["path_params"] = {
            name: value.replace(_SLASH, "/") for name, value in given.items()
        }
