"""The server itself."""

from __future__ import annotations

import structlog
from litestar import get, post

from ...model.caller import Caller
from ...model.errors import NotAllowed
from ...model.lifecycle import State
from ...wire.http.bodies import ServerInfo, StopAnswer
from ..arguments import TheCaller, TheDispatcher, TheFacts, TheLife
from ..needs import Need, needs

__all__ = ["ROUTES"]

log = structlog.get_logger(__name__)


@get("/v1/server", opt=needs(Need.READ))
async def show(dispatcher: TheDispatcher, facts: TheFacts) -> ServerInfo:
    """Who answers, and how many jobs are in which state."""
    return ServerInfo(
        version=facts.version,
        host=facts.host,
        pid=facts.pid,
        user=facts.user,
        private=facts.private,
        state_dir=facts.state_dir,
        started_at=facts.started_at,
        counts=await dispatcher.counts(),
    )


@post("/v1/server/stop", status_code=202, opt=needs(Need.OWNER))
async def stop(dispatcher: TheDispatcher, life: TheLife, facts: TheFacts) -> StopAnswer:
    """Stop a private server; jobs live on."""
    if not facts.private:
        raise NotAllowed("this is no private server: whoever administers it stops it")
    counts = await dispatcher.counts()
    log.info("stopping", why="asked to")
    life.close()
    return StopAnswer(running=counts.get(State.RUNNING, 0) + counts.get(State.SUSPENDED, 0))


@get("/v1/whoami", opt=needs(Need.READ))
async def whoami(caller: TheCaller) -> Caller:
    """Whom the server takes the caller for."""
    return caller


ROUTES = [show, stop, whoami]
