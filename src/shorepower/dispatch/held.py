"""What is held becomes due, or never: by news of the jobs it comes after, and by the clock."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from datetime import datetime
from functools import partial

import structlog
from anyio.abc import TaskStatus
from msgspec.structs import replace

from ..host.contract import Clock
from ..model.errors import ShorepowerError
from ..model.events import Event
from ..model.job import Job, JobSpec, Submission
from ..model.lifecycle import Phase, Reason, State
from ..store.contract import Snapshot, Store, Transaction
from .fold import close
from .holding import hold_of
from .leftovers import Leftovers
from .news import News
from .places import DispatchSettings

__all__ = ["QUEUED_WHY", "Held"]

log = structlog.get_logger(__name__)

QUEUED_WHY = "waiting to be handed over"
_AT_ONCE = 100
"""Jobs of one unit of work."""
_TOPIC = "held"


class Held:
    """Keeps in memory who waits for whom; what is recorded in the specs gives it back after a restart."""

    def __init__(
        self, store: Store, leftovers: Leftovers, settings: DispatchSettings, clock: Clock, news: News
    ) -> None:
        self._store, self._leftovers, self._settings = store, leftovers, settings
        self._clock, self._news = clock, news
        self._waiting: dict[str, set[str]] = {}
        """By the job that is waited for: the jobs that wait."""
        self._moments: list[tuple[datetime, str]] = []
        self._todo: dict[str, None] = {}
        """To be looked at, in order."""

    def add(self, job: Job, spec: JobSpec) -> None:
        """A job that was just recorded. What it waits for may have happened meanwhile."""
        if not (spec.after or spec.not_before):
            return
        for one in spec.after:
            self._waiting.setdefault(one.job, set()).add(job.id)
        if spec.not_before is not None:
            heapq.heappush(self._moments, (spec.not_before, job.id))
        self._todo[job.id] = None
        self._news.tell(_TOPIC)

    def hear(self, events: Sequence[Event]) -> None:
        """Committed events; what the store calls."""
        for event in events:
            if waiting := self._waiting.get(event.job):
                self._todo.update(dict.fromkeys(waiting))
                self._news.tell(_TOPIC)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Settle until cancelled. A store that refuses is asked again."""
        with self._news.listen(_TOPIC) as told:
            for job, spec in await self._store.read(_held):
                self.add(job, spec)
            task_status.started()
            while True:
                wait_s = await self._round()
                await told.wait(wait_s)

    async def _round(self) -> float:
        """Look at everything that may have become due; seconds until the next moment."""
        now = self._clock.now()
        while self._moments and self._moments[0][0] <= now:
            self._todo[heapq.heappop(self._moments)[1]] = None
        while self._todo:
            names = [name for name, _ in zip(self._todo, range(_AT_ONCE), strict=False)]
            for name in names:
                del self._todo[name]
            try:
                moved = await self._store.read(partial(self._moved, names=names))
                changed = await self._store.write(partial(self._settle, names=moved)) if moved else {}
            except ShorepowerError as fault:
                log.warning("what is held is looked at later", cause=type(fault).__name__)
                self._todo.update(dict.fromkeys(names))
                return self._settings.retry_first_s
            await self._tell(changed)
        if not self._moments:
            return self._settings.retry_most_s
        left_s = (self._moments[0][0] - self._clock.now()).total_seconds()
        return min(max(left_s, 0.0), self._settings.retry_most_s)

    def _moved(self, view: Snapshot, *, names: Collection[str]) -> list[str]:
        """Those of which something else is to be said now; most news of a running array changes nothing."""
        now = self._clock.now()
        return [name for name in names if _is_other(view, name, now)]

    def _settle(self, tx: Transaction, *, names: Collection[str]) -> dict[str, Job | None]:
        """The jobs that are held no more, as they are now; None for one that is gone."""
        found: dict[str, Job | None] = {}
        for name in names:
            job, spec = tx.job(name), tx.spec(name)
            held = next((one for one in tx.submissions(name) if one.phase is Phase.HELD), None)
            if job is None or spec is None or held is None:
                found[name] = None  # it was stopped
            elif (settled := _settle_one(tx, job, spec, held, self._clock.now())) is not None:
                found[name] = settled
        return found

    async def _tell(self, changed: dict[str, Job | None]) -> None:
        if not changed:
            return
        for job, waiting in list(self._waiting.items()):
            waiting.difference_update(changed)
            if not waiting:
                del self._waiting[job]
        told = [job for job in changed.values() if job is not None]
        self._news.tell(*{f"due:{job.cluster}" for job in told if not job.state.ended})
        await self._leftovers.drop_secrets(told)


def _is_other(view: Snapshot, name: str, now: datetime) -> bool:
    job, spec = view.job(name), view.spec(name)
    if job is None or spec is None or job.state is not State.PENDING:
        return True
    hold = hold_of(view, spec, now)
    return hold is None or hold.never or (job.reason, job.why) != (hold.reason, hold.why)


def _settle_one(tx: Transaction, job: Job, spec: JobSpec, held: Submission, now: datetime) -> Job | None:
    """The job, if it is held no more."""
    hold = hold_of(tx, spec, now)
    if hold is not None and hold.never:
        return close(tx, held, State.CANCELED, Reason.DEPENDENCY, hold.why, now)
    if hold is None:
        tx.put_submission(replace(held, phase=Phase.DUE))
    reason, why = (Reason.QUEUED, QUEUED_WHY) if hold is None else (hold.reason, hold.why)
    if (job.reason, job.why) != (reason, why):
        job = tx.update_job(replace(job, reason=reason, why=why))
        tx.append_event(now, "job.state", job, {"state": job.state, "reason": reason, "why": why})
    return job if hold is None else None


def _held(view: Snapshot) -> list[tuple[Job, JobSpec]]:
    found = []
    for submission in view.submissions_in(None, (Phase.HELD,)):
        job, spec = view.job(submission.job), view.spec(submission.job)
        if job is not None and spec is not None:
            found.append((job, spec))
    return found
