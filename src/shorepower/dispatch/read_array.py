"""The output of an array: task by task in order of position, or that of one task.

A cursor names one task. While that one lives a reader stays with it; when it has ended and all is read,
the next that wrote something is looked for. So a reader of a million silent tasks passes each of them once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from time import monotonic

from msgspec import Struct
from msgspec.structs import replace

from ..clusters.contract import Cluster, OutputSource
from ..model.array import Numbering
from ..model.chunks import CHUNK, ENDED_LETTERS, WAITING, runs_of
from ..model.errors import InvalidRequest
from ..model.job import Job, Submission
from ..model.output import Cursor, OutputPiece
from ..model.tasks import TaskSet
from ..store.contract import Snapshot, Store
from .ledger import Ledger
from .reading import Reader, Slice, drain, near_end

__all__ = ["ArrayReader"]

_CHUNKS_AHEAD = 4
"""So many chunks of tasks are passed over together."""
_LONGEST_LOOK_S = 5.0
_ENDED = bytes(sorted(ENDED_LETTERS))


class _Stand(Struct, frozen=True, kw_only=True):
    """Where a reader is, and what is known of the task there."""

    job: Job
    place: Cursor | None
    """None: there is no task to be read (any more)."""
    restart: int = 0
    started: bool = False
    ended: bool = False
    """Of the task; without one, of all that was asked for."""
    passable: int = 0
    """The tasks after it, up to this position, have ended too."""


class ArrayReader(Reader):
    """Reads the output of one array, or of its task at the position ``only``."""

    def __init__(
        self,
        job: str,
        store: Store,
        clusters: Mapping[str, Cluster],
        numbering: Numbering,
        only: int | None = None,
    ) -> None:
        self._job, self._store, self._clusters = job, store, clusters
        self._numbering, self._only = numbering, only

    async def look(self, place: Cursor, limit_bytes: int) -> Slice:
        """Where a task stands is read first: what an ended one wrote is all there."""
        enough = monotonic() + _LONGEST_LOOK_S
        while True:
            stand = await self._stand(place)
            if stand.place is None:
                return Slice([], place, stand.ended)
            pieces: list[OutputPiece] = []
            cluster = self._clusters.get(stand.job.cluster)
            place = await drain(cluster, stand.restart, stand.place, limit_bytes, pieces)
            if pieces:
                index = self._numbering.index(place.task)
                return Slice([replace(piece, task=index) for piece in pieces], place, False)
            if not stand.ended or self._only is not None:
                return Slice([], place, stand.ended)
            place = await self._passed(cluster, place, stand.passable)
            if monotonic() > enough:
                return Slice([], place, False, unfinished=True)

    async def _passed(self, cluster: Cluster | None, place: Cursor, passable: int) -> Cursor:
        """The next task that wrote something, or the first of which that cannot be said yet."""
        found = None
        if cluster is not None and passable > place.task + 1:
            found = await cluster.next_output(place.submission, place.task + 1, passable)
        following = found if found is not None else passable
        return Cursor(submission=place.submission, task=following, attempt=place.attempt)

    async def growing(self, place: Cursor) -> OutputSource | None:
        stand = await self._stand(place)
        cluster = self._clusters.get(stand.job.cluster)
        if cluster is None or stand.place is None or not stand.started:
            return None
        return cluster.output(stand.place.submission, stand.place.task, place.restart)

    async def near_end(self, from_end_bytes: int) -> Cursor:
        """Of the one task, or of the last that has started."""
        place = await self._store.read(partial(_last_started, job=self._job))
        if self._only is not None:
            place = Cursor(task=self._only)
        stand = await self._stand(place)
        cluster = self._clusters.get(stand.job.cluster)
        if cluster is None or stand.place is None:
            return place
        return await near_end(cluster, replace(stand.place, restart=stand.restart), from_end_bytes)

    async def _stand(self, place: Cursor) -> _Stand:
        return await self._store.read(partial(_stand, job=self._job, place=place, only=self._only))


def _stand(view: Snapshot, *, job: str, place: Cursor, only: int | None) -> _Stand:
    known = view.job(job)
    if known is None:
        raise InvalidRequest(f"job {job} was removed")
    for submission in _from(view, job, place.submission):
        start = place.task if place.submission in ("", submission.id) else 0
        wanted = submission.tasks if only is None else submission.tasks & TaskSet.of([only])
        span = next((span for span in wanted.spans if span[1] > start), None)
        if span is not None:
            return _at(view, known, submission, max(start, span[0]), span[1], place)
    ended = known.state.ended or (only is not None and Ledger(view, known).letter(only) in ENDED_LETTERS)
    return _Stand(job=known, place=None, ended=ended)


def _from(view: Snapshot, job: str, submission: str) -> list[Submission]:
    """The submissions that a cluster may have, from one on."""
    sent = [one for one in view.submissions(job) if one.workdir or one.handle is not None]
    names = [one.id for one in sent]
    return sent[names.index(submission) :] if submission in names else sent


def _at(
    view: Snapshot, job: Job, submission: Submission, position: int, stop: int, place: Cursor
) -> _Stand:
    here = place
    if (place.submission, place.task) != (submission.id, position) or place.attempt == 0:
        here = Cursor(submission=submission.id, task=position, attempt=submission.attempt)
    ledger = Ledger(view, job)
    letter, figures = ledger.letter(position), ledger.figures(position)
    ended = job.state.ended or letter in ENDED_LETTERS
    return _Stand(
        job=job,
        place=here,
        restart=figures.restart,
        started=letter != WAITING,
        ended=ended,
        passable=_passable(view, job, position, stop) if ended else position,
    )


def _passable(view: Snapshot, job: Job, position: int, stop: int) -> int:
    """Up to where the tasks from a position on, which has ended, have ended as well."""
    first = position // CHUNK
    stop = min(stop, (first + _CHUNKS_AHEAD) * CHUNK)
    if job.state.ended:
        return stop
    kept = view.task_letters(job.id, first, first + _CHUNKS_AHEAD - 1)
    waiting = bytes([WAITING]) * CHUNK
    letters = b"".join(kept.get(first + at, waiting) for at in range(_CHUNKS_AHEAD))
    letters = letters[position - first * CHUNK : stop - first * CHUNK]
    run = next(runs_of(letters, _ENDED), (0, 0))
    return position + max(run[1], 1) if run[0] == 0 else position + 1


def _last_started(view: Snapshot, *, job: str) -> Cursor:
    known = view.job(job)
    if known is None:
        raise InvalidRequest(f"job {job} was removed")
    last = 0
    for start, letters in Ledger(view, known).chunks():
        started = letters.rstrip(bytes([WAITING]))
        last = start + len(started) - 1 if started else last
    return Cursor(task=last)
