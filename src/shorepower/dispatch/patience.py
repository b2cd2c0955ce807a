"""Jobs that are given up when they have not started by a certain moment (``--within``)."""

from __future__ import annotations

import heapq
from datetime import datetime, timedelta

import anyio
import structlog
from anyio.abc import TaskStatus

from ..host.contract import Clock
from ..model.errors import ShorepowerError
from ..model.job import Job, JobSpec
from ..model.lifecycle import Operation, Phase, State
from ..store.contract import Snapshot, Store, Transaction
from .fold import GIVEN_UP, request
from .leftovers import Leftovers
from .news import News
from .places import DispatchSettings

__all__ = ["Patience"]

log = structlog.get_logger(__name__)

_OPEN = (Phase.HELD, Phase.DUE, Phase.HANDING, Phase.HANDED)


class Patience:
    """Keeps the moments in memory; what is recorded in the specs gives them back after a restart."""

    def __init__(
        self, store: Store, leftovers: Leftovers, settings: DispatchSettings, clock: Clock, news: News
    ) -> None:
        self._store, self._settings, self._clock, self._news = store, settings, clock, news
        self._leftovers = leftovers
        self._moments: list[tuple[datetime, str]] = []

    def add(self, job: Job, spec: JobSpec) -> None:
        """A job that was just recorded."""
        if spec.within_s is not None:
            moment = job.created_at + timedelta(seconds=spec.within_s)
            heapq.heappush(self._moments, (moment, job.id))
            self._news.tell("patience")

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Give up what is due until cancelled."""
        with self._news.listen("patience") as added:
            for job, spec in await self._store.read(_waiting):
                self.add(job, spec)
            task_status.started()
            while True:
                await self._give_up_due()
                wait_s = self._settings.retry_most_s
                if self._moments:
                    left = (self._moments[0][0] - self._clock.now()).total_seconds()
                    wait_s = min(max(left, 0.0), wait_s)
                await added.wait(wait_s)

    async def _give_up_due(self) -> None:
        while self._moments and self._moments[0][0] <= self._clock.now():
            moment, job_id = heapq.heappop(self._moments)
            try:
                job = await self._store.write(lambda tx, gone=job_id: self._give_up(tx, gone))
            except ShorepowerError as fault:
                log.warning("giving up put off", job=job_id, cause=type(fault).__name__)
                heapq.heappush(self._moments, (moment, job_id))
                await anyio.sleep(self._settings.retry_first_s)
                return
            if job is not None:
                self._news.tell(f"control:{job.cluster}")
                await self._leftovers.drop_secrets([job])

    def _give_up(self, tx: Transaction, job_id: str) -> Job | None:
        job = tx.job(job_id)
        if job is None or job.state is not State.PENDING:
            return None
        return request(tx, job, Operation.STOP, GIVEN_UP, self._clock.now())


def _waiting(view: Snapshot) -> list[tuple[Job, JobSpec]]:
    found = []
    for submission in view.submissions_in(None, _OPEN):
        job, spec = view.job(submission.job), view.spec(submission.job)
        if job is not None and spec is not None and job.state is State.PENDING:
            found.append((job, spec))
    return found
