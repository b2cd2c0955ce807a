"""Results that nobody fetched go only after a command has shown that they do."""

from __future__ import annotations

from datetime import datetime, timedelta

from msgspec.structs import replace

from ..host.contract import Clock
from ..model.caller import Caller
from ..model.errors import Fault, InvalidRequest
from ..model.job import Job
from ..model.results import ExpiringJob, ExpiringResults, ResultsState, ResultsSummary
from ..store.contract import Snapshot, Store, Transaction
from .access import may_change
from .places import DispatchSettings

__all__ = ["Warn"]

_MOMENT = timedelta(microseconds=1)
_MOST_NAMED = 1000
_MOST_LATE = timedelta(days=1)
"""Between asking what to show and saying that it was shown."""


class Warn:
    """Tells whom to warn of what, and remembers that it was done."""

    def __init__(self, store: Store, settings: DispatchSettings, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self.notice = timedelta(seconds=settings.warn_s)
        self.pressed: frozenset[str] = frozenset()
        """Jobs whose results would be next to go to make room, but were never fetched."""

    async def expiring(self, caller: Caller) -> ExpiringResults:
        """See `Dispatcher.expiring`."""
        now = self._clock.now()
        jobs = await self._store.read(lambda view: self._going(view, caller.user, now))
        told = sorted((self._told(job, now) for job in jobs), key=lambda one: (one.goes_at, one.id))
        return ExpiringResults(
            as_of=now,
            count=len(told),
            size_bytes=sum(one.size_bytes for one in told),
            first_at=told[0].goes_at if told else None,
            jobs=tuple(told[:_MOST_NAMED]),
        )

    async def shown(self, as_of: datetime, caller: Caller) -> None:
        """See `Dispatcher.warned`."""
        may_change(caller)
        if not timedelta(0) <= self._clock.now() - as_of <= _MOST_LATE:
            raise InvalidRequest([Fault("as_of", "give the moment that came with what was shown")])

        def mark(tx: Transaction) -> None:
            for job in self._going(tx, caller.user, as_of):
                told = self._marked(job, as_of)
                if told != job.results and job.ended_at is not None and job.ended_at <= as_of:
                    tx.update_job(replace(job, results=told))

        await self._store.write(mark)

    def _going(self, view: Snapshot, owner: str, now: datetime) -> list[Job]:
        """Those whose time is nearly over, or over while nobody came, and those that are in the way."""
        jobs = {job.id: job for job in view.unfetched(owner, now + self.notice + _MOMENT)}
        pressed = (view.job(job) for job in self.pressed if job not in jobs)
        return [*jobs.values(), *(job for job in pressed if job and _is_unfetched(job, owner))]

    def _marked(self, job: Job, as_of: datetime) -> ResultsSummary:
        """Its results once they were shown; one warning for each reason to go."""
        results = job.results
        if results.expires_at is None or not self._is_soon(job, as_of):
            return results if results.warned_at else replace(results, warned_at=as_of)
        if self._is_due(job):
            return results
        return replace(results, warned_at=as_of, expires_at=max(results.expires_at, as_of + self.notice))

    def _told(self, job: Job, now: datetime) -> ExpiringJob:
        results, soon = self._marked(job, now), self._is_soon(job, now)
        for_room = max(now, (results.warned_at or now) + self.notice)
        goes_at = results.expires_at if soon and results.expires_at is not None else for_room
        return ExpiringJob(
            id=job.id,
            name=job.name,
            file_count=results.file_count,
            size_bytes=results.size_bytes,
            goes_at=goes_at,
            for_room=not soon,
        )

    def _is_soon(self, job: Job, now: datetime) -> bool:
        """Whether its time is nearly over."""
        return job.results.expires_at is not None and job.results.expires_at <= now + self.notice

    def _is_due(self, job: Job) -> bool:
        """Whether it was warned of when its time was nearly over."""
        warned, expires = job.results.warned_at, job.results.expires_at
        return warned is not None and expires is not None and warned >= expires - self.notice


def _is_unfetched(job: Job, owner: str) -> bool:
    here = job.results.state in (ResultsState.READY, ResultsState.PARTIAL)
    return here and job.owner == owner and job.results.pulled_at is None
