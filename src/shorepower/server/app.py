"""The HTTP interface as an ASGI application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyio import CapacityLimiter
from litestar import Litestar, Request
from litestar.di import Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig

from ..dispatch.dispatcher import Dispatcher
from .auth import Door
from .gate import Gate, restore_slashes
from .life import Life
from .needs import check_need
from .replies import problem_response
from .routes import blobs, clusters, events, files, health, jobs, output, server, tokens, values
from .settings import ServerFacts, ServeSettings

__all__ = ["make_app", "make_routes", "routes"]


def routes() -> Sequence[HTTPRouteHandler]:
    """Every route there is."""
    rooms = (server, jobs, output, values, events, files, blobs, clusters, tokens, health)
    return [route for room in rooms for route in room.ROUTES]


def make_app(dispatcher: Dispatcher, facts: ServerFacts, life: Life, settings: ServeSettings) -> Gate:
    """The whole front end over a dispatcher."""
    app = make_routes(
        {
            "dispatcher": dispatcher,
            "facts": facts,
            "life": life,
            "uploads": CapacityLimiter(life.bounds.uploads_at_once),
        }
    )
    return Gate(app, life, Door(dispatcher, facts, settings), facts.version, settings.base_path)


def make_routes(given: dict[str, Any], openapi: OpenAPIConfig | None = None) -> Litestar:
    """The routes alone, with what their handlers ask for by name."""
    provided = {name: Provide(_provider(value), use_cache=True) for name, value in given.items()}
    return Litestar(
        list(routes()),
        dependencies={**provided, "caller": Provide(_caller)},
        guards=[restore_slashes, check_need],
        exception_handlers={Exception: problem_response},
        openapi_config=openapi,
        request_max_body_size=None,  # `reading` bounds each body, in time as well
        logging_config=None,
    )


def _provider(value: Any) -> Any:
    async def provide() -> Any:
        return value

    return provide


async def _caller(request: Request[Any, Any, Any]) -> Any:
    return request.scope["state"].get("caller")
