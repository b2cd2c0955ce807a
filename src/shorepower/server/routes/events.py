"""News of jobs, as they are and as they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter

from ...dispatch.dispatcher import Dispatcher
from ...model.caller import Caller
from ...model.errors import Fault, InvalidRequest
from ...model.events import Event
from ...wire.http.bodies import EventPage
from ...wire.http.eventstream import EVENT_STREAM, PING, encode_event
from ..accept import accepted
from ..arguments import LastEventId, TheCaller, TheDispatcher, TheLife, TheRequest, Wait
from ..needs import Need, needs
from ..streams import Flow, gone

__all__ = ["ROUTES"]

JSON = "application/json"


@get("/v1/events", opt=needs(Need.READ, answers={JSON: EventPage, EVENT_STREAM: Event}))
async def events(
    request: TheRequest,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    life: TheLife,
    after: Annotated[
        int | None, QueryParameter(ge=0, description="Later than this; else from now.")
    ] = None,
    job: Annotated[str | None, QueryParameter(description="Of this job alone.")] = None,
    wait: Wait = 0.0,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Read the journal of one's jobs.

    As JSON: what there is after a number, and the number to go on from. As server-sent events: an
    endless stream, the id of an event is its number.
    """
    kind = accepted(request, (JSON, EVENT_STREAM))
    if after is None and last_event_id:
        if not (last_event_id.isascii() and last_event_id.isdecimal()):
            raise InvalidRequest([Fault("Last-Event-ID", "is the number of an event")])
        after = int(last_event_id)

    async def ask(wait_s: float) -> tuple[list[Event], int]:
        return await dispatcher.events(caller, after=after, job=job, wait_s=wait_s)

    if kind == EVENT_STREAM:
        found, after = await ask(0.0)
        stream = _stream(dispatcher, caller, found, after, job, life.bounds.keepalive_s)
        return Flow(stream, life, media_type=EVENT_STREAM, alive=PING)
    found, following = await life.patiently(ask, wait, gone(request))
    return Response(EventPage(events=tuple(found), next=following), headers={"Cache-Control": "no-store"})


async def _stream(
    dispatcher: Dispatcher,
    caller: Caller,
    found: list[Event],
    after: int,
    job: str | None,
    wait_s: float,
) -> AsyncGenerator[bytes, None]:
    while True:
        if found:
            yield b"".join(map(_event, found))
        found, after = await dispatcher.events(caller, after=after, job=job, wait_s=wait_s)


def _event(event: Event) -> bytes:
    return encode_event(msgspec.json.encode(event), id=str(event.seq), event=event.type)


ROUTES = [events]
