"""Whether the server answers, and what it understands."""

from __future__ import annotations

from anyio import to_thread
from litestar import Response, get

from ..needs import Need, needs

__all__ = ["ROUTES"]


@get("/healthz", opt=needs(Need.NOBODY))
async def health() -> dict[str, str]:
    """Answers while requests are taken; touches nothing else."""
    return {"status": "ok"}


@get("/v1/openapi.json", opt=needs(Need.NOBODY))
async def openapi() -> Response[bytes]:
    """This document."""
    from ..openapi import encoded_document

    return Response(await to_thread.run_sync(encoded_document), media_type="application/json")


ROUTES = [health, openapi]
