"""What came out of jobs, on its way home."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio
from litestar import Response, get, post

from ...dispatch.dispatcher import Dispatcher, Footprint
from ...dispatch.fetch import FileAsked, FilePiece
from ...model.caller import Caller
from ...model.errors import Fault, InvalidRequest
from ...model.results import ExpiringResults
from ...wire.http.bodies import (
    FileHead,
    FileList,
    PruneAnswer,
    PruneRequest,
    ReadRequest,
    WarnedRequest,
)
from ...wire.http.frames import FRAMES, frame_parts
from ..arguments import JobName, TheCaller, TheDispatcher, TheLife, TheRequest
from ..needs import Need, needs
from ..reading import read_struct
from ..streams import Flow

__all__ = ["ROUTES"]

_MOST_FAULTS = 100


@get("/v1/jobs/{job:str}/files", opt=needs(Need.READ))
async def list_files(job: JobName, dispatcher: TheDispatcher, caller: TheCaller) -> FileList:
    """List the new and changed files of a job so far."""
    found = await dispatcher.job(job, caller)
    entries = await dispatcher.files(found.id, caller)
    return FileList(state=found.results.state, entries=entries)


@post(
    "/v1/jobs/{job:str}/files:read",
    status_code=200,
    opt=needs(Need.READ, body=ReadRequest, answers={FRAMES: FileHead}),
)
async def read_files(
    request: TheRequest,
    job: JobName,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    life: TheLife,
) -> Response[bytes]:
    """Read listed files, each from an offset on, as frames.

    A file is several frames; the last one has ``eof``. One that cannot be read (any more) has ``error``,
    and the next one follows.
    """
    wanted = await read_struct(request, ReadRequest, life.bounds)
    _check_paths(wanted)
    found = await dispatcher.job(job, caller)
    return Flow(_read(dispatcher, found.id, wanted, caller), life, media_type=FRAMES)


@post("/v1/jobs/{job:str}/pulled", status_code=204, opt=needs(Need.CHANGE))
async def pulled(job: JobName, dispatcher: TheDispatcher, caller: TheCaller) -> None:
    """Say that everything listed has come home."""
    await dispatcher.mark_pulled(job, caller)


@post("/v1/prune", status_code=200, opt=needs(Need.CHANGE, body=PruneRequest))
async def prune(
    request: TheRequest, dispatcher: TheDispatcher, caller: TheCaller, life: TheLife
) -> PruneAnswer:
    """Remove what is expired, and what is asked for, now."""
    wanted = await read_struct(request, PruneRequest, life.bounds)
    done = await dispatcher.prune(
        caller, results=wanted.results, unfetched=wanted.unfetched, ended_before=wanted.ended_before
    )
    return PruneAnswer(freed_bytes=done.freed_bytes, uploading=done.uploading)


@get("/v1/results:expiring", opt=needs(Need.READ))
async def expiring(dispatcher: TheDispatcher, caller: TheCaller) -> ExpiringResults:
    """List results that nobody fetched and that go within three days."""
    return await dispatcher.expiring(caller)


@post("/v1/results:warned", status_code=204, opt=needs(Need.CHANGE, body=WarnedRequest))
async def warned(request: TheRequest, dispatcher: TheDispatcher, caller: TheCaller, life: TheLife) -> None:
    """Say that a person was shown the list of that moment.

    What was shown goes three days later at the earliest; what never was is kept for 30 days more.
    """
    wanted = await read_struct(request, WarnedRequest, life.bounds)
    await dispatcher.warned(wanted.as_of, caller)


@get("/v1/footprint", opt=needs(Need.READ))
async def footprint(dispatcher: TheDispatcher, caller: TheCaller) -> Footprint:
    """What is kept on disk for the caller."""
    return await dispatcher.footprint(caller)


def _check_paths(wanted: ReadRequest) -> None:
    faults = []
    for place, entry in enumerate(wanted.entries):
        try:
            entry.raw_path()
        except InvalidRequest as wrong:
            faults.append(Fault(f"entries[{place}]", str(wrong)))
    if faults:
        raise InvalidRequest(faults[:_MOST_FAULTS])


async def _read(
    dispatcher: Dispatcher, job: JobName, wanted: ReadRequest, caller: Caller
) -> AsyncGenerator[bytes, None]:
    """Frames; those of small files go out together."""
    asked = [FileAsked(path=one.raw_path(), area=one.area, offset=one.offset) for one in wanted.entries]
    batches = dispatcher.read_files(job, asked, caller)
    try:
        async for pieces in batches:
            yield b"".join(part for piece in pieces for part in _frame(wanted, piece))
    finally:
        with anyio.CancelScope(shield=True):
            await batches.aclose()


def _frame(wanted: ReadRequest, piece: FilePiece) -> tuple[bytes, ...]:
    entry = wanted.entries[piece.number]
    head = FileHead(
        path=entry.path,
        path_b64=entry.path_b64,
        area=entry.area,
        offset=piece.offset,
        eof=piece.eof,
        error=piece.error,
    )
    return frame_parts(head, piece.data)


ROUTES = [list_files, read_files, pulled, prune, expiring, warned, footprint]
