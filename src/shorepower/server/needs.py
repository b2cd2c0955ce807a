"""What a credential must allow for each route."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from ..model.caller import Caller, Scope
from ..model.errors import NotAllowed
from .auth import need_caller

__all__ = ["Need", "check_need", "needs"]


class Need(StrEnum):
    """Who may call a route."""

    NOBODY = "nobody"
    """Anyone who reaches the port."""
    READ = "read"
    """Any credential."""
    SUBMIT = "submit"
    """One that may submit."""
    CHANGE = "change"
    """One that may do everything."""
    OWNER = "owner"
    """Whoever connects to the private server's own socket."""


_ENOUGH = {
    Need.READ: (Scope.READ, Scope.SUBMIT, Scope.FULL),
    Need.SUBMIT: (Scope.SUBMIT, Scope.FULL),
    Need.CHANGE: (Scope.FULL,),
    Need.OWNER: (Scope.FULL,),
}


def needs(
    need: Need,
    *,
    body: type | str | None = None,
    may_lack_body: bool = False,
    answers: dict[str, type | None] | None = None,
    also: dict[int, type | None] | None = None,
) -> dict[str, Any]:
    """The ``opt`` of a route; one without it cannot be called.

    For the interface's description: ``body`` is the structure (or media type) of the request's body,
    ``answers`` the structure of each media type, ``also`` of each further status.
    """
    return {
        "need": need,
        "body": body,
        "may_lack_body": may_lack_body,
        "answers": answers or {},
        "also": also or {},
    }


async def check_need(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """The guard of every route. Raises NotAuthenticated, NotAllowed.

    It waits for nothing; a guard that is no coroutine would run in a thread.
    """
    if connection.scope.get("method") == "OPTIONS":
        return  # the framework's own answer: which methods there are
    need = handler.opt["need"]
    if need is Need.NOBODY:
        return
    caller: Caller = need_caller(connection.scope["state"].get("caller"))
    enough = _ENOUGH[need]
    if caller.scope not in enough:
        wanted = " or ".join(repr(scope.value) for scope in enough)
        raise NotAllowed(f"this token's scope is {caller.scope.value!r}; this needs {wanted}")
    if need is Need.OWNER and caller.via != "socket":
        raise NotAllowed("only over the server's own socket")
