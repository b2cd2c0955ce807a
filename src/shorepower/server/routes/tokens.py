"""Credentials for callers who come over a port."""

from __future__ import annotations

from litestar import Response, delete, get, post
from litestar.params import FromPath
from msgspec import Struct

from ...dispatch.dispatcher import TokenInfo
from ...wire.http.bodies import TokenRequest
from ..arguments import TheCaller, TheDispatcher, TheLife, TheRequest
from ..needs import Need, needs
from ..reading import read_struct

__all__ = ["ROUTES"]


class TokenList(Struct, frozen=True, kw_only=True):
    """The caller's own tokens, without their secrets."""

    tokens: tuple[TokenInfo, ...]


class NewToken(Struct, frozen=True, kw_only=True):
    """A token with its secret, which is told this once."""

    secret: str
    token: TokenInfo


@get("/v1/tokens", opt=needs(Need.CHANGE))
async def list_tokens(dispatcher: TheDispatcher, caller: TheCaller) -> TokenList:
    """List one's tokens."""
    return TokenList(tokens=tuple(await dispatcher.tokens(caller)))


@post("/v1/tokens", status_code=201, opt=needs(Need.CHANGE, body=TokenRequest))
async def create(
    request: TheRequest, dispatcher: TheDispatcher, caller: TheCaller, life: TheLife
) -> Response[NewToken]:
    """Make a token."""
    wanted = await read_struct(request, TokenRequest, life.bounds)
    secret, token = await dispatcher.create_token(caller, wanted.name, wanted.scope, wanted.expires_at)
    return Response(NewToken(secret=secret, token=token), headers={"Cache-Control": "no-store"})


@delete("/v1/tokens/{token:str}", status_code=204, opt=needs(Need.CHANGE))
async def revoke(token: FromPath[str], dispatcher: TheDispatcher, caller: TheCaller) -> None:
    """Revoke a token, at once."""
    await dispatcher.revoke_token(token, caller)


ROUTES = [list_tokens, create, revoke]
