"""What handlers ask for by name, and the parameters that several of them have."""

from __future__ import annotations

from typing import Annotated, Any

from anyio import CapacityLimiter
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import HeaderParameter, PathParameter, QueryParameter

from ..dispatch.dispatcher import Dispatcher
from ..model.caller import Caller
from .life import Life
from .settings import ServerFacts

__all__ = [
    "JobName",
    "LastEventId",
    "TheCaller",
    "TheDispatcher",
    "TheFacts",
    "TheLife",
    "TheRequest",
    "TheUploads",
    "Wait",
]

TheRequest = Request[Any, Any, Any]
TheDispatcher = NamedDependency[Dispatcher]
TheCaller = NamedDependency[Caller]
TheLife = NamedDependency[Life]
TheFacts = NamedDependency[ServerFacts]
TheUploads = NamedDependency[CapacityLimiter]

JobName = Annotated[str, PathParameter(description="An id, a unique prefix of one, ``@name`` or ``@-1``.")]
Wait = Annotated[float, QueryParameter(ge=0, description="Seconds to wait for news; at most 60.")]
LastEventId = Annotated[
    str | None, HeaderParameter(name="Last-Event-ID", description="Go on after this event.")
]
