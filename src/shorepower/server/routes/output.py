"""The output of a job: frames, JSON or server-sent events, once or until its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Any

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter

from ...dispatch.dispatcher import OutputSlice
from ...model.output import OutputPiece
from ...wire.http.bodies import OutputAnswer, OutputHead, output_head, output_part
from ...wire.http.eventstream import EVENT_STREAM, PING, encode_event
from ...wire.http.frames import FRAMES, encode_frame, frame_parts
from ..accept import accepted
from ..arguments import JobName, LastEventId, TheCaller, TheDispatcher, TheLife, TheRequest, Wait
from ..needs import Need, needs
from ..streams import Flow, gone

__all__ = ["ROUTES"]

JSON = "application/json"
FIRST_BYTES = 1 << 20
"""Of each stream, before a follower goes on with whatever comes."""
ALIVE = encode_frame({"kind": "alive"})


@get(
    "/v1/jobs/{job:str}/output",
    opt=needs(Need.READ, answers={JSON: OutputAnswer, FRAMES: OutputHead, EVENT_STREAM: None}),
)
async def output(
    request: TheRequest,
    job: JobName,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    life: TheLife,
    cursor: Annotated[str | None, QueryParameter(description="Go on from here.")] = None,
    wait: Wait = 0.0,
    limit: Annotated[
        int, QueryParameter(ge=1, le=4 << 20, description="Bytes of each stream.")
    ] = FIRST_BYTES,
    tail: Annotated[int | None, QueryParameter(ge=0, description="Begin this near to the end.")] = None,
    task: Annotated[
        int | None, QueryParameter(ge=0, description="Of an array, only the task of this index.")
    ] = None,
    follow: Annotated[bool, QueryParameter(description="Go on until the job ends.")] = False,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Read the output of a job; of an array task by task, each piece with the index of its task.

    By ``Accept``: frames, JSON, or server-sent events whose id is the cursor. Without ``follow`` it is one
    (long) poll, which ends in ``more`` or ``end``; JSON is always that.
    """
    kind = accepted(request, (JSON, FRAMES, EVENT_STREAM))
    cursor = cursor or last_event_id or None
    identity = (await dispatcher.job(job, caller)).id

    async def ask(wait_s: float) -> OutputSlice:
        return await dispatcher.output(
            identity,
            caller,
            cursor=cursor,
            task=task,
            wait_s=wait_s,
            limit_bytes=limit,
            from_end_bytes=tail,
        )

    if not follow or kind == JSON:
        found = await life.patiently(ask, wait, gone(request))
        return Response(_encode_slice(found, kind), media_type=kind, headers={"Cache-Control": "no-store"})
    first = await ask(0.0)
    later = dispatcher.follow(identity, caller, cursor=first.cursor, task=task)
    if kind == FRAMES:
        return Flow(_frames(first, later), life, media_type=FRAMES, alive=ALIVE)
    return Flow(_events(first, later), life, media_type=EVENT_STREAM, alive=PING)


def _encode_slice(found: OutputSlice, kind: str) -> bytes:
    if kind == JSON:
        parts = tuple(output_part(piece) for piece in found.pieces)
        return msgspec.json.encode(OutputAnswer(pieces=parts, cursor=found.cursor, ended=found.ended))
    last = OutputPiece(kind="end" if found.ended else "more", cursor=found.cursor)
    pieces = (*found.pieces, last)
    if kind == EVENT_STREAM:
        return b"".join(_event(piece) for piece in pieces)
    return b"".join(encode_frame(output_head(piece), piece.data) for piece in pieces)


async def _all(
    first: OutputSlice, later: AsyncIterator[OutputPiece | None]
) -> AsyncGenerator[OutputPiece, None]:
    """The first pieces, then what comes, up to the end; the follower is closed in any case."""
    try:
        for piece in first.pieces:
            yield piece
        if first.ended:
            yield OutputPiece(kind="end", cursor=first.cursor)
            return
        async for news in later:
            if news is not None:
                yield news
    finally:
        if isinstance(later, AsyncGenerator):
            await later.aclose()


async def _frames(
    first: OutputSlice, later: AsyncIterator[OutputPiece | None]
) -> AsyncGenerator[bytes, None]:
    pieces = _all(first, later)
    try:
        async for piece in pieces:
            for part in frame_parts(output_head(piece), piece.data):
                yield part
    finally:
        await pieces.aclose()


async def _events(
    first: OutputSlice, later: AsyncIterator[OutputPiece | None]
) -> AsyncGenerator[bytes, None]:
    pieces = _all(first, later)
    try:
        async for piece in pieces:
            yield _event(piece)
    finally:
        await pieces.aclose()


def _event(piece: OutputPiece) -> bytes:
    return encode_event(msgspec.json.encode(output_part(piece)), id=piece.cursor, event=piece.kind)


ROUTES = [output]
