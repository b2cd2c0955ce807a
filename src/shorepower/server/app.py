"""The HTTP interface as an ASGI application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyio import CapacityLimiter
from litestar import Litestar, Request
from litestar.di import NamedDependency, Provide
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
    return Litestar(
        list(routes()),
        dependencies=_provided(given),
        guards=[restore_slashes, check_need],
        exception_handlers={Exception: problem_response},
        openapi_config=openapi,
        request_max_body_size=None,  # `reading` bounds each body, in time as well
        logging_config=None,
    )


def _provided(given: dict[str, Any]) -> dict[str, Provide]:
    """What handlers ask for by name. Each asks for the one before it: of several that do not, each would
    be a task of its own in every request."""

    async def caller(request: Request[Any, Any, Any]) -> Any:
        return request.scope["state"].get("caller")

    async def dispatcher(caller: NamedDependency[Any]) -> Any:
        return given["dispatcher"]

    async def life(dispatcher: NamedDependency[Any]) -> Any:
        return given["life"]

    async def facts(life: NamedDependency[Any]) -> Any:
        return given["facts"]

    async def uploads(facts: NamedDependency[Any]) -> Any:
        return given["uploads"]

    return {one.__name__: Provide(one) for one in (caller, dispatcher, life, facts, uploads)}
