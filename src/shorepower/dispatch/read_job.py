"""The output of a plain job: all attempts of its one task, one after another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from ..clusters.contract import Cluster, OutputSource
from ..model.errors import InvalidRequest
from ..model.job import Job
from ..model.lifecycle import Attempt
from ..model.output import Cursor, OutputPiece
from ..store.contract import Snapshot, Store
from .reading import Reader, Slice, drain, near_end

__all__ = ["JobReader"]


class JobReader(Reader):
    """Reads the output of one plain job."""

    def __init__(self, job: str, store: Store, clusters: Mapping[str, Cluster]) -> None:
        self._job, self._store, self._clusters = job, store, clusters

    async def look(self, place: Cursor, limit_bytes: int) -> Slice:
        """The job's state is read first: what an ended job wrote is all there."""
        job, attempts = await self._standing()
        cluster = self._clusters.get(job.cluster)
        pieces: list[OutputPiece] = []
        for attempt in attempts:
            if attempt.number < place.attempt:
                continue
            if attempt.number > place.attempt:
                place = Cursor(submission=attempt.submission, attempt=attempt.number)
            place = await drain(cluster, attempt.restart, place, limit_bytes, pieces)
            if pieces:
                return Slice(pieces, place, False)
        return Slice(pieces, place, job.state.ended)

    async def growing(self, place: Cursor) -> OutputSource | None:
        job, attempts = await self._standing()
        cluster = self._clusters.get(job.cluster)
        current = next((one for one in attempts if one.number == place.attempt), None)
        if cluster is None or current is None or current.state.ended:
            return None
        return cluster.output(current.submission, current.task, place.restart)

    async def near_end(self, from_end_bytes: int) -> Cursor:
        """Of the newest attempt."""
        job, attempts = await self._standing()
        cluster = self._clusters.get(job.cluster)
        if cluster is None or not attempts:
            return Cursor()
        newest = attempts[-1]
        place = Cursor(submission=newest.submission, attempt=newest.number, restart=newest.restart)
        return await near_end(cluster, place, from_end_bytes)

    async def _standing(self) -> tuple[Job, list[Attempt]]:
        return await self._store.read(partial(_standing, job=self._job))


def _standing(view: Snapshot, *, job: str) -> tuple[Job, list[Attempt]]:
    known = view.job(job)
    if known is None:
        raise InvalidRequest(f"job {job} was removed")
    return known, view.attempts(job, 0)
