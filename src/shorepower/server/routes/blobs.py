"""Blobs on their way in."""

from __future__ import annotations

from collections.abc import Iterable

from anyio import to_thread
from litestar import Response, get, post
from litestar.params import FromPath

from ...model.errors import Fault, InvalidRequest
from ...model.tree import is_digest
from ...wire.http.bodies import MissingAnswer, MissingRequest
from ...wire.http.compression import decompressed
from ...wire.http.frames import FRAMES, FrameReader
from ..arguments import TheCaller, TheDispatcher, TheLife, TheRequest, TheUploads
from ..needs import Need, needs
from ..reading import read_body, read_struct

__all__ = ["ROUTES"]


@post("/v1/blobs:missing", status_code=200, opt=needs(Need.SUBMIT, body=MissingRequest))
async def missing(
    request: TheRequest, dispatcher: TheDispatcher, caller: TheCaller, life: TheLife
) -> MissingAnswer:
    """Ask which blobs must still be sent; at most 10,000 at a time.

    Those that are there are kept for an hour.
    """
    wanted = await read_struct(request, MissingRequest, life.bounds)
    return MissingAnswer(missing=tuple(await dispatcher.missing_blobs(wanted.digests, caller)))


@post("/v1/blobs", status_code=204, opt=needs(Need.SUBMIT, body=FRAMES))
async def put(
    request: TheRequest,
    dispatcher: TheDispatcher,
    caller: TheCaller,
    life: TheLife,
    uploads: TheUploads,
) -> None:
    """Send blobs: frames whose header has ``digest``, each of at most 16 MiB, together at most 64 MiB.

    The whole body may be compressed: ``Content-Encoding: zstd``. On disk before the answer.
    """
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", "zstd"):
        raise InvalidRequest([Fault("Content-Encoding", f"{encoding!r} is not known; use zstd or none")])
    limit = life.bounds.blobs_body_bytes
    async with uploads:
        body = await read_body(request, limit, life.bounds)
        blobs = await to_thread.run_sync(_unpack, body, encoding, limit)
        del body
        await dispatcher.put_blobs(blobs, caller)


@get("/v1/blobs/{digest:str}", opt=needs(Need.READ, answers={"application/octet-stream": None}))
async def fetch(digest: FromPath[str], dispatcher: TheDispatcher, caller: TheCaller) -> Response[bytes]:
    """Read a blob that the caller has sent."""
    if not is_digest(digest):
        raise InvalidRequest([Fault("digest", f"{digest!r} is no digest; write sha256:<64 hex>")])
    data = await dispatcher.get_blob(digest, caller)
    headers = {"ETag": f'"{digest}"', "Cache-Control": "private, immutable"}
    return Response(data, media_type="application/octet-stream", headers=headers)


def _unpack(body: bytes, encoding: str, limit_bytes: int) -> list[tuple[str, bytes]]:
    """(digest, bytes) of each frame. Raises InvalidRequest, TooLarge."""
    pieces: Iterable[bytes] = decompressed(body, limit_bytes) if encoding == "zstd" else (body,)
    reader = FrameReader()
    blobs = []
    for piece in pieces:
        for header, data in reader.feed(piece):
            digest = header.get("digest")
            if not isinstance(digest, str) or not is_digest(digest):
                raise InvalidRequest(
                    [Fault("digest", "each frame names the digest of its bytes: sha256:<64 hex>")]
                )
            blobs.append((digest, data))
    reader.finish()
    return blobs


ROUTES = [missing, put, fetch]
