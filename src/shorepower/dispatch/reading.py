"""What the readers of a job's output share, be it a plain job or an array."""

from __future__ import annotations

from abc import ABC, abstractmethod

from msgspec.structs import replace

from ..clusters.contract import Cluster, OutputSource
from ..model.output import Cursor, OutputPiece, Stream

__all__ = ["Reader", "Slice", "drain", "near_end"]


class Slice:
    """What one look found: pieces, where to go on, and whether that was all there will ever be."""

    def __init__(
        self, pieces: list[OutputPiece], cursor: Cursor, ended: bool, *, unfinished: bool = False
    ) -> None:
        self.pieces, self.cursor, self.ended = pieces, cursor, ended
        self.unfinished = unfinished
        """There may be more at once; the look took long enough."""


class Reader(ABC):
    """Reads the output of one job."""

    @abstractmethod
    async def look(self, place: Cursor, limit_bytes: int) -> Slice:
        """Read what is there now."""

    @abstractmethod
    async def growing(self, place: Cursor) -> OutputSource | None:
        """What a reader at this place waits for, besides news of the job; None when it has not started."""

    @abstractmethod
    async def near_end(self, from_end_bytes: int) -> Cursor:
        """Where the last bytes begin."""


async def drain(
    cluster: Cluster | None, restart: int, place: Cursor, limit_bytes: int, pieces: list[OutputPiece]
) -> Cursor:
    """Read one attempt on, over all restarts the scheduler made of it up to ``restart``; where to go on."""
    while cluster is not None:
        source = cluster.output(place.submission, place.task, place.restart)
        place = await _read_both(source, place, limit_bytes, pieces)
        if pieces or place.restart >= restart:
            break
        place = replace(place, restart=place.restart + 1, stdout=0, stderr=0)
    return place


async def near_end(cluster: Cluster, place: Cursor, from_end_bytes: int) -> Cursor:
    """Where the last bytes of the attempt begin that a cursor names."""
    source = cluster.output(place.submission, place.task, place.restart)
    sizes = [await source.size(stream) for stream in (Stream.STDOUT, Stream.STDERR)]
    stdout, stderr = (max(0, size - from_end_bytes) for size in sizes)
    return replace(place, stdout=stdout, stderr=stderr)


async def _read_both(
    source: OutputSource, place: Cursor, limit_bytes: int, pieces: list[OutputPiece]
) -> Cursor:
    for stream in (Stream.STDOUT, Stream.STDERR):
        asked = getattr(place, stream.value)
        offset, data = await source.read(stream, asked, limit_bytes)
        if offset > asked:
            place = replace(place, **{stream.value: offset})
            pieces.append(
                OutputPiece(
                    kind="gap",
                    stream=stream,
                    task=place.task,
                    attempt=place.attempt,
                    offset=asked,
                    missing_bytes=offset - asked,
                    cursor=place.encode(),
                )
            )
        if data:
            place = replace(place, **{stream.value: offset + len(data)})
            pieces.append(
                OutputPiece(
                    kind="output",
                    stream=stream,
                    task=place.task,
                    attempt=place.attempt,
                    offset=offset,
                    data=data,
                    cursor=place.encode(),
                )
            )
    return place
