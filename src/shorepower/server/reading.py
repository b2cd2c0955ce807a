"""Bodies of requests: bounded in size and in time, and every fault told at once."""

from __future__ import annotations

from typing import Any, TypeVar

import anyio
from litestar import Request
from msgspec import Struct

from ..model.errors import InvalidRequest, TooLarge
from ..wire.http.bodies import decode_body
from .settings import Bounds

__all__ = ["read_body", "read_optional", "read_struct"]

T = TypeVar("T", bound=Struct)


async def read_body(request: Request[Any, Any, Any], limit_bytes: int, bounds: Bounds) -> bytes:
    """The whole body. Raises TooLarge before more than that is kept, InvalidRequest when it stalls."""
    told = request.headers.get("content-length", "")
    if told.isascii() and told.isdecimal() and int(told) > limit_bytes:
        raise TooLarge(f"the body has {int(told)} bytes; this route takes at most {limit_bytes}")
    parts: list[bytes] = []
    total = 0
    more = True
    while more:
        with anyio.move_on_after(bounds.body_timeout_s) as patience:
            message = await request.receive()
        if patience.cancelled_caught or message["type"] != "http.request":
            raise InvalidRequest("the body did not arrive")
        part = message.get("body", b"")
        total += len(part)
        if total > limit_bytes:
            raise TooLarge(f"this route takes at most {limit_bytes} bytes")
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


async def read_optional(request: Request[Any, Any, Any], kind: type[T], bounds: Bounds) -> T:
    """The body as a structure; one without a body is the structure's own defaults. Raises InvalidRequest
    with every fault, TooLarge."""
    return decode_body(await read_body(request, bounds.json_body_bytes, bounds) or b"{}", kind)


async def read_struct(request: Request[Any, Any, Any], kind: type[T], bounds: Bounds) -> T:
    """The body as a structure. Raises InvalidRequest with every fault, TooLarge."""
    return decode_body(await read_body(request, bounds.json_body_bytes, bounds), kind)
