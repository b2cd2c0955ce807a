"""Output on its way to readers: from an opaque cursor, byte for byte, over all tasks and attempts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial

import anyio
from anyio import create_task_group

from ..clusters.contract import Cluster
from ..model.array import Numbering, Range, spell_indices
from ..model.caller import Caller
from ..model.errors import Fault, InvalidRequest
from ..model.job import Job
from ..model.output import Cursor, OutputPiece
from ..store.contract import Snapshot, Store
from .access import find
from .news import News
from .read_array import ArrayReader
from .read_job import JobReader
from .reading import Reader, Slice

__all__ = ["Output", "Slice"]

_SIGN_OF_LIFE_S = 15.0
_PIECE_BYTES = 1 << 20
_LONGEST_SPELLED = 60


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
        task: int | None,
        wait_s: float,
        limit_bytes: int,
        from_end_bytes: int | None,
    ) -> Slice:
        """One look; waits up to ``wait_s`` while there is nothing new and more may come."""
        job, reader = await self._reader(name, caller, task)
        place = _decode(cursor, job)
        if from_end_bytes is not None and cursor is None:
            place = await reader.near_end(from_end_bytes)
        with self._news.listen(job) as news:
            found = await reader.look(place, limit_bytes)
            with anyio.move_on_after(wait_s):
                while not (found.pieces or found.ended or found.unfinished):
                    await self._more(reader, found.cursor, news.wait)
                    found = await reader.look(found.cursor, limit_bytes)
        return found

    async def follow(
        self, name: str, caller: Caller, cursor: str | None, task: int | None = None
    ) -> AsyncIterator[OutputPiece | None]:
        """All output until the end; None when there was nothing for a while."""
        job, reader = await self._reader(name, caller, task)
        place = _decode(cursor, job)
        self.followers += 1
        try:
            with self._news.listen(job) as news:
                while True:
                    found = await reader.look(place, _PIECE_BYTES)
                    for piece in found.pieces:
                        yield piece
                    place = found.cursor
                    if found.ended:
                        yield OutputPiece(kind="end", cursor=place.encode())
                        return
                    waits = not (found.pieces or found.unfinished)
                    if found.unfinished or (waits and not await self._more(reader, place, news.wait)):
                        yield None
        finally:
            self.followers -= 1

    async def _reader(self, name: str, caller: Caller, task: int | None) -> tuple[str, Reader]:
        """(id of the job, what reads it). Raises InvalidRequest when it has no such task."""
        find_out = partial(_found, name=name, caller=caller, task=task)
        job, numbering, only = await self._store.read(find_out)
        if numbering is None:
            return job.id, JobReader(job.id, self._store, self._clusters)
        return job.id, ArrayReader(job.id, self._store, self._clusters, numbering, only)

    async def _more(self, reader: Reader, place: Cursor, news: Callable[[float], Awaitable[bool]]) -> bool:
        """Wait until the output grew or there is news of the job; False after a while of neither."""
        source = await reader.growing(place)
        told = False

        async def first(wait: Callable[..., Awaitable[bool]], *args: float) -> None:
            nonlocal told
            told = await wait(*args) or told
            tg.cancel_scope.cancel()

        async with create_task_group() as tg:
            tg.start_soon(first, news, _SIGN_OF_LIFE_S)
            if source is not None:
                tg.start_soon(first, source.grown, place.stdout, place.stderr, _SIGN_OF_LIFE_S)
        return told


def _found(
    view: Snapshot, *, name: str, caller: Caller, task: int | None
) -> tuple[Job, Numbering | None, int | None]:
    """(job, the numbers of its tasks if it is an array, the position of the one that is asked for)."""
    job = find(view, name, caller)
    spec = view.spec(job.id) if job.array else None
    array = spec.array if spec is not None else None
    numbering = Numbering(array.ranges) if array is not None else None
    if task is None:
        return job, numbering, None
    if numbering is None:
        if task:
            raise InvalidRequest([Fault("task", f"job {job.id} is no array; it has one task, 0")])
        return job, None, 0
    position = next(iter(numbering.positions([Range(task, task)])), None)
    if position is None:
        known = spell_indices(numbering.ranges[:_LONGEST_SPELLED])
        short = known if len(known) <= _LONGEST_SPELLED else f"{known[:_LONGEST_SPELLED]}…"
        raise InvalidRequest([Fault("task", f"job {job.id} has no task {task}; its tasks are {short}")])
    return job, numbering, position


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
