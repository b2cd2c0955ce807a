"""News comes back: what clusters see is folded into what is recorded, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskStatus
from msgspec.structs import replace

from ..clusters.contract import Cluster
from ..host.contract import Clock
from ..model.cluster import ClusterInfo
from ..model.errors import ShorepowerError
from ..model.job import split_submission_id
from ..model.lifecycle import Observation
from ..model.results import ResultsState
from ..store.contract import Store
from .fold import fold
from .leftovers import Leftovers
from .news import News
from .places import DispatchSettings, Places
from .prepare import is_untouched
from .task_metrics import MetricsReader

__all__ = ["Standing", "Watch"]

log = structlog.get_logger(__name__)


class Standing:
    """The last known information of each cluster, and since when one does not answer."""

    def __init__(self, clusters: Sequence[str]) -> None:
        self.infos = {name: ClusterInfo(name=name, type="") for name in clusters}

    def answered(self, info: ClusterInfo, now: datetime) -> None:
        """Fresh information came."""
        self.infos[info.name] = replace(info, as_of=now, stale_since=None, why_stale="")

    def silent(self, name: str, why: str, now: datetime) -> None:
        """No answer: what is known stays, marked since when."""
        known = self.infos[name]
        self.infos[name] = replace(known, stale_since=known.stale_since or now, why_stale=why)


class Watch:
    """Watches one cluster."""

    def __init__(
        self,
        cluster: Cluster,
        store: Store,
        standing: Standing,
        places: Places,
        settings: DispatchSettings,
        clock: Clock,
        news: News,
    ) -> None:
        self._cluster, self._store, self._standing = cluster, store, standing
        self._places, self._settings, self._clock, self._news = places, settings, clock, news
        self._disk = CapacityLimiter(1)
        self._metrics = MetricsReader(store, places)
        self._leftovers = Leftovers(store, places)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Fold news in until cancelled. A store that refuses is tried again: no news is lost."""
        task_status.started()
        async for seen in self._cluster.watch():
            if seen:
                await self._keep(seen)

    async def _keep(self, seen: Sequence[Observation]) -> None:
        wait_s = self._settings.retry_first_s
        untouched, arrays = await self._look({one.submission for one in seen if one.state.ended})
        while True:
            try:
                metrics = await self._metrics.read(one for one in seen if one.submission in arrays)
                folding = partial(
                    fold, news=seen, now=self._clock.now(), untouched=untouched, metrics=metrics
                )
                changed = await self._store.write(folding)
                break
            except ShorepowerError as fault:
                log.warning("news could not be recorded; trying again", cause=type(fault).__name__)
                await anyio.sleep(wait_s)
                wait_s = min(wait_s * 2, self._settings.retry_most_s)
        if any(job.results.state is ResultsState.SAVING for job in changed):
            self._news.tell("saving")
        without = {job.id for job in changed if job.results.state is ResultsState.NONE}
        empty = [name for name in untouched if split_submission_id(name)[0] in without]
        await self._leftovers.drop(changed, empty)

    async def _look(self, ended: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
        """(those whose working folder is empty, and of no use any more once that is recorded; those that
        are arrays)."""
        works = {name: self._places.work(name) for name in ended}

        def look() -> tuple[frozenset[str], frozenset[str]]:
            arrays = frozenset(name for name, work in works.items() if (work / "tasks").is_dir())
            plain = ((name, work) for name, work in works.items() if name not in arrays)
            return frozenset(name for name, work in plain if is_untouched(work)), arrays

        if not works:
            return frozenset(), frozenset()
        return await to_thread.run_sync(look, limiter=self._disk)

    async def keep_informed(self) -> None:
        """Ask for the cluster's information now and then, until cancelled."""
        while True:
            await self.inform()
            await anyio.sleep(self._settings.info_period_s)

    async def inform(self) -> None:
        """Ask once."""
        try:
            info = await self._cluster.info()
        except ShorepowerError as fault:
            self._standing.silent(self._cluster.name, str(fault), self._clock.now())
        else:
            self._standing.answered(info, self._clock.now())
