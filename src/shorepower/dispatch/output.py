"""Output on its way to readers: from an opaque cursor, byte for byte, over all attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from functools import partial

import anyio
from anyio import create_task_group
from msgspec.structs import replace

from ..clusters.contract import Cluster, OutputSource
from ..model.caller import Caller
from ..model.errors import InvalidRequest
from ..model.job import Job
from ..model.lifecycle import Attempt
from ..model.output import Cursor, OutputPiece, Stream
from ..store.contract import Snapshot, Store
from .access import find
from .news import News

__all__ = ["Output", "Slice"]

_SIGN_OF_LIFE_S = 15.0
_PIECE_BYTES = 1 << 20


class Slice:
    """What one look found: pieces, where to go on, and whether that was all there will ever be."""

    def __init__(self, pieces: list[OutputPiece], cursor: Cursor, ended: bool) -> None:
        self.pieces, self.cursor, self.ended = pieces, cursor, ended


class Output:
    """Reads the output of jobs."""

    def __init__(self, store: Store, clusters: Mapping[str, Cluster], news: News) -> None:
        self._store, self._clusters, self._news = store, clusters, news
        self.followers = 0

    async def read(
        self,
        name: str,
        caller: Caller,
        cursor: str | None,
        *,
        wait_s: float,
        limit_bytes: int,
        from_end_bytes: int | None,
    ) -> Slice:
        """One look; waits up to ``wait_s`` while there is nothing new and more may come."""
        job = (await self._store.read(lambda view: find(view, name, caller))).id
        place = _decode(cursor, job)
        if from_end_bytes is not None and cursor is None:
            place = await self._near_end(job, from_end_bytes)
        with self._news.listen(job) as news:
            found = await self._look(job, place, limit_bytes)
            with anyio.move_on_after(wait_s):
                while not found.pieces and not found.ended:
                    await self._more(job, found.cursor, news.wait)
                    found = await self._look(job, found.cursor, limit_bytes)
        return found

    async def follow(
        self, name: str, caller: Caller, cursor: str | None
    ) -> AsyncIterator[OutputPiece | None]:
        """All output until the end; None when there was nothing for a while."""
        job = (await self._store.read(lambda view: find(view, name, caller))).id
        place = _decode(cursor, job)
        self.followers += 1
        try:
            with self._news.listen(job) as news:
                while True:
                    found = await self._look(job, place, _PIECE_BYTES)
                    for piece in found.pieces:
                        yield piece
                    place = found.cursor
                    if found.ended:
                        yield OutputPiece(kind="end", cursor=place.encode())
                        return
                    if not found.pieces and not await self._more(job, place, news.wait):
                        yield None
        finally:
            self.followers -= 1

    async def _look(self, job_id: str, place: Cursor, limit_bytes: int) -> Slice:
        """Read what is there now. The job's state is read first: what an ended job wrote is all there."""
        job, attempts = await self._store.read(partial(_standing, job=job_id))
        pieces: list[OutputPiece] = []
        for attempt in attempts:
            if attempt.number < place.attempt:
                continue
            if attempt.number > place.attempt:
                place = Cursor(
                    submission=attempt.submission, task=attempt.task, attempt=attempt.number, restart=0
                )
            place = await self._drain(self._clusters.get(job.cluster), attempt, place, limit_bytes, pieces)
            if pieces:
                return Slice(pieces, place, False)
        return Slice(pieces, place, job.state.ended)

    async def _drain(
        self,
        cluster: Cluster | None,
        attempt: Attempt,
        place: Cursor,
        limit_bytes: int,
        pieces: list[OutputPiece],
    ) -> Cursor:
        """Read one attempt on, over all restarts the scheduler made of it."""
        while cluster is not None:
            source = cluster.output(attempt.submission, attempt.task, place.restart)
            place = await _read_both(source, place, limit_bytes, pieces)
            if pieces or place.restart >= attempt.restart:
                break
            place = replace(place, restart=place.restart + 1, stdout=0, stderr=0)
        return place

    async def _more(self, job_id: str, place: Cursor, news: object) -> bool:
        """Wait until the output grew or there is news of the job; False after a while of neither."""
        job, attempts = await self._store.read(partial(_standing, job=job_id))
        cluster = self._clusters.get(job.cluster)
        current = next((one for one in attempts if one.number == place.attempt), None)
        told = False

        async def first(wait: object, *args: float) -> None:
            nonlocal told
            told = await wait(*args) or told  # type: ignore[operator]
            tg.cancel_scope.cancel()

        async with create_task_group() as tg:
            tg.start_soon(first, news, _SIGN_OF_LIFE_S)
            if cluster is not None and current is not None and current.started_at is not None:
                source = cluster.output(current.submission, current.task, place.restart)
                tg.start_soon(first, source.grown, place.stdout, place.stderr, _SIGN_OF_LIFE_S)
        return told

    async def _near_end(self, job_id: str, from_end_bytes: int) -> Cursor:
        """Where the last bytes of the newest attempt begin."""
        job, attempts = await self._store.read(partial(_standing, job=job_id))
        cluster = self._clusters.get(job.cluster)
        if cluster is None or not attempts:
            return Cursor()
        newest = attempts[-1]
        source = cluster.output(newest.submission, newest.task, newest.restart)
        sizes = [await source.size(stream) for stream in (Stream.STDOUT, Stream.STDERR)]
        stdout, stderr = (max(0, size - from_end_bytes) for size in sizes)
        return Cursor(
            submission=newest.submission,
            task=newest.task,
            attempt=newest.number,
            restart=newest.restart,
            stdout=stdout,
            stderr=stderr,
        )


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


def _standing(view: Snapshot, *, job: str) -> tuple[Job, list[Attempt]]:
    known = view.job(job)
    if known is None:
        raise InvalidRequest(f"job {job} was removed")
    return known, view.attempts(job, 0)


def _decode(cursor: str | None, job: str) -> Cursor:
    if cursor is None:
        return Cursor()
    try:
        place = Cursor.decode(cursor)
    except ValueError as error:
        raise InvalidRequest(str(error)) from None
    if place.submission and not place.submission.startswith(f"{job}-"):
        raise InvalidRequest("that cursor belongs to another job")
    return place
