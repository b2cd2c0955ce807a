"""Clusters, and what paths are where they are."""

from __future__ import annotations

from litestar import get, post
from msgspec import Struct

from ...host.contract import Look
from ...wire.http.bodies import ClusterList, LookRequest
from ..arguments import TheCaller, TheDispatcher, TheLife, TheRequest
from ..needs import Need, needs
from ..reading import read_struct

__all__ = ["ROUTES"]


class LookAnswer(Struct, frozen=True, kw_only=True):
    """What the paths are; one that did not answer in time is absent."""

    paths: dict[str, Look]


@get("/v1/clusters", opt=needs(Need.READ))
async def clusters(dispatcher: TheDispatcher, caller: TheCaller) -> ClusterList:
    """List the clusters with what was last heard of them."""
    return ClusterList(clusters=tuple(await dispatcher.clusters(caller)))


@post("/v1/look", status_code=200, opt=needs(Need.SUBMIT, body=LookRequest))
async def look(
    request: TheRequest, dispatcher: TheDispatcher, caller: TheCaller, life: TheLife
) -> LookAnswer:
    """Look at absolute paths as the caller."""
    wanted = await read_struct(request, LookRequest, life.bounds)
    return LookAnswer(paths=await dispatcher.look(wanted.paths, caller))


ROUTES = [clusters, look]
