"""What the tasks of a job give back."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
from litestar import Response, post

from ...dispatch.dispatcher import Dispatcher
from ...model.caller import Caller
from ...wire.http.bodies import ValueHead, ValuesRequest
from ...wire.http.frames import FRAMES, encode_frame, frame_parts
from ..arguments import JobName, TheCaller, TheDispatcher, TheLife, TheRequest
from ..needs import Need, needs
from ..reading import read_struct
from ..streams import Flow

__all__ = ["ROUTES"]

ALIVE = encode_frame(ValueHead(kind="alive"))


@post(
    "/v1/jobs/{job:str}/values:read",
    status_code=200,
    opt=needs(Need.READ, body=ValuesRequest, answers={FRAMES: ValueHead}),
)
async def read_values(
    request: TheRequest, job: JobName, dispatcher: TheDispatcher, caller: TheCaller, life: TheLife
) -> Response[bytes]:
    """Read what each task wrote into ``SHOREPOWER_RESULT``, beyond the given offsets, as frames.

    One long poll: it answers when there is something new, when the job has ended, or when the wait is over.
    Pieces have at most 1 MiB, an answer at most 64 MiB; the last frame is of kind ``more`` or ``end``. An
    offset lower than asked says that the task began anew.
    """
    wanted = await read_struct(request, ValuesRequest, life.bounds)
    found = await dispatcher.job(job, caller)
    return Flow(
        _frames(dispatcher, found.id, wanted, caller, life.bounds.wait_s),
        life,
        media_type=FRAMES,
        alive=ALIVE,
    )


async def _frames(
    dispatcher: Dispatcher, job: str, wanted: ValuesRequest, caller: Caller, longest_s: float
) -> AsyncGenerator[bytes, None]:
    pieces = dispatcher.read_values(job, caller, wanted.offsets, wait_s=min(wanted.wait, longest_s))
    try:
        async for piece in pieces:
            head = ValueHead(kind=piece.kind, task=piece.task, offset=piece.offset)
            for part in frame_parts(head, piece.data):
                yield part
    finally:
        with anyio.CancelScope(shield=True):
            await pieces.aclose()


ROUTES = [read_values]
